#include "cluster_servers.hpp"

#include <algorithm>
#include <memory>
#include <random>

namespace redis_lock_test::campaign {

using std::chrono::steady_clock;

namespace {

std::vector<Member*> members_of(ClusterFleet& fleet) {
  std::vector<Member*> members;
  for (Index i = 0; i < fleet.size(); ++i) members.push_back(&fleet.member(i));
  return members;
}

/// Of all keys of a lock.
std::vector<std::string> prefixes_of(Kind kind) {
  if (kind == Kind::lock) return {"lock:", "lock-signal:", "lock-fence:"};
  if (kind == Kind::semaphore) return {"semaphore:", "semaphore-signal:"};
  return {"shared-lock:", "shared-lock-readers:", "shared-lock-signal:", "shared-lock-drained:",
          "shared-lock-fence:"};
}

/// A slot that moves to another master: key after key, with pauses.
class SlowMigration {
 public:
  SlowMigration(ClusterFleet& fleet, const std::string& name, Index to, Dice& dice)
      : migration_(fleet, fleet.slot_of(ledger_of(name)), to) {
    for (const auto& prefix : prefixes_of(role_of(name).kind))
      keys_.push_back(prefix + '{' + name + '}');
    keys_.push_back(ledger_of(name));
    for (auto i = keys_.size(); i > 1; --i) std::swap(keys_[i - 1], keys_[dice.draw(0, i - 1)]);
    for (std::size_t i = 0; i <= keys_.size(); ++i) {
      const bool at_once = dice.draw(1, 2) == 1;
      pauses_.push_back(at_once ? 0ms : dice.draw_time(5ms, 400ms));
    }
    next_ += pauses_.back();
  }

  /// What is due; is it over?
  [[nodiscard]] bool go_on() {
    while (steady_clock::now() >= next_) {
      if (keys_.empty()) {
        migration_.finish();
        return true;
      }
      migration_.move_key(keys_.back());
      keys_.pop_back();
      pauses_.pop_back();
      next_ = steady_clock::now() + pauses_.back();
    }
    return false;
  }

 private:
  ClusterFleet::Migration migration_;
  std::vector<std::string> keys_;     // still to move
  std::vector<milliseconds> pauses_;  // before each of them, and before the end
  Time next_ = steady_clock::now();
};

}  // namespace

ClusterServers::ClusterServers() : replication_(members_of(fleet_)) {
  for (const auto& name : lock_names()) owners_[name] = fleet_.owner_of(ledger_of(name));
}

std::vector<Server::Noticed> ClusterServers::watch() {
  std::vector<Noticed> noticed;
  for (const auto& promotion : replication_.look()) {
    // One that its master knew of loses nothing: it has kept still until the replica had everything.
    const bool handed_over = heir_ == promotion.new_master;
    if (handed_over) heir_.reset();
    noticed.push_back(
        {handed_over ? "handover" : "promotion", names_at(promotion.old_master), promotion.span});
    for (auto& [name, owner] : owners_) {
      if (owner == promotion.old_master) owner = promotion.new_master;
    }
  }
  return noticed;
}

bool ClusterServers::is_well() {
  if (!replication_.is_well()) return false;
  for (Index i = 0; i < fleet_.size(); ++i) {
    auto& redis = fleet_.member(i).redis();
    if (redis.string("CLUSTER", "INFO").value_or("").find("cluster_state:ok") ==
            std::string::npos ||
        redis.string("CLUSTER", "NODES").value_or("").find("fail") != std::string::npos ||
        replication_.is_master(i) == replication_.replicas_of(i).empty())
      return false;
  }
  return true;
}

std::string ClusterServers::names_at(Index master) const {
  std::string names;
  for (const auto& [name, owner] : owners_) {
    if (owner == master) names += (names.empty() ? "" : ",") + name;
  }
  return names;
}

std::optional<Harm> ClusterServers::harm(const Occasion& occasion) {
  if (!is_well()) return std::nullopt;
  const auto& kind = occasion.kind;
  const auto master = owners_.at(occasion.name);
  const auto replica = replication_.replicas_of(master).front();
  if (kind == "migration") return migrate(occasion.name, occasion.dice);
  if (kind == "manual-failover") return fail_over(master, replica);
  if (kind == "replica-stop" || kind == "replica-kill") return harm_replica(occasion, replica);
  auto& redis = fleet_.member(master).redis();
  if (kind == "client-kill") return client_kill(redis, occasion.dice, names_at(master));
  if (kind == "script-flush") return script_flush(redis, names_at(master));
  return harm_master(occasion, master);
}

Harm ClusterServers::harm_master(const Occasion& occasion, Index master) {
  auto& dice = occasion.dice;
  auto& member = fleet_.member(master);
  // It concerns all locks: as long as a master is missing, the others serve nobody.
  Harm harm{the_servers, "*", {}};
  harm.repair = [&member] { member.revive(); };
  if (occasion.kind == "master-kill") {
    // It comes back without its data: so not before somebody else has them.
    harm.strike = [&member] { member.kill(); };
    harm.due += dice.draw_time(500ms, 3000ms);
    harm.may_end = [this, master] { return replication_.successor_of(master).has_value(); };
  } else {
    const bool is_long = dice.draw(1, 2) == 1;  // so that its replica takes its place
    harm.strike = [&member] { member.freeze(); };
    harm.due += is_long ? dice.draw_time(2500ms, 5000ms)
                        : dice.draw_time(50ms, ClusterFleet::node_timeout - 200ms);
  }
  return harm;
}

Harm ClusterServers::harm_replica(const Occasion& occasion, Index replica) {
  auto& member = fleet_.member(replica);
  Harm harm{the_servers, names_at(owners_.at(occasion.name)), {}};
  harm.due += occasion.dice.draw_time(50ms, 2500ms);
  const bool dies = occasion.kind == "replica-kill";
  harm.strike = [&member, dies] { dies ? member.kill() : member.freeze(); };
  harm.repair = [&member] { member.revive(); };
  return harm;
}

Harm ClusterServers::fail_over(Index master, Index replica) {
  Harm harm{the_servers, names_at(master), {}};
  harm.strike = [this, replica] {
    heir_ = replica;
    fleet_.member(replica).redis().command("CLUSTER", "FAILOVER");
  };
  harm.may_end = [this, give_up = steady_clock::now() + 10s] {
    return !heir_ || steady_clock::now() > give_up;
  };
  harm.repair = [this] { heir_.reset(); };
  return harm;
}

Harm ClusterServers::migrate(const std::string& name, Dice& dice) {
  std::vector<Index> others;
  for (Index i = 0; i < fleet_.size(); ++i) {
    if (replication_.is_master(i) && i != owners_.at(name)) others.push_back(i);
  }
  const auto to = dice.one_of(others);
  Harm harm{the_servers, name, {}};
  const auto migration = std::make_shared<std::unique_ptr<SlowMigration>>();
  harm.strike = [this, migration, name, to, &dice] {
    *migration = std::make_unique<SlowMigration>(fleet_, name, to, dice);
  };
  harm.may_end = [migration] { return (*migration)->go_on(); };
  harm.repair = [this, name, to] { owners_[name] = to; };
  return harm;
}

}  // namespace redis_lock_test::campaign
