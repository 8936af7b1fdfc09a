#pragma once

#include <exception>

#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/error.hpp>

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

/// Calls back about an exception, if there is memory for its words.
template <class Callback>
void call_back_about(const Callback& callback, const std::exception& thrown) noexcept {
  if (!callback) return;
  try {
    call_back(callback, Error{errc::connection_failed, thrown.what()});
  } catch (const std::exception&) {  // the callback is not called
  }
}

}  // namespace redis_lock::detail
