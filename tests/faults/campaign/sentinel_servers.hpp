#pragma once

#include <optional>
#include <string>
#include <vector>

#include "replication.hpp"
#include "server.hpp"
#include "support/sentinel.hpp"

namespace redis_lock_test::campaign {

/// A master with two replicas, and three sentinels that watch over them.
class SentinelServers final : public Server {
 public:
  [[nodiscard]] std::string uri(Link) const override { return fleet_.uri(); }
  [[nodiscard]] Redis& redis(const std::string&) override {
    return fleet_.member(master()).redis();
  }
  [[nodiscard]] std::vector<std::string> kinds() const override {
    return {"master-kill",     "master-stop", "replica-stop", "sentinel-stop",
            "manual-failover", "client-kill", "script-flush"};
  }
  [[nodiscard]] std::vector<std::string> aimed_kinds() const override {
    return {"master-kill", "master-stop"};
  }
  [[nodiscard]] std::string essential_kind() const override { return "master-kill"; }
  [[nodiscard]] std::optional<Harm> harm(const Occasion& occasion) override;
  [[nodiscard]] std::vector<Noticed> watch() override;
  [[nodiscard]] bool is_well() override;

 private:
  static constexpr Index sentinel_count = 3;

  [[nodiscard]] Index master() const;
  [[nodiscard]] std::optional<Harm> harm_master(const Occasion& occasion);
  [[nodiscard]] Harm kill_master(Index master, Dice& dice);
  [[nodiscard]] Harm fail_over(Index master);
  [[nodiscard]] std::optional<Harm> stop_replica(Dice& dice);
  [[nodiscard]] Harm stop_sentinel(Dice& dice);

  SentinelFleet fleet_;
  Replication replication_{{&fleet_.member(0), &fleet_.member(1), &fleet_.member(2)}};
};

}  // namespace redis_lock_test::campaign
