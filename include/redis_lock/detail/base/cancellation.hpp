#pragma once

#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include <redis_lock/detail/base/deadline.hpp>

namespace redis_lock::detail {

/// A request by another thread to end one blocking call: its sleeps, and its reads from a socket of the library.
class Cancellation {
 public:
  [[nodiscard]] bool requested() const noexcept {
    return requested_.load(std::memory_order_acquire);
  }

  void request() {
    const std::lock_guard guard{mutex_};
    requested_.store(true, std::memory_order_release);
    if (socket_ >= 0) ::shutdown(socket_, SHUT_RDWR);
    wake_.notify_all();
  }

  /// Makes request() shut down `socket` from now on; -1 for none. Call it with -1 before the socket is closed.
  void watch(int socket) {
    const std::lock_guard guard{mutex_};
    socket_ = socket;
    if (socket >= 0 && requested()) ::shutdown(socket, SHUT_RDWR);
  }

  /// Returns at `time`, or as soon as cancellation is requested.
  void sleep_until(Time time) {
    std::unique_lock guard{mutex_};
    wake_.wait_until(guard, waitable(time), [this] { return requested(); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> requested_{false};
  int socket_ = -1;  // -1: none; guarded by mutex_
};

/// Sleeps until `time`, or until the cancellation is requested, if there is one.
inline void sleep_until(Time time, Cancellation* cancellation) {
  if (cancellation) return cancellation->sleep_until(time);
  std::this_thread::sleep_until(time);
}

}  // namespace redis_lock::detail
