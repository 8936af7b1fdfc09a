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
#include <redis_lock/detail/lock/hold.hpp>

/// What the members of Lock and QuorumLock have in common.
namespace redis_lock::detail {

/// Does `work`, which says whether the lock was acquired; if it throws, `error` says what.
template <class Work>
bool without_exceptions(std::error_code& error, Work&& work) noexcept {
  const CancellationPause no_cancellation;
  error.clear();
  try {
    return work();
  } catch (const std::system_error& thrown) {
    error = thrown.code();
  } catch (...) {  // all else that can happen is std::bad_alloc
    error = std::make_error_code(std::errc::not_enough_memory);
  }
  return false;
}

#ifdef __cpp_lib_jthread
/// Its stop is requested when this acquisition is lost, or at once if it is lost by now.
[[nodiscard]] inline std::stop_token lost_token(Hold& hold) {
  const auto source = [&hold] {
    const std::lock_guard guard{hold.mutex};
    if (!hold.token_source) {
      hold.token_source = std::make_shared<std::stop_source>();
      hold.request_stop = [](void* told) noexcept {
        static_cast<std::stop_source*>(told)->request_stop();
      };
    }
    return std::static_pointer_cast<std::stop_source>(hold.token_source);
  }();
  if (hold.lost) source->request_stop();  // which calls back
  return source->get_token();
}
#endif

}  // namespace redis_lock::detail
