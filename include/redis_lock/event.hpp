#pragma once

#include <chrono>
#include <string_view>
#include <system_error>

namespace redis_lock {

/// Why a lock was lost, as far as its holder can know.
enum class LossReason {
  none,         ///< it is not lost
  unreachable,  ///< its lease ended: renewals failed, as Redis could not be reached or refused them
  taken,        ///< its key has the id of another holder
  gone,         ///< its key is gone: deleted, evicted, or lost with the data of a server
  max_hold,     ///< its lease ended: Options::max_hold is over, so that it was not renewed any more
  expired  ///< its lease ended: it is not renewed, or the program did not run when a renewal was due
};

/// A step in the life of one acquisition: what Options::on_event is told. Each that is acquired ends in one of
/// released, lost and abandoned.
struct Event {
  /// Which step.
  enum class Kind {
    acquired,  ///< a call got the lock
    renewed,   ///< its lease was extended, by the background thread or extend()
    released,  ///< unlock() or ~Lock() freed it, or passed it on in the process (Options::local_handoffs)
    lost,       ///< its lease ended, or its key changed hands, while it was held
    abandoned,  ///< unlock() could not free it, as Redis was away: the lease does
    renewal_failed,  ///< the background thread tried to extend its lease, and will try again: see `message`
  };

  Kind kind = Kind::acquired;  ///< which step it is
  /// Of the lock. Good during the call only.
  std::string_view name{};
  /// Of the acquisition. Good during the call only.
  std::string_view id{};
  /// For acquired: how long the call has waited. For the others: how long it has been held.
  std::chrono::nanoseconds duration{};
  /// For lost: why. For the others: none.
  LossReason reason = LossReason::none;
  /// For renewal_failed, and for lost as unreachable: the errc of the latest renewal. Otherwise no error.
  std::error_code error{};
  /// For renewal_failed: what failed, in the server's own words if it said any; of a QuorumLock, on which nodes.
  /// For lost: the reason in words. Never a password. Good during the call only. Otherwise empty.
  std::string_view message{};
  /// For renewal_failed, and for lost as unreachable: since when all renewals have failed. Otherwise time_point{}.
  std::chrono::steady_clock::time_point failing_since{};
};

}  // namespace redis_lock
