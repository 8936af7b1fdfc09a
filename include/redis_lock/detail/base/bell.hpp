#pragma once

#include <condition_variable>
#include <mutex>

#include <redis_lock/detail/base/deadline.hpp>

namespace redis_lock::detail {

/// A wake-up flag for one thread that waits for events from several places.
class Bell {
 public:
  void ring() {
    const std::lock_guard guard{mutex_};
    rung_ = true;
    heard_.notify_all();
  }
  /// Returns when ring() was called since the last wait, or at `deadline`.
  void wait_until(Time deadline) {
    std::unique_lock guard{mutex_};
    heard_.wait_until(guard, waitable(deadline), [this] { return rung_; });
    rung_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable heard_;
  bool rung_ = false;  // guarded by mutex_
};

}  // namespace redis_lock::detail
