#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <utility>

#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/pinned.hpp>

namespace redis_lock::detail {

/// A queue for the threads that share one Lock, so that one at a time talks to Redis: a timed mutex that any thread
/// may open, and whose waiters can be cancelled. Entering happens after the leaving before it, as with std::mutex.
///
/// leave() lets waiters in in order of arrival. open() lets in the thread that comes first, which spares the switch
/// to another thread: it is for the hand-off of what the leaving thread has.
class Gate {
 public:
  [[nodiscard]] bool try_enter() noexcept {
    bool open = false;
    return closed_.compare_exchange_strong(open, true);
  }

  /// Blocks until this thread is let in (true), or until the deadline or the cancellation (false).
  [[nodiscard]] bool enter(const Deadline& deadline, const Cancellation* cancellation = nullptr) {
    if (try_enter()) return true;
    Waiter waiter;
    std::unique_lock guard{mutex_};
    queue_.push_back(&waiter);
    waiters_ = queue_.size();
    Withdrawal withdrawal{*this, waiter};
    while (!look(waiter)) {
      const auto until = deadline.next_look();
      const bool timed_out = until != never && Time::clock::now() >= until;
      if (timed_out || (cancellation && cancellation->requested())) {
        withdrawal.gate = nullptr;
        remove(waiter);
        return try_enter();  // open() may have counted on this waiter
      }
      if (until == never) {
        waiter.wake.wait(guard);
      } else {
        waiter.wake.wait_until(guard, waitable(until));
      }
    }
    withdrawal.gate = nullptr;
    return true;
  }

  /// Lets the first waiter in, or leaves the gate open. Any thread may call it, not only the one that entered.
  void leave() {
    const std::lock_guard guard{mutex_};
    let_next_in();
  }

  /// If a thread waits, opens the gate for the first comer and returns true. Otherwise the caller stays inside.
  [[nodiscard]] bool open() {
    if (waiters_ == 0) return false;
    closed_ = false;
    if (!calling_) call();
    return waiters_ != 0 || !try_enter();  // the last waiter may have gone meanwhile
  }

  /// Makes all waiters check their cancellation.
  void interrupt() {
    const std::lock_guard guard{mutex_};
    for (const auto waiter : queue_) waiter->wake.notify_one();
  }

 private:
  struct Waiter {
    std::condition_variable wake;
    bool let_in = false;  // guarded by mutex_
    bool called = false;  // guarded by mutex_
  };

  /// A guard that removes a waiter from the queue if its thread is cancelled while it waits (pthread_cancel(3)).
  struct Withdrawal : Pinned {
    Withdrawal(Gate& of, Waiter& who) : gate(&of), waiter(who) {}
    ~Withdrawal() {
      if (gate) gate->withdraw(waiter);
    }
    Gate* gate;
    Waiter& waiter;
  };

  /// The functions below need mutex_; only call() locks it.
  void withdraw(Waiter& waiter) {
    if (waiter.let_in) return let_next_in();
    remove(waiter);
    if (!closed_ && !queue_.empty()) queue_.front()->wake.notify_one();
  }

  void let_next_in() {
    if (queue_.empty()) {
      closed_ = false;
      return;
    }
    const auto next = queue_.front();
    remove(*next);
    next->let_in = true;
    next->wake.notify_one();  // under the mutex: `next` is gone as soon as its thread wakes
  }

  /// Enters if the gate is open. Returns whether this waiter is inside.
  [[nodiscard]] bool look(Waiter& waiter) {
    if (waiter.let_in) return true;
    answer(waiter);
    if (!try_enter()) return false;
    remove(waiter);
    return true;
  }

  /// Lets the next open() wake a waiter again.
  void answer(Waiter& waiter) {
    if (std::exchange(waiter.called, false)) calling_ = false;
  }

  void remove(Waiter& waiter) {
    answer(waiter);
    queue_.erase(std::find(queue_.begin(), queue_.end(), &waiter));
    waiters_ = queue_.size();
  }

  void call() {
    const std::lock_guard guard{mutex_};
    if (queue_.empty() || calling_) return;
    calling_ = queue_.front()->called = true;
    queue_.front()->wake.notify_one();
  }

  // All three sequentially consistent: open() sees the last waiter go, or that waiter sees the open gate.
  std::atomic<bool> closed_{false};
  std::atomic<std::size_t> waiters_{0};
  std::atomic<bool> calling_{false};  // a woken waiter has not looked yet: do not wake more
  std::mutex mutex_;
  std::deque<Waiter*> queue_;  // guarded by mutex_
};

/// A guard that leaves the gate at the end of a scope. Set `gate` to null to stay inside.
struct LeaveGate : Pinned {
  explicit LeaveGate(Gate* entered) : gate(entered) {}
  ~LeaveGate() {
    if (gate) gate->leave();
  }
  Gate* gate;
};

}  // namespace redis_lock::detail
