#pragma once

#include <chrono>
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

/// Interface that Lock, SharedLock, Semaphore and QuorumLock share. It meets the requirements of
/// TimedLockable ([thread.req.lockable.timed]). So std::lock_guard, std::unique_lock,
/// std::scoped_lock, std::lock and std::condition_variable_any work with it. `Backend` holds the
/// lock on one server, or on a majority of several.
///
/// **Threads.** Several threads may call any members at once. Threads that share one object queue
/// for it in the process, in order of arrival. One of them at a time talks to Redis. Any thread may
/// unlock. Do not destroy the object while a thread waits for it.
///
/// **Blocking.** Members block for the network, unless they say "No I/O". Lock and QuorumLock say
/// what happens when Redis is away.
///
/// **Memory.** Members may also throw std::bad_alloc. unlock() reports it to Options::on_error as
/// errc::connection_failed, if there is memory for that.
///
/// **pthread_cancel().** Members that block are cancellation points, and a cancelled one acquires
/// nothing. unlock(), the destructor and the overloads with std::error_code are none.
///
/// **fork().** In the child the object starts free. Nothing that the child does with it touches
/// what the parent holds.
template <class Backend>
class REDIS_LOCK_CAPABILITY("mutex") BasicLock {
 public:
  /// Deleted: a lock is neither copied nor moved. A function may return one.
  BasicLock(const BasicLock&) = delete;
  /// Deleted: a lock is neither copied nor moved.
  BasicLock& operator=(const BasicLock&) = delete;

  /// Acquires the lock, and blocks until it has. Waits on BLPOP: one command in flight, no polling.
  /// Waiters get the lock in the order in which they came to Redis. But a waiter asks anew at least
  /// every 3 seconds, and then is behind those that came meanwhile. With several servers, waiters
  /// queue at the first that answers. Throws Error, with errc::no_thread if the renewal thread
  /// cannot be started. Throws std::system_error with resource_deadlock_would_occur if this thread
  /// holds the lock.
  void lock() REDIS_LOCK_ACQUIRE;

  /// Makes one attempt, and does not wait for a holder. Takes one round trip; a QuorumLock takes a
  /// few more if others try at the same time. Returns false if the lock is held, and only then.
  /// Throws Error, with errc::timed_out also if Options::expire is shorter than the round trip.
  [[nodiscard]] bool try_lock() REDIS_LOCK_TRY_ACQUIRE;

  /// Calls try_lock_until(now + duration). Any duration will do: zero and negative ones try once,
  /// huge ones wait without limit.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& duration)
      REDIS_LOCK_TRY_ACQUIRE {
    return acquire_until(detail::after(detail::Time::clock::now(), duration));
  }

  /// Acquires the lock, and blocks until it has (true) or the deadline has passed (false). Tries at
  /// least once. Any clock will do; the deadline of one that is not steady is looked up again at
  /// least every second. False is never early. It is late by a few milliseconds and round trips;
  /// before Redis 6.0, by a fraction of a second. What Redis grants after the deadline is given
  /// back. Throws Error; when Redis is away, not much later than the deadline.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& deadline)
      REDIS_LOCK_TRY_ACQUIRE {
    return detail::try_until(
        deadline, [this](const detail::Deadline& until) { return acquire_until(until); });
  }

  /// Frees the lock and wakes the first waiter, in one round trip. Never throws: errors go to
  /// Options::on_error (errc::not_owned, errc::lease_lost, or those of lock()). If Redis is away,
  /// the lease frees the lock. Whatever happens, this object does not hold it any more. If a node
  /// of a QuorumLock is away, it is released when it is back and a copy of its Client still lives;
  /// otherwise the lease frees it.
  void unlock() noexcept REDIS_LOCK_RELEASE;

  /// Non-throwing overload: sets `error` to the code that lock() would throw, and clears it on
  /// success. Sets std::errc::not_enough_memory for std::bad_alloc. (Not annotated for
  /// thread-safety analysis, which cannot express "acquired unless error".)
  void lock(std::error_code& error) noexcept;
  /// Non-throwing overload: sets `error` to the code that try_lock() would throw, and clears it
  /// otherwise. If `error` is set, Redis could not be asked, and false says nothing of the holder.
  [[nodiscard]] bool try_lock(std::error_code& error) noexcept REDIS_LOCK_TRY_ACQUIRE;
  /// Frees the lock like unlock(), but sets `error` instead of calling Options::on_error. Clears it
  /// on success.
  void unlock(std::error_code& error) noexcept REDIS_LOCK_RELEASE;

#ifdef __cpp_lib_jthread
  /// Acquires the lock like lock(), and returns true; or returns false when stop is requested, and
  /// then nothing was acquired. Over a borrowed context a request is noticed within a second.
  [[nodiscard]] bool lock(std::stop_token token) REDIS_LOCK_TRY_ACQUIRE;

  /// Returns a token whose stop is requested when the present acquisition is lost, as
  /// Options::on_lost is called; at once if it is lost already. If the lock is not held, the token
  /// is never stopped. No I/O. Throws Error with errc::no_thread if the thread that watches the
  /// lease cannot be started.
  [[nodiscard]] std::stop_token lost_token() const;
#endif

  /// Sets the lease to Options::expire from now, in one round trip. Throws Error: errc::not_owned;
  /// errc::lease_lost, and a key that is gone is never re-created; errc::not_expirable; or those of
  /// lock(). When Redis is away, tries no longer than until the lease is over.
  void extend();

  /// Sets the lease to `lease` from now, in one round trip. With auto_renewal the next renewal sets
  /// it to Options::expire again. Throws Error like extend(). Throws std::invalid_argument if
  /// `lease` is not positive, or is no_expiry.
  void extend(std::chrono::milliseconds lease);

  /// Returns whether the lock is held and its lease is not over. No I/O. If true, no other holder
  /// can acquire the lock before expires_at(). That may be over when the answer is used.
  [[nodiscard]] bool owns_lock() const noexcept;

  /// Returns why the present or latest acquisition was lost; LossReason::none if it was not. May be
  /// called in Options::on_lost. The errors of unlock() and extend(), and Event::message, say it in
  /// words. No I/O.
  [[nodiscard]] LossReason loss_reason() const noexcept;

  /// Returns when owns_lock() becomes false unless the lease is extended. Until then no other
  /// holder can have the lock. No I/O.
  ///
  /// It is the end of the lease, counted from before the lease was asked for. With a QuorumLock it
  /// is the end of what is certain of the lease. A background thread watches the lock with
  /// auto_renewal, on_lost, on_event or lost_token(). Then it is earlier by a tenth of the lease,
  /// at most 100 ms: the loss is reported at that instant, before the lease is over. Returns
  /// time_point::max() if the lock has no expiry, time_point::min() if it is not held.
  [[nodiscard]] std::chrono::steady_clock::time_point expires_at() const noexcept;

  /// Asks Redis, in one round trip, whether any holder has the lock. Asks for a majority of several
  /// servers. Throws Error.
  [[nodiscard]] bool locked();

  /// Asks Redis, in one round trip, for the id of the holder. A majority of several servers must
  /// agree on it. Returns nothing if the lock is free. Throws Error.
  [[nodiscard]] std::optional<std::string> owner();

  /// Frees the lock whatever its holder, and wakes a waiter, in one round trip. A QuorumLock frees
  /// it on all nodes that answer. For operators: it breaks mutual exclusion, and the holder finds
  /// its lease lost. Returns whether the lock was held (on any node). After a lost reply it asks
  /// again, and so may return false although it freed the lock. Throws Error. A QuorumLock throws
  /// if no majority answers; the nodes that did are freed all the same.
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
