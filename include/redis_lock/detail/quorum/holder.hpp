#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/lock/holding.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/net/panel.hpp>
#include <redis_lock/detail/net/pool.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/message.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/quorum/acquire.hpp>
#include <redis_lock/detail/quorum/extend.hpp>
#include <redis_lock/detail/quorum/nodes.hpp>
#include <redis_lock/detail/quorum/release.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>
#include <redis_lock/node_status.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// The implementation of a QuorumLock: its acquisitions on a majority of nodes. Throws Error, and what QuorumLock
/// says of each operation.
class QuorumHolder : public Holding<QuorumHold, QuorumAcquisition::Memory> {
  /// Runs QuorumNodes::perform() for the caller of the library: throws Error.
  template <class Work>
  auto perform(const char* operation, const Terms& terms, Work&& work) {
    try {
      return nodes_->perform(terms, std::forward<Work>(work));
    } catch (const Fault& fault) {
      throw error_of(operation, name(), fault);
    }
  }

 public:
  QuorumHolder(const std::vector<std::shared_ptr<Core>>& cores, std::string name, Options options)
      : Holding(std::move(name), std::move(options),
                [core = cores.front()] { return core->counters(); }),
        nodes_(QuorumNodes::of(cores)),
        keys_(keys_of(this->name(), this->options())),
        signal_expire_(std::to_string(this->options().signal_expire.count())) {}

  /// Waits for the lock until `deadline`, and for the nodes until `retry_deadline` or the end of retry_for.
  [[nodiscard]] bool acquire(const char* operation, const Deadline& deadline,
                             const Deadline& retry_deadline, Cancellation* cancellation = nullptr) {
    const auto get = [&](State& state, bool& contended) {
      const Terms terms{nodes_->retry_for(), retry_deadline, cancellation};
      return acquire_from_nodes(operation, state, deadline, terms, contended);
    };
    const auto nothing_left = [](const State&) { return std::nullopt; };
    return acquire_by(operation, deadline, cancellation, &nodes_->renewer(), nothing_left, get);
  }

  void release() {
    release_by(take_held(), [this](const auto& hold) -> std::optional<Event::Kind> {
      nodes_->renewer().forget(*hold);
      try {
        QuorumRelease release{*nodes_, *hold};
        return release.run() ? Event::Kind::released : Event::Kind::lost;
      } catch (const Fault& fault) {
        throw error_of("unlock", name(), fault);
      } catch (const std::exception&) {  // no memory
        for (auto* const pool : nodes_->pools())
          pool->release_later({hold->release, after(Time::clock::now(), hold->lease)});
        throw;
      }
    });
  }

  void extend(milliseconds lease) {
    extend_by(&nodes_->renewer(), [&](QuorumHold& hold) {
      const std::vector<QuorumHold*> holds{&hold};
      const Terms terms{nodes_->retry_for(), hold.expires_at.load()};
      return perform("extend", terms, [&](QuorumNodes::Status& status) {
        Panel panel{nodes_->pools()};
        panel.connect(Time::clock::now() + timeout());
        const auto sent = Time::clock::now();
        QuorumExtension extension{holds, lease};
        try {
          extension.run(panel, sent + timeout());
        } catch (...) {  // no memory, or the thread is cancelled
          for (auto& share : hold.shares)
            share.shortest_in_doubt = std::min(share.shortest_in_doubt, lease);
          hold.shortened(sent, validity(lease));
          throw;
        }
        status.was_stale = panel.was_stale();
        const auto said = extension.verdict(0);
        if (!said) {
          hold.shortened(sent, validity(lease));
          throw no_majority(panel);
        }
        if (is_lost(*said) || hold.lost) return *said;
        const auto certain = extension.certain(0, panel.majority());
        if (*said == Extension::extended) {
          hold.expires_at = after(sent, certain);
        } else {  // some nodes have the new lease, which may be the shorter one
          hold.shortened(sent, certain);
        }
        return *said;
      });
    });
  }

  /// Returns the id that a majority has; nothing if there is none.
  [[nodiscard]] std::optional<std::string> owner(const char* operation) {
    Commands get;
    get.add({"GET", keys_.lock});
    const auto bytes = get.encode();
    return perform(operation, {nodes_->retry_for()}, [&](QuorumNodes::Status& status) {
      Panel panel{nodes_->pools()};
      const Reply* said = nullptr;
      ask_all(panel, bytes, Request::look, status, [&] {
        said = majority_of(panel);
        return said ? Time::min() : never;
      });
      if (!said) require_majority(panel);  // they disagree: no id has it
      return said && !said->is_nil() ? std::optional{said->text} : std::nullopt;
    });
  }

  /// Frees the lock on all nodes that answer. Returns whether any had it.
  bool reset() {
    Commands commands;
    add_call(commands, {&reset_script, {keys_.lock, keys_.signal, signal_expire_, {}}}, false);
    const auto bytes = commands.encode();
    bool held = false;
    perform("reset", {nodes_->retry_for()}, [&](QuorumNodes::Status& status) {
      Panel panel{nodes_->pools()};
      ask_all(panel, bytes, Request::release, status, [] { return never; });
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

  /// Returns what each node has failed at. No I/O.
  [[nodiscard]] std::vector<NodeStatus> nodes() const { return nodes_->statuses(); }

  /// Makes the background thread report the loss of `hold`.
  void watch(const std::shared_ptr<Hold>& hold) const {
    start(nodes_->renewer(), "lost_token");
    nodes_->renewer().watch(hold);
  }

  /// Waits for the end of a running callback, unless the caller is that callback.
  void await_callback() const {
    if (is_here() && nodes_->is_here()) await_callback_on(nodes_->renewer());
  }

 private:
  [[nodiscard]] milliseconds timeout() const { return nodes_->timeout(options().expire); }

  [[nodiscard]] std::shared_ptr<QuorumHold> acquire_from_nodes(const char* operation, State& state,
                                                               const Deadline& deadline,
                                                               const Terms& terms,
                                                               bool& contended) {
    const bool watched = is_watched();
    if (watched) start(nodes_->renewer(), operation);  // before there is a lease to renew
    const auto& options = this->options();
    auto hold = std::make_shared<QuorumHold>();
    prepare(state, *hold, keys_.lock);
    hold->lease = options.expire;
    hold->expire = validity(options.expire);
    hold->expire_text = std::to_string(options.expire.count());
    try {
      const bool acquired = nodes_->perform(terms, [&](QuorumNodes::Status& status) {
        QuorumAcquisition acquisition{*nodes_, keys_,       options.id, signal_expire_,
                                      *hold,   state.books, deadline,   terms.cancellation};
        try {
          const bool granted = acquisition.run();
          contended = contended || acquisition.contended();
          return granted;
        } catch (const Fault&) {
          contended = contended || acquisition.contended();
          status.progress = acquisition.progress();
          status.was_stale = acquisition.was_stale();
          throw;
        }
      });
      if (!acquired) return nullptr;
    } catch (const Fault& fault) {
      if (terms.cancellation && terms.cancellation->requested()) return nullptr;
      throw error_of(operation, name(), fault);
    }
    schedule_renewals(*hold);
    try {
      if (watched) nodes_->renewer().watch(hold);
    } catch (const std::exception&) {  // no memory
      try {
        (void)QuorumRelease{*nodes_, *hold}.run();
      } catch (const std::exception&) {  // the leases free the lock
      }
      throw;
    }
    return hold;
  }

  template <class WaitUntil>
  void ask_all(Panel& panel, const std::string& bytes, Request request, QuorumNodes::Status& status,
               const WaitUntil& wait_until) {
    panel.connect(Time::clock::now() + timeout());
    const auto now = Time::clock::now();
    for (auto& seat : panel.seats()) {
      if (seat.line) panel.ask(seat, bytes, 1, now, request);
    }
    panel.collect(now + timeout(), wait_until);
    status.was_stale = panel.was_stale();
  }

  /// Returns the reply that a majority gives; null if there is none yet.
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

  const std::shared_ptr<QuorumNodes> nodes_;
  const Keys keys_;
  const std::string signal_expire_;
};

}  // namespace redis_lock::detail
