#pragma once

#include <memory>
#include <mutex>
#include <system_error>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_jthread
#include <stop_token>
#endif

#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/lease.hpp>

/// Common parts of the members of Lock and QuorumLock.
namespace redis_lock::detail {

/// Runs `work`, which returns whether the lock was acquired. If it throws, sets `error` to the code.
template <class Work>
bool without_exceptions(std::error_code& error, Work&& work) noexcept {
  const CancellationPause no_cancellation;
  error.clear();
  try {
    return work();
  } catch (const std::system_error& thrown) {
    error = thrown.code();
  } catch (...) {  // only std::bad_alloc is left
    error = std::make_error_code(std::errc::not_enough_memory);
  }
  return false;
}

#ifdef __cpp_lib_jthread
/// Returns a token whose stop is requested when this acquisition is lost, or at once if it is lost by now.
[[nodiscard]] inline std::stop_token lost_token(Lease& lease) {
  const auto source = [&lease] {
    const std::lock_guard guard{lease.mutex};
    if (!lease.token_source) {
      lease.token_source = std::make_shared<std::stop_source>();
      lease.request_stop = [](void* told) noexcept {
        static_cast<std::stop_source*>(told)->request_stop();
      };
    }
    return std::static_pointer_cast<std::stop_source>(lease.token_source);
  }();
  if (lease.lost) source->request_stop();  // runs the token's callbacks
  return source->get_token();
}
#endif

}  // namespace redis_lock::detail
