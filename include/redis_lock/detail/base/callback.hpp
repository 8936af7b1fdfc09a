#pragma once

#include <exception>

#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/error.hpp>

namespace redis_lock::detail {

/// Runs a callback of the application, if there is one. Swallows what it throws, as Options says: no receiver is left
/// to report it to.
template <class Callback, class Argument>
void call_back(const Callback& callback, const Argument& argument) noexcept {
  if (!callback) return;
  const CancellationPause no_cancellation;
  try {
    callback(argument);
  } catch (...) {
  }
}

/// Runs a callback with the text of an exception, if there is memory for that.
template <class Callback>
void call_back_about(const Callback& callback, const std::exception& thrown) noexcept {
  if (!callback) return;
  try {
    call_back(callback, Error{errc::connection_failed, thrown.what()});
  } catch (const std::exception&) {  // no memory: the callback is not called
  }
}

}  // namespace redis_lock::detail
