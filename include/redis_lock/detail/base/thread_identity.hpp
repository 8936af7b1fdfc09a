#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace redis_lock::detail {

/// Returns a number that no other thread of this process has or had. The system reuses each std::thread::id.
[[nodiscard]] inline std::uint64_t this_thread_number() noexcept {
  static std::atomic<std::uint64_t> latest{0};
  thread_local const std::uint64_t number = latest.fetch_add(1, std::memory_order_relaxed) + 1;
  return number;
}

/// A pause in which pthread_cancel() does not end the calling thread: a request takes effect afterwards. For code
/// that must not throw, because cancellation unwinds the stack like an exception (pthreads(7),
/// pthread_setcancelstate(3)).
class CancellationPause {
 public:
  CancellationPause() noexcept { ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  CancellationPause(const CancellationPause&) = delete;
  CancellationPause(CancellationPause&&) = delete;
  CancellationPause& operator=(const CancellationPause&) = delete;
  CancellationPause& operator=(CancellationPause&&) = delete;
  ~CancellationPause() { ::pthread_setcancelstate(before_, nullptr); }

 private:
  int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace redis_lock::detail
