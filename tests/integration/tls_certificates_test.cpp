#include "over_tls.hpp"

#include <cstdlib>
#include <fstream>

namespace redis_lock_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using TlsServer = OverTls;

TEST_F(TlsServer, WithACertificateOfTheAuthorityIsTaken) {
  expect_to_work(endpoint());
  expect_to_work("rediss://localhost:" + std::to_string(server.endpoint().port) +
                 "?ca_file=" + authority.ca_file());
}

TEST_F(TlsServer, OfAnotherAuthorityIsRefused) {
  const Authority stranger{"a stranger"};
  auto trusting = endpoint();
  trusting.tls->ca_file = stranger.ca_file();
  EXPECT_THAT(refusal(trusting), AllOf(HasSubstr("lock of \"x\""), HasSubstr("certificate"),
                                       HasSubstr("127.0.0.1"), HasSubstr("refused")));
}

TEST_F(TlsServer, IsCheckedAgainstSystemAuthoritiesByDefault) {
  EXPECT_THAT(refusal(server.endpoint()), HasSubstr("certificate"));
  Child child{[&] {
    ::setenv("SSL_CERT_FILE", authority.ca_file().c_str(), 1);
    Lock lock{server.endpoint(), "x"};
    return lock.try_lock() ? 0 : 1;
  }};
  EXPECT_EQ(child.exit_code(), 0);
}

TEST_F(TlsServer, WhoseCertificateHasExpiredIsRefused) {
  const auto expired = authority.issue("IP:127.0.0.1", -1h);
  const RedisServer late{Transport::tls, shows(expired, authority)};
  EXPECT_THAT(refusal(endpoint_of(late)), HasSubstr("expired"));
}

TEST_F(TlsServer, OfAnotherNameIsRefused) {
  const auto others = authority.issue("DNS:redis.example,IP:127.0.0.2,IP:::1");
  const RedisServer other{Transport::tls, shows(others, authority)};
  auto asked = endpoint_of(other);
  EXPECT_THAT(refusal(asked), HasSubstr("IP address mismatch"));
  asked.host = "localhost";
  EXPECT_THAT(refusal(asked), AllOf(HasSubstr("localhost"), HasSubstr("hostname mismatch")));
}

TEST_F(TlsServer, MayHaveAnotherNameThanItsHost) {
  const auto others = authority.issue("DNS:redis.example,DNS:*.wild.example,IP:127.0.0.2");
  const RedisServer other{Transport::tls, shows(others, authority)};
  for (const auto* good : {"redis.example", "REDIS.example", "a.wild.example", "127.0.0.2"}) {
    auto asked = endpoint_of(other);
    asked.tls->server_name = good;
    expect_to_work(asked);
  }
  for (const auto* bad : {"example", "sub.redis.example", "wild.example", "a.b.wild.example",
                          "127.0.0.1", "::1", "redis.example.", "*"}) {
    auto asked = endpoint_of(other);
    asked.tls->server_name = bad;
    EXPECT_THAT(refusal(asked), AllOf(HasSubstr(bad), HasSubstr("mismatch"))) << bad;
  }
}

TEST_F(TlsServer, AtAnAddressNeedsItAsAnAddress) {
  const auto by_name = authority.issue("DNS:127.0.0.1,DNS:localhost");
  const RedisServer other{Transport::tls, shows(by_name, authority)};
  EXPECT_THAT(refusal(endpoint_of(other)), HasSubstr("IP address mismatch"));
}

TEST_F(TlsServer, MayBeAtAnIpv6Address) {
  const auto certificate = authority.issue("IP:::1");
  auto arguments = shows(certificate, authority);
  arguments.insert(arguments.end(), {"--bind", "127.0.0.1", "::1"});
  const RedisServer other{Transport::tls, arguments};
  auto asked = endpoint_of(other);
  asked.host = "::1";
  expect_to_work(asked);
  asked.host = "0:0::1";
  expect_to_work(asked);
}

TEST_F(TlsServer, OfWhateverCertificateIsTakenIfInsecure) {
  Authority stranger{"a stranger"};
  const auto worthless = stranger.issue("DNS:redis.example", -1h);
  const RedisServer other{Transport::tls, shows(worthless, authority)};
  auto endpoint = other.endpoint();
  EXPECT_THAT(refusal(endpoint), HasSubstr("refused")) << "not by default";
  endpoint.tls->insecure = true;
  expect_to_work(endpoint);
  expect_to_work(other.uri("insecure=true"));
}

class TlsClient : public OverTls {
 protected:
  Authority stranger{"a stranger"};
  const Certificate clients_own = authority.issue("DNS:client");
  const RedisServer demanding{Transport::tls, shows(own, authority, "yes")};
};

TEST_F(TlsClient, WithItsCertificateIsTaken) {
  auto endpoint = endpoint_of(demanding);
  endpoint.tls->cert_file = clients_own.cert_file;
  endpoint.tls->key_file = clients_own.key_file;
  expect_to_work(endpoint);
  expect_to_work(demanding.uri("ca_file=" + authority.ca_file() + "&cert_file=" +
                               clients_own.cert_file + "&key_file=" + clients_own.key_file));
}

TEST_F(TlsClient, WithoutItsCertificateIsToldSoAtOnce) {
  auto asked = endpoint_of(demanding);
  asked.retry_for = 0ms;
  for (int i = 0; i < 10; ++i) {
    Lock lock{asked, "x"};
    EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }),
                HasSubstr("alert certificate required"));
  }
  EXPECT_THAT(refusal(asked), HasSubstr("alert certificate required"));
}

TEST_F(TlsClient, WithoutItsCertificateIsRefusedByTls12Too) {
  auto arguments = shows(own, authority, "yes");
  arguments.insert(arguments.end(), {"--tls-protocols", "TLSv1.2"});
  const RedisServer old{Transport::tls, arguments};
  EXPECT_THAT(refusal(endpoint_of(old)), HasSubstr("refused by the server"));
  auto endpoint = endpoint_of(old);
  endpoint.tls->cert_file = clients_own.cert_file;
  endpoint.tls->key_file = clients_own.key_file;
  expect_to_work(endpoint);
}

TEST_F(TlsClient, WithACertificateOfAStrangerIsRefused) {
  const auto strange = stranger.issue("DNS:client");
  auto endpoint = endpoint_of(demanding);
  endpoint.tls->cert_file = strange.cert_file;
  endpoint.tls->key_file = strange.key_file;
  EXPECT_THAT(refusal(endpoint), HasSubstr("alert unknown ca"));
}

class TlsFiles : public OverTls {
 protected:
  /// A file that holds `text`.
  std::string file(const std::string& text) {
    auto path = authority.folder() + "/file" + std::to_string(++files_);
    std::ofstream{path} << text;
    return path;
  }

  /// What is said of that authority, or of that certificate and key.
  std::string complaint_about_ca(const std::string& ca_file) const {
    auto asked = endpoint();
    asked.tls->ca_file = ca_file;
    return refusal(asked);
  }
  std::string complaint_about(const std::string& cert_file, const std::string& key_file) const {
    auto asked = endpoint();
    asked.tls->cert_file = cert_file;
    asked.tls->key_file = key_file;
    return refusal(asked);
  }

  const std::string missing = authority.folder() + "/missing";
  const std::string garbage = file("garbage");
  const Certificate good = authority.issue("DNS:client");

 private:
  int files_ = 0;
};

TEST_F(TlsFiles, ThatAreMissingAreNamed) {
  EXPECT_THAT(complaint_about_ca(missing),
              AllOf(HasSubstr("ca_file"), HasSubstr(missing), HasSubstr("No such file")));
  EXPECT_THAT(complaint_about(missing, good.key_file),
              AllOf(HasSubstr("cert_file"), HasSubstr(missing), HasSubstr("No such file")));
  EXPECT_THAT(complaint_about(good.cert_file, missing),
              AllOf(HasSubstr("key_file"), HasSubstr(missing), HasSubstr("No such file")));
}

TEST_F(TlsFiles, OfGarbageAreNamed) {
  EXPECT_THAT(complaint_about_ca(garbage), AllOf(HasSubstr("ca_file"), HasSubstr(garbage)));
  EXPECT_THAT(complaint_about_ca(authority.folder()), HasSubstr("ca_file")) << "a folder";
  EXPECT_THAT(complaint_about_ca(file("")), HasSubstr("ca_file")) << "an empty file";
  EXPECT_THAT(complaint_about(garbage, good.key_file),
              AllOf(HasSubstr("cert_file"), HasSubstr(garbage)));
  EXPECT_THAT(complaint_about(good.cert_file, garbage),
              AllOf(HasSubstr("key_file"), HasSubstr(garbage)));
}

TEST_F(TlsFiles, MustBelongTogether) {
  EXPECT_THAT(complaint_about(good.cert_file, own.key_file),
              AllOf(HasSubstr("key_file"), HasSubstr("key values mismatch")));
}

TEST_F(TlsFiles, MustNotNeedAPassPhrase) {
  const auto locked_up = authority.lock_up(good);
  EXPECT_THAT(complaint_about(good.cert_file, locked_up),
              AllOf(HasSubstr("pass phrase"), HasSubstr(locked_up)));
}

TEST_F(TlsFiles, AreReadAnewForEachConnection) {
  const auto replaced = authority.folder() + "/replaced";
  std::filesystem::copy_file(authority.ca_file(), replaced);
  auto trusting = endpoint();
  trusting.tls->ca_file = replaced;
  trusting.retry_for = 0ms;
  const Client client{trusting};
  expect_to_work(client);
  const Authority stranger{"a stranger"};
  std::filesystem::copy_file(stranger.ca_file(), replaced,
                             std::filesystem::copy_options::overwrite_existing);
  expect_to_work(client);  // on the connection that is open
  redis.integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  Lock lock{client, "x"};
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::connection_failed);
}

TEST_F(TlsFiles, AreNotReadBeforeTheFirstOperation) {
  auto asked = endpoint();
  asked.tls->ca_file = missing;
  const Client client{asked};
  const Lock lock{client, "x"};
  EXPECT_FALSE(lock.owns_lock());
}

TEST_F(TlsFiles, AndRefusalsShowNoPassword) {
  for (const auto& ca_file : {missing, garbage, own.cert_file}) {
    auto asked = endpoint();
    asked.username = "ann";
    asked.password = "s3cr3t";
    asked.tls->ca_file = ca_file;
    EXPECT_THAT(refusal(asked), Not(HasSubstr("s3cr3t")));
  }
  auto asked = endpoint();
  asked.password = "s3cr3t";
  Lock lock{asked, "x"};
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::authentication_failed);
  EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }), Not(HasSubstr("s3cr3t")));
}

}  // namespace
}  // namespace redis_lock_test
