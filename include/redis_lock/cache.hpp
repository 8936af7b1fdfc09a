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
class Once;
}  // namespace redis_lock::detail

namespace redis_lock {

/// Terms of Cache::get_or_create(): how long it waits, and what it does when Redis is away. An
/// aggregate.
struct CacheTerms {
  /// Reactions to an Error from reading or locking.
  enum class WhenAway {
    fail,    ///< throws it
    compute  ///< reports it to Options::on_error, calls create(), and stores nothing
  };

  /// How long a caller waits for the one that makes the value. After that it calls create() itself
  /// and returns the value, but does not store it: the other caller stores its own. Default
  /// no_expiry: no limit.
  std::chrono::milliseconds max_wait = no_expiry;
  /// What to do when Redis is away: after an operation has tried for Endpoint::retry_for. Default:
  /// fail.
  WhenAway when_away = WhenAway::fail;
};

/// Values in Redis that are expensive to make: one caller makes them, the others wait for it. Safe
/// to share between threads. When Redis is away, members throw Error as Lock does, after
/// Endpoint::retry_for.
class Cache {
 public:
  /// Sets where the values are: under the keys `prefix` + key. No I/O. The lock of a value has its
  /// key as name, so it is `lock:cache:…` by default.
  explicit Cache(Client client, std::string prefix = "cache:")
      : client_(std::move(client)), prefix_(std::move(prefix)) {}

  /// Returns the value, or nothing if there is none. An empty string is a value. Blocks for one
  /// round trip. Throws Error.
  [[nodiscard]] std::optional<std::string> get(const std::string& key);

  /// Stores the value for `ttl`; with `no_expiry`, until it is erased. Blocks for one round trip.
  /// Throws Error. Throws std::invalid_argument if `ttl` is not positive.
  void set(const std::string& key, std::string_view value, std::chrono::milliseconds ttl);

  /// Removes the value. Returns whether there was one. After a lost reply it asks again, and so may
  /// return false although it removed it. Blocks for one round trip. Throws Error.
  bool erase(const std::string& key);

  /// Returns the lock that guards this value, not locked yet. Its name is `prefix` + key. No I/O.
  /// Throws std::invalid_argument like the constructor of Lock.
  [[nodiscard]] Lock lock(const std::string& key, Options options = {}) {
    return Lock{client_, prefix_ + key, std::move(options)};
  }

  /// Returns the value. If there is none, returns what `create()` returns, and stores that for
  /// `ttl`. Of all callers that find none, in all processes, one calls create(), and the others
  /// block until its value is there. `terms` limits that wait, and says what happens when Redis is
  /// away. `options` are those of the lock.
  ///
  /// Throws Error from reading and locking. Throws what create() throws; then the next caller in
  /// line calls its own. A value that was made is always returned. If it cannot be stored (out of
  /// memory, Redis is away), Options::on_error receives the error. If the lock was lost meanwhile,
  /// the value is not stored, because another caller is making it by then. Lock::guarded_set()
  /// makes sure of that, except on a cluster if value and lock are not in one slot: if `prefix` +
  /// key has a '}' but no hash tag, or Options::key_prefix has a hash tag. Then set() stores the
  /// value, unless the loss is known.
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
    const bool is_guarded = is_beside_its_lock(key, options);
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
      is_guarded ? mutex.guarded_set(prefix_ + key, value, ttl) : set(key, value, ttl);
    } catch (const Error& error) {  // unlock() reports a loss
      if (error.code() != errc::lease_lost) detail::call_back(on_error, error);
    } catch (const std::exception& error) {  // no memory
      detail::call_back_about(on_error, error);
    }
    return value;
  }

 private:
  friend class detail::Once;

  /// Returns whether one script may use the value and its lock: not if they are in two slots of a
  /// cluster.
  [[nodiscard]] bool is_beside_its_lock(const std::string& key, const Options& options) const;
  [[nodiscard]] Reply ask(const char* operation, const std::string& name,
                          const detail::Commands& command);

  Client client_;
  std::string prefix_;
};

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/impl/cache.hpp>
#endif
