#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/process_local.hpp>
#include <redis_lock/detail/lock/client_state.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/net/calls.hpp>
#include <redis_lock/detail/net/fan_out.hpp>
#include <redis_lock/detail/net/prober.hpp>
#include <redis_lock/detail/net/server_text.hpp>
#include <redis_lock/detail/protocol/message.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/quorum/extend.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/node_status.hpp>

namespace redis_lock::detail {

/// Returns the prober of one of the nodes.
[[nodiscard]] inline Prober& prober_of(ClientState& client) {
  auto& quorums = client.quorums();
  const std::lock_guard guard{quorums.mutex};
  if (!quorums.prober)
    quorums.prober = std::make_shared<Prober>(client.endpoint(), client.counters());
  return *quorums.prober;
}

/// Returns why there is no majority: which servers did not answer, and why.
[[nodiscard]] inline Failure no_majority(FanOut& fan_out) {
  std::size_t failed = 0, final = 0;
  std::optional<Failure> first;
  std::string text;
  for (std::size_t i = 0; i < fan_out.size(); ++i) {
    const auto& server = fan_out.servers()[i];
    if (server.connection && !server.failure) continue;
    const auto failure = server.failure ? *server.failure : server.prober->failure();
    ++failed;
    if (!failure.is_transient()) ++final;
    if (!first || (first->is_transient() && !failure.is_transient())) first = failure;
    const auto& endpoint = server.prober->endpoint();
    text += (text.empty() ? "node " : "; node ") + std::to_string(i + 1) + " (" +
            text_of(endpoint) + ')' + origin_of(endpoint) + ": " + failure.what();
  }
  const auto code = first ? first->code() : errc::connection_failed;
  return {code,
          std::to_string(failed) + " of " + std::to_string(fan_out.size()) +
              " nodes did not answer: " + text,
          final > fan_out.size() - fan_out.majority() ? Failure::Kind::final
                                                      : Failure::Kind::transient};
}

/// The servers of a QuorumLock, and the state that all QuorumLocks over the same ones share.
class QuorumNodes {
 public:
  explicit QuorumNodes(std::vector<std::shared_ptr<ClientState>> clients)
      : clients_(std::move(clients)),
        timeout_(std::min(least(&Endpoint::connect_timeout), least(&Endpoint::command_timeout))),
        retry_for_(least(&Endpoint::retry_for)) {}

  /// Returns the nodes of these clients. All QuorumLocks over them share one object.
  [[nodiscard]] static std::shared_ptr<QuorumNodes> of(
      const std::vector<std::shared_ptr<ClientState>>& clients) {
    auto& quorums = clients.front()->quorums();
    const std::lock_guard guard{quorums.mutex};
    auto& known = quorums.known;
    known.erase(
        std::remove_if(known.begin(), known.end(), [](const auto& one) { return one.expired(); }),
        known.end());
    for (const auto& one : known) {
      if (auto nodes = one.lock(); nodes && nodes->clients_ == clients) return nodes;
    }
    auto nodes = std::make_shared<QuorumNodes>(clients);
    known.push_back(nodes);
    return nodes;
  }

  [[nodiscard]] std::size_t size() const noexcept { return clients_.size(); }
  [[nodiscard]] std::size_t majority() const noexcept { return clients_.size() / 2 + 1; }
  [[nodiscard]] milliseconds retry_for() const noexcept { return retry_for_; }

  /// Returns how long a round waits for servers that it needs.
  [[nodiscard]] milliseconds timeout(milliseconds expire) const {
    return std::min(timeout_, std::max(expire / 10, milliseconds{20}));
  }

  [[nodiscard]] std::vector<Prober*> probers() const {
    std::vector<Prober*> probers;
    probers.reserve(size());
    for (const auto& client : clients_) probers.push_back(&prober_of(*client));
    return probers;
  }

  [[nodiscard]] std::vector<NodeStatus> statuses() const {
    std::vector<NodeStatus> statuses;
    for (const auto& client : clients_) {
      auto& status = statuses.emplace_back();
      status.address = text_of(client->endpoint());
      auto failure = prober_of(*client).health().failure();
      if (!failure) continue;
      status.works = false;
      status.failing_since = to_steady(failure->since);
      status.error = make_error_code(failure->code);
      status.reason = std::move(failure->text);
    }
    return statuses;
  }

  /// What one attempt of an operation found, also if it failed.
  struct Status {
    Progress progress = Progress::none;
    bool was_stale = false;  // a connection failed that was used before
  };

  /// Runs `work(Status&)`, and again if that may help, until it returns or the limits are reached. Throws Failure.
  template <class Work>
  auto perform(const CallLimits& limits, Work&& work) const {
    Retries retries;
    bool renewed = false, was_silent = false;
    for (;;) {
      Status status;
      try {
        auto result = work(status);
        plan_maintenance();
        return result;
      } catch (const Failure& failure) {
        const auto now = Time::clock::now();
        if (status.progress != Progress::none) was_silent = false;
        retries.failed(status.progress, now);
        const bool cancelled = limits.cancellation && limits.cancellation->requested();
        // What failed on old connections gets new ones in any case.
        const bool stale = status.was_stale && !std::exchange(renewed, status.was_stale || renewed);
        const bool silent =
            failure.code() == errc::timed_out && std::exchange(was_silent, true) && !stale;
        const bool out_of_time =
            now >= std::min(limits.deadline.at(), retries.give_up_at(limits.retry_for)) && !stale;
        if (!failure.is_transient() || cancelled || silent || out_of_time) throw;
        if (stale) continue;
      }
      const auto pause_end = Time::clock::now() + retries.next_pause();
      sleep_until(std::min(limits.deadline.at(), pause_end), limits.cancellation);
    }
  }

  [[nodiscard]] Renewer& renewer() const { return *process_->renewer; }

  /// Makes the renewal thread close connections that are idle for too long, if it runs.
  void plan_maintenance() const {
    renewer().maintain_by(after(Time::clock::now(), Pool::usual_longest_idle));
  }

  /// Makes the renewal thread read, by and by, the replies that no thread waits for.
  void maintain_soon() const noexcept {
    try {
      renewer().start();
      renewer().maintain_soon();
    } catch (const std::exception&) {  // no thread: the next user of the connection reads them
    }
  }

  [[nodiscard]] bool is_here() const noexcept { return process_.is_here(); }

 private:
  struct ProcessState : Pinned {
    explicit ProcessState(const QuorumNodes& nodes)
        : renewer(std::make_shared<Renewer>(
              nodes.timeout_, Renewer::Work{[&nodes](const Renewer::Leases& batch, Time limit) {
                                              return nodes.extend(batch, limit);
                                            },
                                            nullptr, [&nodes] { return nodes.maintain(); }})) {}
    ~ProcessState() {
      const CancellationPause no_cancellation;
      renewer->stop();
    }

    const std::shared_ptr<Renewer> renewer;
  };

  [[nodiscard]] milliseconds least(milliseconds Endpoint::*time) const {
    auto least = milliseconds::max();
    for (const auto& client : clients_) least = std::min(least, client->endpoint().*time);
    return least;
  }

  /// Extends leases on a majority. Each lease's shares record what is in doubt.
  [[nodiscard]] Renewals extend(const Renewer::Leases& batch, Time limit) const {
    Renewals renewals(batch.size());
    try {
      std::vector<QuorumLease*> leases;
      for (const auto& lease : batch) leases.push_back(static_cast<QuorumLease*>(lease.get()));
      FanOut fan_out{probers()};
      fan_out.connect(limit);
      QuorumExtension extension{leases, milliseconds::zero()};
      extension.run(fan_out, limit);
      for (std::size_t i = 0; i < leases.size(); ++i) {
        const auto verdict = extension.verdict(i);
        if (!verdict) {
          renewals[i].failure = no_majority(fan_out);
          continue;
        }
        if (!is_lost(*verdict)) {
          const auto certain = extension.certain(i, fan_out.majority());
          leases[i]->shortest_in_doubt =
              certain < leases[i]->expire ? certain : milliseconds::max();
        }
        renewals[i].result = verdict;
      }
    } catch (const std::exception& error) {  // no memory: retried until the lease is over
      for (auto& renewal : renewals)
        renewal = {{}, false, Failure{errc::connection_failed, error.what()}};
    }
    return renewals;
  }

  [[nodiscard]] Time maintain() const {
    auto next = never;
    for (auto* const prober : probers()) next = std::min(next, prober->maintain());
    return next;
  }

  const std::vector<std::shared_ptr<ClientState>> clients_;
  const milliseconds timeout_, retry_for_;
  mutable ProcessLocal<ProcessState> process_{
      [this] { return std::make_unique<ProcessState>(*this); }};
};

}  // namespace redis_lock::detail
