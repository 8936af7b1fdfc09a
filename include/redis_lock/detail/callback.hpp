#pragma once

#include <redis_lock/detail/thread_identity.hpp>

namespace redis_lock::detail {

/// Calls back the application, if it wants to be. What the callback throws is swallowed, as Options
/// says: there is nobody left to tell.
template <class Callback, class Argument>
void call_back(const Callback& callback, const Argument& argument) noexcept {
  if (!callback) return;
  const CancellationPause no_cancellation;
  try {
    callback(argument);
  } catch (...) {
  }
}

}  // namespace redis_lock::detail
