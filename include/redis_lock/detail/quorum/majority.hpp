#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/lock/lock_state.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/net/call_limits.hpp>
#include <redis_lock/detail/net/fan_out.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
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

/// The Backend of a QuorumLock: asks a majority of its nodes. Throws Failure.
class Majority {
 public:
  using Lease = QuorumLease;
  using Memory = QuorumAcquisition::Memory;

  Majority(const std::vector<std::shared_ptr<ClientState>>& clients, const std::string& name,
           const Options& options)
      : nodes_(QuorumNodes::of(clients)),
        options_(options),
        shared_keys_(std::make_shared<const Keys>(keys_of(name, options))),
        signal_expire_(std::to_string(options.signal_expire.count())) {}

  [[nodiscard]] std::shared_ptr<Counters> counters() const { return nodes_->counters(); }
  [[nodiscard]] Renewer* renewer() const { return &nodes_->renewer(); }
  [[nodiscard]] bool is_here() const noexcept { return nodes_->is_here(); }

  [[nodiscard]] std::shared_ptr<QuorumLease> make_lease() const {
    auto lease = std::make_shared<QuorumLease>();
    lease->keys = shared_keys_;
    lease->duration = options_.expire;
    lease->expire = validity(options_.expire);
    lease->expire_text = std::to_string(options_.expire.count());
    return lease;
  }

  /// Blocks until the lock is acquired (true), or until the deadline or the cancellation (false).
  [[nodiscard]] bool acquire(QuorumLease& lease, AcquireCall<Majority>& call) {
    const CallLimits limits{nodes_->retry_for(), call.retry_deadline, call.cancellation};
    return nodes_->perform(limits, [&](NodeSet::Status& status) {
      QuorumAcquisition acquisition{*nodes_,  keys_,       options_.id,   signal_expire_,   lease,
                                    call.ids, call.memory, call.deadline, call.cancellation};
      try {
        const bool granted = acquisition.run();
        call.contended = call.contended || acquisition.contended();
        return granted;
      } catch (const Failure&) {
        call.contended = call.contended || acquisition.contended();
        status.progress = acquisition.progress();
        status.was_stale = acquisition.was_stale();
        throw;
      }
    });
  }

  std::optional<Event::Kind> release(const std::shared_ptr<QuorumLease>& lease) {
    return QuorumRelease{*nodes_, *lease}.run() ? Event::Kind::released : Event::Kind::lost;
  }

  /// Makes sure that the lease ends, although no thread waits for that.
  void abandon(QuorumLease& lease) noexcept {
    try {
      const auto lease_end = after(Time::clock::now(), lease.duration);
      for (auto* const prober : nodes_->probers())
        prober->call_later(std::make_unique<NodeRelease>(lease.release, lease_end));
    } catch (const std::exception&) {  // no memory: the leases free the lock
    }
  }

  [[nodiscard]] Extension extend(QuorumLease& lease, milliseconds duration) {
    const std::vector<QuorumLease*> leases{&lease};
    const CallLimits limits{nodes_->retry_for(), lease.expires_at.load()};
    return nodes_->perform(limits, [&](NodeSet::Status& status) {
      FanOut fan_out{nodes_->probers()};
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
  }

  /// Returns the id that a majority has; nothing if there is none.
  [[nodiscard]] std::optional<std::string> owner() {
    Commands get;
    get.add({"GET", keys_.lock});
    const auto bytes = get.encode();
    return nodes_->perform({nodes_->retry_for()}, [&](NodeSet::Status& status) {
      FanOut fan_out{nodes_->probers()};
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
    (void)nodes_->perform({nodes_->retry_for()}, [&](NodeSet::Status& status) {
      FanOut fan_out{nodes_->probers()};
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

 private:
  [[nodiscard]] milliseconds timeout() const { return nodes_->timeout(options_.expire); }

  template <class WaitUntil>
  void ask_all(FanOut& fan_out, const std::string& bytes, Request request, NodeSet::Status& status,
               const WaitUntil& wait_until) {
    fan_out.connect(Time::clock::now() + timeout());
    const auto now = Time::clock::now();
    for (auto& server : fan_out.servers()) {
      if (server.connection) fan_out.ask(server, bytes, 1, now, request);
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
                                       : Failure{errc::protocol_error, "unexpected reply to GET"};
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
  const Options& options_;
  const std::shared_ptr<const Keys> shared_keys_;
  const Keys& keys_ = *shared_keys_;
  const std::string signal_expire_;
};

}  // namespace redis_lock::detail
