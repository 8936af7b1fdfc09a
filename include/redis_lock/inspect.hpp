#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <redis_lock/client.hpp>

namespace redis_lock {

/// A lock that somebody holds, as Redis knows it.
struct HeldLock {
  std::string name{};   ///< without the prefix of its key
  std::string owner{};  ///< the holder's id, any bytes: see Options::id_prefix
  /// What is left of the lease, on the server's clock. None: it has no expiry.
  std::optional<std::chrono::milliseconds> time_left{};
};

/// All locks that are held and whose key begins with `key_prefix`, sorted by name. Finds them by SCAN (Redis 2.8
/// and later), and leaves keys out that are not strings, that begin with `fence_prefix`, or with the default prefixes of
/// signals, fencing tokens and Cache; and on a cluster those that have no hash tag, as each lock has one there. Names
/// that became a hash tag are those that the Locks were given. Blocks for as long as it takes to walk the keyspace, some
/// thousand keys at a round trip, without blocking the servers; not a snapshot of one instant. Of a cluster it walks all
/// masters, those too that joined since; if slots move meanwhile it walks again, up to five times. Throws Error, as Lock
/// does when Redis is away; std::invalid_argument if key_prefix is empty, as every string would be listed, or begins
/// with a prefix of fencing tokens.
[[nodiscard]] std::vector<HeldLock> held_locks(Client client,
                                               const std::string& key_prefix = "lock:",
                                               const std::string& fence_prefix = "lock-fence:");

/// Calls `each` with every lock that the overload without it returns, once, as soon as it is found, in no order. It is
/// called in the calling thread, with no mutex held, and may take its time. Throws what the other overload throws, after
/// what was found before; what `each` throws; std::invalid_argument if `each` is null.
void held_locks(Client client, const std::function<void(const HeldLock&)>& each,
                const std::string& key_prefix = "lock:",
                const std::string& fence_prefix = "lock-fence:");

/// One lock, at one round trip: nothing if nobody holds it. Throws Error; std::invalid_argument if name is empty.
[[nodiscard]] std::optional<HeldLock> held_lock(Client client, const std::string& name,
                                                const std::string& key_prefix = "lock:");

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/impl/inspect.hpp>
#endif
