#pragma once

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/processors.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>

namespace redis_lock::detail {

/// Whether a connection is polled for its replies before the thread sleeps. Whether that pays depends on how far the
/// server is, and on what a sleep and a wake-up cost on this machine. So the Spinner learns from the
/// replies how long they take with and without polling. It polls if that takes half the time at most: then it costs
/// about as much work of the processor as the sleep did. For one thread at a time.
class Spinner {
 public:
  /// Does not poll.
  Spinner() = default;
  /// Polls for `longest` at most; not at all if that is zero, or if there is one processor only.
  explicit Spinner(std::chrono::microseconds longest)
      : Spinner(longest, longest > longest.zero() ? processors() : 1) {}
  Spinner(std::chrono::microseconds longest, int processors)
      : longest_(longest), room_(longest > longest.zero() ? processors - 1 : 0) {}

  [[nodiscard]] Time::duration longest() const noexcept { return longest_; }
  /// Returns how many threads of the process may wait for replies if one of them is to poll. That leaves a processor
  /// to others, such as a server on this machine.
  [[nodiscard]] int room() const noexcept { return room_; }

  /// Returns whether to poll for the next reply. Tries both in turn at first, and the other one now and then.
  [[nodiscard]] bool is_due() noexcept {
    if (room_ == 0) return false;
    if (++replies_ <= first_trials)
      return replies_ % 4 < 2;  // each of two commands in turn both ways
    const bool is_trial = replies_ % between_trials == 0;
    return (2 * polled_ <= slept_) != is_trial;
  }
  /// Records how long a reply took. What disturbs a reply makes it longer: so one that took longer than the others says
  /// little, and one that took half of the time says much.
  void learn(bool polled, Time::duration took) noexcept {
    auto& average = polled ? polled_ : slept_;
    if (average == average.zero() || took < average / 2) {
      average = took;
    } else {
      average += (std::min(took, 2 * average) - average) / 8;
    }
  }

 private:
  [[nodiscard]] static int processors() {
    const CancellationPause no_cancellation;
    return usable_processors();
  }

  static constexpr unsigned first_trials = 8;
  /// A prime, as most programs send the same few commands in turn.
  static constexpr unsigned between_trials = 127;

  Time::duration longest_{};
  int room_ = 0;
  unsigned replies_ = 0;
  Time::duration polled_{}, slept_{};  // averages of the latest replies
};

/// One wait for replies that are due at once. Counts the threads of the process that wait so.
class Spin : Pinned {
 public:
  explicit Spin(Time start) : start_(start) {}
  ~Spin() {
    if (room_ > 0) --waiting_;
  }

  /// Waits for a reply on this connection, too. Returns whether to poll it.
  [[nodiscard]] bool join(Spinner& spinner) noexcept {
    if (spinner.room() == 0) return false;
    if (room_ == 0) ++waiting_;
    room_ = spinner.room();
    longest_ = spinner.longest();
    return !is_crowded() && spinner.is_due();
  }
  /// Teaches the spinner what a reply took that is there now, unless other threads have disturbed that.
  void learn(Spinner& spinner, bool polled) {
    if (room_ == 0) return;
    if (!is_crowded()) spinner.learn(polled, Time::clock::now() - start_);
  }
  /// Returns whether to poll no longer: it has taken too long, or other threads need the processors.
  [[nodiscard]] bool is_over() const noexcept {
    return is_crowded() || Time::clock::now() - start_ > longest_;
  }

 private:
  [[nodiscard]] bool is_crowded() const noexcept {
    return waiting_.load(std::memory_order_relaxed) > room_;
  }

  static inline std::atomic<int> waiting_{0};
  /// A forked child has none of the threads that its parent counts.
  static inline const int registered_ = ::pthread_atfork(nullptr, nullptr, [] { waiting_ = 0; });

  const Time start_;
  Time::duration longest_{};
  int room_ = 0;  // 0: not counted
};

/// A Spin on one connection.
class SpinOnOne : Pinned {
 public:
  SpinOnOne(Spinner& spinner, Time start)
      : spinner_(spinner), spin_(start), polled_(spin_.join(spinner)), polls_(polled_) {}
  ~SpinOnOne() { spin_.learn(spinner_, polled_); }

  /// Polls until `has_come()` returns true, and returns true. Returns false if it is better to sleep.
  template <class HasCome>
  [[nodiscard]] bool finds(const HasCome& has_come) {
    while (polls_) {
      const bool found = has_come();
      polls_ = !spin_.is_over();
      if (found) return true;
    }
    return false;
  }

 private:
  Spinner& spinner_;
  Spin spin_;
  const bool polled_;
  bool polls_;
};

}  // namespace redis_lock::detail
