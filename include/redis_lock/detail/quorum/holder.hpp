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
#include <redis_lock/detail/net/fan_out.hpp>
#include <redis_lock/detail/net/node_health.hpp>
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
class QuorumHolder : public Holding<QuorumLease, QuorumAcquisition::Memory> {
  /// Runs QuorumNodes::perform() for the caller of the library: throws Error.
  template <class Work>
  auto perform(const char* operation, const CallLimits& limits, Work&& work) {
    try {
      return nodes_->perform(limits, std::forward<Work>(work));
    } catch (const Failure& failure) {
      throw error_of(operation, name(), failure);
    }
  }

 public:
  QuorumHolder(const std::vector<std::shared_ptr<ClientState>>& clients, std::string name,
               Options options)
      : Holding(std::move(name), std::move(options),
                [client = clients.front()] { return client->counters(); }),
        nodes_(QuorumNodes::of(clients)),
        keys_(keys_of(this->name(), this->options())),
        signal_expire_(std::to_string(this->options().signal_expire.count())) {}

  /// Waits for the lock until `deadline`, and for the nodes until `retry_deadline` or the end of retry_for.
  [[nodiscard]] bool acquire(const char* operation, const Deadline& deadline,
                             const Deadline& retry_deadline, Cancellation* cancellation = nullptr) {
    const auto get = [&](State& state, bool& contended) {
      const CallLimits limits{nodes_->retry_for(), retry_deadline, cancellation};
      return acquire_from_nodes(operation, state, deadline, limits, contended);
    };
    const auto nothing_left = [](const State&) { return std::nullopt; };
    return acquire_by(operation, deadline, cancellation, &nodes_->renewer(), nothing_left, get);
  }

  void release() {
    release_by(take_held(), [this](const auto& lease) -> std::optional<Event::Kind> {
      nodes_->renewer().forget(*lease);
      try {
        QuorumRelease release{*nodes_, *lease};
        return release.run() ? Event::Kind::released : Event::Kind::lost;
      } catch (const Failure& failure) {
        throw error_of("unlock", name(), failure);
      } catch (const std::exception&) {  // no memory
        for (auto* const pool : nodes_->pools())
          pool->release_later({lease->release, after(Time::clock::now(), lease->duration)});
        throw;
      }
    });
  }

  void extend(milliseconds duration) {
    extend_by(&nodes_->renewer(), [&](QuorumLease& lease) {
      const std::vector<QuorumLease*> leases{&lease};
      const CallLimits limits{nodes_->retry_for(), lease.expires_at.load()};
      return perform("extend", limits, [&](QuorumNodes::Status& status) {
        FanOut fan_out{nodes_->pools()};
        fan_out.connect(Time::clock::now() + timeout());
        const auto sent = Time::clock::now();
        QuorumExtension extension{leases, duration};
        try {
          extension.run(fan_out, sent + timeout());
        } catch (...) {  // no memory, or the thread is cancelled
          for (auto& share : lease.shares)
            share.shortest_in_doubt = std::min(share.shortest_in_doubt, duration);
          lease.shortened(sent, validity(duration));
          throw;
        }
        status.was_stale = fan_out.was_stale();
        const auto said = extension.verdict(0);
        if (!said) {
          lease.shortened(sent, validity(duration));
          throw no_majority(fan_out);
        }
        if (is_lost(*said) || lease.lost) return *said;
        const auto certain = extension.certain(0, fan_out.majority());
        if (*said == Extension::extended) {
          lease.expires_at = after(sent, certain);
        } else {  // some nodes have the new lease, which may be the shorter one
          lease.shortened(sent, certain);
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
      FanOut fan_out{nodes_->pools()};
      const Reply* said = nullptr;
      ask_all(fan_out, bytes, Request::look, status, [&] {
        said = majority_of(fan_out);
        return said ? Time::min() : never;
      });
      if (!said) require_majority(fan_out);  // they disagree: no id has it
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
      FanOut fan_out{nodes_->pools()};
      ask_all(fan_out, bytes, Request::release, status, [] { return never; });
      for (auto& server : fan_out.servers()) {
        if (!server.has_answered()) continue;
        try {
          held = integer_of(server.replies.front(), "the reset script") == 1 || held;
        } catch (const Failure& failure) {
          server.failure = failure;
        }
      }
      require_majority(fan_out);
      return 0;
    });
    return held;
  }

  /// Returns what each node has failed at. No I/O.
  [[nodiscard]] std::vector<NodeStatus> nodes() const { return nodes_->statuses(); }

  /// Makes the background thread report the loss of `lease`.
  void watch(const std::shared_ptr<Lease>& lease) const {
    start(nodes_->renewer(), "lost_token");
    nodes_->renewer().watch(lease);
  }

  /// Waits for the end of a running callback, unless the caller is that callback.
  void await_callback() const {
    if (is_here() && nodes_->is_here()) await_callback_on(nodes_->renewer());
  }

 private:
  [[nodiscard]] milliseconds timeout() const { return nodes_->timeout(options().expire); }

  [[nodiscard]] std::shared_ptr<QuorumLease> acquire_from_nodes(const char* operation, State& state,
                                                                const Deadline& deadline,
                                                                const CallLimits& limits,
                                                                bool& contended) {
    const bool watched = is_watched();
    if (watched) start(nodes_->renewer(), operation);  // before there is a lease to renew
    const auto& options = this->options();
    auto lease = std::make_shared<QuorumLease>();
    prepare(state, *lease, keys_.lock);
    lease->duration = options.expire;
    lease->expire = validity(options.expire);
    lease->expire_text = std::to_string(options.expire.count());
    try {
      const bool acquired = nodes_->perform(limits, [&](QuorumNodes::Status& status) {
        QuorumAcquisition acquisition{*nodes_, keys_,       options.id, signal_expire_,
                                      *lease,  state.books, deadline,   limits.cancellation};
        try {
          const bool granted = acquisition.run();
          contended = contended || acquisition.contended();
          return granted;
        } catch (const Failure&) {
          contended = contended || acquisition.contended();
          status.progress = acquisition.progress();
          status.was_stale = acquisition.was_stale();
          throw;
        }
      });
      if (!acquired) return nullptr;
    } catch (const Failure& failure) {
      if (limits.cancellation && limits.cancellation->requested()) return nullptr;
      throw error_of(operation, name(), failure);
    }
    schedule_renewals(*lease);
    try {
      if (watched) nodes_->renewer().watch(lease);
    } catch (const std::exception&) {  // no memory
      try {
        (void)QuorumRelease{*nodes_, *lease}.run();
      } catch (const std::exception&) {  // the leases free the lock
      }
      throw;
    }
    return lease;
  }

  template <class WaitUntil>
  void ask_all(FanOut& fan_out, const std::string& bytes, Request request,
               QuorumNodes::Status& status, const WaitUntil& wait_until) {
    fan_out.connect(Time::clock::now() + timeout());
    const auto now = Time::clock::now();
    for (auto& server : fan_out.servers()) {
      if (server.line) fan_out.ask(server, bytes, 1, now, request);
    }
    fan_out.collect(now + timeout(), wait_until);
    status.was_stale = fan_out.was_stale();
  }

  /// Returns the reply that a majority gives; null if there is none yet.
  [[nodiscard]] static const Reply* majority_of(FanOut& fan_out) {
    for (auto& one : fan_out.servers()) {
      if (!one.has_answered()) continue;
      const auto& reply = one.replies.front();
      if (!reply.is_nil() && reply.kind != Reply::Kind::string) {
        one.failure = reply.is_error() ? failure_of(reply)
                                       : Failure{errc::protocol_error, "no answer to GET"};
        continue;
      }
      const auto agrees = [&reply](const FanOut::Server& other) {
        return other.has_answered() && other.replies.front().kind == reply.kind &&
               other.replies.front().text == reply.text;
      };
      const auto votes = std::count_if(fan_out.servers().begin(), fan_out.servers().end(), agrees);
      if (static_cast<std::size_t>(votes) >= fan_out.majority()) return &reply;
    }
    return nullptr;
  }

  static void require_majority(FanOut& fan_out) {
    const auto answered = [](const FanOut::Server& server) { return server.has_answered(); };
    const auto votes = std::count_if(fan_out.servers().begin(), fan_out.servers().end(), answered);
    if (static_cast<std::size_t>(votes) < fan_out.majority()) throw no_majority(fan_out);
  }

  const std::shared_ptr<QuorumNodes> nodes_;
  const Keys keys_;
  const std::string signal_expire_;
};

}  // namespace redis_lock::detail
