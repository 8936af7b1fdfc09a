#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <system_error>

#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>

namespace redis_lock {

/// "No limit", for Options::expire, Options::max_hold and the times to live of values.
inline constexpr std::chrono::milliseconds no_expiry = std::chrono::milliseconds::max();

/// Replicas that must have a lock before it counts as acquired: see Options::replicas.
struct Replicas {
  /// Least number of replicas. Default 0: none is waited for.
  unsigned min_acks = 0;
  /// How long an acquisition waits for them. That may go past its own deadline, but leaves the
  /// holder at least a third of the lease. Default 1 s, at least 1 ms.
  std::chrono::milliseconds timeout{1000};
};

/// Behaviour of a Lock or QuorumLock. An aggregate: set what differs from the defaults.
struct Options {
  /// The lease: how long the lock outlives a holder that crashed, or that Redis no longer hears.
  /// Default 30 s, at least 1 ms. If it is shorter than a round trip to Redis, acquisitions throw
  /// errc::timed_out. With `no_expiry`, only unlock() or reset() frees the lock, and auto_renewal
  /// must be off.
  std::chrono::milliseconds expire{30'000};

  /// Whether a background thread of the Client renews the lease, every expire/3, while the lock is
  /// held. Default on. Needs a finite `expire` and a Client, not a borrowed context.
  bool auto_renewal = true;

  /// How long a lock is renewed after it was acquired. So the lock of a holder that hangs comes
  /// free, at most one lease later. Default `no_expiry`, at least 1 ms. No effect without
  /// auto_renewal.
  std::chrono::milliseconds max_hold = no_expiry;

  /// Least time from one acquisition to the next one, by any holder. unlock() and ~Lock() return at
  /// once, but the key stays in Redis for the rest of the time, under the holder's id. So a job
  /// that is shorter than the difference of the hosts' clocks runs on one of them. reset() frees
  /// the lock all the same. If Redis is away at the release, or the holder dies, the lease frees
  /// it. Default 0, at least 0. Not together with a fixed `id` or local_handoffs.
  std::chrono::milliseconds min_hold{0};

  /// How long the signal of a release stays in Redis if no waiter takes it. Default 1 s. At least 1
  /// ms.
  std::chrono::milliseconds signal_expire{1000};

  /// Whether unlock() sends the release and returns without the reply. Then lock() and unlock()
  /// cost one round trip together. The reply is read with the next use of the connection, or by the
  /// Client when it is idle or destroyed. If the release cannot be sent at once, unlock() waits for
  /// the reply as usual. Errors reach on_error later, perhaps from another thread, perhaps after
  /// the Lock is gone. A waiter that is blocked when the release runs gets the lock before the next
  /// attempt of the same Lock object. Default off. Not over a borrowed context.
  bool deferred_unlock = false;

  /// How many times in a row threads that share one Lock pass it on inside the process, without
  /// Redis, before other processes get their turn. A hand-off goes to a thread that waits, while
  /// max_hold is not over. With auto_renewal a third of the lease must be left, without it all of
  /// `expire`. The acquisition, its id and its loss are passed on, too. Between two turns at Redis
  /// the threads do not enter in order of arrival. Default 0: never.
  unsigned local_handoffs = 0;

  /// Value that marks the holder in Redis; any bytes. Default empty: a fresh and random one for
  /// each acquisition. Two holders must not use one fixed id: each could free the other's lock. A
  /// release under a fixed id that the network delays may free what the same holder has acquired
  /// since.
  std::string id{};

  /// What the random ids begin with; any bytes. A person who reads Lock::owner() then sees who
  /// holds the lock: see host_and_pid(). Default empty. Not together with a fixed `id`.
  std::string id_prefix{};

  /// What the lock's key in Redis begins with; the name follows. All programs that share a lock
  /// must agree on it.
  std::string key_prefix = "lock:";
  /// What the key of the signal that wakes a waiter begins with. All programs that share a lock
  /// must agree on it. It must differ from `key_prefix`.
  std::string signal_prefix = "lock-signal:";

  /// Whether each acquisition also takes the next number of a counter in Redis, in the same atomic
  /// step and round trip: see Lock::fencing_token(). Holders with and without fencing exclude each
  /// other. The counter is the key `fence_prefix` + name. It has no expiry, and must not be evicted
  /// or deleted while a store relies on the numbers. Default off. Not together with local_handoffs.
  bool fencing = false;
  /// What the key of that counter begins with. With fencing, it must not begin with `key_prefix`,
  /// and must differ from `signal_prefix`.
  std::string fence_prefix = "lock-fence:";

  /// Replicas that each acquisition waits for, after it was granted, until they have acknowledged
  /// it. It uses WAIT (Redis 3.0, https://redis.io/docs/latest/commands/wait/), which costs one
  /// more round trip. If fewer replicas acknowledge in time, the lock is freed, and lock(),
  /// try_lock() and the others throw errc::too_few_replicas, which says how many did. That makes it
  /// rarer that a failover loses a lock, not impossible: see docs/safety.md. Renewals, releases and
  /// hand-offs by local_handoffs are not waited for. Default none.
  Replicas replicas{};

  /// Called once for each acquisition that is lost while it is held, with errc::lease_lost. Its key
  /// has another holder or is gone, or its lease is about to end without contact:
  /// Lock::loss_reason() tells. What it throws is swallowed. Default none.
  ///
  /// It is called on a callback thread of the Client, also without auto_renewal, with no internal
  /// mutex held. However long it takes, it delays no renewal and no report of another lock's loss.
  /// A Client has up to 64 callback threads, and none while there is nothing to report. If no
  /// thread can be started, the renewal thread makes the call. Callbacks of one lock object are
  /// called one at a time; those of different objects may run at once. ~Lock() waits until a
  /// running call has returned. A callback may destroy its lock. A borrowed context has no threads:
  /// extend(), a guarded write, or lock() by the thread that held it makes the call when it finds
  /// the loss.
  std::function<void(std::error_code)> on_lost{};

  /// Receives errors from unlock() and ~Lock(), which throw nothing. Called by the thread that
  /// unlocks. With deferred_unlock, it is called by the thread that reads the reply, or on a
  /// callback thread (see on_lost). What it throws is swallowed. Default none: they are silent.
  std::function<void(const Error&)> on_error{};

  /// Called at each step of each acquisition, for traces and logs: see Event. Called with no
  /// internal mutex held. What it throws is swallowed. If you want numbers only, Client::stats()
  /// costs less. Default none.
  ///
  /// - `acquired`: called by the thread that got the lock, before its call returns.
  /// - `released`, `abandoned`: called by the thread that unlocks, when others may have the lock
  ///   already. With deferred_unlock, by the thread that reads the reply or on a callback thread.
  /// - `renewed`, `renewal_failed`, `lost`: called on a callback thread (see on_lost), also without
  ///   auto_renewal, or by the call that finds it out.
  ///
  /// Events of different threads may cross. On callback threads, those of one lock object come in
  /// order, one at a time. While a call blocks, up to 64 wait behind it, and further events of
  /// renewals are left out.
  std::function<void(const Event&)> on_event{};

  /// Returns the defaults, with auto_renewal off. No I/O.
  [[nodiscard]] static Options without_renewal() {
    Options options;
    options.auto_renewal = false;
    return options;
  }
};

}  // namespace redis_lock
