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

#include "status.hpp"
#include "waiters.hpp"

namespace redis_lock_command {
namespace {

using redis_lock::HeldLock;

/// For a terminal: names and ids are any bytes, and must not be able to do anything there.
std::string printable(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '\\') {
      safe += "\\\\";
    } else if (c >= ' ' && c <= '~') {
      safe += c;
    } else {
      std::array<char, 5> escaped{};
      std::snprintf(escaped.data(), escaped.size(), "\\x%02x", static_cast<unsigned char>(c));
      safe += escaped.data();
    }
  }
  return safe;
}

std::string seconds(const HeldLock& lock) {
  if (!lock.time_left) return "no expiry";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f s",
                std::chrono::duration<double>(*lock.time_left).count());
  return text.data();
}

/// What --json says. JSON is UTF-8: bytes that are none become U+FFFD.
void print(const nlohmann::json& json) {
  std::cout << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
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
  if (!found.waiters)
    std::cerr << "redis-lock: how many wait is not known: " << printable(why) << '\n';
  return found;
}

/// Asks whether to go on. Nothing: there is nobody to ask.
std::optional<bool> confirmed(const std::string& question) {
  if (::isatty(STDIN_FILENO) == 0) {
    std::cerr << "redis-lock: the standard input is no terminal to ask on: use --yes\n";
    return std::nullopt;
  }
  std::cerr << question << " [y/N] ";
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
    std::cerr << "no lock is held\n";
    return Status::done;
  }
  std::vector<std::vector<std::string>> rows{{"NAME", "HOLDER", "LEFT", "WAITERS"}};
  for (const auto& lock : found.locks) {
    rows.push_back(
        {printable(lock.name), printable(lock.owner), seconds(lock), found.waiting_text(lock)});
  }
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t column = 0; column < row.size(); ++column) {
      std::size_t width = 0;
      for (const auto& other : rows) width = std::max(width, other[column].size());
      line += row[column];
      if (column + 1 < row.size()) line.append(width + 2 - row[column].size(), ' ');
    }
    std::cout << line << '\n';
  }
  return Status::done;
}

int show(const Place& place, const std::string& name, const Listing& listing) {
  const auto held = redis_lock::held_lock(place.uri, name, place.key_prefix);
  if (!held) {
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
              << "\nleft:    " << seconds(lock) << "\nwaiters: " << found.waiting_text(lock)
              << '\n';
  }
  return Status::done;
}

int reset(const Place& place, const std::string& name, bool yes) {
  auto options = redis_lock::Options::without_renewal();
  options.key_prefix = place.key_prefix;
  options.signal_prefix = place.signal_prefix;
  redis_lock::Lock lock{place.uri, name, options};
  const auto owner = lock.owner();
  if (!owner) {
    std::cout << printable(name) << " is free\n";
    return Status::no;
  }
  const auto question = "Free \"" + printable(name) + "\", which " + printable(*owner) + " holds?";
  return free_after(yes, question, [&] {
    if (!yes && lock.owner() != owner) {  // the answer was not about whoever holds it now
      std::cout << printable(*owner) << " does not hold " << printable(name) << " any more\n";
      return Status::no;
    }
    const bool was_held = lock.reset();
    std::cout << printable(name) << (was_held ? " was freed\n" : " is free\n");
    return was_held ? Status::done : Status::no;
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
