#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/thread.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/callbacks.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock::detail {

/// A thread with a schedule of leases: extends those that are due, by way of Work, and reports those that are lost. The
/// first lock that needs it starts it. Callbacks run on other threads: see Callbacks.
class Renewer : public std::enable_shared_from_this<Renewer>, private Pinned {
 public:
  /// What the thread calls. It holds its mutex only while it calls place_of. Without memory, these throw.
  struct Work {
    /// Extends leases that are all in one place, and returns as many outcomes. Blocks until `limit` at most.
    std::function<Renewals(const Leases& batch, Time limit)> extend;
    /// Returns the server of the leases with this slot. If it is null, all leases are in one place.
    std::function<Address(Slot)> place_of;
    /// Does what maintain_by() has planned. Returns when to do it again.
    std::function<Time()> maintain;
  };

  Renewer(milliseconds command_timeout, Work work)
      : command_timeout_(command_timeout), work_(std::move(work)) {}

  /// Makes sure that the thread runs. Throws a Failure of errc::no_thread if it cannot be started.
  void start() {
    const std::lock_guard guard{mutex_};
    if (thread_.joinable()) return;
    thread_ = without_signals([self = shared_from_this()] { self->run(); });
  }

  /// Ends the thread and those of the callbacks. If a callback calls this, its thread ends after the callback.
  void stop() {
    {
      const std::lock_guard guard{mutex_};
      stopping_ = true;
    }
    wake_.notify_all();
    if (thread_.joinable()) join_or_detach(thread_);
    callbacks_->stop();
  }

  /// Returns the runner of this thread's callbacks.
  [[nodiscard]] const std::shared_ptr<Callbacks>& callbacks() const noexcept { return callbacks_; }

  /// Renews the lease from now on, if it is to be renewed, and reports its loss.
  void watch(const std::shared_ptr<Lease>& lease) {
    const std::lock_guard guard{mutex_};
    const bool watched = lease->scheduled || lease->in_flight;
    if (!watched && !lease->lost && !lease->forgotten) {
      lease->watched = true;
      schedule(lease);
    }
  }

  void maintain_soon() { maintain_by(Time::clock::now() + maintenance_interval); }
  /// Plans to run `maintain` at this time, or later if the thread does not run by then.
  void maintain_by(Time time) {
    const std::lock_guard guard{mutex_};
    maintain_at_ = std::min(maintain_at_, time);
    if (maintain_at_ < wakes_at_) wake_.notify_all();
  }

  /// Waits for the end of a renewal of this lock. None is sent before resume(). If another thread has found a loss
  /// meanwhile, resume() makes it known.
  void pause(Lease& lease) {
    std::unique_lock guard{mutex_};
    pause(guard, lease);
  }
  void resume(const std::shared_ptr<Lease>& lease) {
    const std::lock_guard guard{mutex_};
    lease->paused = false;
    if (lease->scheduled) reschedule(*lease);
  }

  /// Waits for the end of a renewal of this lock. None is sent later, and no callback begins that reports its
  /// renewals or its loss.
  void forget(Lease& lease) {
    std::unique_lock guard{mutex_};
    lease.forgotten = true;
    pause(guard, lease);
    if (lease.scheduled) unschedule(lease);
  }

 private:
  /// Leases by the time at which there is something to do.
  using Schedule = std::map<std::pair<Time, const Lease*>, std::shared_ptr<Lease>>;

  static constexpr std::size_t largest_batch = 256;        // leases in one write
  static constexpr milliseconds longest_retry_pause{100};  // after a renewal that failed
  /// Renewals that are due this soon go with those that are due.
  static constexpr milliseconds together{250};
  static constexpr milliseconds maintenance_interval{100};
  /// Sleep is counted on a clock that stands still while the machine is suspended. Leases are not.
  static constexpr std::chrono::seconds longest_sleep{1};

  [[nodiscard]] static Time renewal_due(const Lease& lease) {
    const auto end = lease.expires_at.load();
    if (lease.paused || end == never) return never;
    const auto duration = lease.renewal();
    const auto interval = duration / 3 - std::min(lease.advance, duration / 30);
    const auto due = std::max(end - duration + interval, lease.retry_at);
    return due < lease.renewed_until ? due : never;
  }

  void pause(std::unique_lock<std::mutex>& guard, Lease& lease) {
    const CancellationPause no_cancellation;
    lease.paused = true;
    settled_.wait(guard, [&] { return !lease.in_flight; });
  }

  [[nodiscard]] static Time due(const Lease& lease) {
    return lease.lost ? Time::min() : std::min(lease.last_instant(), renewal_due(lease));
  }

  /// Wakes the thread if it would look too late at this lease, or sleeps on after the machine was suspended.
  void wake_for(const Lease& lease) {
    const bool oversleeps = wakes_at_ != Time::min() && wakes_at_ < Time::clock::now();
    if (lease.due < wakes_at_ || oversleeps) wake_.notify_all();
  }

  void schedule(const std::shared_ptr<Lease>& lease) {
    lease->due = due(*lease);
    if (spare_) {
      spare_.key() = {lease->due, lease.get()};
      spare_.mapped() = lease;
      schedule_.insert(std::move(spare_));
    } else {
      schedule_.emplace(std::pair{lease->due, lease.get()}, lease);
    }
    lease->scheduled = true;
    wake_for(*lease);
  }
  void unschedule(Lease& lease) {
    spare_ = schedule_.extract({lease.due, &lease});
    spare_.mapped().reset();
    lease.scheduled = false;
  }
  /// Moves a lease to its new time. Needs no memory, so that no lease drops out.
  void reschedule(Lease& lease) {
    auto entry = schedule_.extract({lease.due, &lease});
    entry.key().first = lease.due = due(lease);
    schedule_.insert(std::move(entry));
    wake_for(lease);
  }
  void run() {
    callbacks_->serve_this_thread();
    std::unique_lock guard{mutex_};
    while (!stopping_) {
      try {
        work(guard);
      } catch (const std::exception&) {  // no memory: what was to be done is still due
        if (!guard.owns_lock()) guard.lock();
        wake_.wait_for(guard, longest_retry_pause / 10);
      }
    }
  }

  void work(std::unique_lock<std::mutex>& guard) {
    while (!stopping_) {
      const auto now = Time::clock::now();
      if (maintain_at_ <= now) {
        maintain_at_ = never;
        guard.unlock();
        auto next = now + maintenance_interval;
        try {
          next = work_.maintain();
        } catch (const std::exception&) {  // no memory
        }
        guard.lock();
        maintain_at_ = std::min(maintain_at_, next);
        continue;
      }
      if (schedule_.empty() || schedule_.begin()->first.first > now) {
        wakes_at_ =
            std::min(maintain_at_, schedule_.empty() ? never : schedule_.begin()->first.first);
        if (wakes_at_ == never) {
          wake_.wait(guard);
        } else {
          wakes_at_ = std::min(wakes_at_, now + longest_sleep);
          wake_.wait_until(guard, waitable(wakes_at_));
        }
        wakes_at_ = Time::min();
        continue;
      }
      Leases lost;
      auto batch = find_due(now, lost);
      if (lost.empty()) {
        renew(guard, batch);
      } else {  // first: a callback may release or extend other due leases
        for (const auto& lease : lost) {
          unschedule(*lease);
          lease->found_lost(lease->presumed_loss(now));
          lease->lost = true;  // so that watch() does not report it twice
        }
        tell_losses(guard, lost, now);
      }
      guard.unlock();  // a callback of the lock may hold the last Client, which calls stop()
      batch.clear();
      lost.clear();
      guard.lock();
    }
  }

  /// Finds what to do now: puts lost leases into `lost`, and returns those to renew, all on one server.
  [[nodiscard]] Leases find_due(Time now, Leases& lost) {
    Leases batch;
    Address server;
    auto next = schedule_.begin();
    while (next != schedule_.end() && next->first.first <= now + together &&
           batch.size() < largest_batch) {
      const auto lease = (next++)->second;
      const bool is_lost = lease->lost || lease->last_instant() <= now;
      const bool is_early = lease->due > now && lease->due - now > lease->renewal() / 30;
      if (!is_lost && is_early) continue;
      if (!is_lost && renewal_due(*lease) == never) {  // paused or extended since it was scheduled
        if (lease->due <= now) reschedule(*lease);
        continue;
      }
      if (!is_lost) {
        auto where = work_.place_of ? work_.place_of(lease->slot) : Address{};
        if (batch.empty())
          server = std::move(where);
        else if (where != server)
          continue;
      }
      (is_lost ? lost : batch).push_back(lease);
    }
    return batch;
  }

  /// Reports the loss of each lock that is not released meanwhile.
  void tell_losses(std::unique_lock<std::mutex>& guard, const Leases& leases, Time now) {
    for (const auto& lease : leases) {
      if (lease->forgotten) continue;
      guard.unlock();
      if (lease->is_told_loss()) {
        call_back_later(lease, Callbacks::Urgency::urgent, [now](Lease& of) { of.tell_loss(now); });
      } else {
        lease->tell_loss(now);
      }
      guard.lock();
    }
  }

  /// Has another thread call `tell(Lease&)`, unless the lock is released by then. Call it with the mutex unlocked.
  template <class Tell>
  void call_back_later(const std::shared_ptr<Lease>& lease, Callbacks::Urgency urgency,
                       const Tell& tell) {
    const auto task = [lease, tell] {
      if (!lease->forgotten && !lease->observer->is_closed()) tell(*lease);
    };
    callbacks_->post(lease->observer.get(), task, urgency);
  }

  void renew(std::unique_lock<std::mutex>& guard, const Leases& batch) {
    if (batch.empty()) return;
    Leases renewed, failed;  // those with an on_event callback
    renewed.reserve(batch.size());
    failed.reserve(batch.size());
    for (const auto& lease : batch) lease->in_flight = true;
    const auto full_limit = Time::clock::now() + command_timeout_;
    auto limit = full_limit;
    for (const auto& lease : batch) limit = std::min(limit, lease->last_instant());
    for (const auto& [due, lease] : schedule_) {
      if (due.first >= limit) break;
      if (due.first == Time::min() || lease->in_flight) continue;  // lost, or in the batch
      // Leases on other servers must not be lost because this server does not answer.
      const auto last = lease->last_instant();
      const bool elsewhere = lease->slot != batch.front()->slot;
      limit = std::min(limit, elsewhere ? due.first + (last - due.first) / 2 : last);
    }
    guard.unlock();
    const auto sent = Time::clock::now();
    Renewals renewals;
    try {
      renewals = work_.extend(batch, limit);
    } catch (const std::exception&) {  // no memory: treated like a missing answer
    }
    guard.lock();
    // Needs no memory: a lease that stayed in flight would block its release for ever.
    const Renewal unanswered{{}, true, {}};
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const auto& renewal = i < renewals.size() ? renewals[i] : unanswered;
      const auto outcome = settle(*batch[i], renewal, sent, limit < full_limit);
      if (outcome == Outcome::lost || !batch[i]->observer->is_told()) continue;
      (outcome == Outcome::renewed ? renewed : failed).push_back(batch[i]);
    }
    settled_.notify_all();
    if (renewed.empty() && failed.empty()) return;
    guard.unlock();
    for (const auto& lease : renewed) {
      call_back_later(lease, Callbacks::Urgency::optional,
                      [sent](Lease& of) { of.tell_renewal(sent); });
    }
    for (const auto& lease : failed) {
      call_back_later(
          lease, Callbacks::Urgency::optional,
          [sent, why = lease->latest_failure()](Lease& of) { of.tell_failure(why, sent); });
    }
    guard.lock();
  }

  enum class Outcome : unsigned char { renewed, failed, lost };

  /// Applies the outcome of a renewal, and returns it. `is_cut`: the server had less than command_timeout to answer.
  Outcome settle(Lease& lease, const Renewal& renewal, Time sent, bool is_cut) {
    auto outcome = Outcome::lost;
    if (!renewal.result) {
      if (renewal.may_run_later) lease.extension_in_doubt(lease.expire);
      const auto pause = std::min(lease.renewal() / 20, longest_retry_pause);
      lease.retry_at = Time::clock::now() + std::max(pause, milliseconds{1});
      lease.renewal_failed(renewal.failure, sent, is_cut);
      outcome = Outcome::failed;
    } else if (is_lost(*renewal.result)) {
      lease.found_lost(reason_of(*renewal.result));
      lease.refused = lease.lost = true;
    } else {
      lease.extended(sent, lease.expire);
      lease.renewal_worked();
      lease.observer->counters().renewed();
      outcome = Outcome::renewed;
    }
    lease.in_flight = false;
    reschedule(lease);
    return outcome;
  }

  const milliseconds command_timeout_;
  const Work work_;
  const std::shared_ptr<Callbacks> callbacks_ = std::make_shared<Callbacks>();
  std::thread thread_;
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_, settled_;
  Schedule schedule_;
  Schedule::node_type spare_;    // of the latest lease that was taken out, for the next one
  Time wakes_at_ = Time::min();  // when the sleeping thread will look again
  Time maintain_at_ = never;
  bool stopping_ = false;
};

/// A pause of one lock's renewals. An extension and a renewal must not cross, because the one that Redis sees last
/// counts.
class PauseRenewal : Pinned {
 public:
  /// `renewer` may be null: then there is nothing to pause.
  PauseRenewal(Renewer* renewer, std::shared_ptr<Lease> lease)
      : renewer_(renewer), lease_(std::move(lease)) {
    if (renewer_) renewer_->pause(*lease_);
  }
  ~PauseRenewal() {
    if (renewer_) renewer_->resume(lease_);
  }

 private:
  Renewer* const renewer_;
  const std::shared_ptr<Lease> lease_;
};

}  // namespace redis_lock::detail
