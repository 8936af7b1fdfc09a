#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_jthread
#include <stop_token>
#endif

#include <redis_lock/client.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/thread_safety.hpp>
#include <redis_lock/lock.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock {
namespace detail {
class Readings;
}

/// Shared mutex for the processes of many machines, kept in Redis: any number of readers hold it,
/// or one writer. It meets the requirements of SharedTimedLockable
/// ([thread.req.lockable.shared.timed]), and so works with std::shared_lock, std::unique_lock,
/// std::scoped_lock and std::condition_variable_any. Needs Redis 5 or later.
///
/// The members that it has in common with Lock are those of the writer, with fencing and guarded
/// writes. All that Lock says of loss, of threads, and of an absent Redis is true for readings,
/// too. A SharedLock and a Lock of one name do not exclude each other.
///
///                       | free     | read by others  | written by another | read by this thread
///     ------------------+----------+-----------------+--------------------+--------------------
///     lock()            | acquires | waits for them  | waits              | deadlock error
///     try_lock()        | true     | false           | false              | false
///     lock_shared()     | acquires | acquires        | waits              | deadlock error
///     try_lock_shared() | true     | true            | false              | false
///     unlock_shared()   | error    | error           | error              | ends the reading
///
/// **Readings.** Each thread that reads through this object has a reading of its own in Redis, with
/// a lease of its own. So `std::shared_lock` works as with std::shared_timed_mutex. A reading is
/// ended by the thread that began it, or by ~SharedLock().
///
/// **Questions.** locked() and owner() ask for the writer, also for one that waits until readers
/// have left. They do not tell of readers: see holders().
///
/// **Order.** Readers and writers wait in one line, in the order in which they came to Redis. A
/// writer at the front keeps newcomers out, and waits until the readers have left. After a writer,
/// all readers up to the next writer enter at once. So neither side starves. A waiter asks anew at
/// least every 3 seconds, and then is behind those that came meanwhile. A writer with a deadline
/// keeps newcomers out, too, while it waits for the readers.
///
/// **Callbacks** of Options report each reading as that of a lock object of its own: those of
/// different threads may run at once.
///
/// **Crashes.** A reader or writer that dies costs its own lease, and no other.
///
/// **Options.** `expire` must be finite. `id`, `key_prefix`, `signal_prefix` and `fence_prefix`
/// must be as by default. `min_hold` holds for readings, too: each stays in Redis for that time.
/// The counter of fencing tokens is the key `shared-lock-fence:` + name.
class REDIS_LOCK_CAPABILITY("mutex") SharedLock : private Lock {
 public:
  /// Checks the arguments. No I/O: the first operation connects. Throws std::invalid_argument,
  /// which names the argument.
  SharedLock(Client client, std::string name, Options options = {});

  /// Releases what this object holds: the writing, and the readings of all threads. Waits until
  /// running callbacks have returned, except for one that destroys the SharedLock.
  ~SharedLock();

  /// Acquires the lock for writing, and blocks until it has. Waits like Lock::lock(). Throws what
  /// that throws, and std::system_error with resource_deadlock_would_occur if this thread reads or
  /// writes.
  void lock() REDIS_LOCK_ACQUIRE;
  /// Non-throwing overload: sets `error` to the code that lock() would throw, and clears it on
  /// success.
  void lock(std::error_code& error) noexcept;

  /// Acquires a reading, and blocks until it has. Throws what lock() throws.
  void lock_shared() REDIS_LOCK_ACQUIRE_SHARED;

  /// Makes one attempt to acquire a reading, in one round trip. Returns false if a writer has the
  /// lock or waits for readers to leave, and if this thread reads. Throws Error like try_lock().
  [[nodiscard]] bool try_lock_shared() REDIS_LOCK_TRY_ACQUIRE_SHARED;

  /// Calls try_lock_shared_until(now + duration). Any duration will do.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_shared_for(const std::chrono::duration<Rep, Period>& duration)
      REDIS_LOCK_TRY_ACQUIRE_SHARED {
    return acquire_shared_until(detail::after(detail::Time::clock::now(), duration));
  }

  /// Acquires a reading, and blocks until it has (true) or the deadline has passed (false). Returns
  /// and throws like try_lock_until().
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration>& deadline)
      REDIS_LOCK_TRY_ACQUIRE_SHARED {
    return detail::try_until(
        deadline, [this](const detail::Deadline& until) { return acquire_shared_until(until); });
  }

  /// Ends the reading of this thread, in one round trip. If a writer waits for the last reader,
  /// wakes it. Never throws: errors go to Options::on_error, as with unlock(). Without a reading of
  /// this thread that is errc::not_owned.
  void unlock_shared() noexcept REDIS_LOCK_RELEASE_SHARED;

  /// Non-throwing overload: sets `error` to the code that lock_shared() would throw, and clears it
  /// on success.
  void lock_shared(std::error_code& error) noexcept;
  /// Non-throwing overload: sets `error` to the code that try_lock_shared() would throw, and clears
  /// it otherwise.
  [[nodiscard]] bool try_lock_shared(std::error_code& error) noexcept REDIS_LOCK_TRY_ACQUIRE_SHARED;
  /// Ends the reading like unlock_shared(), but sets `error` instead of calling Options::on_error.
  /// Clears it on success.
  void unlock_shared(std::error_code& error) noexcept REDIS_LOCK_RELEASE_SHARED;

#ifdef __cpp_lib_jthread
  /// Acquires the lock for writing like lock(), and returns true; or returns false when stop is
  /// requested, and then nothing was acquired.
  [[nodiscard]] bool lock(std::stop_token token) REDIS_LOCK_TRY_ACQUIRE;

  /// Acquires a reading like lock_shared(), and returns true; or returns false when stop is
  /// requested, and then nothing was acquired.
  [[nodiscard]] bool lock_shared(std::stop_token token) REDIS_LOCK_TRY_ACQUIRE_SHARED;

  /// Returns a token whose stop is requested when the reading of this thread is lost; at once if it
  /// is lost already. Without a reading, the token is never stopped. No I/O. Throws Error with
  /// errc::no_thread if the thread that watches the lease cannot be started.
  [[nodiscard]] std::stop_token lost_token_shared() const;
#endif

  /// Returns whether this thread has a reading whose lease is not over. No I/O.
  [[nodiscard]] bool owns_lock_shared() const noexcept;

  using Lock::expires_at;
  using Lock::extend;
  using Lock::fencing_token;
  using Lock::guarded_eval;
  using Lock::guarded_set;
  using Lock::id;
  using Lock::locked;
  using Lock::loss_reason;
#ifdef __cpp_lib_jthread
  using Lock::lost_token;
#endif
  using Lock::name;
  using Lock::owner;
  using Lock::owns_lock;
  using Lock::try_lock;
  using Lock::try_lock_for;
  using Lock::try_lock_until;
  using Lock::unlock;

  /// Frees the lock whatever its holders, readers and writer, and wakes waiters, in one round trip.
  /// For operators, like Lock::reset(). Returns whether it was held. Throws Error.
  bool reset();
  /// Ends the reading or the writing with this id, in at most two round trips. Returns whether
  /// there was one. Throws Error.
  bool reset(std::string_view holder);

 private:
  [[nodiscard]] bool acquire_shared(const char* operation, const detail::Deadline& deadline,
                                    const detail::Deadline& retry_deadline);
  [[nodiscard]] bool acquire_shared_until(const detail::Deadline& deadline);
  void refuse_reader(const char* operation) const;
  void refuse_writer(const char* operation) const;

  const std::unique_ptr<detail::Readings> readings_;
};

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/impl/shared_lock.hpp>
#endif
