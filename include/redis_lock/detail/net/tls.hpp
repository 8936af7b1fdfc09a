#pragma once

#include <cerrno>
#include <string>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/detail/net/hiredis.hpp>
#include <redis_lock/detail/net/openssl_error.hpp>
#include <redis_lock/endpoint.hpp>

#ifdef REDIS_LOCK_TLS  // by the CMake target redis_lock::tls
#include <arpa/inet.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <system_error>
#endif

namespace redis_lock::detail {

#ifdef REDIS_LOCK_TLS

struct SslFreer {
  void operator()(SSL_CTX* settings) const noexcept { ::SSL_CTX_free(settings); }
  void operator()(SSL* session) const noexcept { ::SSL_free(session); }
};

/// Initializes OpenSSL; call it when a client is made. OpenSSL cleans up when the program ends: then that comes after
/// the destructor of a static client.
inline void prepare_tls() { ::OPENSSL_init_ssl(0, nullptr); }

[[nodiscard]] inline Failure tls_fault(const std::string& what) {
  const auto error = take_openssl_error();
  return {errc::connection_failed,
          "TLS: " + what + ": " + (error.text.empty() ? "unknown error" : error.text)};
}

/// Returns the settings of one connection: TLS 1.2 or later, and a chain that ends at a trusted CA. Reads the files
/// anew each time, so that certificates can be renewed under a running program.
[[nodiscard]] inline std::unique_ptr<SSL_CTX, SslFreer> tls_settings(const Tls& tls) {
  std::unique_ptr<SSL_CTX, SslFreer> settings{::SSL_CTX_new(::TLS_client_method())};
  const auto require = [](bool good, const char* what, const std::string& file = {}) {
    if (!good) throw tls_fault(file.empty() ? what : what + (" \"" + file + '"'));
  };
  require(settings != nullptr, "no OpenSSL");
  auto* const context = settings.get();
  require(::SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1, "no TLS 1.2");
  // A renegotiation would make writes wait for reads.
  ::SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
  ::SSL_CTX_set_verify(context, tls.insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
  if (!tls.ca_file.empty()) {
    require(::SSL_CTX_load_verify_locations(context, tls.ca_file.c_str(), nullptr) == 1, "ca_file",
            tls.ca_file);
  } else if (!tls.insecure) {
    require(::SSL_CTX_set_default_verify_paths(context) == 1, "the system's authorities");
  }
  if (!tls.cert_file.empty()) {
    require(::SSL_CTX_use_certificate_chain_file(context, tls.cert_file.c_str()) == 1, "cert_file",
            tls.cert_file);
    // Without a callback, OpenSSL would ask the terminal for a pass phrase.
    bool is_encrypted = false;
    ::SSL_CTX_set_default_passwd_cb_userdata(context, &is_encrypted);
    ::SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void* asked) {
      *static_cast<bool*>(asked) = true;
      return -1;
    });
    const bool good =
        ::SSL_CTX_use_PrivateKey_file(context, tls.key_file.c_str(), SSL_FILETYPE_PEM) == 1;
    require(good, is_encrypted ? "a key with a pass phrase cannot be used: key_file" : "key_file",
            tls.key_file);
    ::SSL_CTX_set_default_passwd_cb(context, nullptr);
    ::SSL_CTX_set_default_passwd_cb_userdata(context, nullptr);
  }
  return settings;
}

/// Makes the session require a certificate of this name or address. Returns whether it will.
[[nodiscard]] inline bool expect_server(SSL& session, const std::string& name) {
  in6_addr parsed;  // large enough for either kind
  if (::inet_pton(AF_INET, name.c_str(), &parsed) == 1 ||
      ::inet_pton(AF_INET6, name.c_str(), &parsed) == 1) {
    return ::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(&session), name.c_str()) == 1;
  }
  ::SSL_set_hostflags(&session, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return ::SSL_set1_host(&session, name.c_str()) == 1 &&
         ::SSL_set_tlsext_host_name(&session, name.c_str()) == 1;
}

/// Returns why the handshake failed. What verification refuses is final.
[[nodiscard]] inline Failure handshake_fault(const SSL& session, const std::string& name,
                                             int error) {
  const auto verdict = ::SSL_get_verify_result(&session);
  const auto complaint = take_openssl_error();
  if (::SSL_get_verify_mode(&session) != SSL_VERIFY_NONE && verdict != X509_V_OK) {
    return {errc::connection_failed, "TLS: the certificate of \"" + name + "\" was refused: " +
                                         ::X509_verify_cert_error_string(verdict)};
  }
  if (complaint.from_peer || complaint.hung_up) return failure_of(complaint);
  if (!complaint.text.empty()) {
    return {errc::connection_failed,
            "TLS: " + complaint.text + "; does the server speak TLS on this port?"};
  }
  const auto text =
      error != 0 ? std::generic_category().message(error) : "the server closed the connection";
  return {errc::connection_failed, "TLS: " + text, Failure::Kind::transient};
}

/// Outcome of a call of OpenSSL on a connection: a result over 0 if it succeeded, and the errno.
struct TlsOutcome {
  int result, error;
};

/// Repeats the call until it need not wait any more. Throws timed_out at the deadline.
template <class Call>
[[nodiscard]] TlsOutcome finish(const redisContext& context, const SSL& session, Time deadline,
                                const Call& call) {
  constexpr auto complaint =
      "TLS: no answer to the handshake within the timeout; does the server speak TLS on this port?";
  const SigpipeBlock sigpipe;
  for (;;) {
    errno = 0;
    const int result = call();
    const int error = errno;
    sigpipe.take_back();
    switch (::SSL_get_error(&session, result)) {
      case SSL_ERROR_WANT_READ: wait_for(context, POLLIN, deadline, complaint); break;
      case SSL_ERROR_WANT_WRITE: wait_for(context, POLLOUT, deadline, complaint); break;
      default: return {result, error};
    }
  }
}

/// Sends a PING, and reads one reply of any kind. With TLS 1.3 the server accepts or refuses our certificate only
/// after the handshake. It also sends session tickets, which must not be taken for replies later.
inline void await_verdict(const redisContext& context, SSL& session, const std::string& name,
                          Time deadline) {
  const std::string_view ping{"*1\r\n$4\r\nPING\r\n"};
  // A server that refuses us may have closed the connection: its reply is still there to read.
  (void)finish(context, session, deadline,
               [&] { return ::SSL_write(&session, ping.data(), static_cast<int>(ping.size())); });
  clear_openssl_errors();
  std::string line;
  while (line.find('\n') == line.npos && line.size() < 4096) {
    std::array<char, 512> part;
    const auto read = finish(context, session, deadline, [&] {
      return ::SSL_read(&session, part.data(), static_cast<int>(part.size()));
    });
    if (read.result <= 0) throw handshake_fault(session, name, read.error);
    line.append(part.data(), static_cast<std::size_t>(read.result));
  }
  if (line.find('\n') + 1 != line.size() || (line.front() != '+' && line.front() != '-')) {
    throw Failure{errc::protocol_error, "what answers does not speak the Redis protocol"};
  }
  if (line.front() == '+') return;
  Reply refusal;
  refusal.kind = Reply::Kind::error;
  refusal.text = line.substr(1, line.size() - 3);
  if (!refusal.is_error("NOAUTH") && !refusal.is_error("NOPERM")) throw failure_of(refusal);
}

/// Performs the handshake on a new connection, which does not block any more afterwards: no single bytes, signals or
/// messages of TLS prolong a wait. Blocks until `deadline` at most, and then up to command_timeout for the server's
/// verdict, but not past `at_last`.
inline void start_tls(redisContext& context, const Endpoint& endpoint, Time deadline,
                      Time at_last) {
  const auto& tls = *endpoint.tls;
  const auto& name = tls.server_name.empty() ? endpoint.host : tls.server_name;
  clear_openssl_errors();
  const auto settings = tls_settings(tls);
  std::unique_ptr<SSL, SslFreer> owned{::SSL_new(settings.get())};
  if (!owned || !expect_server(*owned, name)) throw tls_fault("server_name \"" + name + '"');

  ::fcntl(context.fd, F_SETFL, ::fcntl(context.fd, F_GETFL) | O_NONBLOCK);
  context.flags &= ~REDIS_BLOCK;
  auto& session = *owned;
  const auto shaken = finish(context, session, deadline, [&] {
    // hiredis begins, and owns the session unless it fails at once.
    if (owned && ::redisInitiateSSL(&context, owned.get()) == REDIS_OK) (void)owned.release();
    return ::SSL_connect(&session);
  });
  if (shaken.result != 1) throw handshake_fault(session, name, shaken.error);
  const auto answer_by = after(Time::clock::now(), endpoint.command_timeout);
  await_verdict(context, session, name, std::min(answer_by, at_last));
}

inline void require_tls() {}

#else

inline void prepare_tls() {}

/// Throws: TLS is asked for, but not built in.
inline void require_tls() {
  throw Failure{
      errc::connection_failed,
      "TLS: this program is built without it; link redis_lock::tls, which needs hiredis 1.0 "
      "or later with hiredis_ssl"};
}

inline void start_tls(redisContext&, const Endpoint&, Time, Time) {}

#endif

}  // namespace redis_lock::detail
