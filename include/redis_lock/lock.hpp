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
struct Access;
}  // namespace redis_lock::detail

namespace redis_lock {

/// Mutex for the processes of many machines, kept in Redis: at most one Lock of a name holds it.
/// BasicLock says what locking and unlocking do, and with which classes of std they work.
///
///                 | free                  | held by this object       | lost, not unlocked yet
///     ------------+-----------------------+---------------------------+---------------------------
///     lock()      | acquires; waits if    | holding thread: deadlock  | holding thread: as if free
///                 | another object has it | error; other threads wait | other threads wait
///     try_lock()  | true; false if        | false                     | holding thread: as if free
///                 | another object has it |                           | other threads: false
///     unlock()    | error: not_owned      | frees it                  | error: lease_lost
///     extend()    | error: not_owned      | sets a new lease          | error: lease_lost
///     owns_lock() | false                 | true                      | false
///
/// **Loss.** Unlike a mutex in memory, a lock can be lost while it is held. If the process was
/// stopped for too long, or could not reach Redis, the lease ends, and Redis lets another holder
/// have the lock. Options::on_lost and lost_token() report a loss. Without them only owns_lock() of
/// the Lock tells it. **owns_lock() of a guard such as std::unique_lock stays true after a loss:
/// ask the Lock.** unlock() and ~Lock() throw nothing: they report a loss to Options::on_error, and
/// are silent without it.
///
///     Options options;
///     options.on_lost = [](std::error_code) { stop_working(); };
///     Lock lock{client, "name", options};
///     std::unique_lock guard{lock};
///     while (lock.owns_lock() && more_work()) work();  // not guard.owns_lock()
///
/// **When Redis is away.** An operation reconnects for up to Endpoint::retry_for, and then throws
/// errc::connection_failed. If a server accepts connections but does not answer, it throws
/// errc::timed_out after Endpoint::command_timeout, and one more on a new connection. While it
/// waits for a holder, that takes at most 3 seconds longer. Errors of the server are
/// errc::server_error or errc::authentication_failed. If an acquisition throws, nothing was
/// acquired, and nothing stays in Redis beyond the lease.
class REDIS_LOCK_CAPABILITY("mutex") Lock : public BasicLock<detail::SingleServer> {
 public:
  /// Checks the arguments. No I/O: the first operation connects. Throws std::invalid_argument,
  /// which names the argument.
  Lock(Client client, std::string name, Options options = {});

  /// Uses a blocking hiredis connection of the caller. Starts no thread, and so renews no lease. No
  /// I/O. Throws std::invalid_argument if the connection is null or not blocking, or if `options`
  /// has auto_renewal or deferred_unlock.
  ///
  /// The caller owns the connection, and keeps it alive. It is never freed, reconnected or left
  /// with unread replies, and its timeouts are put back. While an operation of the Lock runs,
  /// nothing else may use it. If the connection has a timeout, that is the command_timeout. If a
  /// reply does not come in time, the connection is shut down. So the owner's next command fails
  /// instead of reading that reply.
  ///
  /// Each operation begins with an ECHO, in the same write. If that shows that the connection is
  /// inside MULTI, or that replies to its owner are under way, nothing is acquired. The operation
  /// throws errc::protocol_error, and the connection is shut down.
  Lock(redisContext* borrowed, std::string name, Options options = Options::without_renewal());

  /// Releases the lock like unlock(), if it is held. Waits until a running callback of this Lock
  /// has returned, unless that callback destroys the Lock.
  ~Lock() = default;

  using BasicLock::reset;
  /// Frees the lock if the acquisition with this id holds it; one atomic step and one round trip.
  /// Returns whether it did. After a lost reply it asks again, and so may return false although it
  /// freed the lock. Throws Error.
  bool reset(std::string_view holder);

  /// Returns the fencing token of the present or latest acquisition: see Options::fencing. It is
  /// greater than that of every earlier acquisition of this name with fencing, by any holder, for
  /// as long as Redis keeps the counter. A store that refuses lower tokens than it has seen is safe
  /// from holders that were paused and write late. No I/O. Throws Error with errc::not_owned if
  /// there was no acquisition with fencing.
  [[nodiscard]] std::uint64_t fencing_token() const;

  /// Runs a Lua script in Redis if this acquisition still holds the lock. The server checks and
  /// runs in one atomic step, so a holder that was paused writes nothing late. Takes one round
  /// trip. The script sees KEYS and ARGV as with EVAL
  /// (https://redis.io/docs/latest/commands/eval/). Keys, arguments and replies are any bytes.
  /// Returns the reply of the script.
  ///
  /// Throws Error: errc::not_owned; errc::lease_lost, and nothing was written; errc::server_error
  /// with the script's own error; or those of lock(). The script is never sent again after a lost
  /// reply (errc::connection_failed, errc::timed_out). Then it may have run, or may still run until
  /// this acquisition is released. Transient errors (LOADING, READONLY, NOREPLICAS, BUSY and their
  /// like) are retried, so a script must not return errors with these codes of its own.
  Reply guarded_eval(std::string_view script, const std::vector<std::string>& keys = {},
                     const std::vector<std::string>& arguments = {});

  /// Stores a value without expiry if this acquisition still holds the lock. Blocks, throws and
  /// retries like guarded_eval().
  void guarded_set(const std::string& key, std::string_view value);

  /// Stores a value for `ttl` if this acquisition still holds the lock; without expiry if `ttl` is
  /// no_expiry. Blocks, throws and retries like guarded_eval(). Throws std::invalid_argument if
  /// `ttl` is not positive.
  void guarded_set(const std::string& key, std::string_view value, std::chrono::milliseconds ttl);

 protected:
  /// @cond
  Lock(const detail::Access& access, const std::string& name, Options checked);
  /// @endcond
};

/// Frees every lock whose key begins with `key_prefix`, whatever its holder, and wakes waiters. For
/// operators: it breaks mutual exclusion. Returns how many locks were held. A lock that was freed
/// while its connection broke may be missing in that number.
///
/// Finds keys by SCAN (Redis 2.8 or later), some thousand in a round trip. Blocks until it has
/// walked the keyspace, but does not block the servers. On a cluster it walks all masters, with
/// those that joined since. If slots move meanwhile, it walks again, up to five times.
///
/// With the default `key_prefix`, also frees every SharedLock and Semaphore, each counted once.
///
/// Leaves alone: other keys that are not strings; a SharedLock or Semaphore whose keys this user of
/// Redis may not write; keys that begin with `signal_prefix`, `fence_prefix`,
/// or the default prefixes of signals, fencing tokens, Cache and call_once(), unless `key_prefix`
/// begins with the same; and on a cluster keys without a hash tag, as each lock has one there.
///
/// Throws Error, as Lock does when Redis is away. Throws std::invalid_argument if `key_prefix` is
/// empty, as every string in the database would be deleted, or begins with a prefix of fencing
/// tokens.
std::size_t reset_all(Client client, const std::string& key_prefix = "lock:",
                      const std::string& signal_prefix = "lock-signal:",
                      const std::string& fence_prefix = "lock-fence:");

}  // namespace redis_lock

#ifdef REDIS_LOCK_SEPARATE_COMPILATION
extern template class redis_lock::BasicLock<redis_lock::detail::SingleServer>;
#else
#include <redis_lock/detail/impl/lock.hpp>
#endif
