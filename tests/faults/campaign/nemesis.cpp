#include "nemesis.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "fault_kinds.hpp"

namespace redis_lock_test::campaign {

namespace {

using std::chrono::steady_clock;

/// How long the servers may take to get over what was done to them.
// Sentinel rests for 30 s (TILT) each time that a busy machine makes it late.
constexpr auto longest_recovery = 180s;

std::string worker_named(int slot) { return "slot-" + std::to_string(slot); }

const std::vector<std::string> worker_kinds{"holder-stop", "waiter-stop", "holder-kill",
                                            "waiter-kill"};

std::vector<std::string> operator+(std::vector<std::string> some,
                                   const std::vector<std::string>& more) {
  some.insert(some.end(), more.begin(), more.end());
  return some;
}

}  // namespace

Nemesis::Nemesis(const Victims& victims, const HistoryFile& history, std::uint64_t seed)
    : victims_(victims),
      history_(history),
      dice_(seed),
      kinds_(worker_kinds + victims.server.kinds() + std::vector<std::string>{"client-clock"}),
      aimed_(worker_kinds + victims.server.aimed_kinds()),
      first_kind_(victims.server.essential_kind()),
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
    if (interrupted || (over && harms_.empty() && victims_.server.is_well())) return;
    if (now >= end_of_rage + longest_recovery)
      throw std::runtime_error("the servers do not get over the harm");
    victims_.fleet.look_after();
    if (!over && now >= next) {
      strike();
      next = steady_clock::now() + draw_gap();
    }
    watch();
    std::this_thread::sleep_for(5ms);
  }
}

void Nemesis::watch() {
  for (const auto& noticed : victims_.server.watch()) write_down(noticed);
}

/// Bursts, and now and then a time without any, in which the checker may ask for more.
milliseconds Nemesis::draw_gap() {
  const auto kind = dice_.draw(1, 100);
  if (kind <= 66) return dice_.draw_time(50ms, 600ms);
  if (kind <= 86) return dice_.draw_time(600ms, 2000ms);
  return dice_.draw_time(8000ms, 11'000ms);
}

/// The next fault: often one that meets whoever holds or waits right now. One whose victim is busy with
/// another is left out.
void Nemesis::strike() {
  if (!first_kind_.empty() && do_harm(first_kind_)) return first_kind_.clear();
  for (int attempt = 0; attempt < 20; ++attempt) {
    if (do_harm(dice_.one_of(dice_.draw(1, 5) <= 2 ? aimed_ : kinds_))) return;
  }
}

bool Nemesis::do_harm(const std::string& kind) {
  if (kind == "holder-stop" || kind == "holder-kill") return harm_worker(kind, Doing::holding);
  if (kind == "waiter-stop" || kind == "waiter-kill") return harm_worker(kind, Doing::waiting);
  if (kind == "client-clock") return move_workers_clock(), true;
  return harm_server(kind);
}

bool Nemesis::harm_worker(const std::string& kind, Doing doing) {
  const auto slot = slot_that_is(doing);
  if (slot < 0) return false;
  auto& fleet = victims_.fleet;
  const auto& role = roles()[static_cast<std::size_t>(slot)];
  Harm harm{worker_named(slot), role.all_names(), {}};
  harm.process = fleet.process(slot);
  if (kind == "holder-kill" || kind == "waiter-kill") {
    harm.due += dice_.draw_time(50ms, 400ms);
    harm.strike = [&fleet, slot] { fleet.kill(slot); };
    harm.repair = [&fleet, slot] { fleet.start(slot); };
  } else {
    const bool past_its_lease = role.lease <= 1s || dice_.draw(1, 5) == 1;
    harm.due +=
        doing == Doing::holding && past_its_lease
            ? dice_.draw_time(role.lease, role.lease + std::max(role.lease / 4, milliseconds{400}))
            : dice_.draw_time(100ms, 3000ms);
    harm.strike = [&fleet, slot] { fleet.stop(slot); };
    harm.repair = [&fleet, slot] { fleet.resume(slot); };
  }
  begin(harm, kind);
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
  return dice_.one_of(found);
}

bool Nemesis::harm_server(const std::string& kind) {
  const auto slot = slot_that_is(Doing::holding);
  const auto& role = roles()[static_cast<std::size_t>(std::max(slot, 0))];
  const auto harm = victims_.server.harm({kind, dice_.one_of(role.names), victims_.ledgers, dice_});
  if (!harm || !is_free(harm->victim)) return false;
  begin(*harm, kind);
  return true;
}

/// All that use it; what the library promises does not depend on it, so it concerns no lock.
void Nemesis::move_workers_clock() {
  const auto by = dice_.draw(0, 1) == 0 ? dice_.draw_time(10ms, 5000ms) : dice_.draw_time(1h, 24h);
  const auto sign = dice_.draw(0, 1) == 0 ? 1 : -1;
  begin({"nobody", "",
         [this, by, sign] { *victims_.workers_clock += nanoseconds{by}.count() * sign; }},
        "client-clock");
}

/// Written down before anything is done.
void Nemesis::begin(const Harm& harm, const std::string& kind) {
  Record record;
  record.event = Event::fault_begin;
  record.operation = ++faults_;
  record.what = kind;
  record.name = harm.names;
  record.process = harm.process;
  record.at = steady_clock::now();
  history_.write(record);
  harm.strike();
  harms_.push_back({harm, record});
}

void Nemesis::end(Begun& begun) {
  if (begun.harm.repair) begun.harm.repair();
  begun.record.event = Event::fault_end;
  begun.record.at = steady_clock::now();
  history_.write(begun.record);
}

void Nemesis::repair_due(Time now) {
  for (auto begun = harms_.begin(); begun != harms_.end();) {
    const auto& harm = begun->harm;
    const bool over = harm.due <= now && (!harm.may_end || harm.may_end());
    if (over) end(*begun);
    begun = over ? harms_.erase(begun) : std::next(begun);
  }
}

/// After it was over.
void Nemesis::write_down(const Server::Noticed& noticed) {
  Record record;
  record.operation = ++faults_;
  record.what = noticed.kind;
  record.name = noticed.names;
  record.event = Event::fault_begin;
  record.at = noticed.span.begin;
  history_.write(record);
  record.event = Event::fault_end;
  record.at = noticed.span.end;
  history_.write(record);
}

bool Nemesis::is_free(const std::string& victim) const {
  return std::none_of(harms_.begin(), harms_.end(),
                      [&](const Begun& begun) { return begun.harm.victim == victim; });
}

/// Notices when this machine did not run anybody for a while: then nobody is to blame.
void Nemesis::watch_the_machine() {
  auto before = steady_clock::now();
  while (!stopping_) {
    std::this_thread::sleep_for(20ms);
    const auto now = steady_clock::now();
    if (now - before > 250ms) write_down({"machine-stall", "*", {before, now}});
    before = now;
  }
}

}  // namespace redis_lock_test::campaign
