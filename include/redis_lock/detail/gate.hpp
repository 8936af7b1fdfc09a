#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>

#include <redis_lock/detail/cancellation.hpp>
#include <redis_lock/detail/deadline.hpp>

namespace redis_lock::detail {

/// Where the threads that share one Lock queue, so that one of them at a time talks to Redis. A
/// timed mutex that lets them in in order of arrival, that any thread may open, and whose waiters can
/// be cancelled. Entering happens after the leaving before it, as with std::mutex.
class Gate {
 public:
  [[nodiscard]] bool try_enter() {
    const std::lock_guard guard{mutex_};
    if (closed_) return false;
    closed_ = true;
    return true;
  }

  /// Blocks until this thread is let in (true), or until the deadline or the cancellation (false).
  [[nodiscard]] bool enter(Time deadline, const Cancellation* cancellation = nullptr) {
    std::unique_lock guard{mutex_};
    if (!closed_) {
      closed_ = true;
      return true;
    }
    Waiter waiter;
    queue_.push_back(&waiter);
    const auto done = [&] { return waiter.let_in || (cancellation && cancellation->requested()); };
    if (deadline == never) {
      waiter.wake.wait(guard, done);
    } else {
      waiter.wake.wait_until(guard, deadline, done);
    }
    if (!waiter.let_in) queue_.erase(std::find(queue_.begin(), queue_.end(), &waiter));
    return waiter.let_in;
  }

  /// Lets the first waiter in, or leaves the gate open. By the thread that entered, or any other.
  void leave() {
    const std::lock_guard guard{mutex_};
    if (queue_.empty()) {
      closed_ = false;
      return;
    }
    const auto next = queue_.front();
    queue_.pop_front();
    next->let_in = true;
    next->wake.notify_one();  // under the mutex: `next` is gone as soon as its thread wakes
  }

  /// Makes the waiters look at their cancellation.
  void interrupt() {
    const std::lock_guard guard{mutex_};
    for (const auto waiter : queue_) waiter->wake.notify_one();
  }

 private:
  struct Waiter {
    std::condition_variable wake;
    bool let_in = false;
  };

  std::mutex mutex_;
  std::deque<Waiter*> queue_;
  bool closed_ = false;
};

}  // namespace redis_lock::detail
