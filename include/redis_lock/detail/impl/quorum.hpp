#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/config.hpp>
#include <redis_lock/detail/impl/basic_lock.hpp>
#include <redis_lock/detail/impl/client.hpp>
#include <redis_lock/detail/lock/client_state.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/quorum/majority.hpp>
#include <redis_lock/node_status.hpp>
#include <redis_lock/options.hpp>
#include <redis_lock/quorum.hpp>

namespace redis_lock {
namespace detail {

/// Throws std::invalid_argument if a majority of these could not be relied on.
[[nodiscard]] inline std::vector<std::shared_ptr<ClientState>> checked_nodes(
    std::vector<std::shared_ptr<ClientState>> nodes) {
  require(nodes.size() >= 3, "there must be three nodes or more");
  require(nodes.size() % 2 == 1,
          "the number of nodes must be odd: an even number tolerates no more failures");
  for (auto node = nodes.begin(); node != nodes.end(); ++node) {
    const auto& endpoint = (*node)->endpoint();
    require(!endpoint.sentinel && endpoint.cluster.empty(),
            "nodes must be single servers: a failover of one could undo its vote");
    for (auto earlier = nodes.begin(); earlier != node; ++earlier) {
      require(*earlier != *node, "nodes must not contain copies of one Client");
      const auto& other = (*earlier)->endpoint();
      const bool is_same = endpoint.unix_socket == other.unix_socket &&
                           (!endpoint.unix_socket.empty() ||
                            (endpoint.host == other.host && endpoint.port == other.port));
      require(!is_same, "nodes must be different servers: two of these have the same address");
    }
  }
  return nodes;
}

[[nodiscard]] inline Options checked_for_quorum(const std::string& name, Options options) {
  require(options.expire != no_expiry,
          "expire must not be no_expiry: a node that is away during the release would hold "
          "the lock for ever");
  options = checked(name, std::move(options), false);
  require(options.expire >= std::chrono::milliseconds{10},
          "expire must be at least 10 ms on several nodes");
  require(!options.fencing,
          "fencing is not possible on several nodes: no counter is common to them");
  require(options.local_handoffs == 0, "local_handoffs are not possible on several nodes");
  require(options.replicas.min_acks == 0,
          "replicas are not possible on several nodes, which must have none");
  require(!options.deferred_unlock,
          "deferred_unlock is not possible on several nodes: only the answers of a majority "
          "tell whether the lock was still held");
  return options;
}

}  // namespace detail

REDIS_LOCK_DEFINITION QuorumLock::QuorumLock(std::vector<Client> nodes, std::string name,
                                             Options options)
    : BasicLock(std::make_unique<State>(detail::checked_nodes(states_of(nodes)), name,
                                        detail::checked_for_quorum(name, std::move(options)))) {}

REDIS_LOCK_DEFINITION std::vector<std::shared_ptr<detail::ClientState>> QuorumLock::states_of(
    const std::vector<Client>& nodes) {
  std::vector<std::shared_ptr<detail::ClientState>> clients;
  clients.reserve(nodes.size());
  for (const auto& node : nodes) clients.push_back(node.state_);
  return clients;
}

REDIS_LOCK_DEFINITION std::vector<NodeStatus> QuorumLock::nodes() const {
  return state().backend().nodes();
}

}  // namespace redis_lock
