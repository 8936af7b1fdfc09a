#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <system_error>

#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>

namespace redis_lock {

/// "No limit", for Options::expire and Options::max_hold.
inline constexpr std::chrono::milliseconds no_expiry = std::chrono::milliseconds::max();

/// How many replicas must have a lock before it counts as acquired: see Options::replicas.
struct Replicas {
  /// At least so many. Default 0: none are waited for.
  unsigned min_acks = 0;
  /// How long an acquisition waits for them, beyond its own deadline; but it leaves its holder at least a
  /// third of the lease. Default 1 s, at least 1 ms.
  std::chrono::milliseconds timeout{1000};
};

/// How a Lock behaves. A plain aggregate: set what differs from the defaults.
struct Options {
  /// The lease: how long the lock outlives a holder that crashed, or that Redis no longer hears.
  /// Default 30 s, at least 1 ms, and longer than the way to Redis and back, or else acquisitions throw
  /// errc::timed_out. `no_expiry` for none: then only unlock() or reset() frees it, and
  /// auto_renewal must be off.
  std::chrono::milliseconds expire{30'000};

  /// A background thread of the Client renews the lease every expire/3 for as long as the lock is
  /// held. Default on. Needs a finite `expire` and a Client (not a borrowed context).
  bool auto_renewal = true;

  /// The lease of a holder that has held the lock for longer than this is not renewed any more: the
  /// lock of a holder that hangs comes free. Default `no_expiry`; no effect without auto_renewal.
  std::chrono::milliseconds max_hold = no_expiry;

  /// Nobody else gets the lock before that time has passed since it was acquired: unlock() and ~Lock() return at once, but
  /// the key stays in Redis for the rest, under the id of who held it. So a job that is shorter than the clocks of its
  /// hosts differ runs on one of them. reset() frees the lock all the same; and if Redis is away at the release, or
  /// the holder dies, the lease does. Default 0, at least 0. Not together with a fixed `id` or
  /// local_handoffs.
  std::chrono::milliseconds min_hold{0};

  /// How long the wake-up signal of a release stays in Redis when nobody waits for it. Default 1 s.
  std::chrono::milliseconds signal_expire{1000};

  /// unlock() sends the release and returns; the reply is read with the next use of the connection, or
  /// by the Client when idle or destroyed. lock() and unlock() then cost one round trip together. What
  /// goes wrong reaches on_error later, perhaps after the Lock is gone, from another thread.
  /// Default off. Not over a borrowed context.
  bool deferred_unlock = false;

  /// Threads that share one Lock pass it on inside the process, without Redis, at most this many times
  /// in a row, before other processes get their turn. Only to threads that wait, only while the lease is
  /// good (renewed, or all of `expire` left) and max_hold is not over. Between two turns at Redis the
  /// threads are not let in in order of arrival. The acquisition, its id and its loss are passed on, too.
  /// Default 0: never.
  unsigned local_handoffs = 0;

  /// The value that marks the holder in Redis; any bytes. Default empty: a fresh and random one for
  /// each acquisition. A fixed id must not be used by two holders: each could free the other's lock. And
  /// a release under it that the network delays may free what the same holder has acquired since.
  std::string id{};

  /// What the random ids begin with; any bytes. So Lock::owner() tells a person who holds the lock: see
  /// host_and_pid(). Default empty. Not together with a fixed `id`.
  std::string id_prefix{};

  /// What the name of the lock's key in Redis begins with. All who share a lock must agree on it.
  std::string key_prefix = "lock:";
  /// The same for the key of the signal that wakes a waiter.
  std::string signal_prefix = "lock-signal:";

  /// Each acquisition also takes the next number of a counter in Redis, in the same atomic step and round
  /// trip: see Lock::fencing_token(). Holders with and without fencing exclude each other. The counter
  /// is the key `fence_prefix` + name; it has no expiry, and must not be evicted or deleted while a
  /// store relies on the numbers. Default off. Not together with local_handoffs.
  bool fencing = false;
  /// What the name of that counter begins with. It must not begin with `key_prefix`.
  std::string fence_prefix = "lock-fence:";

  /// After it was granted, each acquisition waits until that many replicas have acknowledged it (the
  /// command WAIT, Redis 3.0: one more round trip). If fewer do in time, the lock is freed, and
  /// errc::too_few_replicas says how many did; try_lock… and get_or_create throw it, too. It makes a lock
  /// that a failover loses rarer, not impossible: see docs/safety.md. Renewals, releases and what
  /// local_handoffs passes on are not waited for. Default none.
  Replicas replicas{};

  /// Told once for each acquisition that was lost while it was held (errc::lease_lost): the key has
  /// another owner or is gone, or the lease is about to end without contact: see Lock::loss_reason(). Called on a callback thread of
  /// the Client, also without auto_renewal, with no internal mutex held. However long it takes, no renewal and no
  /// news of another lock's loss waits for it. A Client has up to 64 callback threads, and none while there is
  /// nothing to tell. The callbacks of one lock object come one at a time; those of different ones may run at once. If
  /// no thread can be started, the thread that renews makes the call. ~Lock waits for a call that is running; a
  /// callback may destroy its lock. Over a borrowed context, which has no threads, the extend() that
  /// notices makes the call. What it throws is swallowed.
  std::function<void(std::error_code)> on_lost{};

  /// Receives errors from unlock() and ~Lock(), which throw nothing. Called by the thread that unlocks; with
  /// deferred_unlock by the thread that reads the answer, or on a callback thread of the Client (see on_lost).
  /// What it throws is swallowed.
  std::function<void(const Error&)> on_error{};

  /// Told of each step of each acquisition, for traces and logs: see Event. Called with no internal mutex
  /// held: of `acquired` by the thread that has got the lock, before it goes on; of `released` and
  /// `abandoned` by the thread that unlocks, when others may have the lock; with deferred_unlock, by
  /// the thread that reads the answer or on a callback thread of the Client (see on_lost). Of `renewed`, `renewal_failed` and `lost`
  /// on a callback thread, also without auto_renewal, or by the call that finds it out. Events of different
  /// threads may cross. Those of one lock object on callback threads come in order, one at a time. While a
  /// call blocks, up to 64 wait behind it, and further ones of renewals are left out. What it throws is
  /// swallowed. For numbers alone, Client::stats() costs less. Default none.
  std::function<void(const Event&)> on_event{};

  /// Options for a lock whose lease nobody renews: as the defaults, with auto_renewal off.
  [[nodiscard]] static Options without_renewal() {
    Options options;
    options.auto_renewal = false;
    return options;
  }
};

}  // namespace redis_lock
