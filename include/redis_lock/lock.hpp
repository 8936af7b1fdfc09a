#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <redis_lock/basic_lock.hpp>
#include <redis_lock/client.hpp>
#include <redis_lock/detail/base/thread_safety.hpp>
#include <redis_lock/options.hpp>
#include <redis_lock/reply.hpp>

struct redisContext;  // of hiredis

namespace redis_lock::detail {
class SingleServer;
}

namespace redis_lock {

/// A mutex for a fleet of processes, with Redis as the arbiter: at most one Lock of a name holds it. BasicLock
/// says what locking and unlocking do, and with which classes of std they work.
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
/// When Redis is away: an operation reconnects for up to Endpoint::retry_for and then throws
/// errc::connection_failed; a server that is connected but silent is errc::timed_out after
/// Endpoint::command_timeout (and one more on a new connection; while waiting, after at most 3
/// seconds more). The server's own refusals are errc::server_error or errc::authentication_failed.
/// If an acquisition throws, nothing was acquired, and nothing stays behind in Redis beyond the lease.
class REDIS_LOCK_CAPABILITY("mutex") Lock : public BasicLock<detail::SingleServer> {
 public:
  /// Checks its arguments, without I/O: the first operation connects.
  /// Throws std::invalid_argument, which names the argument.
  Lock(Client client, std::string name, Options options = {});

  /// Works over a blocking hiredis connection of the caller, who keeps it, and keeps it alive: it is
  /// never freed, reconnected or left with unread replies, and its timeouts are put back. While an
  /// operation of the Lock runs, nobody else may use it. There is no renewal, and none may be asked for.
  /// The connection's own timeout, where it has one, is the command_timeout. A connection on which a
  /// reply did not come in time is shut down: its owner's next command fails instead of reading that reply. So is one that
  /// is inside MULTI, or on which replies to its owner are under way: nothing is acquired, and the operation throws
  /// errc::protocol_error. Each operation begins with an ECHO, in the same write, by which it finds that out.
  Lock(redisContext* borrowed, std::string name, Options options = Options::without_renewal());

  /// Releases the lock if it is held, like unlock(), and waits for a running callback of this Lock to return,
  /// unless that callback destroys the Lock.
  ~Lock() = default;

  using BasicLock::reset;
  /// Frees the lock if the acquisition with this id holds it, checked in the same atomic step. Returns whether it did.
  /// Throws Error.
  bool reset(std::string_view holder);

  /// The number of the present or latest acquisition, with Options::fencing: greater than that of every
  /// earlier one of this name by anyone with fencing on, for as long as Redis keeps the key of the fence.
  /// A store that refuses what comes with a lower number than it has seen is safe from holders that were
  /// paused and come late. No I/O. Throws Error (errc::not_owned) if there was no acquisition with fencing.
  [[nodiscard]] std::uint64_t fencing_token() const;

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
                     const std::vector<std::string>& arguments = {});

  /// Stores a value on the same terms, until it is overwritten.
  void guarded_set(const std::string& key, std::string_view value);

  /// Stores a value on the same terms, for `ttl`.
  /// Throws std::invalid_argument if ttl is not positive; `no_expiry` is as without it.
  void guarded_set(const std::string& key, std::string_view value, std::chrono::milliseconds ttl);
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

}  // namespace redis_lock

#ifdef REDIS_LOCK_SEPARATE_COMPILATION
extern template class redis_lock::BasicLock<redis_lock::detail::SingleServer>;
#else
#include <redis_lock/detail/impl/lock.hpp>
#endif
