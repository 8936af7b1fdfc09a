#pragma once

#include <chrono>
#include <string_view>
#include <system_error>

namespace redis_lock {

/// Reason why a lock was lost, as far as its holder can know.
enum class LossReason {
  none,         ///< it is not lost
  unreachable,  ///< its lease ended: renewals failed, because Redis was away or refused them
  taken,        ///< its key has the id of another holder
  gone,         ///< its key is gone: deleted, evicted, or lost with the data of a server
  max_hold,     ///< its lease ended: it was held for longer than Options::max_hold
  expired       ///< its lease ended: not renewed, or the process stood still when that was due
};

/// Step in the life of one acquisition, for Options::on_event. Every acquisition ends in exactly
/// one of released, lost and abandoned.
struct Event {
  /// Kinds of steps.
  enum class Kind {
    acquired,        ///< a call got the lock
    renewed,         ///< its lease was extended, by the renewal thread or extend()
    released,        ///< unlock() or ~Lock() freed it, or passed it on (Options::local_handoffs)
    lost,            ///< its lease ended, or its key changed hands, while it was held
    abandoned,       ///< unlock() could not free it, because Redis was away: the lease does
    renewal_failed,  ///< the renewal thread could not extend its lease, and will try again
  };

  Kind kind = Kind::acquired;  ///< which step it is
  /// Name of the lock. Valid during the call only.
  std::string_view name{};
  /// Id of the acquisition. Valid during the call only.
  std::string_view id{};
  /// For acquired: how long the call waited. For the others: how long the lock has been held.
  std::chrono::nanoseconds duration{};
  /// For lost: the reason. Otherwise none.
  LossReason reason = LossReason::none;
  /// For renewal_failed, and for lost as unreachable: the errc of the latest renewal. Otherwise no
  /// error.
  std::error_code error{};
  /// For renewal_failed: what failed, with the server's own words if it said any; for a QuorumLock,
  /// on which nodes. For lost: the reason in words. Otherwise empty. Never contains a password.
  /// Valid during the call only.
  std::string_view message{};
  /// For renewal_failed, and for lost as unreachable: since when all renewals have failed.
  /// Otherwise time_point{}.
  std::chrono::steady_clock::time_point failing_since{};
};

}  // namespace redis_lock
