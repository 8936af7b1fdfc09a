#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_jthread
#include <stop_token>
#endif

#include <redis_lock/basic_lock.hpp>
#include <redis_lock/client.hpp>
#include <redis_lock/detail/base/thread_safety.hpp>
#include <redis_lock/lock.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock {

/// Counting semaphore for the processes of many machines, kept in Redis: at most `permits` objects
/// of a name hold a permit at a time. An object holds one permit at a time; threads that share an
/// object queue for it. Needs Redis 5 or later.
///
/// It has the members of std::counting_semaphore, without max() and release(n). It is also
/// TimedLockable: lock(), try_lock() and unlock() are acquire(), try_acquire() and release() under
/// other names. So std::unique_lock works with it, and gives the permit back at the end of a scope.
/// BasicLock says what these members do. Where it says "the lock", read "a permit". Other holders
/// may have other permits.
///
///     Semaphore exports{client, "exports", 4};
///     std::unique_lock permit{exports};
///
/// **Permits have leases.** All that Lock says of loss, of threads and of an absent Redis is true
/// for permits, too. A holder that dies costs its own permit for the rest of its lease, and no
/// other. Ends of leases are counted on the server's clock, so no client's clock takes a permit
/// from another.
///
/// **Order.** Waiters get permits in the order in which they came to Redis, with the exceptions of
/// Lock::lock().
///
/// **The number of permits** is not stored in Redis: each holder applies its own. If holders name
/// different numbers, one with a larger number enters where one with a smaller number waits. A
/// signal that reaches a waiter with too small a number wakes no other, so waits may last up to 3 s
/// longer.
///
/// **Options.** `expire` must be finite. `fencing` must be off. `id`, `key_prefix` and
/// `signal_prefix` must be as by default.
class REDIS_LOCK_CAPABILITY("mutex") Semaphore : private BasicLock<detail::SingleServer> {
 public:
  /// Checks the arguments. No I/O: the first operation connects. Throws std::invalid_argument,
  /// which names the argument. `permits`: from 1 to 2^31.
  Semaphore(Client client, std::string name, std::size_t permits, Options options = {});

  /// Returns the permit like release(), if there is one. Waits until a running callback has
  /// returned, unless that callback destroys the Semaphore.
  ~Semaphore() = default;

  /// Acquires a permit, and blocks until it has. Waits and throws like lock().
  void acquire() REDIS_LOCK_ACQUIRE { lock(); }
  /// Makes one attempt, in one round trip. Returns false if there is no permit left, or if this
  /// object has one. Throws Error like try_lock().
  [[nodiscard]] bool try_acquire() REDIS_LOCK_TRY_ACQUIRE { return try_lock(); }
  /// Calls try_acquire_until(now + duration). Any duration will do.
  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(const std::chrono::duration<Rep, Period>& duration)
      REDIS_LOCK_TRY_ACQUIRE {
    return try_lock_for(duration);
  }
  /// Acquires a permit, and blocks until it has (true) or the deadline has passed (false). Returns
  /// and throws like try_lock_until().
  template <class Clock, class Duration>
  [[nodiscard]] bool try_acquire_until(const std::chrono::time_point<Clock, Duration>& deadline)
      REDIS_LOCK_TRY_ACQUIRE {
    return try_lock_until(deadline);
  }
  /// Returns the permit and wakes the first waiter, in one round trip. Never throws: errors go to
  /// Options::on_error, as with unlock(). If the lease was over, that is errc::lease_lost.
  void release() noexcept REDIS_LOCK_RELEASE { unlock(); }

  /// Non-throwing overload: sets `error` to the code that acquire() would throw, and clears it on
  /// success.
  void acquire(std::error_code& error) noexcept { lock(error); }
  /// Non-throwing overload: sets `error` to the code that try_acquire() would throw, and clears it
  /// otherwise.
  [[nodiscard]] bool try_acquire(std::error_code& error) noexcept REDIS_LOCK_TRY_ACQUIRE {
    return try_lock(error);
  }
  /// Returns the permit like release(), but sets `error` instead of calling Options::on_error.
  /// Clears it on success.
  void release(std::error_code& error) noexcept REDIS_LOCK_RELEASE { unlock(error); }

#ifdef __cpp_lib_jthread
  /// Acquires a permit like acquire(), and returns true; or returns false when stop is requested,
  /// and then nothing was acquired.
  [[nodiscard]] bool acquire(std::stop_token token) REDIS_LOCK_TRY_ACQUIRE {
    return lock(std::move(token));
  }
  using BasicLock::lost_token;
#endif

  using BasicLock::expires_at;
  using BasicLock::extend;
  using BasicLock::id;
  using BasicLock::lock;
  using BasicLock::loss_reason;
  using BasicLock::name;
  using BasicLock::owns_lock;
  using BasicLock::try_lock;
  using BasicLock::try_lock_for;
  using BasicLock::try_lock_until;
  using BasicLock::unlock;

  /// Asks Redis, in one round trip, how many permits are left: 0 also if holders that name a larger
  /// number have taken more than there are. Throws Error.
  [[nodiscard]] std::size_t available();

  /// Frees all permits whatever their holders, and wakes waiters, in one round trip. For operators,
  /// like Lock::reset(). Returns whether any was taken. Throws Error.
  bool reset() { return BasicLock::reset(); }
  /// Frees the permit of the acquisition with this id, and wakes a waiter, in one round trip.
  /// Returns whether it was taken. Throws Error.
  bool reset(std::string_view holder);

 private:
  std::size_t permits_;
};

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/impl/semaphore.hpp>
#endif
