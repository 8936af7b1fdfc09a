#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "replication.hpp"
#include "server.hpp"
#include "support/cluster.hpp"

namespace redis_lock_test::campaign {

/// A Redis Cluster of three masters with a replica each, on which the locks are spread.
class ClusterServers final : public Server {
 public:
  ClusterServers();

  [[nodiscard]] std::string uri(Link) const override { return fleet_.uri(); }
  [[nodiscard]] Redis& redis(const std::string& name) override {
    return fleet_.member(owners_.at(name)).redis();
  }
  [[nodiscard]] std::vector<std::string> kinds() const override {
    return {"master-kill",     "master-stop", "replica-stop", "replica-kill",
            "manual-failover", "migration",   "client-kill",  "script-flush"};
  }
  [[nodiscard]] std::vector<std::string> aimed_kinds() const override {
    return {"master-kill", "master-stop"};
  }
  [[nodiscard]] std::string essential_kind() const override { return "master-kill"; }
  [[nodiscard]] std::optional<Harm> harm(const Occasion& occasion) override;
  [[nodiscard]] std::vector<Noticed> watch() override;
  [[nodiscard]] bool is_well() override;

 private:
  [[nodiscard]] std::string names_at(Index master) const;
  [[nodiscard]] Harm harm_master(const Occasion& occasion, Index master);
  [[nodiscard]] Harm harm_replica(const Occasion& occasion, Index replica);
  [[nodiscard]] Harm fail_over(Index master, Index replica);
  [[nodiscard]] Harm migrate(const std::string& name, Dice& dice);

  ClusterFleet fleet_;
  Replication replication_;
  std::map<std::string, Index> owners_;  // by the name of the lock
  std::optional<Index> heir_;            // told to take over, while its master waits for it
};

}  // namespace redis_lock_test::campaign
