#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <redis_lock/client.hpp>
#include <redis_lock/detail/base/callback.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/lock.hpp>
#include <redis_lock/options.hpp>
#include <redis_lock/reply.hpp>

namespace redis_lock::detail {
class Commands;
}

namespace redis_lock {

/// What get_or_create() does besides the usual. A plain aggregate.
struct CacheTerms {
  /// What to do about an Error of reading or locking.
  enum class WhenAway {
    fail,    ///< throws it
    compute  ///< tells it to Options::on_error, calls create(), and stores nothing
  };

  /// How long to wait for the caller that makes the value. After that, create() is called here, too, and its value
  /// returned, but not stored: the other caller stores its own. Default no_expiry: without limit.
  std::chrono::milliseconds max_wait = no_expiry;
  /// Default: fail. An operation tries for Endpoint::retry_for to reach Redis, before that counts.
  WhenAway when_away = WhenAway::fail;
};

/// Values in Redis that are expensive to make: one caller makes them, the rest wait for it. Safe to
/// share between threads. All members block for a round trip; they throw Error, as Lock does when
/// Redis is away.
class Cache {
 public:
  /// The keys are `prefix` + key, and the locks are named the same.
  explicit Cache(Client client, std::string prefix = "cache:")
      : client_(std::move(client)), prefix_(std::move(prefix)) {}

  /// The value, or nothing if there is none. An empty string is a value.
  [[nodiscard]] std::optional<std::string> get(const std::string& key);

  /// Stores the value for `ttl` (`no_expiry`: until it is erased).
  /// Throws std::invalid_argument if ttl is not positive.
  void set(const std::string& key, std::string_view value, std::chrono::milliseconds ttl);

  /// Removes the value; was there one?
  bool erase(const std::string& key);

  /// The lock that guards this value, not locked yet. It is named prefix + key.
  [[nodiscard]] Lock lock(const std::string& key, Options options = {}) {
    return Lock{client_, prefix_ + key, std::move(options)};
  }

  /// The value; if there is none, what `create()` returns, stored for `ttl`. Of all callers that miss,
  /// in all processes, one calls create(), and the others wait for its value: for how long, and what happens when
  /// Redis is away, is for `terms` to say.
  ///
  /// Throws Error from reading and locking, and what create() throws; then the next in line calls its own. What was
  /// created is never thrown away: if it cannot be stored (out of memory, Redis is gone), it is returned all the same,
  /// and Options::on_error is told. A value that was made under a lock that was lost meanwhile is returned, but not
  /// stored: another caller is making it by then.
  template <class Create>
  std::string get_or_create(const std::string& key, std::chrono::milliseconds ttl, Create&& create,
                            Options options = {}, const CacheTerms& terms = {}) {
    const auto on_error = options.on_error;
    const auto without_redis = [&](const Error& error) {
      if (terms.when_away == CacheTerms::WhenAway::fail) throw;  // what is being handled
      detail::call_back(on_error, error);
    };
    try {
      if (auto value = get(key)) return *std::move(value);
    } catch (const Error& error) {
      without_redis(error);
      return std::invoke(std::forward<Create>(create));
    }
    auto mutex = lock(key, std::move(options));
    std::unique_lock turn{mutex, std::defer_lock};
    bool stores = true;
    try {
      if (terms.max_wait == no_expiry) {
        turn.lock();
      } else {
        stores = turn.try_lock_for(terms.max_wait);
      }
      if (auto value = get(key)) return *std::move(value);
    } catch (const Error& error) {
      without_redis(error);
      stores = false;
    }
    std::string value = std::invoke(std::forward<Create>(create));
    if (!stores || !mutex.owns_lock()) return value;
    try {
      set(key, value, ttl);
    } catch (const Error& error) {
      detail::call_back(on_error, error);
    } catch (const std::exception& error) {  // no memory
      detail::call_back_about(on_error, error);
    }
    return value;
  }

 private:
  [[nodiscard]] Reply ask(const char* operation, const std::string& name,
                          const detail::Commands& command);

  Client client_;
  std::string prefix_;
};

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/impl/cache.hpp>
#endif
