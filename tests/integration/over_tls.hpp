#pragma once

#include <string>
#include <utility>
#include <vector>

#include <openssl/err.h>

#include "integration.hpp"
#include "support/certificates.hpp"

namespace redis_lock_test {

using redis_lock::Endpoint;
using redis_lock::Tls;

/// An authority, a server with a certificate of it, and a client that trusts it.
class OverTls : public ::testing::Test {
 protected:
  static std::vector<std::string> shows(const Certificate& certificate, const Authority& authority,
                                        const char* clients = "no") {
    return {"--tls-cert-file",    certificate.cert_file, "--tls-key-file",     certificate.key_file,
            "--tls-ca-cert-file", authority.ca_file(),   "--tls-auth-clients", clients};
  }

  /// Errors of OpenSSL that lie about would be taken for the application's.
  void TearDown() override { EXPECT_EQ(::ERR_peek_error(), 0U); }

  Endpoint endpoint_of(const RedisServer& at) const {
    auto endpoint = at.endpoint();
    endpoint.tls->ca_file = authority.ca_file();
    return endpoint;
  }
  Endpoint endpoint() const { return endpoint_of(server); }

  Authority authority{"the authority"};
  const Certificate own = authority.issue("DNS:localhost,IP:127.0.0.1");
  RedisServer server{Transport::tls, shows(own, authority)};
  Redis redis{server.without_tls()};
};

inline void expect_to_work(const Client& client) {
  Lock lock{client, unique_name()};
  lock.lock();
  EXPECT_EQ(lock.owner(), lock.id());
  lock.extend();
  lock.unlock();
  EXPECT_FALSE(lock.locked());
}

/// What the first operation says that cannot get a connection, and does not try for long.
inline std::string refusal(Endpoint endpoint) {
  endpoint.retry_for = std::chrono::minutes{10};
  Lock lock{std::move(endpoint), "x"};
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::connection_failed);
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_LT(watch.elapsed(), soon) << "not worth a retry";
  return message_of<Error>([&] { lock.lock(); });
}

}  // namespace redis_lock_test
