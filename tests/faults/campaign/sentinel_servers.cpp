#include "sentinel_servers.hpp"

#include <stdexcept>

namespace redis_lock_test::campaign {

using std::chrono::steady_clock;

std::vector<Server::Noticed> SentinelServers::watch() {
  std::vector<Noticed> noticed;
  for (const auto& promotion : replication_.look())
    noticed.push_back({"promotion", "*", promotion.span});
  return noticed;
}

bool SentinelServers::is_well() {
  if (!replication_.is_well()) return false;
  for (Index i = 0; i < sentinel_count; ++i) {
    auto& sentinel = fleet_.sentinel(i);
    if (!sentinel.is_running() || sentinel.about_master("flags") != "master" ||
        sentinel.named_master() != fleet_.member(master()).address())
      return false;
  }
  return true;
}

Index SentinelServers::master() const {
  for (Index i = 0; i < fleet_.size(); ++i) {
    if (replication_.is_master(i)) return i;
  }
  throw std::runtime_error("there is no master");
}

std::optional<Harm> SentinelServers::harm(const Occasion& occasion) {
  if (occasion.kind == "replica-stop") return stop_replica(occasion.dice);
  if (occasion.kind == "sentinel-stop") return stop_sentinel(occasion.dice);
  if (!is_well()) return std::nullopt;
  return harm_master(occasion);
}

std::optional<Harm> SentinelServers::harm_master(const Occasion& occasion) {
  auto& dice = occasion.dice;
  const auto index = master();
  auto& member = fleet_.member(index);
  if (occasion.kind == "client-kill") return client_kill(member.redis(), dice);
  if (occasion.kind == "script-flush") return script_flush(member.redis());
  if (occasion.kind == "master-kill") return kill_master(index, dice);
  if (occasion.kind == "manual-failover") return fail_over(index);
  Harm harm{the_servers, "*", [&member] { member.freeze(); }};
  harm.repair = [&member] { member.revive(); };
  const bool is_long = dice.draw(1, 2) == 1;  // so that another one takes its place
  harm.due += is_long ? dice.draw_time(1000ms, 4000ms)
                      : dice.draw_time(50ms, SentinelFleet::down_after - 100ms);
  return harm;
}

/// Without its data, and it knows nothing of its successor: so not before there is one.
Harm SentinelServers::kill_master(Index master, Dice& dice) {
  auto& member = fleet_.member(master);
  Harm harm{the_servers, "*", [&member] { member.kill(); }};
  harm.due += dice.draw_time(500ms, 3000ms);
  harm.may_end = [this, master] { return replication_.successor_of(master).has_value(); };
  harm.repair = [this, master, &member] {
    auto& successor = fleet_.member(*replication_.successor_of(master));
    member.revive();
    member.redis().command("REPLICAOF", successor.host(), successor.port());
  };
  return harm;
}

Harm SentinelServers::fail_over(Index master) {
  Harm harm{the_servers, "*", [this] { fleet_.fail_over(); }};
  harm.may_end = [this, master, give_up = steady_clock::now() + 10s] {
    return !replication_.is_master(master) || steady_clock::now() > give_up;
  };
  return harm;
}

std::optional<Harm> SentinelServers::stop_replica(Dice& dice) {
  const auto index = static_cast<Index>(dice.draw(0, fleet_.size() - 1));
  auto& member = fleet_.member(index);
  if (replication_.is_master(index) || !member.is_running()) return std::nullopt;
  Harm harm{"a replica", "*", [&member] { member.freeze(); }};
  harm.due += dice.draw_time(50ms, 2000ms);
  harm.repair = [&member] { member.revive(); };
  return harm;
}

Harm SentinelServers::stop_sentinel(Dice& dice) {
  auto& sentinel = fleet_.sentinel(static_cast<Index>(dice.draw(0, sentinel_count - 1)));
  Harm harm{"a sentinel", "*", [&sentinel] { sentinel.freeze(); }};
  harm.due += dice.draw_time(50ms, 4000ms);
  harm.repair = [&sentinel] { sentinel.revive(); };
  return harm;
}

}  // namespace redis_lock_test::campaign
