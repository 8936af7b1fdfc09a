#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/gate.hpp>
#include <redis_lock/detail/base/random_id.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/observer.hpp>
#include <redis_lock/event.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// State of one lock object in one process: the queue of its threads, and what the thread inside holds.
template <class Lease, class Memory>
struct LocalState {
  LocalState(const Options& options, std::shared_ptr<const Observer> to)
      : observer(std::move(to)), ids(options.id_prefix) {}

  const std::shared_ptr<const Observer> observer;
  Gate gate;
  // Used inside the gate.
  IdSource ids;
  Memory memory;
  bool passed_on = false;  // the thread that enters takes over the latest acquisition
  unsigned handoffs = 0;   // since it was acquired from Redis
  CoarseClock clock;
  // Read outside, too.
  std::atomic<bool> held{false};         // `latest` is not released yet
  std::atomic<std::uint64_t> thread{0};  // this_thread_number() of the holder
  std::mutex mutex;                      // guards `latest` for threads outside the gate
  std::shared_ptr<Lease> latest;

  [[nodiscard]] bool is_held_by_this_thread() const noexcept {
    return held.load(std::memory_order_relaxed) &&
           thread.load(std::memory_order_relaxed) == this_thread_number();
  }

  [[nodiscard]] std::shared_ptr<Lease> get_latest() {
    const std::lock_guard guard{mutex};
    return latest;
  }

  /// Counts a wait that ended without the lock, unless it was cancelled. Returns false.
  [[nodiscard]] bool gave_up(bool contended, const Cancellation* cancellation) const {
    const bool cancelled = cancellation && cancellation->requested();
    if (!cancelled) observer->counters().timed_out(contended);
    return false;
  }

  /// Marks the latest acquisition as held by this thread, counts and reports it.
  void hold(Time called, Time acquired, bool contended) {
    auto& lease = *latest;
    lease.since.store(acquired, std::memory_order_relaxed);
    lease.ended.store(false, std::memory_order_relaxed);  // set by a hand-off
    observer->counters().acquired(acquired - called, contended);
    const auto told = observer->is_told() ? latest : nullptr;
    thread.store(this_thread_number(), std::memory_order_relaxed);
    held.store(true, std::memory_order_release);
    if (told) observer->tell(Event::Kind::acquired, told->id, acquired - called);
  }

  /// Hands the lock, as it is held in Redis, to the next thread of this process, if one waits.
  [[nodiscard]] bool pass_on(const Options& options) {
    auto& lease = *latest;  // the next thread's, and perhaps gone, as soon as the gate is open
    const auto now = clock.now();
    if (!is_surely_good(now, options)) return false;
    const bool was_lost = lease.ended.exchange(true, std::memory_order_relaxed);
    const auto held_for = lease.held_for(now);
    const auto told = observer->is_told() ? latest : nullptr;
    ++handoffs;
    passed_on = true;
    if (!gate.open()) {
      // Inside again: no thread took it, or one did and has left by now.
      if (std::exchange(passed_on, false)) {
        // It may be a later acquisition, passed on by another thread. Releasing it ends this thread's turn, too.
        latest->ended = was_lost;
        return false;
      }
      gate.leave();
    }
    if (was_lost) return true;
    observer->counters().ended(Event::Kind::released, held_for);
    if (told) observer->tell(Event::Kind::released, told->id, held_for);
    return true;
  }

  /// Returns whether the next holder can rely on this lease as on a new one. `coarse_now` may be behind the time.
  [[nodiscard]] bool is_surely_good(Time coarse_now, const Options& options) const {
    const auto& lease = *latest;
    const bool is_renewed = options.auto_renewal;
    const auto now = coarse_now + CoarseClock::error;
    const auto end = lease.expires_at.load(std::memory_order_relaxed);
    const auto least = is_renewed ? lease.expire / 3 : lease.expire;
    const bool in_time = end == never || end - now >= least;
    return in_time && !lease.lost && (!is_renewed || now < lease.renewed_until);
  }
};

}  // namespace redis_lock::detail
