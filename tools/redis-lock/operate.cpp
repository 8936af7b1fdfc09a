#include "operate.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <optional>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <redis_lock/inspect.hpp>
#include <redis_lock/lock.hpp>

#include "message.hpp"
#include "status.hpp"
#include "waiters.hpp"

namespace redis_lock_command {
namespace {

using redis_lock::HeldLock;

std::string seconds(const HeldLock& lock) {
  if (!lock.time_left) return "no expiry";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f s",
                std::chrono::duration<double>(*lock.time_left).count());
  return text.data();
}

/// What --json says. JSON is UTF-8: bytes that are none become U+FFFD.
void print(const nlohmann::json& json) {
  std::cout << json.dump(2, ' ', true, nlohmann::json::error_handler_t::replace) << '\n';
}

/// Held locks, and how many wait for each.
struct Found {
  std::vector<HeldLock> locks;
  std::optional<Waiters> waiters;

  [[nodiscard]] std::optional<std::size_t> waiting_for(const HeldLock& lock) const {
    if (!waiters) return std::nullopt;
    const auto found = waiters->find(lock.name);
    return found == waiters->end() ? 0 : found->second;
  }
  [[nodiscard]] std::string waiting_text(const HeldLock& lock) const {
    const auto waiting = waiting_for(lock);
    return waiting ? std::to_string(*waiting) : "?";
  }
  [[nodiscard]] nlohmann::json json(const HeldLock& lock) const {
    const auto waiting = waiting_for(lock);
    nlohmann::json json{{"name", lock.name}, {"holder", lock.owner}};
    json["left_ms"] = lock.time_left ? nlohmann::json(lock.time_left->count()) : nullptr;
    json["waiters"] = waiting ? nlohmann::json(*waiting) : nullptr;
    return json;
  }
};

/// Finds out how many wait for these.
Found with_waiters(std::vector<HeldLock> locks, const Place& place, const Listing& listing) {
  Found found{std::move(locks), std::nullopt};
  if (found.locks.empty() || !listing.waiters) return found;
  std::string why;
  found.waiters = count_waiters(place, why);
  if (!found.waiters) say("how many wait is not known: " + printable(why));
  return found;
}

redis_lock::Lock lock_at(const Place& place, const std::string& name) {
  auto options = redis_lock::Options::without_renewal();
  options.key_prefix = place.key_prefix;
  options.signal_prefix = place.signal_prefix;
  return redis_lock::Lock{place.uri, name, options};
}

/// Asks whether to go on. Nothing: there is nobody to ask.
std::optional<bool> confirmed(const std::string& question) {
  if (::isatty(STDIN_FILENO) == 0) {
    say("the standard input is no terminal to ask on: use --yes");
    return std::nullopt;
  }
  tell(question + " [y/N] ");
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

/// Has it freed, after a question unless `yes`.
template <class Free>
int free_after(bool yes, const std::string& question, const Free& free) {
  if (!yes) {
    const auto answer = confirmed(question);
    if (!answer) return Status::usage;
    if (!*answer) return Status::no;
  }
  return free();
}

}  // namespace

int list(const Place& place, const Listing& listing) {
  const auto found =
      with_waiters(redis_lock::held_locks(place.uri, place.key_prefix), place, listing);
  if (listing.json) {
    auto all = nlohmann::json::array();
    for (const auto& lock : found.locks) all.push_back(found.json(lock));
    print(all);
    return Status::done;
  }
  if (found.locks.empty()) {
    tell("no lock is held\n");
    return Status::done;
  }
  std::vector<std::vector<std::string>> rows{{"NAME", "HOLDER", "LEFT"}};
  if (listing.waiters) rows.front().emplace_back("WAITERS");
  for (const auto& lock : found.locks) {
    rows.push_back({printable(lock.name), printable(lock.owner), seconds(lock)});
    if (listing.waiters) rows.back().push_back(found.waiting_text(lock));
  }
  std::vector<std::size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (std::size_t column = 0; column < row.size(); ++column)
      widths[column] = std::max(widths[column], width_of(row[column]));
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t column = 0; column < row.size(); ++column) {
      line += row[column];
      if (column + 1 < row.size()) line.append(widths[column] + 2 - width_of(row[column]), ' ');
    }
    std::cout << line << '\n';
  }
  return Status::done;
}

int show(const Place& place, const std::string& name, const Listing& listing) {
  const auto held = redis_lock::held_lock(place.uri, name, place.key_prefix);
  if (!held) {
    (void)lock_at(place, name).owner();  // fails if there is something else under the key
    if (listing.json) {
      print(nullptr);
    } else {
      std::cout << printable(name) << " is free\n";
    }
    return Status::no;
  }
  const auto found = with_waiters({*held}, place, listing);
  const auto& lock = found.locks.front();
  if (listing.json) {
    print(found.json(lock));
  } else {
    std::cout << "name:    " << printable(lock.name) << "\nholder:  " << printable(lock.owner)
              << "\nleft:    " << seconds(lock) << '\n';
    if (listing.waiters) std::cout << "waiters: " << found.waiting_text(lock) << '\n';
  }
  return Status::done;
}

int reset(const Place& place, const std::string& name, bool yes) {
  auto lock = lock_at(place, name);
  const auto owner = lock.owner();
  if (!owner) {
    std::cout << printable(name) << " is free\n";
    return Status::no;
  }
  const auto question =
      "The holder works on until it notices, for up to a third of its lease and the time that it "
      "then takes to end.\nFree \"" +
      printable(name) + "\", which " + printable(*owner) + " holds?";
  return free_after(yes, question, [&] {
    if (yes ? lock.reset() : lock.reset(*owner)) {
      std::cout << printable(name) << " was freed\n";
      return Status::done;
    }
    // The answer was not about whoever holds it now.
    std::cout << printable(*owner) << " does not hold " << printable(name) << " any more\n";
    return Status::no;
  });
}

int reset_all(const Place& place, bool yes) {
  const auto question = "Free all locks with the prefix \"" + printable(place.key_prefix) + "\"?";
  return free_after(yes, question, [&] {
    const auto freed = redis_lock::reset_all(place.uri, place.key_prefix, place.signal_prefix);
    std::cout << freed << (freed == 1 ? " lock was freed\n" : " locks were freed\n");
    return freed > 0 ? Status::done : Status::no;
  });
}

}  // namespace redis_lock_command
