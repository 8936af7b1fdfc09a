#include "one_server.hpp"

#include <redis_lock/lock.hpp>
#include <redis_lock/semaphore.hpp>
#include <redis_lock/shared_lock.hpp>

#include "link.hpp"

namespace redis_lock_test::campaign {

namespace {

/// The locks of those who are behind this proxy.
std::string names_behind(Link link) {
  std::string names;
  for (const auto& role : roles()) {
    if (role.link == link) names += (names.empty() ? "" : ",") + role.all_names();
  }
  return names;
}

}  // namespace

std::string OneServer::uri(Link link) const {
  switch (link) {
    case Link::unix_socket: return redis_.uri();
    case Link::tcp: return redis_.tcp_uri();
    case Link::first_proxy: return first_.uri();
    case Link::second_proxy: return second_.uri();
  }
  return {};
}

std::vector<std::string> OneServer::kinds() const {
  std::vector<std::string> kinds{"server-stop",    "server-kill", "server-empty",
                                 "server-forward", "server-back", "client-kill",
                                 "script-flush",   "flush-all",   "reset"};
  kinds.insert(kinds.end(), link_kinds().begin(), link_kinds().end());
  return kinds;
}

std::vector<Server::Noticed> OneServer::watch() {
  first_.forget_commands();
  second_.forget_commands();
  return {};
}

std::optional<Harm> OneServer::harm(const Occasion& occasion) {
  const auto& [kind, name, ledgers, dice] = occasion;
  if (kind.rfind("link-", 0) == 0) return harm_link(occasion);
  if (kind == "client-kill") return client_kill(redis_.redis(), dice);
  if (kind == "script-flush") return script_flush(redis_.redis());
  Harm harm{the_servers, "*", {}};
  if (kind == "server-stop") {
    harm.due += dice.draw_time(100ms, 2500ms);
    harm.strike = [this] { redis_.pause(); };
    harm.repair = [this] { redis_.resume(); };
  } else if (kind == "server-kill") {
    harm.due += dice.draw_time(0ms, 1200ms);
    harm.strike = [this] { redis_.kill(); };
    harm.repair = [this] { redis_.restart(); };
  } else if (kind == "server-empty") {
    harm.due += dice.draw_time(0ms, 1200ms);
    harm.strike = [this, &all = ledgers] {
      all.read();
      redis_.kill();
    };
    harm.repair = [this] {
      redis_.forget_data();
      redis_.restart();
    };
  } else if (kind == "server-forward") {
    harm.strike = [this, by = dice.draw_time(100ms, 5000ms)] {
      redis_.move_clock(by);
      (void)redis_.redis().command("PING");
    };
  } else if (kind == "server-back") {
    // Leases, and what clients wait for, last so much longer.
    const auto by = dice.draw_time(100ms, 2000ms);
    harm.due += by;
    harm.strike = [this, by] { redis_.move_clock(-by); };
  } else if (kind == "flush-all") {
    harm.strike = [&all = ledgers] { all.read_and_flush(); };
  } else {
    harm.names = name;
    harm.strike = [this, freed = name] { reset(freed); };
  }
  return harm;
}

void OneServer::reset(const std::string& name) {
  const redis_lock::Client client{redis_.uri()};
  const auto& role = role_of(name);
  switch (role.kind) {
    case Kind::lock: (void)redis_lock::Lock{client, name}.reset(); break;
    case Kind::shared_lock: (void)redis_lock::SharedLock{client, name}.reset(); break;
    case Kind::semaphore: (void)redis_lock::Semaphore{client, name, role.permits}.reset(); break;
  }
}

Harm OneServer::harm_link(const Occasion& occasion) {
  const bool is_first = occasion.dice.draw(0, 1) == 0;
  auto harm = harm_to_link(is_first ? first_ : second_, occasion.kind, occasion.dice);
  harm.victim = is_first ? "first proxy" : "second proxy";
  harm.names = names_behind(is_first ? Link::first_proxy : Link::second_proxy);
  return harm;
}

}  // namespace redis_lock_test::campaign
