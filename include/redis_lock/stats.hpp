#pragma once

#include <chrono>
#include <cstdint>

namespace redis_lock {

/// Counters of what the Locks and QuorumLocks of one Client have done in this process since it was
/// made: see Client::stats(). A QuorumLock counts with the first of its nodes. Only `reconnects`
/// count with the Client that they belong to. Each event is counted once, by the call or thread
/// that finds it out:
///
///     acquired = released + lost + abandoned + those that are held now
struct Stats {
  /// Calls that acquired a lock, also those that got it from a thread of this process
  /// (Options::local_handoffs).
  std::uint64_t acquired = 0;
  /// How many calls that acquired or timed out found the lock held by another holder first.
  std::uint64_t contended = 0;
  /// Calls that gave up because the lock was not free by their deadline. That of try_lock() is at
  /// once.
  std::uint64_t timed_out = 0;
  /// Locks that unlock() or ~Lock() freed or passed on. With Options::deferred_unlock they are
  /// counted when the reply is read.
  std::uint64_t released = 0;
  /// Extensions of leases, by the renewal thread or extend().
  std::uint64_t renewed = 0;
  /// Renewals that failed, because Redis was away or refused them. More than a few in a row are the
  /// warning before a loss.
  std::uint64_t renewals_failed = 0;
  /// Locks that were lost while they were held: the lease ended, or the key changed hands. If not
  /// 0, find out why.
  std::uint64_t lost = 0;
  /// Locks that unlock() could not free, because Redis was away: the lease frees them.
  std::uint64_t abandoned = 0;
  /// Connections that were opened to replace one that broke, or that the server closed.
  std::uint64_t reconnects = 0;
  /// Sum of the times from the call to the acquisition, of all calls that acquired.
  std::chrono::nanoseconds total_wait{};
  /// Longest of these times.
  std::chrono::nanoseconds longest_wait{};
  /// Sum of the times from the acquisition to its end, of all that ended. With
  /// Options::local_handoffs, of each thread's turn, to a few milliseconds.
  std::chrono::nanoseconds total_hold{};
  /// Longest of these times.
  std::chrono::nanoseconds longest_hold{};
};

}  // namespace redis_lock
