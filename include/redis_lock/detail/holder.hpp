#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <redis_lock/detail/acquire.hpp>
#include <redis_lock/detail/cancellation.hpp>
#include <redis_lock/detail/checked.hpp>
#include <redis_lock/detail/core.hpp>
#include <redis_lock/detail/deadline.hpp>
#include <redis_lock/detail/gate.hpp>
#include <redis_lock/detail/guarded_script.hpp>
#include <redis_lock/detail/hold.hpp>
#include <redis_lock/detail/message.hpp>
#include <redis_lock/detail/process_local.hpp>
#include <redis_lock/detail/protocol.hpp>
#include <redis_lock/detail/random_id.hpp>
#include <redis_lock/detail/renewer.hpp>
#include <redis_lock/detail/slot_map.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// What stands behind one Lock object: the acquisitions that it makes, one after another, from the gate
/// in the process to Redis and back. Throws Error, and what Lock says of each operation.
class Holder {
 public:
  Holder(std::shared_ptr<Core> core, std::string name, Options options)
      : core_(std::move(core)),
        name_(std::move(name)),
        options_(std::move(options)),
        keys_(core_->is_cluster() ? keys_on_cluster(name_, options_) : keys_of(name_, options_)),
        slot_(core_->slot_of(keys_.lock)),
        expire_(std::to_string(options_.expire.count())),
        signal_expire_(std::to_string(options_.signal_expire.count())) {}

  [[nodiscard]] Core& core() const noexcept { return *core_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] const Keys& keys() const noexcept { return keys_; }
  /// The terms of an operation that is not given another time.
  [[nodiscard]] Terms terms() const { return core_->terms(slot_); }
  [[nodiscard]] const std::string& signal_expire() const noexcept { return signal_expire_; }

  /// Is this the process in which the latest acquisition was made, or none yet?
  [[nodiscard]] bool is_here() const noexcept { return state_.is_here(); }

  /// What is held, or was lost and not released yet.
  [[nodiscard]] std::shared_ptr<Hold> current() const noexcept {
    if (!is_here() || !state_->held) return nullptr;
    const std::lock_guard guard{state_->mutex};
    return state_->latest;
  }

  [[nodiscard]] std::string id() const {
    if (!is_here()) return options_.id;
    const std::lock_guard guard{state_->mutex};
    return state_->latest ? state_->latest->id : options_.id;
  }

  /// Makes waiters of this process look at their cancellation.
  void interrupt() { state_->gate.interrupt(); }

  /// Waits for the lock until `deadline`, and for Redis until `retry_deadline` or the end of retry_for.
  [[nodiscard]] bool acquire(const char* operation, Time deadline, Time retry_deadline,
                             Cancellation* cancellation = nullptr) {
    auto& state = *state_;
    if (deadline == never && state.is_held_by_this_thread()) {
      throw std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                              describe(operation, name_) + "this thread holds it");
    }
    const bool entered = state.gate.try_enter() || (deadline > Time::clock::now() &&
                                                    state.gate.enter(deadline, cancellation));
    if (!entered) return false;
    LeaveGate leave{&state.gate};
    if (!std::exchange(state.passed_on, false) || !take_over(state)) {
      const Terms terms{core_->terms().retry_for, retry_deadline, cancellation, slot_};
      const auto hold = acquire_from_redis(operation, state, deadline, terms);
      if (!hold) return false;
      const std::lock_guard guard{state.mutex};
      state.latest = hold;
      state.handoffs = 0;
    }
    leave.gate = nullptr;
    state.thread.store(std::this_thread::get_id(), std::memory_order_relaxed);
    state.held.store(true, std::memory_order_release);
    return true;
  }

  void release() {
    if (!is_here() || !state_->held.exchange(false, std::memory_order_acq_rel)) {
      throw error("unlock", errc::not_owned, "it is not held");
    }
    auto& state = *state_;
    if (state.handoffs < options_.local_handoffs && pass_on(state)) return;
    const LeaveGate leave{&state.gate};
    release_to_redis(*state.latest);
  }

  void extend(milliseconds lease) {
    const auto hold = held("extend");
    if (options_.expire == no_expiry)
      throw error("extend", errc::not_expirable, "it has no expiry");
    const std::lock_guard one_at_a_time{hold->extending};
    const PauseRenewal pause{core_->is_borrowed() ? nullptr : &core_->renewer(), hold};
    auto sent = Time::min();
    auto result = Extension::not_ours;
    if (hold->owned()) {
      const auto text = std::to_string(lease.count());
      auto terms = this->terms();
      terms.deadline = hold->expires_at;
      result = core_->perform("extend", name_, terms, [&](Connection& connection) {
        sent = Time::clock::now();
        try {
          return detail::extend(connection, keys_.lock, hold->id, text);
        } catch (const Fault& fault) {
          if (fault.code() != errc::server_error) {
            hold->extension_in_doubt(lease);
            hold->shortened(sent, lease);
          }
          throw;
        }
      });
      hold->refused = result == Extension::not_ours;
    }
    if (result == Extension::not_expirable)
      throw error("extend", errc::not_expirable, "its expiry was taken away");
    if (result == Extension::extended && !hold->lost) {
      hold->extended(sent, lease);
      return;
    }
    throw lost("extend", hold);
  }

  /// Runs a script if the lock is still held by this acquisition, checked and done in one atomic step.
  Reply evaluate(const char* operation, std::string_view script,
                 const std::vector<std::string>& keys, const std::vector<std::string>& arguments) {
    const auto hold = held(operation);
    const GuardedScript guarded{script, keys, arguments, keys_.lock, hold->id};
    if (hold->owned()) {
      auto terms = this->terms();
      terms.deadline = hold->expires_at;
      auto reply = core_->perform(operation, name_, terms, [&](Connection& connection) {
        return guarded.run_once(connection);
      });
      if (reply) return *std::move(reply);
      hold->refused = true;
    }
    throw lost(operation, hold);
  }

  [[nodiscard]] std::uint64_t fencing_token() const {
    if (is_here()) {
      const std::lock_guard guard{state_->mutex};
      if (state_->latest && state_->latest->fencing_token != 0)
        return state_->latest->fencing_token;
    }
    throw error("fencing_token", errc::not_owned, "it was not acquired with fencing");
  }

  /// Lets the background thread tell the loss of `hold`.
  void watch(const std::shared_ptr<Hold>& hold) const {
    if (core_->is_borrowed()) return;
    core_->renewer().start();
    core_->renewer().watch(hold);
  }

  /// Waits for a callback that is running to return, unless it is the callback that asks.
  void await_callback() const {
    if (is_here() && !core_->is_borrowed()) core_->renewer().await_callback(this);
  }

 private:
  struct State {
    explicit State(const Options& options) : ids(options.id_prefix) {}

    Gate gate;
    IdSource ids;
    bool passed_on = false;         // guarded by the gate: whoever enters takes `latest` over
    unsigned handoffs = 0;          // guarded by the gate: how often `latest` was passed on
    std::atomic<bool> held{false};  // `latest` is not released yet
    std::atomic<std::thread::id> thread{};  // that holds it
    std::mutex mutex;                       // guards `latest`, where the gate does not
    std::shared_ptr<Hold> latest;

    [[nodiscard]] bool is_held_by_this_thread() const noexcept {
      return held.load(std::memory_order_relaxed) &&
             thread.load(std::memory_order_relaxed) == std::this_thread::get_id();
    }
  };

  [[nodiscard]] std::shared_ptr<Hold> acquire_from_redis(const char* operation, State& state,
                                                         Time deadline, const Terms& terms) {
    const bool watched = !core_->is_borrowed() && (options_.auto_renewal || options_.on_lost);
    if (watched) core_->renewer().start();  // before there is a lock that it could fail to renew
    auto hold = std::make_shared<Hold>();
    hold->holder = this;
    hold->key = keys_.lock;
    hold->slot = slot_;
    hold->id = options_.id.empty() ? state.ids.next() : options_.id;
    hold->expire = options_.expire;
    hold->expire_text = expire_;
    // Locks that were taken together drift apart, so that their renewals do not come in bursts.
    hold->advance = hold->expire / 30 / (1 + static_cast<unsigned char>(hold->id.back()) % 16);
    hold->on_lost = options_.on_lost;

    Acquisition<> acquisition{keys_,          hold->id, options_.expire,
                              signal_expire_, deadline, options_.replicas};
    const auto give_up = [&] {
      if (acquisition.in_doubt()) core_->give_up(keys_, hold->id, signal_expire_);
    };
    try {
      const auto lease_end = core_->perform(terms, [&](Connection& connection) {
        if (acquisition.id_is_spent() && options_.id.empty()) {
          hold->id = state.ids.next();
          acquisition.go_on_as(hold->id);
        }
        return acquisition.run(connection);
      });
      if (!lease_end) return nullptr;
      hold->expires_at = *lease_end;
      hold->fencing_token = acquisition.fencing_token();
      if (acquisition.extension_in_doubt()) hold->extension_in_doubt(options_.expire);
      if (options_.auto_renewal) hold->renewed_until = after(Time::clock::now(), options_.max_hold);
      if (watched) core_->renewer().watch(hold);
      return hold;
    } catch (const Fault& fault) {
      give_up();
      if (terms.cancellation && terms.cancellation->requested()) return nullptr;
      throw error_of(operation, name_, fault);
    } catch (...) {
      give_up();
      throw;
    }
  }

  /// Leaves the lock, as it is held in Redis, to the next thread of this process, if one waits.
  [[nodiscard]] bool pass_on(State& state) const {
    if (!is_surely_good(*state.latest)) return false;
    ++state.handoffs;
    state.passed_on = true;
    if (state.gate.open()) return true;
    // Inside again: nobody took it, or somebody did and has left by now.
    if (std::exchange(state.passed_on, false)) return false;
    state.gate.leave();
    return true;
  }

  /// Is what was passed on still worth having? If not, it goes back to Redis.
  [[nodiscard]] bool take_over(State& state) {
    if (is_surely_good(*state.latest)) return true;
    try {
      release_to_redis(*state.latest);
    } catch (const Error&) {  // nobody held it: there is nobody whom it concerns
    }
    return false;
  }

  /// Can the next holder count on this lease as on one of its own?
  [[nodiscard]] bool is_surely_good(const Hold& hold) const {
    const auto now = coarse_now() + coarse_error;  // not before now
    const auto end = hold.expires_at.load(std::memory_order_relaxed);
    const auto least = options_.auto_renewal ? hold.expire / 3 : hold.expire;
    const bool in_time = end == never || end - now >= least;
    return in_time && !hold.lost && (!options_.auto_renewal || now < hold.renewed_until);
  }

  void release_to_redis(Hold& hold) {
    if (!core_->is_borrowed()) core_->renewer().forget(hold);
    const bool lost = !hold.owned();
    if (options_.deferred_unlock && !lost &&
        core_->defer({name_, keys_, hold.id, signal_expire_, options_.on_error})) {
      return;
    }
    bool freed = false;
    if (!hold.refused) {
      bool may_have_run = false;
      auto terms = this->terms();
      terms.deadline = hold.expires_at;
      if (lost) terms.retry_for = milliseconds::zero();
      try {
        freed = core_->perform(terms, [&](Connection& connection) {
          const bool in_doubt = std::exchange(may_have_run, true);
          try {
            return detail::release(connection, keys_, hold.id, signal_expire_) || in_doubt;
          } catch (const Fault& fault) {
            if (fault.code() == errc::server_error) may_have_run = in_doubt;  // it was refused
            throw;
          }
        });
      } catch (const Fault& fault) {
        // What a frozen server has in its buffers may not be enough: it may have to be told the script.
        if (fault.code() == errc::timed_out) core_->give_up(keys_, hold.id, signal_expire_);
        if (!lost) throw error_of("unlock", name_, fault);
      }
    }
    if (lost || !freed) throw error("unlock", errc::lease_lost, "it was lost before");
  }

  [[nodiscard]] std::shared_ptr<Hold> held(const char* operation) const {
    auto hold = current();
    if (!hold) throw error(operation, errc::not_owned, "it is not held");
    return hold;
  }

  /// The error of an operation that finds the lock lost, which is told now.
  [[nodiscard]] Error lost(const char* operation, const std::shared_ptr<Hold>& hold) const {
    const bool known = hold->lost.exchange(true);
    if (!core_->is_borrowed()) {
      core_->renewer().resume(hold);
    } else if (!known) {
      hold->tell_loss();
    }
    return error(operation, errc::lease_lost, "it was lost before");
  }

  [[nodiscard]] Error error(const char* operation, errc code, const char* text) const {
    return error_of(operation, name_, Fault{code, text});
  }

  std::shared_ptr<Core> core_;
  std::string name_;
  Options options_;
  Keys keys_;
  Slot slot_;
  std::string expire_, signal_expire_;
  mutable ProcessLocal<State> state_{[this] { return std::make_unique<State>(options_); }};
};

}  // namespace redis_lock::detail
