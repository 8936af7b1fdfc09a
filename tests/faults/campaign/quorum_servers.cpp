#include "quorum_servers.hpp"

#include "link.hpp"

namespace redis_lock_test::campaign {

std::string QuorumServers::uri(Link link) const {
  std::string uris;
  for (const auto& node : nodes_) {
    uris += uris.empty() ? "" : " ";
    if (link == Link::unix_socket) {
      uris += node->redis.uri();
    } else {
      uris += link == Link::tcp ? node->redis.tcp_uri() : node->proxy.uri();
    }
  }
  return uris;
}

std::vector<std::string> QuorumServers::kinds() const {
  std::vector<std::string> kinds{"node-kill", "node-stop", "client-kill", "script-flush"};
  kinds.insert(kinds.end(), link_kinds().begin(), link_kinds().end());
  return kinds;
}

std::vector<Server::Noticed> QuorumServers::watch() {
  for (auto& node : nodes_) node->proxy.forget_commands();
  return {};
}

std::optional<Harm> QuorumServers::harm(const Occasion& occasion) {
  const auto& kind = occasion.kind;
  auto& dice = occasion.dice;
  const auto number = dice.draw(0, nodes_.size() - 1);
  if (harmed_.size() == minority || harmed_.count(number) != 0) return std::nullopt;
  auto& redis = nodes_[number]->redis;
  Harm harm;
  if (kind.rfind("link-", 0) == 0) {
    harm = harm_to_link(nodes_[number]->proxy, kind, dice);
  } else if (kind == "client-kill") {
    harm = client_kill(redis.redis(), dice);
  } else if (kind == "script-flush") {
    harm = script_flush(redis.redis());
  } else if (kind == "node-kill") {
    harm.due += dice.draw_time(0ms, 2500ms);
    harm.strike = [&redis] { redis.kill(); };
    harm.repair = [&redis] { redis.restart(); };
  } else {
    harm.due += dice.draw_time(100ms, 5000ms);
    harm.strike = [&redis] { redis.pause(); };
    harm.repair = [&redis] { redis.resume(); };
  }
  harm.victim = "node-" + std::to_string(number);
  harm.names = "*";
  harm.strike = [this, number, strike = harm.strike] {
    harmed_.insert(number);
    strike();
  };
  harm.repair = [this, number, repair = harm.repair] {
    if (repair) repair();
    harmed_.erase(number);
  };
  return harm;
}

}  // namespace redis_lock_test::campaign
