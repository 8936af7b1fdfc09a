#pragma once

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/counters.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/process_local.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/client_state.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/net/fan_out.hpp>
#include <redis_lock/detail/net/prober.hpp>
#include <redis_lock/detail/net/server_text.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/quorum/extend.hpp>
#include <redis_lock/detail/quorum/lease.hpp>
#include <redis_lock/detail/quorum/node_set.hpp>
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

/// The servers of a QuorumLock, and the state that all QuorumLocks over the same ones share.
class QuorumNodes : public NodeSet {
 public:
  explicit QuorumNodes(std::vector<std::shared_ptr<ClientState>> clients)
      : NodeSet(
            clients.size(),
            std::min(least(clients, &Endpoint::connect_timeout),
                     least(clients, &Endpoint::command_timeout)),
            least(clients, &Endpoint::retry_for), [this] { return find_probers(); },
            [this]() -> Renewer& { return *process_->renewer; }),
        clients_(std::move(clients)) {}

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

  /// Returns the counters of QuorumLocks: those of the first client.
  [[nodiscard]] std::shared_ptr<Counters> counters() const { return clients_.front()->counters(); }
  [[nodiscard]] bool is_here() const noexcept { return process_.is_here(); }

 private:
  struct ProcessState : Pinned {
    explicit ProcessState(const QuorumNodes& nodes)
        : renewer(std::make_shared<Renewer>(
              nodes.timeout_, Renewer::Work{[&nodes](const Leases& batch, Time limit) {
                                              return nodes.extend(batch, limit);
                                            },
                                            nullptr, [&nodes] { return nodes.maintain(); }})) {}
    ~ProcessState() {
      const CancellationPause no_cancellation;
      renewer->stop();
    }

    const std::shared_ptr<Renewer> renewer;
  };

  [[nodiscard]] static milliseconds least(const std::vector<std::shared_ptr<ClientState>>& clients,
                                          milliseconds Endpoint::*time) {
    auto least = milliseconds::max();
    for (const auto& client : clients) least = std::min(least, client->endpoint().*time);
    return least;
  }

  [[nodiscard]] std::vector<Prober*> find_probers() const {
    std::vector<Prober*> probers;
    probers.reserve(size());
    for (const auto& client : clients_) probers.push_back(&prober_of(*client));
    return probers;
  }

  /// Extends leases on a majority. Each lease's shares record what is in doubt.
  [[nodiscard]] Renewals extend(const Leases& batch, Time limit) const {
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
  mutable ProcessLocal<ProcessState> process_{
      [this] { return std::make_unique<ProcessState>(*this); }};
};

}  // namespace redis_lock::detail
