#pragma once

#include <string>

#ifdef REDIS_LOCK_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <system_error>
#endif

namespace redis_lock::detail {

/// An error of OpenSSL on this thread. The text is empty if a failure is not one of TLS.
struct OpensslError {
  std::string text;
  bool from_peer = false;  // an alert: the other end refuses something
  bool hung_up = false;    // the other end closed the connection without notice
};

#ifdef REDIS_LOCK_TLS

/// Removes old errors. Call it before a call of OpenSSL, so that only errors of that call are found.
inline void clear_openssl_errors() { ::ERR_clear_error(); }

/// Returns the first error, which is the cause; the others say which function passed it on. Leaves none behind.
[[nodiscard]] inline OpensslError take_openssl_error() {
  const auto error = ::ERR_peek_error();
  ::ERR_clear_error();
  if (error == 0) return {};
  const int reason = ERR_GET_REASON(error);
  if (ERR_GET_LIB(error) == ERR_LIB_SYS) return {std::generic_category().message(reason)};
  const char* const text = ::ERR_reason_error_string(error);
  OpensslError taken{text ? text : "error " + std::to_string(error)};
  if (ERR_GET_LIB(error) == ERR_LIB_SSL) {
    taken.from_peer = reason >= SSL_AD_REASON_OFFSET;
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING
    taken.hung_up = reason == SSL_R_UNEXPECTED_EOF_WHILE_READING;
#endif
  }
  return taken;
}

#else

inline void clear_openssl_errors() {}
[[nodiscard]] inline OpensslError take_openssl_error() { return {}; }

#endif

}  // namespace redis_lock::detail
