#pragma once

#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>

namespace redis_lock::detail {

/// Limits of one operation: how long it may go on, and what may end it.
struct CallLimits {
  milliseconds retry_for;     // for reconnecting after the connection was lost
  Deadline deadline = never;  // reconnecting does not go on past this
  Cancellation* cancellation = nullptr;
  Slot slot = 0;  // of the keys, on a cluster
};

}  // namespace redis_lock::detail
