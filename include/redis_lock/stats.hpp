#pragma once

#include <chrono>
#include <cstdint>

namespace redis_lock {

/// What the locks of one Client, Locks and QuorumLocks, have done in this process since it was made: see
/// Client::stats(). A QuorumLock counts with the first of its nodes, but for `reconnects`, which count with
/// the Client that they belong to. What happened is counted once, by the call or thread that finds it out:
///
///   acquired = released + lost + abandoned + those that are held now
struct Stats {
  /// Calls that acquired a lock: lock(), try_lock()…, also those that got it from a thread of this process
  /// (Options::local_handoffs).
  std::uint64_t acquired = 0;
  /// How many of those calls, and of those that timed out, found it held by somebody else first.
  std::uint64_t contended = 0;
  /// Calls that gave up, as the lock was not free by their deadline; try_lock()'s is at once.
  std::uint64_t timed_out = 0;
  /// Locks that unlock() or ~Lock() freed, or passed on. With Options::deferred_unlock they are counted when
  /// the answer is read.
  std::uint64_t released = 0;
  /// Leases that were extended, by the background thread or extend().
  std::uint64_t renewed = 0;
  /// Attempts of the background thread to extend a lease that failed: Redis could not be reached, or refused.
  /// More than a few in a row are the warning before a loss.
  std::uint64_t renewals_failed = 0;
  /// Locks whose lease ended, or whose key changed hands, while they were held. More than none is worth a look.
  std::uint64_t lost = 0;
  /// Locks that unlock() could not free, as Redis was away: their leases free them.
  std::uint64_t abandoned = 0;
  /// Connections that were opened in the place of ones that broke, or that the server closed.
  std::uint64_t reconnects = 0;
  /// From the call to the acquisition, of all calls that acquired.
  std::chrono::nanoseconds total_wait{};
  /// The greatest of them.
  std::chrono::nanoseconds longest_wait{};
  /// From the acquisition to its end, of all that ended. With Options::local_handoffs, of each thread's turn, to a
  /// few milliseconds.
  std::chrono::nanoseconds total_hold{};
  /// The greatest of them.
  std::chrono::nanoseconds longest_hold{};
};

}  // namespace redis_lock
