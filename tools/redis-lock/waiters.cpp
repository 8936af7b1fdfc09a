#include "waiters.hpp"

#include <strings.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <future>
#include <initializer_list>
#include <memory>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#include <redis_lock/detail/lock/keyspace.hpp>
#include <redis_lock/detail/lock/observer.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/hiredis.hpp>
#include <redis_lock/detail/net/topology.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/inspect.hpp>

namespace redis_lock_command {
namespace {

using namespace std::chrono_literals;
namespace detail = redis_lock::detail;
namespace prefix = detail::shared_prefix;
using redis_lock::LockKind;
using Clock = std::chrono::steady_clock;

/// A little more than the longest time for which a waiter of the library blocks.
constexpr auto longest_watch = 3400ms;
/// How often CLIENT LIST is looked at meanwhile.
constexpr auto look_every = 200ms;
constexpr auto moment = 5ms;

[[nodiscard]] bool same(const std::string& word, const char* command) {
  return ::strcasecmp(word.c_str(), command) == 0;
}

/// What a server was seen to be asked for, and who is waiting by that.
class Watch {
 public:
  explicit Watch(const Place& place) : place_(place) {}

  void see(const Monitored& seen) {
    const auto& words = seen.words;
    if (words.size() >= 3 && same(words[0], "BLPOP")) {
      const auto name = name_of(words[1], {{place_.signal_prefix, LockKind::lock},
                                           {prefix::signal, LockKind::reading},
                                           {prefix::drained, LockKind::reading},
                                           {prefix::permit_signal, LockKind::permit}});
      if (!name) return;
      latest_[seen.address] = *name;
      ++asked_[*name].blocking;
    } else if (const auto attempt = attempt_of(words)) {
      auto& asked = asked_[attempt->first];
      ++asked.attempts;
      asked.ids.insert(attempt->second);
    }
  }

  /// Those of the blocked clients that were seen.
  [[nodiscard]] Waiters of(const std::vector<std::string>& blocked, bool by_address) const {
    Waiters waiters;
    if (by_address) {
      for (const auto& address : blocked) {
        const auto found = latest_.find(address);
        if (found != latest_.end()) ++waiters[found->second];
      }
    } else {
      // Over a Unix socket all have the same address. But each waiter by its id attempts to get the lock, blocks,
      // attempts, blocks…: it waits if the last that it did was to block.
      auto left = blocked.size();
      for (const auto& [name, asked] : asked_) {
        const auto blocks = asked.blocking + asked.ids.size();
        const auto waiting = std::min(left, blocks - std::min(blocks, asked.attempts));
        if (waiting > 0) waiters[name] = waiting;
        left -= waiting;
      }
    }
    return waiters;
  }

 private:
  struct Asked {
    std::size_t blocking = 0, attempts = 0;
    std::set<std::string> ids;
  };

  /// Returns what a key with one of these prefixes is about; nothing if it has none of them.
  [[nodiscard]] static std::optional<WaitedFor> name_of(
      const std::string& key,
      std::initializer_list<std::pair<std::string_view, LockKind>> prefixes) {
    for (const auto& [prefix, kind] : prefixes) {
      if (key.compare(0, prefix.size(), prefix) == 0)
        return WaitedFor{kind, key.substr(prefix.size())};
    }
    return std::nullopt;
  }

  /// Returns what the command wants to acquire, and under which id, if it is an attempt.
  [[nodiscard]] std::optional<std::pair<WaitedFor, std::string>> attempt_of(
      const std::vector<std::string>& words) const {
    const auto is_script = [&](const char* command, std::string_view detail::Script::*form) {
      if (words.size() < 6 || !same(words[0], command)) return false;
      const auto scripts = {detail::acquire_script, detail::take_permit_script,
                            detail::start_reading_script, detail::close_gate_script};
      return std::any_of(scripts.begin(), scripts.end(),
                         [&](const detail::Script& script) { return words[1] == script.*form; });
    };
    const bool is_set = words.size() >= 4 && same(words[0], "SET") &&
                        std::any_of(words.begin() + 3, words.end(),
                                    [](const std::string& word) { return same(word, "NX"); });
    const bool is_call =
        is_script("EVALSHA", &detail::Script::digest) || is_script("EVAL", &detail::Script::text);
    if (!is_set && !is_call) return std::nullopt;
    const auto name = name_of(words[is_set ? 1 : 3], {{place_.key_prefix, LockKind::lock},
                                                      {prefix::gate, LockKind::reading},
                                                      {prefix::readers, LockKind::reading},
                                                      {prefix::permits, LockKind::permit}});
    const auto id = is_set ? 2 : 3 + std::strtoul(words[2].c_str(), nullptr, 10);
    if (!name || id >= words.size()) return std::nullopt;
    return std::pair{*name, words[id]};
  }

  const Place& place_;
  std::map<std::string, WaitedFor> latest_;  // on which lock each address has blocked
  std::map<WaitedFor, Asked> asked_;
};

[[nodiscard]] std::vector<std::string> blocked_now(detail::Connection& connection, int database) {
  detail::Commands commands;
  commands.add({"CLIENT", "LIST"});
  const auto reply = connection.exchange(commands).front();
  return blocked_clients(detail::string_of(reply, "CLIENT LIST").value_or(""), database);
}

[[nodiscard]] std::size_t sum(const Waiters& waiters) {
  std::size_t all = 0;
  for (const auto& [name, count] : waiters) all += count;
  return all;
}

/// Of one server. Nothing: not all that wait were seen.
[[nodiscard]] std::optional<Waiters> count_on(const Place& place, int database,
                                              const std::shared_ptr<detail::Topology>& servers,
                                              detail::Slot slot) {
  const auto asking = servers->connect(slot, detail::never);
  // Between two of its waits a waiter is not blocked, for a moment.
  if (blocked_now(*asking, database).empty()) {
    std::this_thread::sleep_for(moment);
    if (blocked_now(*asking, database).empty()) return Waiters{};
  }
  const auto watching = servers->connect(slot, detail::never);
  detail::Commands monitor;
  monitor.add({"MONITOR"});
  const auto answer = watching->exchange(monitor).front();
  detail::expect(answer, answer.is_ok(), "MONITOR");

  Watch watch{place};
  bool by_address = false;
  std::optional<Waiters> before;  // at the look before
  for (const auto end = detail::Clock::now() + longest_watch; detail::Clock::now() < end;) {
    const auto look_at = std::min(end, detail::Clock::now() + look_every);
    try {
      for (;;) {
        const auto line = watching->listen(look_at);
        const auto seen = monitored(line.text);
        if (!seen || seen->database != database || seen->address == "lua") continue;
        by_address = by_address || seen->address.compare(0, 5, "unix:") != 0;
        watch.see(*seen);
      }
    } catch (const detail::Failure& fault) {
      if (fault.code() != redis_lock::errc::timed_out) throw;
    }
    const auto blocked = blocked_now(*asking, database);
    auto waiters = watch.of(blocked, by_address);
    const bool all_seen = sum(waiters) == blocked.size();
    if (all_seen && waiters == before) return waiters;
    before = all_seen ? std::optional{std::move(waiters)} : std::nullopt;
  }
  return before;
}

}  // namespace

std::optional<Monitored> monitored(std::string_view line) {
  const auto open = line.find('['), space = line.find(' ', open), close = line.find("] \"", open);
  if (open == line.npos || space == line.npos || close == line.npos || space > close)
    return std::nullopt;
  Monitored seen;
  seen.database = std::atoi(std::string(line.substr(open + 1)).c_str());
  seen.address = line.substr(space + 1, close - space - 1);
  std::string word;
  for (auto at = close + 3; at < line.size(); ++at) {
    if (line[at] == '"') {
      seen.words.push_back(std::exchange(word, {}));
      at += 2;  // the next begins behind a space and a quotation mark
    } else if (line[at] != '\\' || at + 1 >= line.size()) {
      word += line[at];
    } else if (line[at + 1] == 'x') {
      word +=
          static_cast<char>(std::strtol(std::string(line.substr(at + 2, 2)).c_str(), nullptr, 16));
      at += 3;
    } else {
      static constexpr std::string_view escapes = "nrtab", bytes = "\n\r\t\a\b";
      const auto escape = escapes.find(line[++at]);
      word += escape == escapes.npos ? line[at] : bytes[escape];
    }
  }
  return seen;
}

std::vector<std::string> blocked_clients(const std::string& client_list, int database) {
  std::vector<std::string> addresses;
  std::istringstream lines{client_list};
  for (std::string line; std::getline(lines, line);) {
    std::map<std::string, std::string> fields;
    std::istringstream words{line};
    for (std::string word; words >> word;) {
      const auto equals = word.find('=');
      if (equals != word.npos) fields[word.substr(0, equals)] = word.substr(equals + 1);
    }
    if (fields["flags"].find('b') != std::string::npos && same(fields["cmd"], "blpop") &&
        std::atoi(fields["db"].c_str()) == database) {
      addresses.push_back(fields["addr"]);
    }
  }
  return addresses;
}

std::optional<Waiters> count_waiters(const Place& place, std::string& why) {
  const auto endpoint = redis_lock::Endpoint::parse(place.uri);
  const auto servers =
      std::make_shared<detail::Topology>(endpoint, std::make_shared<detail::Counters>());
  try {
    std::vector<std::future<std::optional<Waiters>>> counts;
    for (const auto slot : servers->survey().one_slot_of_each()) {
      counts.push_back(std::async(std::launch::async, [&, slot] {
        return count_on(place, endpoint.database, servers, slot);
      }));
    }
    Waiters all;
    bool known = true;
    for (auto& count : counts) {
      const auto waiters = count.get();
      known = known && waiters;
      for (const auto& [name, number] : waiters.value_or(Waiters{}))
        all[{name.first,
             detail::name_under(name.second, servers->is_cluster(), place.key_prefix)}] += number;
    }
    if (known) return all;
    why = "some clients block for longer than they were watched";
  } catch (const detail::Failure& fault) {
    why = fault.what();
  }
  return std::nullopt;
}

}  // namespace redis_lock_command
