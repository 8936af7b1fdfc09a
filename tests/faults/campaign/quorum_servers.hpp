#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "durable_redis.hpp"
#include "server.hpp"
#include "support/proxy.hpp"

namespace redis_lock_test::campaign {

/// Five servers that know nothing of each other, for QuorumLock. Harm comes to two of them at a time, at
/// most, and none loses its data: so nothing is an excuse for two holders.
class QuorumServers final : public Server {
 public:
  QuorumServers(const std::string& preloaded, WallClock& wall_clock) {
    for (auto& node : nodes_) node = std::make_unique<Node>(preloaded, wall_clock);
  }

  [[nodiscard]] std::string uri(Link link) const override;
  /// There is a QuorumLock, and no more.
  [[nodiscard]] bool has(Kind kind) const override { return kind == Kind::lock; }
  /// There are no ledgers: none is found on the first one.
  [[nodiscard]] Redis& redis(const std::string&) override { return nodes_.front()->redis.redis(); }
  [[nodiscard]] std::vector<std::string> kinds() const override;
  [[nodiscard]] std::vector<std::string> aimed_kinds() const override {
    return {"node-kill", "node-stop"};
  }
  [[nodiscard]] std::string essential_kind() const override { return "node-stop"; }
  [[nodiscard]] std::optional<Harm> harm(const Occasion& occasion) override;
  [[nodiscard]] std::vector<Noticed> watch() override;

 private:
  static constexpr std::size_t minority = 2;

  struct Node {
    Node(const std::string& preloaded, WallClock& wall_clock)
        : redis(preloaded, wall_clock), proxy(redis.tcp_endpoint(), Transport::tcp) {}

    DurableRedis redis;
    Proxy proxy;
  };

  std::array<std::unique_ptr<Node>, 2 * minority + 1> nodes_;
  std::set<std::size_t> harmed_;
};

}  // namespace redis_lock_test::campaign
