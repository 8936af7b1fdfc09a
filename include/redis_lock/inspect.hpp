#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <redis_lock/client.hpp>

namespace redis_lock {

/// What a holder has.
enum class LockKind : unsigned char {
  lock,     ///< a Lock
  writing,  ///< the exclusive side of a SharedLock, also while it waits for readers to leave
  reading,  ///< one reading of a SharedLock
  permit    ///< one permit of a Semaphore
};

/// Lock that is held, or one reading or permit, as Redis knows it.
struct HeldLock {
  std::string name{};   ///< name, without the prefix of its key
  std::string owner{};  ///< id of the holder, any bytes: see Options::id_prefix
  /// What is left of the lease, in milliseconds, by the clock of the server. Nothing: it has no
  /// expiry.
  std::optional<std::chrono::milliseconds> time_left{};
  LockKind kind = LockKind::lock;  ///< what is held
};

/// Returns all locks that are held and whose key begins with `key_prefix`, sorted by name. It is
/// not a snapshot of one instant. With the default `key_prefix`, also returns the writers and
/// readers of every SharedLock and the permits of every Semaphore, one entry for each holder.
///
/// Finds keys by SCAN (Redis 2.8 or later), some thousand in a round trip. Blocks until it has
/// walked the keyspace, but does not block the servers. On a cluster it walks all masters, with
/// those that joined since. If slots move meanwhile, it walks again, up to five times. A name that
/// became a hash tag is returned as it was given to the Lock.
///
/// Leaves out: other keys that are not strings; a SharedLock or Semaphore whose keys this user of
/// Redis may not read; keys that begin with `fence_prefix`, or the default
/// prefixes of signals, fencing tokens, Cache and call_once(), unless `key_prefix` begins with the
/// same; and on a cluster keys without a hash tag, as each lock has one there.
///
/// Throws Error, as Lock does when Redis is away. Throws std::invalid_argument if `key_prefix` is
/// empty, as every string would be listed, or begins with a prefix of fencing tokens.
[[nodiscard]] std::vector<HeldLock> held_locks(Client client,
                                               const std::string& key_prefix = "lock:",
                                               const std::string& fence_prefix = "lock-fence:");

/// Calls `each` once for every lock that the overload without it returns, as soon as it is found,
/// in no order. Calls it in the calling thread, with no mutex held, and it may take its time.
/// Throws what the other overload throws, perhaps after some calls; and what `each` throws. Throws
/// std::invalid_argument if `each` is null.
void held_locks(Client client, const std::function<void(const HeldLock&)>& each,
                const std::string& key_prefix = "lock:",
                const std::string& fence_prefix = "lock-fence:");

/// Returns the holders of the SharedLock or Semaphore of this name, sorted by id: permits if `kind`
/// is LockKind::permit, otherwise the writer and the readers. For LockKind::lock, returns the holder
/// of the Lock. Blocks for one round trip. Throws Error, as Lock does when Redis is away. Throws
/// std::invalid_argument if `name` is empty.
[[nodiscard]] std::vector<HeldLock> holders(Client client, const std::string& name, LockKind kind);

/// Returns the lock of this name, or nothing if it is free. Blocks for one round trip. Throws
/// Error, as Lock does when Redis is away. Throws std::invalid_argument if `name` is empty.
[[nodiscard]] std::optional<HeldLock> held_lock(Client client, const std::string& name,
                                                const std::string& key_prefix = "lock:");

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/impl/inspect.hpp>
#endif
