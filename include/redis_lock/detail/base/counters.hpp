#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include <redis_lock/event.hpp>
#include <redis_lock/stats.hpp>

namespace redis_lock::detail {

using std::chrono::nanoseconds;

/// Counters behind Stats. Threads update them without waiting for each other: each number is right by itself.
class Counters {
 public:
  void acquired(nanoseconds waited, bool contended) noexcept {
    add(acquired_);
    if (contended) add(contended_);
    waits_.add(waited);
  }
  void timed_out(bool contended) noexcept {
    add(timed_out_);
    if (contended) add(contended_);
  }
  void renewed() noexcept { add(renewed_); }
  void renewal_failed() noexcept { add(renewals_failed_); }
  void reconnected() noexcept { add(reconnects_); }
  /// Counts the end of a lease; `how` is released, lost or abandoned.
  void ended(Event::Kind how, nanoseconds held) noexcept {
    add(how == Event::Kind::released ? released_ : how == Event::Kind::lost ? lost_ : abandoned_);
    holds_.add(held);
  }

  [[nodiscard]] Stats snapshot() const noexcept {
    Stats stats;
    stats.acquired = acquired_;
    stats.contended = contended_;
    stats.timed_out = timed_out_;
    stats.released = released_;
    stats.renewed = renewed_;
    stats.renewals_failed = renewals_failed_;
    stats.lost = lost_;
    stats.abandoned = abandoned_;
    stats.reconnects = reconnects_;
    stats.total_wait = waits_.total();
    stats.longest_wait = waits_.longest();
    stats.total_hold = holds_.total();
    stats.longest_hold = holds_.longest();
    return stats;
  }

 private:
  using Count = std::atomic<std::uint64_t>;

  static void add(Count& count) noexcept { count.fetch_add(1, std::memory_order_relaxed); }

  class Times {
   public:
    void add(nanoseconds time) noexcept {
      if (time.count() == 0) return;
      total_.fetch_add(time.count(), std::memory_order_relaxed);
      auto longest = longest_.load(std::memory_order_relaxed);
      while (longest < time.count() &&
             !longest_.compare_exchange_weak(longest, time.count(), std::memory_order_relaxed)) {
      }
    }
    [[nodiscard]] nanoseconds total() const noexcept { return nanoseconds{total_}; }
    [[nodiscard]] nanoseconds longest() const noexcept { return nanoseconds{longest_}; }

   private:
    std::atomic<nanoseconds::rep> total_{0}, longest_{0};
  };

  Count acquired_{0}, contended_{0}, timed_out_{0}, released_{0}, renewed_{0}, renewals_failed_{0},
      lost_{0}, abandoned_{0}, reconnects_{0};
  Times waits_, holds_;
};

}  // namespace redis_lock::detail
