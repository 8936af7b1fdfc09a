#pragma once

#include <chrono>
#include <string_view>

namespace redis_lock {

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
  };

  Kind kind = Kind::acquired;  ///< which step it is
  /// Of the lock. Good during the call only.
  std::string_view name{};
  /// Of the acquisition. Good during the call only.
  std::string_view id{};
  /// For acquired: how long the call has waited. For the others: how long it has been held.
  std::chrono::nanoseconds duration{};
};

}  // namespace redis_lock
