#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/gate.hpp>
#include <redis_lock/detail/base/process_local.hpp>
#include <redis_lock/detail/base/random_id.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/lock/local_state.hpp>
#include <redis_lock/detail/lock/observer.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// The arguments of Backend::acquire(), besides the lease to fill in.
template <class Backend>
struct AcquireCall {
  const Deadline& deadline;        // of the wait for the lock
  const Deadline& retry_deadline;  // of the wait for Redis
  Cancellation* cancellation;
  IdSource& ids;
  typename Backend::Memory& memory;
  bool follows_release;    // the reply to the latest release of this lock may be still to come
  bool contended = false;  // set if another acquisition held or wanted the lock
};

/// One lock object in this process: its acquisitions, one after another. Its threads queue at a gate, and one of them
/// at a time holds what the Backend has got from Redis. Leases are watched, events counted and reported. Throws Error.
///
/// A Backend talks to one server or to a majority, and throws Failure. It has
///   Lease, Memory       what is kept for one acquisition, and from one to the next (guarded by the gate)
///   make_lease()        a lease that is not acquired yet
///   acquire(), release(), extend(), abandon(), owner(), reset(); of a Lock also evaluate()
///   counters(), renewer() (null: no thread renews), is_here()
template <class Backend>
class LockState {
 public:
  using Lease = typename Backend::Lease;
  using LeasePtr = std::shared_ptr<Lease>;

  /// `clients`: what the Backend is made from.
  template <class Clients>
  LockState(const Clients& clients, std::string name, Options options)
      : name_(std::move(name)),
        options_(std::move(options)),
        backend_(clients, name_, options_),
        process_{[this] {
          return std::make_unique<ProcessState>(
              options_, std::make_shared<const Observer>(backend_.counters(), name_, options_));
        }} {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] Backend& backend() noexcept { return backend_; }
  [[nodiscard]] const Backend& backend() const noexcept { return backend_; }

  /// Waits for the lock until `deadline`, and for Redis until `retry_deadline` or the end of retry_for.
  [[nodiscard]] bool acquire(const char* operation, const Deadline& deadline,
                             const Deadline& retry_deadline, Cancellation* cancellation = nullptr) {
    auto& state = *process_;
    const bool is_inside = state.is_held_by_this_thread() && replaces_lost(state);
    if (!is_inside && deadline.at() == never) refuse_holder(operation);
    bool contended = !is_inside && !state.gate.try_enter();
    auto called = contended ? Time::clock::now() : Time::max();
    if (contended && !(deadline.at() > called && state.gate.enter(deadline, cancellation)))
      return state.gave_up(contended, cancellation);
    LeaveGate leave{&state.gate};
    auto acquired = Time::min();
    if (const auto taken = take_over(state)) {
      acquired = *taken;
      called = std::min(called, acquired);
    } else {
      if (!contended) called = Time::clock::now();
      auto* const watcher = start_watcher(operation);
      auto lease = backend_.make_lease();
      lease->observer = state.observer;
      const auto* const before = state.latest.get();
      AcquireCall<Backend> call{deadline,  retry_deadline, cancellation,
                                state.ids, state.memory,   before && !before->ended};
      bool granted = false;
      try {
        granted = backend_.acquire(*lease, call);
      } catch (const Failure& failure) {
        if (!cancellation || !cancellation->requested()) throw error_of(operation, name_, failure);
      }
      contended = contended || call.contended;
      if (!granted) return state.gave_up(contended, cancellation);
      watch_new(lease, watcher);
      acquired = Time::clock::now();
      state.handoffs = 0;
      const std::lock_guard guard{state.mutex};
      state.latest = std::move(lease);
    }
    leave.gate = nullptr;
    state.hold(called, acquired, contended);
    return true;
  }

  /// Throws std::system_error if the calling thread holds the lock.
  void refuse_holder(const char* operation) const {
    if (!process_.is_here() || !process_->is_held_by_this_thread()) return;
    throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                            describe(operation, name_) + "this thread holds it");
  }

  void release() {
    auto& state = take_held();
    if (state.handoffs < options_.local_handoffs && state.pass_on(options_)) return;
    const auto lease = state.latest;
    std::optional<Event::Kind> how;
    try {
      const LeaveGate leave{&state.gate};
      if (options_.min_hold > milliseconds::zero()) keep_key(*lease);
      how = release(lease);
    } catch (...) {
      lease->end(Event::Kind::abandoned);
      throw;
    }
    if (how) lease->end(*how);
    if (how == Event::Kind::lost) throw error_of("unlock", name_, lease->loss());
  }

  /// Sets the lease while no renewal is under way.
  void extend(milliseconds duration) {
    const auto lease = held("extend");
    if (options_.expire == no_expiry)
      throw error("extend", errc::not_expirable, "it has no expiry");
    auto result = Extension::not_ours;
    {
      const std::lock_guard one_at_a_time{lease->extending};
      const PauseRenewal pause{backend_.renewer(), lease};
      if (lease->owned()) {
        result = named("extend", [&] { return backend_.extend(*lease, duration); });
        lease->refused = is_lost(result);
        if (lease->refused) lease->found_lost(reason_of(result));
      }
    }
    if (result == Extension::not_expirable)
      throw error("extend", errc::not_expirable, "its expiry was taken away");
    if (result != Extension::extended || lease->lost) throw lost("extend", lease);
    lease->observer->counters().renewed();
    lease->tell_renewal();
  }

  /// Runs a script if this acquisition still holds the lock. Check and script are one atomic step.
  Reply evaluate(const char* operation, std::string_view script,
                 const std::vector<std::string>& keys, const std::vector<std::string>& arguments) {
    const auto lease = held(operation);
    auto reason = LossReason::none;
    auto reply = named(operation,
                       [&] { return backend_.evaluate(*lease, script, keys, arguments, reason); });
    if (reply) return *std::move(reply);
    if (reason != LossReason::none) {
      lease->found_lost(reason);
      lease->refused = true;
    }
    throw lost(operation, lease);
  }

  [[nodiscard]] std::uint64_t fencing_token() const {
    const auto lease = latest();
    if (lease && lease->fencing_token != 0) return lease->fencing_token;
    throw error("fencing_token", errc::not_owned, "it was not acquired with fencing");
  }

  /// Asks for the id of the holder.
  [[nodiscard]] std::optional<std::string> owner(const char* operation) {
    return named(operation, [&] { return backend_.owner(); });
  }
  /// Asks how many permits of a Semaphore are taken.
  [[nodiscard]] long long taken(const char* operation) {
    return named(operation, [&] { return backend_.taken(); });
  }
  /// Frees the lock whatever its holder; if `id` is given, only if it is the holder's. Returns whether it was held.
  template <class... Id>
  bool reset(const Id&... id) {
    return named("reset", [&] { return backend_.reset(id...); });
  }

  /// Returns the acquisition that is held, or was lost and not released yet; null if there is none.
  [[nodiscard]] LeasePtr current() const noexcept {
    return process_.is_here() && process_->held ? latest() : nullptr;
  }
  [[nodiscard]] bool owns_lock() const noexcept {
    const auto lease = current();
    return lease && lease->owned();
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

  /// Makes the background thread report the loss of `lease`.
  void watch(const LeasePtr& lease) const {
    auto* const renewer = backend_.renewer();
    if (!renewer) return;
    start(*renewer, "lost_token");
    renewer->watch(lease);
  }
  /// Makes the waiters of this process check their cancellation.
  void interrupt() { process_->gate.interrupt(); }

  /// Waits for the end of a running callback, unless the caller is that callback.
  void await_callback() const {
    if (!process_.is_here() || !backend_.is_here() || !backend_.renewer()) return;
    const auto& observer = *process_->observer;
    observer.close();
    backend_.renewer()->callbacks()->await(&observer);
  }

 private:
  using ProcessState = LocalState<Lease, typename Backend::Memory>;

  /// Returns the present or latest acquisition of this process; null if there is none.
  [[nodiscard]] LeasePtr latest() const noexcept {
    if (!process_.is_here()) return nullptr;
    return process_->get_latest();
  }

  /// If what this thread holds is lost, ends it and returns true: the thread is inside the gate and holds nothing.
  [[nodiscard]] bool replaces_lost(ProcessState& state) {
    const auto lease = latest();
    if (lease->owned() || !state.held.exchange(false, std::memory_order_acq_rel)) return false;
    LeaveGate leave{&state.gate};
    lease->end(Event::Kind::lost);
    report_loss(lease);
    leave.gate = nullptr;
    return true;
  }

  /// Returns the thread that must know of the leases, to renew them or to report their loss; null if none must. It
  /// runs before there is a lease.
  [[nodiscard]] Renewer* start_watcher(const char* operation) const {
    if (!options_.auto_renewal && !options_.on_lost && !options_.on_event) return nullptr;
    auto* const renewer = backend_.renewer();
    if (renewer) start(*renewer, operation);
    return renewer;
  }
  void start(Renewer& renewer, const char* operation) const {
    named(operation, [&] { renewer.start(); });
  }

  void watch_new(const LeasePtr& lease, Renewer* watcher) {
    // Leases that were acquired together drift apart, so that their renewals do not come in bursts.
    lease->advance = lease->expire / 30 / (1 + static_cast<unsigned char>(lease->id.back()) % 16);
    if (options_.auto_renewal) {
      lease->renewed_until =
          options_.max_hold == no_expiry ? never : after(Time::clock::now(), options_.max_hold);
    }
    if (!watcher) return;
    try {
      watcher->watch(lease);
    } catch (const std::exception&) {  // no memory
      backend_.abandon(*lease);
      throw;
    }
  }

  /// Returns the state, and marks it as not held. Throws Error if nothing is held.
  [[nodiscard]] ProcessState& take_held() {
    if (!process_.is_here() || !process_->held.exchange(false, std::memory_order_acq_rel)) {
      throw error("unlock", errc::not_owned, "it is not held");
    }
    return *process_;
  }

  /// Returns how the acquisition has ended; nothing if that will be known later. Throws Error if it cannot be known.
  std::optional<Event::Kind> release(const LeasePtr& lease) {
    if (auto* const renewer = backend_.renewer()) renewer->forget(*lease);
    try {
      return backend_.release(lease);
    } catch (const Failure& failure) {
      throw error_of("unlock", name_, failure);
    } catch (const std::exception&) {  // no memory
      backend_.abandon(*lease);
      throw;
    }
  }

  /// Makes the key stay after the release for what is left of min_hold.
  void keep_key(Lease& lease) const {
    const auto rest =
        std::chrono::ceil<milliseconds>(options_.min_hold - lease.held_for(Time::clock::now()));
    if (rest > milliseconds::zero()) lease.kept_for = std::to_string(rest.count());
  }

  /// Returns since when the calling thread holds what was passed on. Returns nothing if nothing was, or if the lease is
  /// not worth having any more: then the lock goes back to Redis.
  [[nodiscard]] std::optional<Time> take_over(ProcessState& state) {
    if (!std::exchange(state.passed_on, false)) return std::nullopt;
    const auto now = state.clock.now();
    if (state.is_surely_good(now, options_)) return now;
    try {
      (void)release(state.latest);
    } catch (const Error&) {  // no thread held it, so none needs the error
    }
    return std::nullopt;
  }

  [[nodiscard]] LeasePtr held(const char* operation) const {
    auto lease = current();
    if (!lease) throw error(operation, errc::not_owned, "it is not held");
    return lease;
  }

  /// Reports that a lock is lost, unless that is known.
  void report_loss(const LeasePtr& lease) const {
    lease->found_lost(lease->presumed_loss(Time::clock::now()));
    const bool known = lease->lost.exchange(true);
    if (auto* const renewer = backend_.renewer()) {
      renewer->resume(lease);
    } else if (!known) {
      lease->tell_loss();
    }
  }
  /// Reports the loss now. Returns the error of the operation that found it.
  [[nodiscard]] Error lost(const char* operation, const LeasePtr& lease) const {
    report_loss(lease);
    return error_of(operation, name_, lease->loss());
  }

  [[nodiscard]] Error error(const char* operation, errc code, const char* text) const {
    return error_of(operation, name_, Failure{code, text});
  }
  /// Runs `work`, whose Failure becomes an Error that names the operation and the lock.
  template <class Work>
  auto named(const char* operation, const Work& work) const {
    try {
      return work();
    } catch (const Failure& failure) {
      throw error_of(operation, name_, failure);
    }
  }

  const std::string name_;
  const Options options_;
  Backend backend_;
  mutable ProcessLocal<ProcessState> process_;
};

}  // namespace redis_lock::detail
