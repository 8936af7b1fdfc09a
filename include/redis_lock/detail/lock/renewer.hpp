#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/thread.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/callbacks.hpp>
#include <redis_lock/detail/lock/hold.hpp>
#include <redis_lock/detail/lock/renewal_connections.hpp>
#include <redis_lock/detail/net/pool.hpp>
#include <redis_lock/detail/net/servers.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock::detail {

/// A thread that renews the leases of all locks held through one Client, and reports those that are lost. The first
/// lock that needs it starts it. It has a connection of its own to each server. If it cannot open one, it renews on
/// an idle connection of the pool. Callbacks run on other threads: see Callbacks.
class Renewer : public std::enable_shared_from_this<Renewer> {
 public:
  /// The thread runs `tidy` for tidy_by(); `tidy` returns when to run it again. `pool` outlives the thread. It may be
  /// null: then nothing can be borrowed.
  Renewer(const Endpoint& endpoint, std::shared_ptr<Servers> servers, std::function<Time()> tidy,
          Pool* pool = nullptr)
      : command_timeout_(endpoint.command_timeout),
        servers_(std::move(servers)),
        tidy_(std::move(tidy)),
        connections_(servers_, pool) {}
  virtual ~Renewer() = default;
  Renewer(const Renewer&) = delete;
  Renewer(Renewer&&) = delete;
  Renewer& operator=(const Renewer&) = delete;
  Renewer& operator=(Renewer&&) = delete;

  /// Makes sure that the thread runs. Throws a Fault of errc::no_thread if it cannot be started.
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

  void watch(const std::shared_ptr<Hold>& hold) {
    const std::lock_guard guard{mutex_};
    const bool watched = hold->scheduled || hold->in_flight;
    if (!watched && !hold->lost && !hold->forgotten) {
      hold->watched = true;
      schedule(hold);
    }
  }

  void tidy_soon() { tidy_by(Time::clock::now() + tidy_interval); }
  /// Plans to run `tidy` at this time, or later if the thread does not run by then.
  void tidy_by(Time time) {
    const std::lock_guard guard{mutex_};
    tidy_at_ = std::min(tidy_at_, time);
    if (tidy_at_ < wakes_at_) wake_.notify_all();
  }

  /// Waits for the end of a renewal of this lock. None is sent before resume(). If another thread has found a loss
  /// meanwhile, resume() makes it known.
  void pause(Hold& hold) {
    std::unique_lock guard{mutex_};
    pause(guard, hold);
  }
  void resume(const std::shared_ptr<Hold>& hold) {
    const std::lock_guard guard{mutex_};
    hold->paused = false;
    if (hold->scheduled) reschedule(*hold);
  }

  /// Waits for the end of a renewal of this lock. None is sent later, and no callback begins that reports its
  /// renewals or its loss.
  void forget(Hold& hold) {
    std::unique_lock guard{mutex_};
    hold.forgotten = true;
    pause(guard, hold);
    if (hold.scheduled) unschedule(hold);
  }

  using Holds = std::vector<std::shared_ptr<Hold>>;

 private:
  /// Leases by the time at which there is something to do.
  using Schedule = std::map<std::pair<Time, const Hold*>, std::shared_ptr<Hold>>;

  static constexpr std::size_t largest_batch = 256;        // leases in one write
  static constexpr milliseconds longest_retry_pause{100};  // after a renewal that failed
  /// Renewals that are due this soon go with those that are due.
  static constexpr milliseconds together{250};
  static constexpr milliseconds tidy_interval{100};
  /// Sleep is counted on a clock that stands still while the machine is suspended. Leases are not.
  static constexpr std::chrono::seconds longest_sleep{1};

  [[nodiscard]] static Time renewal_due(const Hold& hold) {
    const auto end = hold.expires_at.load();
    if (hold.paused || end == never) return never;
    const auto lease = hold.renewal();
    const auto interval = lease / 3 - std::min(hold.advance, lease / 30);
    const auto due = std::max(end - lease + interval, hold.retry_at);
    return due < hold.renewed_until ? due : never;
  }

  void pause(std::unique_lock<std::mutex>& guard, Hold& hold) {
    const CancellationPause no_cancellation;
    hold.paused = true;
    settled_.wait(guard, [&] { return !hold.in_flight; });
  }

  [[nodiscard]] static Time due(const Hold& hold) {
    return hold.lost ? Time::min() : std::min(hold.last_instant(), renewal_due(hold));
  }

  void schedule(const std::shared_ptr<Hold>& hold) {
    hold->due = due(*hold);
    schedule_.emplace(std::pair{hold->due, hold.get()}, hold);
    hold->scheduled = true;
    if (hold->due < wakes_at_) wake_.notify_all();
  }
  void unschedule(Hold& hold) {
    schedule_.erase({hold.due, &hold});
    hold.scheduled = false;
  }
  /// Moves a lease to its new time. Needs no memory, so that no lease drops out.
  void reschedule(Hold& hold) {
    auto entry = schedule_.extract({hold.due, &hold});
    entry.key().first = hold.due = due(hold);
    schedule_.insert(std::move(entry));
    if (hold.due < wakes_at_) wake_.notify_all();
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
      if (tidy_at_ <= now) {
        tidy_at_ = never;
        guard.unlock();
        auto next = now + tidy_interval;
        try {
          next = tidy_();
        } catch (const std::exception&) {  // no memory
        }
        guard.lock();
        tidy_at_ = std::min(tidy_at_, next);
        continue;
      }
      if (schedule_.empty() || schedule_.begin()->first.first > now) {
        wakes_at_ = std::min(tidy_at_, schedule_.empty() ? never : schedule_.begin()->first.first);
        if (wakes_at_ == never) {
          wake_.wait(guard);
        } else {
          wake_.wait_until(guard, waitable(std::min(wakes_at_, now + longest_sleep)));
        }
        wakes_at_ = Time::min();
        continue;
      }
      Holds lost;
      const auto batch = find_due(now, lost);
      if (lost.empty()) {
        renew(guard, batch);
      } else {  // first: a callback may release or extend other due leases
        for (const auto& hold : lost) {
          unschedule(*hold);
          hold->found_lost(hold->presumed_loss(now));
          hold->lost = true;  // so that watch() does not report it twice
        }
        tell_losses(guard, lost, now);
      }
    }
  }

  /// Finds what to do now: puts lost leases into `lost`, and returns those to renew, all on one server.
  [[nodiscard]] Holds find_due(Time now, Holds& lost) {
    Holds batch;
    Address server;
    auto next = schedule_.begin();
    while (next != schedule_.end() && next->first.first <= now + together &&
           batch.size() < largest_batch) {
      const auto hold = (next++)->second;
      const bool is_lost = hold->lost || hold->last_instant() <= now;
      const bool is_early = hold->due > now && hold->due - now > hold->renewal() / 30;
      if (!is_lost && is_early) continue;
      if (!is_lost && renewal_due(*hold) == never) {  // paused or extended since it was scheduled
        if (hold->due <= now) reschedule(*hold);
        continue;
      }
      if (!is_lost) {
        auto where = servers_->presumed_server_of(hold->slot);
        if (batch.empty())
          server = std::move(where);
        else if (where != server)
          continue;
      }
      (is_lost ? lost : batch).push_back(hold);
    }
    return batch;
  }

  /// Reports the loss of each lock that is not released meanwhile.
  void tell_losses(std::unique_lock<std::mutex>& guard, const Holds& holds, Time now) {
    for (const auto& hold : holds) {
      if (hold->forgotten) continue;
      guard.unlock();
      if (hold->is_told_loss()) {
        call_back_later(hold, Callbacks::Urgency::urgent, [now](Hold& of) { of.tell_loss(now); });
      } else {
        hold->tell_loss(now);
      }
      guard.lock();
    }
  }

  /// Has another thread call `tell(Hold&)`, unless the lock is released by then. Call it with the mutex unlocked.
  template <class Tell>
  void call_back_later(const std::shared_ptr<Hold>& hold, Callbacks::Urgency urgency,
                       const Tell& tell) {
    const auto task = [hold, tell] {
      if (!hold->forgotten && !hold->account->is_closed()) tell(*hold);
    };
    callbacks_->post(hold->account.get(), task, urgency);
  }

  void renew(std::unique_lock<std::mutex>& guard, const Holds& batch) {
    if (batch.empty()) return;
    Holds renewed, failed;  // those with an on_event callback
    renewed.reserve(batch.size());
    failed.reserve(batch.size());
    for (const auto& hold : batch) hold->in_flight = true;
    auto limit = Time::clock::now() + command_timeout_;
    for (const auto& hold : batch) limit = std::min(limit, hold->last_instant());
    for (const auto& [due, hold] : schedule_) {
      if (due.first >= limit) break;
      if (due.first == Time::min() || hold->in_flight) continue;  // lost, or in the batch
      // Leases on other servers must not be lost because this server does not answer.
      const auto last = hold->last_instant();
      const bool elsewhere = hold->slot != batch.front()->slot;
      limit = std::min(limit, elsewhere ? due.first + (last - due.first) / 2 : last);
    }
    guard.unlock();
    const auto sent = Time::clock::now();
    Renewals renewals;
    try {
      renewals = extend_all(batch, limit);
    } catch (const std::exception&) {  // no memory: treated like a missing answer
    }
    guard.lock();
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const auto outcome = settle(*batch[i], renewals, i, sent);
      if (outcome == Outcome::lost || !batch[i]->account->is_told()) continue;
      (outcome == Outcome::renewed ? renewed : failed).push_back(batch[i]);
    }
    settled_.notify_all();
    if (renewed.empty() && failed.empty()) return;
    guard.unlock();
    for (const auto& hold : renewed) {
      call_back_later(hold, Callbacks::Urgency::optional,
                      [sent](Hold& of) { of.tell_renewal(sent); });
    }
    for (const auto& hold : failed) {
      call_back_later(
          hold, Callbacks::Urgency::optional,
          [sent, why = hold->latest_failure()](Hold& of) { of.tell_failure(why, sent); });
    }
    guard.lock();
  }

  enum class Outcome : unsigned char { renewed, failed, lost };

  /// Applies the outcome of the renewal number `i`, and returns it.
  Outcome settle(Hold& hold, const Renewals& renewals, std::size_t i, Time sent) {
    auto outcome = Outcome::lost;
    const auto& reply = renewals.reply(i);
    if (reply.kind != Reply::Kind::integer) {
      if (!reply.is_error()) hold.extension_in_doubt(hold.expire);
      const auto pause = std::min(hold.renewal() / 20, longest_retry_pause);
      hold.retry_at = Time::clock::now() + std::max(pause, milliseconds{1});
      try {
        hold.renewal_failed(renewals.fault_of(i), sent);
      } catch (const std::exception&) {  // no memory for the text
        hold.account->counters().renewal_failed();
      }
      outcome = Outcome::failed;
    } else if (const auto extension = extension_of(reply); is_lost(extension)) {
      hold.found_lost(reason_of(extension));
      hold.refused = hold.lost = true;
    } else {
      hold.extended(sent, hold.expire);
      hold.renewal_worked();
      hold.account->counters().renewed();
      outcome = Outcome::renewed;
    }
    hold.in_flight = false;
    reschedule(hold);
    return outcome;
  }

  /// Sends all extensions in one write. One that got no answer has a reply that is not an integer.
  [[nodiscard]] virtual Renewals extend_all(const Holds& batch, Time limit) {
    std::vector<ScriptCall> calls;
    for (const auto& hold : batch)
      calls.push_back(extend_call(hold->key, hold->id, hold->expire_text));
    auto renewals = connections_.evaluate(batch.front()->slot, calls, limit);
    if (connections_.left_failed_releases()) tidy_soon();
    return renewals;
  }

  const milliseconds command_timeout_;
  const std::shared_ptr<Servers> servers_;
  const std::function<Time()> tidy_;
  const std::shared_ptr<Callbacks> callbacks_ = std::make_shared<Callbacks>();
  RenewalConnections connections_;  // used by the thread alone
  std::thread thread_;
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_, settled_;
  Schedule schedule_;
  Time wakes_at_ = Time::min();  // when the sleeping thread will look again
  Time tidy_at_ = never;
  bool stopping_ = false;
};

/// A pause of one lock's renewals. An extension and a renewal must not cross, because the one that Redis sees last
/// counts.
class PauseRenewal {
 public:
  /// `renewer` may be null: then there is nothing to pause.
  PauseRenewal(Renewer* renewer, std::shared_ptr<Hold> hold)
      : renewer_(renewer), hold_(std::move(hold)) {
    if (renewer_) renewer_->pause(*hold_);
  }
  PauseRenewal(const PauseRenewal&) = delete;
  PauseRenewal(PauseRenewal&&) = delete;
  PauseRenewal& operator=(const PauseRenewal&) = delete;
  PauseRenewal& operator=(PauseRenewal&&) = delete;
  ~PauseRenewal() {
    if (renewer_) renewer_->resume(hold_);
  }

 private:
  Renewer* const renewer_;
  const std::shared_ptr<Hold> hold_;
};

}  // namespace redis_lock::detail
