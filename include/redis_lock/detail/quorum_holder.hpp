#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <redis_lock/detail/cancellation.hpp>
#include <redis_lock/detail/checked.hpp>
#include <redis_lock/detail/deadline.hpp>
#include <redis_lock/detail/gate.hpp>
#include <redis_lock/detail/message.hpp>
#include <redis_lock/detail/panel.hpp>
#include <redis_lock/detail/pool.hpp>
#include <redis_lock/detail/process_local.hpp>
#include <redis_lock/detail/protocol.hpp>
#include <redis_lock/detail/quorum_acquire.hpp>
#include <redis_lock/detail/quorum_extend.hpp>
#include <redis_lock/detail/quorum_nodes.hpp>
#include <redis_lock/detail/quorum_release.hpp>
#include <redis_lock/detail/renewer.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// What stands behind one QuorumLock object, as Holder behind a Lock. Throws Error, and what QuorumLock
/// says of each operation.
class QuorumHolder {
  /// As QuorumNodes::perform(), for the caller of the library: throws Error.
  template <class Work>
  auto perform(const char* operation, const Terms& terms, Work&& work) {
    try {
      return nodes_->perform(terms, std::forward<Work>(work));
    } catch (const Fault& fault) {
      throw error_of(operation, name_, fault);
    }
  }

 public:
  QuorumHolder(const std::vector<std::shared_ptr<Core>>& cores, std::string name, Options options)
      : nodes_(QuorumNodes::of(cores)),
        name_(std::move(name)),
        options_(std::move(options)),
        keys_(keys_of(name_, options_)),
        signal_expire_(std::to_string(options_.signal_expire.count())) {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const Options& options() const noexcept { return options_; }

  /// What is held, or was lost and not released yet.
  [[nodiscard]] std::shared_ptr<QuorumHold> current() const noexcept {
    if (!state_.is_here() || !state_->held) return nullptr;
    const std::lock_guard guard{state_->mutex};
    return state_->latest;
  }

  [[nodiscard]] std::string id() const {
    if (!state_.is_here()) return options_.id;
    const std::lock_guard guard{state_->mutex};
    return state_->latest ? state_->latest->id : options_.id;
  }

  /// Makes waiters of this process look at their cancellation.
  void interrupt() { state_->gate.interrupt(); }

  /// Waits for the lock until `deadline`, and for the nodes until `retry_deadline` or the end of retry_for.
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
    const Terms terms{nodes_->retry_for(), retry_deadline, cancellation};
    const auto hold = acquire_from_nodes(operation, state, deadline, terms);
    if (!hold) return false;
    {
      const std::lock_guard guard{state.mutex};
      state.latest = hold;
    }
    leave.gate = nullptr;
    state.thread.store(std::this_thread::get_id(), std::memory_order_relaxed);
    state.held.store(true, std::memory_order_release);
    return true;
  }

  void release() {
    if (!state_.is_here() || !state_->held.exchange(false, std::memory_order_acq_rel)) {
      throw error("unlock", errc::not_owned, "it is not held");
    }
    auto& state = *state_;
    const LeaveGate leave{&state.gate};
    QuorumRelease release{*nodes_, *state.latest};
    try {
      if (release.run()) return;
    } catch (const Fault& fault) {
      throw error_of("unlock", name_, fault);
    }
    throw error("unlock", errc::lease_lost, "it was lost before");
  }

  void extend(milliseconds lease) {
    const auto held = current();
    if (!held) throw error("extend", errc::not_owned, "it is not held");
    const std::shared_ptr<Hold> hold = held;
    const std::lock_guard one_at_a_time{hold->extending};
    const PauseRenewal pause{&nodes_->renewer(), hold};
    if (hold->owned()) {
      const std::vector<QuorumHold*> holds{held.get()};
      const Terms terms{nodes_->retry_for(), hold->expires_at};
      const auto verdict = perform("extend", terms, [&](QuorumNodes::Status& status) {
        Panel panel{nodes_->pools()};
        panel.connect(Time::clock::now() + timeout());
        const auto sent = Time::clock::now();
        QuorumExtension extension{holds, lease};
        extension.run(panel, sent + timeout());
        status.was_stale = panel.was_stale();
        const auto said = extension.verdict(0, panel.majority());
        if (!said) {
          hold->shortened(sent, validity(lease));
          throw no_majority(panel);
        }
        if (*said == Extension::extended && !hold->lost)
          hold->expires_at = after(sent, extension.certain(0, panel.majority()));
        return *said;
      });
      hold->refused = verdict == Extension::not_ours;
      if (verdict == Extension::not_expirable)
        throw error("extend", errc::not_expirable, "its expiry was taken away");
      if (verdict == Extension::extended && !hold->lost) return;
    }
    hold->lost = true;
    nodes_->renewer().resume(hold);
    throw error("extend", errc::lease_lost, "it was lost before");
  }

  /// The id that a majority has.
  [[nodiscard]] std::optional<std::string> owner(const char* operation) {
    Commands get;
    get.add({"GET", keys_.lock});
    const auto bytes = get.encode();
    return perform(operation, {nodes_->retry_for()}, [&](QuorumNodes::Status& status) {
      Panel panel{nodes_->pools()};
      const Reply* said = nullptr;
      ask_all(panel, bytes, status, [&] {
        said = majority_of(panel);
        return said ? Time::min() : never;
      });
      if (!said) require_majority(panel);  // they disagree: nobody has it
      return said && !said->is_nil() ? std::optional{said->text} : std::nullopt;
    });
  }

  /// Frees the lock on all nodes that answer; says whether any had it.
  bool reset() {
    Commands commands;
    add_call(commands, {&reset_script, {keys_.lock, keys_.signal, signal_expire_, {}}}, false);
    const auto bytes = commands.encode();
    bool held = false;
    perform("reset", {nodes_->retry_for()}, [&](QuorumNodes::Status& status) {
      Panel panel{nodes_->pools()};
      ask_all(panel, bytes, status, [] { return never; });
      for (auto& seat : panel.seats()) {
        if (!seat.has_answered()) continue;
        try {
          held = integer_of(seat.replies.front(), "the reset script") == 1 || held;
        } catch (const Fault& fault) {
          seat.fault = fault;
        }
      }
      require_majority(panel);
      return 0;
    });
    return held;
  }

  /// Lets the background thread tell the loss of `hold`.
  void watch(const std::shared_ptr<Hold>& hold) const {
    nodes_->renewer().start();
    nodes_->renewer().watch(hold);
  }

  /// Waits for a callback that is running to return, unless it is the callback that asks.
  void await_callback() const {
    if (state_.is_here() && nodes_->is_here()) nodes_->renewer().await_callback(this);
  }

 private:
  struct State {
    explicit State(const Options& options) : memory{IdSource{options.id_prefix}, {}} {}

    Gate gate;
    QuorumAcquisition::Memory memory;       // guarded by the gate
    std::atomic<bool> held{false};          // `latest` is not released yet
    std::atomic<std::thread::id> thread{};  // that holds it
    std::mutex mutex;                       // guards `latest`, where the gate does not
    std::shared_ptr<QuorumHold> latest;

    [[nodiscard]] bool is_held_by_this_thread() const noexcept {
      return held.load(std::memory_order_relaxed) &&
             thread.load(std::memory_order_relaxed) == std::this_thread::get_id();
    }
  };

  [[nodiscard]] milliseconds timeout() const { return nodes_->timeout(options_.expire); }

  [[nodiscard]] std::shared_ptr<QuorumHold> acquire_from_nodes(const char* operation, State& state,
                                                               Time deadline, const Terms& terms) {
    const bool watched = options_.auto_renewal || options_.on_lost;
    if (watched) nodes_->renewer().start();  // before there is a lock that it could fail to renew
    auto hold = std::make_shared<QuorumHold>();
    hold->holder = this;
    hold->key = keys_.lock;
    hold->lease = options_.expire;
    hold->expire = validity(options_.expire);
    hold->expire_text = std::to_string(options_.expire.count());
    hold->on_lost = options_.on_lost;
    try {
      const bool acquired = nodes_->perform(terms, [&](QuorumNodes::Status& status) {
        QuorumAcquisition acquisition{*nodes_, keys_,        options_.id, signal_expire_,
                                      *hold,   state.memory, deadline,    terms.cancellation};
        try {
          return acquisition.run();
        } catch (const Fault&) {
          status.answered = acquisition.answered();
          status.was_stale = acquisition.was_stale();
          throw;
        }
      });
      if (!acquired) return nullptr;
    } catch (const Fault& fault) {
      if (terms.cancellation && terms.cancellation->requested()) return nullptr;
      throw error_of(operation, name_, fault);
    }
    // Locks that were taken together drift apart, so that their renewals do not come in bursts.
    hold->advance = hold->expire / 30 / (1 + static_cast<unsigned char>(hold->id.back()) % 16);
    if (options_.auto_renewal) hold->renewed_until = after(Time::clock::now(), options_.max_hold);
    if (watched) nodes_->renewer().watch(hold);
    return hold;
  }

  template <class WaitUntil>
  void ask_all(Panel& panel, const std::string& bytes, QuorumNodes::Status& status,
               const WaitUntil& wait_until) {
    panel.connect(Time::clock::now() + timeout());
    const auto now = Time::clock::now();
    for (auto& seat : panel.seats()) {
      if (seat.line) panel.ask(seat, bytes, 1, now);
    }
    panel.collect(now + timeout(), wait_until);
    status.was_stale = panel.was_stale();
  }

  /// The answer that a majority gives; null if there is none yet.
  [[nodiscard]] static const Reply* majority_of(Panel& panel) {
    for (auto& one : panel.seats()) {
      if (!one.has_answered()) continue;
      const auto& reply = one.replies.front();
      if (!reply.is_nil() && reply.kind != Reply::Kind::string) {
        one.fault =
            reply.is_error() ? fault_of(reply) : Fault{errc::protocol_error, "no answer to GET"};
        continue;
      }
      const auto agrees = [&reply](const Panel::Seat& other) {
        return other.has_answered() && other.replies.front().kind == reply.kind &&
               other.replies.front().text == reply.text;
      };
      const auto votes = std::count_if(panel.seats().begin(), panel.seats().end(), agrees);
      if (static_cast<std::size_t>(votes) >= panel.majority()) return &reply;
    }
    return nullptr;
  }

  static void require_majority(Panel& panel) {
    const auto answered = [](const Panel::Seat& seat) { return seat.has_answered(); };
    const auto votes = std::count_if(panel.seats().begin(), panel.seats().end(), answered);
    if (static_cast<std::size_t>(votes) < panel.majority()) throw no_majority(panel);
  }

  [[nodiscard]] Error error(const char* operation, errc code, const char* text) const {
    return error_of(operation, name_, Fault{code, text});
  }

  std::shared_ptr<QuorumNodes> nodes_;
  std::string name_;
  Options options_;
  Keys keys_;
  std::string signal_expire_;
  mutable ProcessLocal<State> state_{[this] { return std::make_unique<State>(options_); }};
};

}  // namespace redis_lock::detail
