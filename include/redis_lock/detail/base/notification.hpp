#pragma once

#include <condition_variable>
#include <mutex>

#include <redis_lock/detail/base/deadline.hpp>

namespace redis_lock::detail {

/// A wake-up flag for one thread that waits for events from several places.
class Notification {
 public:
  void notify() {
    const std::lock_guard guard{mutex_};
    is_notified_ = true;
    changed_.notify_all();
  }
  /// Returns when notify() was called since the last wait, or at `deadline`.
  void wait_until(Time deadline) {
    std::unique_lock guard{mutex_};
    changed_.wait_until(guard, waitable(deadline), [this] { return is_notified_; });
    is_notified_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_notified_ = false;  // guarded by mutex_
};

}  // namespace redis_lock::detail
