#pragma once

#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#include <redis_lock/detail/base/config.hpp>

namespace redis_lock {

/// Codes of all errors of the library, as values of a std::error_code of category(). docs/errors.md
/// says what to do about each.
enum class errc {
  /// This object does not hold the lock.
  not_owned = 1,
  /// This object did hold the lock, but the lease ended or the key changed hands.
  lease_lost,
  /// Redis is unreachable, or the connection dropped and was not re-established in time.
  connection_failed,
  /// The server did not answer within Endpoint::command_timeout, or Options::expire ended before
  /// the answer came.
  timed_out,
  /// The server refused the user name or password, or requires one.
  authentication_failed,
  /// The server answered with an error; what() quotes it.
  server_error,
  /// The answer is not in the Redis protocol, or does not fit the command.
  protocol_error,
  /// extend() was called for a lock that has no expiry.
  not_expirable,
  /// Fewer replicas than Options::replicas requires acknowledged the lock in time; it was given
  /// back.
  too_few_replicas,
  /// The system has no thread for the background work that the lock needs, such as renewal. If an
  /// acquisition throws it, nothing was acquired.
  no_thread,
  /// The environment variable that Endpoint::from_env() reads is unset, empty or not a URI.
  not_configured,
  /// An exception other than an Error ended the term of a Leader; what() quotes it.
  term_failed
};

}  // namespace redis_lock

/// Marks errc as a type that converts to std::error_code and can be compared with it.
template <>
struct std::is_error_code_enum<redis_lock::errc> : std::true_type {};

namespace redis_lock {
namespace detail {

class Category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "redis_lock"; }

  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::not_owned: return "the lock is not held by this object";
      case errc::lease_lost: return "the lease ended or the lock changed hands";
      case errc::connection_failed: return "no connection to Redis";
      case errc::timed_out: return "Redis did not answer in time";
      case errc::authentication_failed: return "Redis refused the credentials";
      case errc::server_error: return "Redis answered with an error";
      case errc::protocol_error: return "unexpected answer instead of the Redis protocol";
      case errc::not_expirable: return "the lock has no expiry to extend";
      case errc::too_few_replicas: return "too few replicas acknowledged the lock in time";
      case errc::no_thread: return "the system has no thread to spare";
      case errc::not_configured: return "Redis is not configured";
      case errc::term_failed: return "an exception ended the term";
    }
    return "unknown redis_lock error";
  }

  /// Maps codes to std::errc if there is an equivalent, so that `code == std::errc::timed_out`
  /// holds.
  [[nodiscard]] std::error_condition default_error_condition(int value) const noexcept override {
    switch (static_cast<errc>(value)) {
      case errc::not_owned: return std::errc::operation_not_permitted;
      case errc::connection_failed: return std::errc::not_connected;
      case errc::timed_out: return std::errc::timed_out;
      case errc::authentication_failed: return std::errc::permission_denied;
      case errc::protocol_error: return std::errc::protocol_error;
      case errc::no_thread: return std::errc::resource_unavailable_try_again;
      case errc::not_configured: return std::errc::invalid_argument;
      case errc::lease_lost:
      case errc::server_error:
      case errc::not_expirable:
      case errc::too_few_replicas:
      case errc::term_failed: break;
    }
    return {value, *this};
  }

  /// Two shared objects in one process may have a Category each, for example plugins that dlopen() loads with
  /// RTLD_LOCAL. std::error_category compares addresses: the names tell that both are the same.
  [[nodiscard]] bool is_named_like(const std::error_category& other) const noexcept {
    return this == &other || std::string_view(other.name()) == name();
  }
  [[nodiscard]] bool equivalent(int value,
                                const std::error_condition& condition) const noexcept override {
    return default_error_condition(value) == condition ||
           (value == condition.value() && is_named_like(condition.category()));
  }
  [[nodiscard]] bool equivalent(const std::error_code& code, int value) const noexcept override {
    return value == code.value() && is_named_like(code.category());
  }
};

/// Category that is never destroyed. A lock of static storage duration is released at exit, and may
/// have an Error to report then.
union EternalCategory {
  constexpr EternalCategory() noexcept : category() {}
  EternalCategory(const EternalCategory&) = delete;
  EternalCategory(EternalCategory&&) = delete;
  EternalCategory& operator=(const EternalCategory&) = delete;
  EternalCategory& operator=(EternalCategory&&) = delete;
  ~EternalCategory() {}  // NOLINT(modernize-use-equals-default): it would be deleted
  Category category;
};
inline const EternalCategory eternal_category;

}  // namespace detail

/// Returns the category of errc, which may be used until the process ends.
[[nodiscard]] inline const std::error_category& category() noexcept {
  return detail::eternal_category.category;
}

/// Returns the std::error_code of `code`. So an errc can be used as a std::error_code.
[[nodiscard]] inline std::error_code make_error_code(errc code) noexcept {
  return {static_cast<int>(code), category()};
}

/// Compares a code with an errc. Holds also if the code comes from another shared object with a category() of its own.
/// Two std::error_code are equal only if one shared object has made both: compare with an errc.
[[nodiscard]] inline bool operator==(const std::error_code& code, errc value) noexcept {
  return code.value() == static_cast<int>(value) &&
         detail::eternal_category.category.is_named_like(code.category());
}
/// Returns whether `code == value`.
[[nodiscard]] inline bool operator==(errc value, const std::error_code& code) noexcept {
  return code == value;
}
/// Returns whether `code == value` does not hold.
[[nodiscard]] inline bool operator!=(const std::error_code& code, errc value) noexcept {
  return !(code == value);
}
/// Returns whether `code == value` does not hold.
[[nodiscard]] inline bool operator!=(errc value, const std::error_code& code) noexcept {
  return !(code == value);
}

/// Exception of every operation if Redis, the network or the lease fails. code() is an errc. what()
/// names the operation and the lock, quotes the server, and never holds a password.
class Error : public std::system_error {
 public:
  /// Makes an error whose what() is `description` followed by the message of the code.
  Error(errc code, const std::string& description)
      : std::system_error(make_error_code(code), description) {}
};

}  // namespace redis_lock
