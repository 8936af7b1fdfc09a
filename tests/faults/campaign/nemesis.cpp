#include "nemesis.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <redis_lock/lock.hpp>

#include "fault_kinds.hpp"

namespace redis_lock_test::campaign {

namespace {

using std::chrono::steady_clock;

std::string worker_named(int slot) { return "slot-" + std::to_string(slot); }
std::string proxy_named(std::size_t proxy) { return "proxy-" + std::to_string(proxy); }

/// The locks of those who are behind this proxy.
std::string names_behind(std::size_t proxy) {
  std::string names;
  for (const auto& role : roles()) {
    const auto link = proxy == 0 ? Link::first_proxy : Link::second_proxy;
    if (role.link == link) names += (names.empty() ? "" : ",") + role.all_names();
  }
  return names;
}

}  // namespace

Nemesis::Nemesis(const Victims& victims, const HistoryFile& history, std::uint64_t seed)
    : victims_(victims),
      history_(history),
      random_(seed),
      watch_([this] { watch_the_machine(); }) {}

Nemesis::~Nemesis() {
  stopping_ = true;
  watch_.join();
}

void Nemesis::rage_until(Time end_of_rage, const std::atomic<bool>& interrupted) {
  auto next = steady_clock::now() + 500ms;  // the workers shall be at it
  for (;;) {
    const auto now = steady_clock::now();
    const bool over = now >= end_of_rage || interrupted;
    repair_due(over ? now + 1h : now);
    if (over && harms_.empty()) return;
    victims_.fleet.look_after();
    if (!over && now >= next) {
      strike();
      next = steady_clock::now() + draw_gap();
    }
    for (auto* const proxy : victims_.proxies) proxy->forget_commands();
    std::this_thread::sleep_for(5ms);
  }
}

/// Bursts, and now and then a time without any, in which the checker may ask for more.
milliseconds Nemesis::draw_gap() {
  const auto kind = draw(1, 100);
  if (kind <= 66) return draw_time(50ms, 600ms);
  if (kind <= 86) return draw_time(600ms, 2000ms);
  return draw_time(8000ms, 11'000ms);
}

/// The next fault: often one that meets whoever holds or waits right now. One whose victim is busy with
/// another is left out.
void Nemesis::strike() {
  static const std::array<std::string, 6> aimed{"holder-stop", "waiter-stop", "holder-kill",
                                                "waiter-kill", "reset",       "server-stop"};
  for (int attempt = 0; attempt < 20; ++attempt) {
    if (draw(1, 5) <= 2) {
      if (do_harm(aimed[draw(0, aimed.size() - 1)])) return;
      continue;
    }
    const auto& kind = fault_kinds[draw(0, fault_kinds.size() - 1)];
    if (!kind.noticed_only && do_harm(std::string{kind.name})) return;
  }
}

bool Nemesis::do_harm(const std::string& kind) {
  if (kind == "holder-stop" || kind == "holder-kill") return harm_worker(kind, Doing::holding);
  if (kind == "waiter-stop" || kind == "waiter-kill") return harm_worker(kind, Doing::waiting);
  if (kind.rfind("link-", 0) == 0) return harm_link(kind);
  if (kind == "client-clock") return move_workers_clock(), true;
  if (!is_free("server")) return false;
  if (kind == "server-stop" || kind == "server-kill" || kind == "server-empty")
    return harm_server(kind);
  if (kind == "server-forward" || kind == "server-back") return move_server_clock(kind);
  return command_server(kind);
}

bool Nemesis::harm_worker(const std::string& kind, Doing doing) {
  const auto slot = slot_that_is(doing);
  if (slot < 0) return false;
  auto& fleet = victims_.fleet;
  const auto& role = roles()[static_cast<std::size_t>(slot)];
  Harm harm{worker_named(slot), {}, steady_clock::now(), {}, {}};
  const auto process = fleet.process(slot);
  if (kind == "holder-kill" || kind == "waiter-kill") {
    harm.due += draw_time(50ms, 400ms);
    harm.repair = [&fleet, slot] { fleet.start(slot); };
    begin(std::move(harm), kind, role.all_names(), process);
    fleet.kill(slot);
    return true;
  }
  const bool past_its_lease = role.lease <= 1s || draw(1, 5) == 1;
  harm.due += doing == Doing::holding && past_its_lease
                  ? draw_time(role.lease, role.lease + std::max(role.lease / 4, milliseconds{400}))
                  : draw_time(100ms, 3000ms);
  harm.repair = [&fleet, slot] { fleet.resume(slot); };
  begin(std::move(harm), kind, role.all_names(), process);
  fleet.stop(slot);
  return true;
}

/// A worker of which a thread does so right now; -1 if none does for a while.
int Nemesis::slot_that_is(Doing doing) {
  std::vector<int> found;
  const auto look = [&] {
    for (int slot = 0; slot < victims_.fleet.size(); ++slot) {
      const auto& threads = victims_.board.doing[slot];
      const auto holds = std::count(std::begin(threads), std::end(threads), Doing::holding);
      const auto does = std::count(std::begin(threads), std::end(threads), doing);
      const bool fits = does > 0 && (doing == Doing::holding || holds == 0);
      if (fits && victims_.fleet.runs(slot) && is_free(worker_named(slot))) found.push_back(slot);
    }
    return !found.empty();
  };
  if (!eventually(look, 200ms)) return -1;
  return found[draw(0, found.size() - 1)];
}

bool Nemesis::harm_server(const std::string& kind) {
  auto& server = victims_.server;
  Harm harm{"server", {}, steady_clock::now(), {}, {}};
  if (kind == "server-stop") {
    harm.due += draw_time(100ms, 2500ms);
    harm.repair = [&server] { server.resume(); };
    begin(std::move(harm), kind, "*");
    server.pause();
    return true;
  }
  const bool loses_data = kind == "server-empty";
  harm.due += draw_time(0ms, 1200ms);
  harm.repair = [&server, loses_data] {
    if (loses_data) server.forget_data();
    server.restart();
  };
  begin(std::move(harm), kind, "*");
  if (loses_data) victims_.ledgers.read();
  server.kill();
  return true;
}

bool Nemesis::move_server_clock(const std::string& kind) {
  auto& server = victims_.server;
  Harm harm{"server", {}, steady_clock::now(), {}, {}};
  if (kind == "server-forward") {
    begin(harm, kind, "*");
    server.move_clock(draw_time(100ms, 5000ms));
    (void)server.redis().command("PING");
  } else {
    // Leases, and what clients wait for, last so much longer.
    const auto by = draw_time(100ms, 2000ms);
    harm.due += by;
    begin(harm, kind, "*");
    server.move_clock(-by);
  }
  return true;
}

bool Nemesis::command_server(const std::string& kind) {
  const auto slot = slot_that_is(Doing::holding);
  const auto& names = roles()[static_cast<std::size_t>(std::max(slot, 0))].names;
  const auto& name = names[draw(0, names.size() - 1)];
  begin({"server", {}, steady_clock::now(), {}, {}}, kind, kind == "reset" ? name : "*");
  if (kind == "client-kill") {
    kill_connection();
  } else if (kind == "script-flush") {
    (void)victims_.server.redis().command("SCRIPT", "FLUSH");
  } else if (kind == "flush-all") {
    victims_.ledgers.read_and_flush();
  } else {
    redis_lock::Lock{victims_.server.uri(), name}.reset();
  }
  return true;
}

/// One connection of a worker.
void Nemesis::kill_connection() {
  auto& redis = victims_.server.redis();
  const auto list = redis.string("CLIENT", "LIST").value_or("");
  std::vector<std::string> ids;
  for (std::size_t line = 0; line < list.size(); line = list.find('\n', line) + 1) {
    const auto text = list.substr(line, list.find('\n', line) - line);
    if (text.find(" name=slot-") == text.npos || text.rfind("id=", 0) != 0) continue;
    ids.push_back(text.substr(3, text.find(' ') - 3));
  }
  if (!ids.empty()) (void)redis.command("CLIENT", "KILL", "ID", ids[draw(0, ids.size() - 1)]);
}

/// All that use it; what the library promises does not depend on it, so it concerns no lock.
void Nemesis::move_workers_clock() {
  begin({"nobody", {}, steady_clock::now(), {}, {}}, "client-clock", "");
  const auto by = draw(0, 1) == 0 ? draw_time(10ms, 5000ms) : draw_time(1h, 24h);
  *victims_.workers_clock += nanoseconds{draw(0, 1) == 0 ? by : -by}.count();
}

bool Nemesis::harm_link(const std::string& kind) {
  const auto number = draw(0, victims_.proxies.size() - 1);
  if (!is_free(proxy_named(number))) return false;
  auto& proxy = *victims_.proxies[number];
  Harm harm{proxy_named(number), {}, steady_clock::now(), {}, {}};
  const auto write_down = [&] { begin(harm, kind, names_behind(number)); };
  if (kind == "link-delay") {
    harm.due += draw_time(300ms, 2000ms);
    harm.repair = [&proxy] { proxy.delay_replies(0ms); };
    write_down();
    proxy.delay_replies(draw_time(20ms, 500ms));
  } else if (kind == "link-stall") {
    harm.due += draw_time(100ms, 2500ms);
    harm.repair = [&proxy] { proxy.resume(); };
    write_down();
    proxy.pause();
  } else if (kind == "link-drop") {
    write_down();
    proxy.drop_connections();
  } else if (kind == "link-refuse") {
    harm.due += draw_time(100ms, 1500ms);
    harm.repair = [&proxy] { proxy.refuse_connections(false); };
    write_down();
    proxy.refuse_connections();
    proxy.drop_connections();
  } else {
    harm.may_end = [&proxy] { return proxy.faults_left() == 0; };
    write_down();
    const auto fault = kind == "link-cut"            ? redis_lock_test::Fault::cut_reply
                       : kind == "link-lose-request" ? redis_lock_test::Fault::lose_request
                       : kind == "link-lose-reply"   ? redis_lock_test::Fault::lose_reply
                                                     : redis_lock_test::Fault::lose_reply_and_stall;
    static const std::array<std::string, 6> commands{"", "", "EVALSHA", "EVAL", "BLPOP", "PTTL"};
    proxy.inject(commands[draw(0, commands.size() - 1)], fault, static_cast<int>(draw(1, 3)));
  }
  return true;
}

/// Written down before anything is done.
void Nemesis::begin(Harm harm, const std::string& kind, const std::string& names, int process) {
  harm.begin.event = Event::fault_begin;
  harm.begin.operation = ++faults_;
  harm.begin.what = kind;
  harm.begin.name = names;
  harm.begin.process = process;
  harm.begin.at = steady_clock::now();
  history_.write(harm.begin);
  harms_.push_back(std::move(harm));
}

void Nemesis::end(Harm& harm) {
  if (harm.repair) harm.repair();
  harm.begin.event = Event::fault_end;
  harm.begin.at = steady_clock::now();
  history_.write(harm.begin);
}

void Nemesis::repair_due(Time now) {
  for (auto harm = harms_.begin(); harm != harms_.end();) {
    const bool over = harm->due <= now && (!harm->may_end || harm->may_end());
    if (over) end(*harm);
    harm = over ? harms_.erase(harm) : std::next(harm);
  }
}

bool Nemesis::is_free(const std::string& victim) const {
  return std::none_of(harms_.begin(), harms_.end(),
                      [&](const Harm& harm) { return harm.victim == victim; });
}

std::size_t Nemesis::draw(std::size_t least, std::size_t most) {
  return std::uniform_int_distribution<std::size_t>{least, most}(random_);
}
milliseconds Nemesis::draw_time(milliseconds least, milliseconds most) {
  return milliseconds{
      draw(static_cast<std::size_t>(least.count()), static_cast<std::size_t>(most.count()))};
}

/// Notices when this machine did not run anybody for a while: then nobody is to blame.
void Nemesis::watch_the_machine() {
  auto before = steady_clock::now();
  while (!stopping_) {
    std::this_thread::sleep_for(20ms);
    const auto now = steady_clock::now();
    if (now - before > 250ms) {
      Record record;
      record.operation = ++faults_;
      record.what = "machine-stall";
      record.name = "*";
      for (const auto event : {Event::fault_begin, Event::fault_end}) {
        record.event = event;
        record.at = event == Event::fault_begin ? before : now;
        history_.write(record);
      }
    }
    before = now;
  }
}

}  // namespace redis_lock_test::campaign
