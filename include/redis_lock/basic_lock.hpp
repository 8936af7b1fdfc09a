#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_jthread
#include <stop_token>
#endif

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/thread_safety.hpp>
#include <redis_lock/event.hpp>

namespace redis_lock {
namespace detail {
template <class Backend>
class LockState;
}

/// The interface that Lock and QuorumLock share. It meets the requirements of TimedLockable
/// ([thread.req.lockable.timed]): std::lock_guard, std::unique_lock, std::scoped_lock, std::lock and
/// std::condition_variable_any work with it. `Backend` holds the lock on one server, or on a majority of several.
///
/// Several threads may call all members at once. Threads that share one object queue for it in the process, in order
/// of arrival, and one of them at a time talks to Redis. Any thread may unlock. Do not destroy the object while a
/// thread waits for it. unlock(), the destructor and the overloads with std::error_code are no cancellation points of
/// pthread_cancel(). The other members that block are, and then nothing is acquired. In a forked child, the object
/// starts free, and nothing that the child does with it touches what the parent holds.
template <class Backend>
class REDIS_LOCK_CAPABILITY("mutex") BasicLock {
 public:
  /// Is deleted: a lock is neither copied nor moved. A function may return one.
  BasicLock(const BasicLock&) = delete;
  /// Is deleted.
  BasicLock& operator=(const BasicLock&) = delete;

  /// Blocks until the lock is acquired. Waits on BLPOP: one command in flight, no polling. Waiters get the lock in the
  /// order in which they came to Redis, where each asks anew at least every 3 seconds; of several servers, at the first
  /// that answers. Throws Error, also with errc::no_thread if the thread that renews cannot be started;
  /// std::system_error with resource_deadlock_would_occur if this thread holds it.
  void lock() REDIS_LOCK_ACQUIRE;

  /// Makes one attempt, in one round trip; a QuorumLock in a few more if others try at the very same time. Returns
  /// false if another holds the lock, and only then. Throws Error; errc::timed_out also if Options::expire is shorter
  /// than the way to Redis and back.
  [[nodiscard]] bool try_lock() REDIS_LOCK_TRY_ACQUIRE;

  /// Does the same as try_lock_until(now + duration), for any duration: zero and negative ones try once, huge ones
  /// wait for ever.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& duration)
      REDIS_LOCK_TRY_ACQUIRE {
    return acquire_until(detail::after(detail::Time::clock::now(), duration));
  }

  /// Blocks until the lock is acquired (true) or the deadline has passed (false). The deadline may be of any clock. Tries
  /// at least once. False is never early, and late by a few milliseconds and round trips; before Redis 6.0, by a fraction
  /// of a second. What Redis grants after the deadline goes back. If the clock is not steady, its deadline is
  /// looked up again at least every second. Throws Error; when Redis is away, not much after the deadline.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& deadline)
      REDIS_LOCK_TRY_ACQUIRE {
    if constexpr (!Clock::is_steady) {
      const std::function<detail::Time()> look = [&] { return detail::steady_now(deadline); };
      return acquire_until(detail::Deadline{look});
    }
    while (!acquire_until(detail::steady(deadline))) {
      if (detail::has_passed(deadline))
        return false;  // otherwise that clock was set back meanwhile
    }
    return true;
  }

  /// Frees the lock and wakes the first waiter, in one round trip. Never throws: what fails goes to Options::on_error
  /// (errc::not_owned, errc::lease_lost, or as for lock()), and then the lease frees the lock. Whatever happens, this
  /// object does not hold it any more. A node of a QuorumLock that is away is released when it is back, as long as a copy
  /// of its Client lives, or else by the lease.
  void unlock() noexcept REDIS_LOCK_RELEASE;

  /// Non-throwing overload: sets `error` to the code that lock() would throw, and clears it on success.
  /// (Not annotated for thread-safety analysis, which has no word for "acquired unless error".)
  void lock(std::error_code& error) noexcept;
  /// Non-throwing overload. If `error` is set, Redis could not be asked, and false says nothing of the holder.
  [[nodiscard]] bool try_lock(std::error_code& error) noexcept REDIS_LOCK_TRY_ACQUIRE;
  /// Frees the lock like unlock(), but reports what fails in `error` instead of to Options::on_error.
  void unlock(std::error_code& error) noexcept REDIS_LOCK_RELEASE;

#ifdef __cpp_lib_jthread
  /// Blocks like lock(), until stop is requested: then it returns false, and nothing was acquired. Over a borrowed
  /// context a request is noticed within a second.
  [[nodiscard]] bool lock(std::stop_token token) REDIS_LOCK_TRY_ACQUIRE;

  /// Returns a token whose stop is requested when the present acquisition is lost, as on_lost is called. The token is
  /// never stopped if the lock is not held. No I/O. Throws Error with errc::no_thread if the thread that watches the
  /// lease cannot be started.
  [[nodiscard]] std::stop_token lost_token() const;
#endif

  /// Sets the lease to Options::expire from now, in one round trip. Throws Error: errc::not_owned,
  /// errc::lease_lost (a lost key is never re-created), errc::not_expirable, or as for lock().
  void extend();

  /// Sets the lease to `lease` from now. With auto_renewal the next renewals return to Options::expire.
  /// Throws like extend(); std::invalid_argument if `lease` is not positive, or no_expiry.
  void extend(std::chrono::milliseconds lease);

  /// Tells whether the lock is held and its lease is not over. No I/O. True means that no other holder can have
  /// acquired the lock before expires_at(); by the time the answer is used, that may be over.
  [[nodiscard]] bool owns_lock() const noexcept;

  /// Tells why the present or latest acquisition was lost; LossReason::none if it was not. May be called in
  /// Options::on_lost. The words for it are in the errors of unlock() and extend(), and in Event::message. No I/O.
  [[nodiscard]] LossReason loss_reason() const noexcept;

  /// Tells when owns_lock() becomes false unless the lease is extended: until then no other holder can have the
  /// lock. This is the end of the lease, counted from before it was asked for; of a QuorumLock, of what is certain of it.
  /// If a background thread watches the lock (auto_renewal, on_lost, on_event, lost_token()), it is earlier by a tenth of
  /// the lease, at most 100 ms: then the loss is told, so that it is known before the lease is over.
  /// time_point::max() if the lock has no expiry, time_point::min() if it is not held. No I/O.
  [[nodiscard]] std::chrono::steady_clock::time_point expires_at() const noexcept;

  /// Asks Redis whether any holder has the lock; of several servers, on a majority. Throws Error.
  [[nodiscard]] bool locked();

  /// Asks Redis for the id of the holder, on which a majority of several servers must agree. Throws Error.
  [[nodiscard]] std::optional<std::string> owner();

  /// Frees the lock whatever its holder, on all servers that answer, and wakes a waiter. Returns whether it was held.
  /// The holder finds its lease lost. For clearing up by hand: it breaks mutual exclusion. Throws Error; a QuorumLock if
  /// no majority answers, and then the nodes that do are freed all the same.
  bool reset();

  /// Returns the name, as it was given. No I/O.
  [[nodiscard]] const std::string& name() const noexcept;

  /// Returns the id of the present or latest acquisition; before the first, Options::id. No I/O.
  [[nodiscard]] std::string id() const;

 protected:
  /// @cond
  using State = detail::LockState<Backend>;
  explicit BasicLock(std::unique_ptr<State> state) noexcept;
  ~BasicLock();

  [[nodiscard]] State& state() noexcept { return *state_; }
  [[nodiscard]] const State& state() const noexcept { return *state_; }
  /// @endcond

 private:
  [[nodiscard]] bool acquire_until(const detail::Deadline& deadline);

  const std::unique_ptr<State> state_;
};

}  // namespace redis_lock
