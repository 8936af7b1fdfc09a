#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_jthread
#include <stop_token>
#endif

#include <redis_lock/client.hpp>
#include <redis_lock/detail/base/callback.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/base/thread_safety.hpp>
#include <redis_lock/detail/lock/core.hpp>
#include <redis_lock/detail/lock/holder.hpp>
#include <redis_lock/detail/lock/keyspace.hpp>
#include <redis_lock/detail/lock/lockable.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>
#include <redis_lock/options.hpp>
#include <redis_lock/reply.hpp>

namespace redis_lock {

/// A mutex for a fleet of processes, with Redis as the arbiter: at most one Lock of a name holds it.
/// Meets the requirements of TimedLockable ([thread.req.lockable.timed]): std::lock_guard,
/// std::unique_lock, std::scoped_lock, std::lock and std::condition_variable_any work with it.
///
///                   | free                  | held by this object           | lease lost, not unlocked yet
///     --------------+-----------------------+-------------------------------+---------------------------
///     lock()        | acquires, may wait    | other threads wait; the       | other threads wait; the
///                   |                       | holder's: deadlock error      | holder's: as if free
///     try_lock()    | true, or false where  | false                         | other threads: false; the
///                   | another object has it |                               | holder's: as if free
///     unlock()      | error: not_owned      | frees it                      | error: lease_lost
///     extend()      | error: not_owned      | a new lease                   | error: lease_lost
///     owns_lock()   | false                 | true                          | false
///
/// Unlike a mutex in memory, a lock can be lost while it is held: Redis hands it on when its lease
/// ends, if the process was stopped for too long, or could not reach Redis. See expires_at().
/// Without Options::on_lost or lost_token(), only owns_lock() of the Lock tells the loss. **owns_lock() of a guard such as
/// std::unique_lock stays true after a loss: ask the Lock.** unlock() throws nothing: it tells a loss to Options::on_error,
/// and is silent without it, like ~Lock().
///
///     Options options;
///     options.on_lost = [](std::error_code) { stop_working(); };
///     Lock lock{client, "name", options};
///     std::unique_lock guard{lock};
///     while (lock.owns_lock() && more_work()) work();  // not guard.owns_lock()
///
/// All members may be called by several threads at once. Threads that share one Lock queue for it in
/// the process, in order of arrival, and one of them at a time talks to Redis; any thread may unlock.
/// Must not be destroyed while a thread waits for it. unlock(), the destructor and the error_code overloads are no
/// cancellation points of pthread_cancel(); the other members that block are, and then nothing is acquired. In a forked child, a Lock of the parent starts
/// free, and nothing that the child does with it touches what the parent holds.
///
/// When Redis is away: an operation reconnects for up to Endpoint::retry_for and then throws
/// errc::connection_failed; a server that is connected but silent is errc::timed_out after
/// Endpoint::command_timeout (and one more on a new connection; while waiting, after at most 3
/// seconds more). The server's own refusals are errc::server_error or errc::authentication_failed.
/// If an acquisition throws, nothing was acquired, and nothing stays behind in Redis beyond the lease.
class REDIS_LOCK_CAPABILITY("mutex") Lock {
 public:
  /// Checks its arguments, without I/O: the first operation connects.
  /// Throws std::invalid_argument, which names the argument.
  Lock(Client client, std::string name, Options options = {})
      : holder_(client.core_, name,
                detail::checked(name, std::move(options), client.core_->is_borrowed())) {}

  /// Works over a blocking hiredis connection of the caller, who keeps it, and keeps it alive: it is
  /// never freed, reconnected or left with unread replies, and its timeouts are put back. While an
  /// operation of the Lock runs, nobody else may use it. There is no renewal, and none may be asked for.
  /// The connection's own timeout, where it has one, is the command_timeout. A connection on which a
  /// reply did not come in time is shut down: its owner's next command fails instead of reading that reply. So is one that
  /// is inside MULTI, or on which replies to its owner are under way: nothing is acquired, and the operation throws
  /// errc::protocol_error. Each operation begins with an ECHO, in the same write, by which it finds that out.
  Lock(redisContext* borrowed, std::string name, Options options = Options::without_renewal())
      : Lock(Client{borrow(borrowed)}, std::move(name), std::move(options)) {}

  /// Releases what is still held, as unlock() does, and waits for a running callback of this Lock to return,
  /// unless that callback destroys the Lock.
  ~Lock() {
    const detail::CancellationPause no_cancellation;
    if (holder_.current()) unlock();
    holder_.await_callback();
  }

  /// Neither copied nor moved; but a function may return one.
  Lock(const Lock&) = delete;
  /// The same.
  Lock& operator=(const Lock&) = delete;

  /// Blocks until the lock is acquired. Waits on BLPOP: one command in flight, no polling. Waiters get
  /// the lock in the order in which they came to Redis, where each asks anew at least every 3 seconds.
  /// Throws Error, also with errc::no_thread if the thread that renews cannot be started; std::system_error with
  /// resource_deadlock_would_occur if this thread holds it.
  void lock() REDIS_LOCK_ACQUIRE { (void)holder_.acquire("lock", detail::never, detail::never); }

  /// One attempt, one round trip. False: someone else holds it, and nothing else. Throws Error; errc::timed_out also
  /// if Options::expire is shorter than the way to Redis and back.
  [[nodiscard]] bool try_lock() REDIS_LOCK_TRY_ACQUIRE {
    return holder_.acquire("try_lock", detail::Time::min(), detail::never);
  }

  /// As try_lock_until(now + duration), for any duration: zero and negative ones try once, huge ones
  /// wait for ever.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& duration)
      REDIS_LOCK_TRY_ACQUIRE {
    return acquire_until(detail::after(detail::Time::clock::now(), duration));
  }

  /// Blocks until the lock is acquired (true) or the deadline has passed (false), of any clock; tries
  /// at least once. False is never early, and late by a few milliseconds and a round trip; before Redis 6.0, by
  /// a fraction of a second. What Redis grants after the deadline goes back. If the clock is not steady, its deadline is
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

  /// Frees the lock and wakes the first waiter: one round trip. Never throws: what fails goes to
  /// Options::on_error (errc::not_owned, errc::lease_lost, or as for lock()), and then the lease frees
  /// the lock. Whatever happens, this object does not hold it any more.
  void unlock() noexcept REDIS_LOCK_RELEASE {
    const detail::CancellationPause no_cancellation;
    try {
      holder_.release();
    } catch (const Error& error) {
      detail::call_back(holder_.options().on_error, error);
    } catch (const std::exception& error) {
      detail::call_back_about(holder_.options().on_error, error);
    }
  }

  /// The same without exceptions: `error` says what the other would throw. It is cleared on success.
  /// (Not annotated for thread-safety analysis, which has no word for "acquired unless error".)
  void lock(std::error_code& error) noexcept {
    detail::without_exceptions(
        error, [this] { return holder_.acquire("lock", detail::never, detail::never); });
  }
  /// As try_lock(). If `error` is set, Redis could not be asked, and false says nothing of the holder.
  [[nodiscard]] bool try_lock(std::error_code& error) noexcept REDIS_LOCK_TRY_ACQUIRE {
    return detail::without_exceptions(
        error, [this] { return holder_.acquire("try_lock", detail::Time::min(), detail::never); });
  }
  /// As unlock(), but what fails goes to `error` instead of Options::on_error.
  void unlock(std::error_code& error) noexcept REDIS_LOCK_RELEASE {
    detail::without_exceptions(error, [this] { return holder_.release(), true; });
  }

#ifdef __cpp_lib_jthread
  /// As lock(), until stop is requested: false, and nothing was acquired. Over a borrowed context a
  /// request is noticed within a second.
  [[nodiscard]] bool lock(std::stop_token token) REDIS_LOCK_TRY_ACQUIRE {
    if (token.stop_requested()) return false;
    detail::Cancellation cancellation;
    const std::stop_callback callback{token, [&] {
                                        cancellation.request();
                                        holder_.interrupt();
                                      }};
    return holder_.acquire("lock", detail::never, detail::never, &cancellation);
  }

  /// Stop is requested where on_lost is called, for the present acquisition. A token that is never
  /// stopped if the lock is not held. No I/O. Throws Error with errc::no_thread if the thread that watches the
  /// lease cannot be started.
  [[nodiscard]] std::stop_token lost_token() const {
    const auto hold = holder_.current();
    if (!hold) return {};
    holder_.watch(hold);
    return detail::lost_token(*hold);
  }
#endif

  /// Sets the lease to Options::expire from now: one round trip. Throws Error: errc::not_owned,
  /// errc::lease_lost (a lost key is never re-created), errc::not_expirable, or as for lock().
  void extend() { holder_.extend(holder_.options().expire); }

  /// The same with a lease of its own. With auto_renewal the next renewals return to Options::expire.
  /// Throws std::invalid_argument if it is not positive, or no_expiry.
  void extend(std::chrono::milliseconds lease) {
    detail::require(lease > lease.zero() && lease != no_expiry,
                    "lease must be positive and finite");
    holder_.extend(detail::limited(lease));
  }

  /// Is the lock held, and its lease not over? No I/O. True means that nobody else can have acquired
  /// the lock before expires_at(); by the time the answer is used, that may be over.
  [[nodiscard]] bool owns_lock() const noexcept {
    const auto hold = holder_.current();
    return hold && hold->owned();
  }

  /// Why the present or latest acquisition was lost; LossReason::none if it was not. Also for use in
  /// Options::on_lost. The words for it are in the errors of unlock() and extend(), and in Event::message. No I/O.
  [[nodiscard]] LossReason loss_reason() const noexcept { return holder_.loss_reason(); }

  /// When owns_lock() becomes false unless the lease is extended: until then no other holder can have the
  /// lock. This is the end of the lease, counted from before it was asked for. If a background thread
  /// watches the lock (auto_renewal, on_lost, on_event, lost_token()), it is earlier by a tenth of the lease,
  /// at most 100 ms: then the loss is told, so that it is known before the lease is over.
  /// time_point::max() if it has no expiry, time_point::min() if the lock is not held. No I/O.
  [[nodiscard]] std::chrono::steady_clock::time_point expires_at() const noexcept {
    const auto hold = holder_.current();
    return detail::to_steady(hold ? hold->owned_until() : detail::Time::min());
  }

  /// The number of the present or latest acquisition, with Options::fencing: greater than that of every
  /// earlier one of this name by anyone with fencing on, for as long as Redis keeps the key of the fence.
  /// A store that refuses what comes with a lower number than it has seen is safe from holders that were
  /// paused and come late. No I/O. Throws Error (errc::not_owned) if there was no acquisition with fencing.
  [[nodiscard]] std::uint64_t fencing_token() const { return holder_.fencing_token(); }

  /// Runs a Lua script in Redis if this acquisition still holds the lock, checked and done in one
  /// atomic step: what a holder that was paused and comes late would write, is not written. The script
  /// sees KEYS and ARGV as with EVAL; keys, arguments and answers are any bytes. One round trip.
  ///
  /// Throws Error: errc::not_owned; errc::lease_lost, and nothing was written; errc::server_error with
  /// the script's own error; or as for lock(). It is never sent twice: where the answer was lost
  /// (errc::connection_failed, errc::timed_out), the script may have run, or may still run until this
  /// acquisition is released. Rejections that pass (LOADING, READONLY, NOREPLICAS, BUSY and their like) are
  /// retried: a script must not make up errors with these codes.
  Reply guarded_eval(std::string_view script, const std::vector<std::string>& keys = {},
                     const std::vector<std::string>& arguments = {}) {
    return holder_.evaluate("guarded_eval", script, keys, arguments);
  }

  /// Stores a value on the same terms, until it is overwritten.
  void guarded_set(const std::string& key, std::string_view value) {
    holder_.evaluate("guarded_set", "redis.call('SET', KEYS[1], ARGV[1])", {key},
                     {std::string(value)});
  }

  /// Stores a value on the same terms, for `ttl`.
  /// Throws std::invalid_argument if ttl is not positive; `no_expiry` is as without it.
  void guarded_set(const std::string& key, std::string_view value, std::chrono::milliseconds ttl) {
    detail::require(ttl > ttl.zero(), "ttl must be positive");
    if (ttl == no_expiry) return guarded_set(key, value);
    holder_.evaluate("guarded_set", "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])", {key},
                     {std::string(value), std::to_string(detail::limited(ttl).count())});
  }

  /// Asks Redis whether anyone holds the lock. Throws Error.
  [[nodiscard]] bool locked() { return ask_owner("locked").has_value(); }

  /// Asks Redis for the id of the holder. Throws Error.
  [[nodiscard]] std::optional<std::string> owner() { return ask_owner("owner"); }

  /// Frees the name whoever holds it, and wakes a waiter; says whether it was held. The holder finds
  /// its lease lost. For clearing up by hand: it breaks mutual exclusion. Throws Error.
  bool reset() {
    return holder_.core().perform(
        "reset", holder_.name(), holder_.terms(), [this](detail::Connection& connection) {
          return detail::reset(connection, holder_.keys(), holder_.signal_expire());
        });
  }

  /// The same if the acquisition with this id holds it, checked in the same atomic step. Says whether it did.
  bool reset(std::string_view holder) {
    return holder_.core().perform(
        "reset", holder_.name(), holder_.terms(), [&](detail::Connection& connection) {
          return detail::release(connection, holder_.keys(), holder, holder_.signal_expire());
        });
  }

  /// The name, as it was given. No I/O.
  [[nodiscard]] const std::string& name() const noexcept { return holder_.name(); }

  /// The id of the present or latest acquisition; before the first, Options::id.
  [[nodiscard]] std::string id() const { return holder_.id(); }

 private:
  [[nodiscard]] static std::shared_ptr<detail::Core> borrow(redisContext* context) {
    detail::require(context != nullptr, "context must not be null");
    detail::require((context->flags & REDIS_BLOCK) != 0, "context must be a blocking one");
    return std::make_shared<detail::Core>(context);
  }

  [[nodiscard]] bool acquire_until(const detail::Deadline& deadline) {
    return holder_.acquire("try_lock", deadline, deadline);
  }

  [[nodiscard]] std::optional<std::string> ask_owner(const char* operation) {
    return holder_.core().perform(operation, holder_.name(), holder_.terms(),
                                  [this](detail::Connection& connection) {
                                    return detail::owner(connection, holder_.keys().lock);
                                  });
  }

  detail::Holder holder_;
};

/// Frees every lock whose key begins with `key_prefix`, whoever holds it, and signals; says how many
/// were held. Finds them by SCAN (Redis 2.8 and later), and leaves keys alone that are not strings, that begin with
/// `signal_prefix` or `fence_prefix`, or with the default prefixes of signals, fencing tokens and Cache; and on a cluster
/// those that have no hash tag, as each lock has one there. Blocks for as long as it takes to walk the keyspace, some
/// thousand keys at a round trip, without blocking the servers. Of a cluster it walks all masters, those too that joined
/// since; if slots move meanwhile it walks again, up to five times. Locks that a connection breaks under are freed, and may
/// be missing in the count. For clearing up: it breaks mutual exclusion. Throws Error; std::invalid_argument if key_prefix
/// is empty, as every string in the database would go, or begins with a prefix of fencing tokens.
std::size_t reset_all(Client client, const std::string& key_prefix = "lock:",
                      const std::string& signal_prefix = "lock-signal:",
                      const std::string& fence_prefix = "lock-fence:");

inline std::size_t reset_all(Client client, const std::string& key_prefix,
                             const std::string& signal_prefix, const std::string& fence_prefix) {
  auto& core = *client.core_;
  const detail::LockKeys locks{key_prefix, signal_prefix, fence_prefix, core.is_cluster()};
  const auto signal_expire = std::to_string(Options{}.signal_expire.count());
  std::size_t held = 0;
  const auto reset = [&](detail::Connection& connection, const std::vector<std::string>& found) {
    std::vector<detail::Keys> all;
    for (const auto& key : found) {
      const auto signal = signal_prefix + key.substr(key_prefix.size());
      if (core.slot_of(signal) == core.slot_of(key))
        all.push_back({key, signal});  // a lock of ours
    }
    std::vector<detail::Elsewhere> elsewhere;
    if (all.empty()) return elsewhere;
    const auto replies = detail::reset_each(connection, all, signal_expire);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (detail::is_elsewhere(replies[i])) {
        elsewhere.push_back({all[i].lock, replies[i]});
      } else {
        held += detail::was_held(replies[i]) ? 1U : 0U;
      }
    }
    return elsewhere;
  };
  detail::walk_locks(core, "reset_all", locks, reset);
  return held;
}

}  // namespace redis_lock
