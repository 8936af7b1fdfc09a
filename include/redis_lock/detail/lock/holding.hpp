#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/gate.hpp>
#include <redis_lock/detail/base/process_local.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/lock/observer.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/protocol/message.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// The common part of Holder and QuorumHolder. The threads of this process queue at a gate. One of them at a time holds
/// what it has got from Redis. Events are counted and reported. `HoldType` is Lease or derived from it. Books
/// holds the rest that is kept from one acquisition to the next, guarded by the gate.
template <class HoldType, class Books>
class Holding {
 public:
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const Options& options() const noexcept { return options_; }

  /// Returns whether the latest acquisition was made in this process, or none yet.
  [[nodiscard]] bool is_here() const noexcept { return state_.is_here(); }

  /// Returns the acquisition that is held, or was lost and not released yet; null if there is none.
  [[nodiscard]] std::shared_ptr<HoldType> current() const noexcept {
    return is_here() && state_->held ? latest() : nullptr;
  }

  [[nodiscard]] std::string id() const {
    const auto lease = latest();
    return lease ? lease->id : options_.id;
  }

  /// Returns why the present or latest acquisition was lost; none if it was not.
  [[nodiscard]] LossReason loss_reason() const noexcept {
    const auto lease = latest();
    return lease ? lease->loss_reason() : LossReason::none;
  }

  /// Makes the waiters of this process check their cancellation.
  void interrupt() { state_->gate.interrupt(); }

 protected:
  struct State {
    State(const Options& options, std::shared_ptr<const Observer> to)
        : observer(std::move(to)), books(options) {}

    const std::shared_ptr<const Observer> observer;
    Gate gate;
    Books books;
    std::atomic<bool> held{false};         // `latest` is not released yet
    std::atomic<std::uint64_t> thread{0};  // this_thread_number() of the holder
    std::mutex mutex;                      // guards `latest` for threads outside the gate
    std::shared_ptr<HoldType> latest;

    [[nodiscard]] bool is_held_by_this_thread() const noexcept {
      return held.load(std::memory_order_relaxed) &&
             thread.load(std::memory_order_relaxed) == this_thread_number();
    }
  };

  /// `counters()` returns those of the process in which it is called.
  template <class GetCounters>
  Holding(std::string name, Options options, GetCounters counters)
      : name_(std::move(name)), options_(std::move(options)), state_{[this, counters] {
          return std::make_unique<State>(
              options_, std::make_shared<const Observer>(counters(), name_, options_));
        }} {}
  ~Holding() = default;
  Holding(const Holding&) = delete;
  Holding(Holding&&) = delete;
  Holding& operator=(const Holding&) = delete;
  Holding& operator=(Holding&&) = delete;

  /// Returns the present or latest acquisition of this process; null if there is none.
  [[nodiscard]] std::shared_ptr<HoldType> latest() const noexcept {
    if (!is_here()) return nullptr;
    const std::lock_guard guard{state_->mutex};
    return state_->latest;
  }

  /// Waits for its turn in this process. If `take_over(State&)` returns a time, the lock is what was left here, held
  /// since then. Otherwise `get(State&, bool& contended)` acquires it and returns the new `latest`, or nothing.
  template <class TakeOver, class Get>
  [[nodiscard]] bool acquire_by(const char* operation, const Deadline& deadline,
                                Cancellation* cancellation, Renewer* renewer,
                                const TakeOver& take_over, const Get& get) {
    auto& state = *state_;
    const bool is_inside = state.is_held_by_this_thread() && replaces_lost(state, renewer);
    if (!is_inside && deadline.at() == never && state.is_held_by_this_thread()) {
      throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                              describe(operation, name_) + "this thread holds it");
    }
    bool contended = !is_inside && !state.gate.try_enter();
    auto called = contended ? Time::clock::now() : Time::max();
    const auto give_up = [&] {
      const bool cancelled = cancellation && cancellation->requested();
      if (!cancelled) state.observer->counters().timed_out(contended);
      return false;
    };
    if (contended && !(deadline.at() > called && state.gate.enter(deadline, cancellation)))
      return give_up();
    LeaveGate leave{&state.gate};
    auto acquired = Time::min();
    if (const std::optional<Time> taken = take_over(state)) {
      acquired = *taken;
      called = std::min(called, acquired);
    } else {
      if (!contended) called = Time::clock::now();
      auto lease = get(state, contended);
      if (!lease) return give_up();
      acquired = Time::clock::now();
      const std::lock_guard guard{state.mutex};
      state.latest = std::move(lease);
    }
    state.latest->since.store(acquired, std::memory_order_relaxed);
    state.latest->ended.store(false, std::memory_order_relaxed);  // set by a hand-off
    state.observer->counters().acquired(acquired - called, contended);
    const auto told = state.observer->is_told() ? state.latest : nullptr;
    leave.gate = nullptr;
    state.thread.store(this_thread_number(), std::memory_order_relaxed);
    state.held.store(true, std::memory_order_release);
    if (told) state.observer->tell(Event::Kind::acquired, told->id, acquired - called);
    return true;
  }

  /// If what this thread holds is lost, ends it and returns true: the thread is inside the gate and holds nothing.
  [[nodiscard]] bool replaces_lost(State& state, Renewer* renewer) {
    const auto lease = latest();
    if (lease->owned() || !state.held.exchange(false, std::memory_order_acq_rel)) return false;
    LeaveGate leave{&state.gate};
    lease->end(Event::Kind::lost);
    report_loss(renewer, lease);
    leave.gate = nullptr;
    return true;
  }

  /// Returns the state, and marks it as not held. Throws Error if nothing is held.
  [[nodiscard]] State& take_held() {
    if (!is_here() || !state_->held.exchange(false, std::memory_order_acq_rel)) {
      throw error("unlock", errc::not_owned, "it is not held");
    }
    return *state_;
  }

  /// Has `free(const std::shared_ptr<HoldType>&)` release what was held, and lets others in. `free` returns how it
  /// ended, or nothing if that is reported later. It throws Error if that cannot be found out.
  template <class Free>
  void release_by(State& state, const Free& free) {
    const auto lease = state.latest;
    std::optional<Event::Kind> how;
    try {
      const LeaveGate leave{&state.gate};
      if (options_.min_hold > milliseconds::zero()) keep(*lease);
      how = free(lease);
    } catch (...) {
      lease->end(Event::Kind::abandoned);
      throw;
    }
    if (how) lease->end(*how);
    if (how == Event::Kind::lost) throw lost_error("unlock", *lease);
  }

  [[nodiscard]] std::shared_ptr<HoldType> held(const char* operation) const {
    auto lease = current();
    if (!lease) throw error(operation, errc::not_owned, "it is not held");
    return lease;
  }

  /// Sets what all acquisitions have in common.
  void prepare(State& state, HoldType& lease, const std::string& key) const {
    lease.observer = state.observer;
    lease.key = key;
    lease.expire = options_.expire;
  }

  /// Makes sure that the background thread runs. Throws Error.
  void start(Renewer& renewer, const char* operation) const {
    try {
      renewer.start();
    } catch (const Failure& failure) {
      throw error_of(operation, name_, failure);
    }
  }

  /// Waits for the end of a running callback, unless the caller is that callback.
  void await_callback_on(Renewer& renewer) const {
    const auto& observer = *state_->observer;
    observer.close();
    renewer.callbacks()->await(&observer);
  }

  /// Returns whether the background thread must know of the leases, to renew them or to report their loss.
  [[nodiscard]] bool is_watched() const {
    return options_.auto_renewal || options_.on_lost || options_.on_event;
  }

  /// Sets until when the lease is renewed, if it is to be.
  void schedule_renewals(HoldType& lease) const {
    // Leases that were acquired together drift apart, so that their renewals do not come in bursts.
    lease.advance = lease.expire / 30 / (1 + static_cast<unsigned char>(lease.id.back()) % 16);
    if (!options_.auto_renewal) return;
    lease.renewed_until =
        options_.max_hold == no_expiry ? never : after(Time::clock::now(), options_.max_hold);
  }

  /// Has `extend(HoldType&)` extend the lease while no renewal is under way. `renewer` may be null: there is none.
  template <class Extend>
  void extend_by(Renewer* renewer, const Extend& extend) {
    const std::shared_ptr<HoldType> lease = held("extend");
    if (options_.expire == no_expiry)
      throw error("extend", errc::not_expirable, "it has no expiry");
    auto result = Extension::not_ours;
    {
      const std::lock_guard one_at_a_time{lease->extending};
      const PauseRenewal pause{renewer, lease};
      if (lease->owned()) {
        result = extend(*lease);
        lease->refused = is_lost(result);
        if (lease->refused) lease->found_lost(reason_of(result));
      }
    }
    if (result == Extension::not_expirable)
      throw error("extend", errc::not_expirable, "its expiry was taken away");
    if (result != Extension::extended || lease->lost) throw lost("extend", renewer, lease);
    lease->observer->counters().renewed();
    lease->tell_renewal();
  }

  /// Reports that a lock is lost, unless that is known.
  static void report_loss(Renewer* renewer, const std::shared_ptr<HoldType>& lease) {
    lease->found_lost(lease->presumed_loss(Time::clock::now()));
    const bool known = lease->lost.exchange(true);
    if (renewer) {
      renewer->resume(lease);
    } else if (!known) {
      lease->tell_loss();
    }
  }

  /// Reports the loss now. Returns the error of the operation that found it.
  [[nodiscard]] Error lost(const char* operation, Renewer* renewer,
                           const std::shared_ptr<HoldType>& lease) const {
    report_loss(renewer, lease);
    return lost_error(operation, *lease);
  }
  [[nodiscard]] Error lost_error(const char* operation, HoldType& lease) const {
    return error_of(operation, name_, lease.loss());
  }

  [[nodiscard]] Error error(const char* operation, errc code, const char* text) const {
    return error_of(operation, name_, Failure{code, text});
  }

 private:
  /// Makes the key stay after the release for what is left of min_hold.
  void keep(HoldType& lease) const {
    const auto rest =
        std::chrono::ceil<milliseconds>(options_.min_hold - lease.held_for(Time::clock::now()));
    if (rest > milliseconds::zero()) lease.kept_for = std::to_string(rest.count());
  }

  const std::string name_;
  const Options options_;
  mutable ProcessLocal<State> state_;
};

}  // namespace redis_lock::detail
