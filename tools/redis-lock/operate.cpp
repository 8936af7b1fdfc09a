#include "operate.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <redis_lock/inspect.hpp>
#include <redis_lock/lock.hpp>
#include <redis_lock/semaphore.hpp>
#include <redis_lock/shared_lock.hpp>

#include "message.hpp"
#include "status.hpp"
#include "waiters.hpp"

namespace redis_lock_command {
namespace {

using redis_lock::HeldLock;
using redis_lock::LockKind;

const char* text_of(LockKind kind) {
  switch (kind) {
    case LockKind::lock: break;
    case LockKind::writing: return "writing";
    case LockKind::reading: return "reading";
    case LockKind::permit: return "permit";
  }
  return "lock";
}

std::string seconds(const HeldLock& lock) {
  if (!lock.time_left) return "no expiry";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f s",
                std::chrono::duration<double>(*lock.time_left).count());
  return text.data();
}

/// What --json says. JSON is UTF-8: bytes that are none become U+FFFD.
std::string text_of(const nlohmann::json& json, int indent) {
  return json.dump(indent, ' ', true, nlohmann::json::error_handler_t::replace);
}
void print(const nlohmann::json& json) { std::cout << text_of(json, 2) << '\n'; }

using Row = std::vector<std::string>;

/// What list and show tell of each lock.
class Report {
 public:
  Report(const Place& place, const Listing& listing)
      : place_(place), has_waiters_(listing.waiters) {}

  [[nodiscard]] Row titles() const {
    Row row{"NAME", "HOLDER", "LEFT", "KIND"};
    if (has_waiters_) row.emplace_back("WAITERS");
    return row;
  }
  [[nodiscard]] Row row(const HeldLock& lock) {
    Row row{printable(lock.name), printable(lock.owner), seconds(lock), text_of(lock.kind)};
    if (has_waiters_) row.push_back(waiting_text(lock));
    return row;
  }
  [[nodiscard]] std::string waiting_text(const HeldLock& lock) {
    const auto waiting = waiting_for(lock);
    return waiting ? std::to_string(*waiting) : "?";
  }
  [[nodiscard]] nlohmann::json json(const HeldLock& lock) {
    const auto waiting = waiting_for(lock);
    nlohmann::json json{{"name", lock.name}, {"holder", lock.owner}, {"kind", text_of(lock.kind)}};
    json["left_ms"] = lock.time_left ? nlohmann::json(lock.time_left->count()) : nullptr;
    json["waiters"] = waiting ? nlohmann::json(*waiting) : nullptr;
    return json;
  }

 private:
  /// Nothing: it is not known. Finds it out for all locks when it is asked for the first.
  [[nodiscard]] std::optional<std::size_t> waiting_for(const HeldLock& lock) {
    if (has_waiters_ && !std::exchange(has_counted_, true)) {
      std::string why;
      waiters_ = count_waiters(place_, why);
      if (!waiters_) say("how many wait is not known: " + printable(why));
    }
    if (!waiters_) return std::nullopt;
    const auto kind = lock.kind == LockKind::writing ? LockKind::reading : lock.kind;
    const auto found = waiters_->find({kind, lock.name});
    return found == waiters_->end() ? 0 : found->second;
  }

  const Place& place_;
  const bool has_waiters_;
  bool has_counted_ = false;
  std::optional<Waiters> waiters_;
};

/// Aligned, for people.
void print_table(const std::vector<Row>& rows) {
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
}

/// With a tab between the columns, for programs: printable() leaves no tab in them.
void print(const Row& row) {
  for (std::size_t column = 0; column < row.size(); ++column)
    std::cout << (column > 0 ? "\t" : "") << row[column];
  std::cout << '\n';
}

/// Has each lock printed as soon as it is found: `print_next(lock, is_first)`. Returns whether there was any.
template <class PrintNext>
bool print_as_found(const Place& place, const PrintNext& print_next) {
  bool is_first = true;
  const auto each = [&](const HeldLock& lock) {
    print_next(lock, std::exchange(is_first, false));
    if (!flush_output()) std::_Exit(Status::no_output);  // nothing that is still found can be told
  };
  redis_lock::held_locks(place.uri, each, place.key_prefix);
  return !is_first;
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

/// Prints rows below their titles: aligned on a terminal.
void print_rows(std::vector<Row> rows) {
  if (::isatty(STDOUT_FILENO) != 0) return print_table(rows);
  for (const auto& row : rows) print(row);
}

/// Throws Error if there is something else under the key.
void fail_if_of_another_type(const Place& place, const std::string& name, LockKind kind) {
  const auto options = redis_lock::Options::without_renewal();
  if (kind == LockKind::permit) {
    (void)redis_lock::Semaphore{place.uri, name, 1, options}.available();
  } else {
    (void)redis_lock::SharedLock{place.uri, name, options}.owner();
  }
}

/// Shows all holders of a SharedLock or a Semaphore.
int show_all(const Place& place, const std::string& name, const Listing& listing, LockKind kind) {
  const auto held = redis_lock::holders(place.uri, name, kind);
  if (held.empty()) fail_if_of_another_type(place, name, kind);
  Report report{place, listing};
  if (listing.json) {
    auto json = nlohmann::json::array();
    for (const auto& holder : held) json.push_back(report.json(holder));
    print(json);
  } else if (held.empty()) {
    std::cout << printable(name) << " is free\n";
  } else {
    std::vector<Row> rows{report.titles()};
    for (const auto& holder : held) rows.push_back(report.row(holder));
    print_rows(std::move(rows));
  }
  return held.empty() ? Status::no : Status::done;
}

/// Frees a SharedLock or a Semaphore.
int reset_all_of(const Place& place, const std::string& name, bool yes, LockKind kind) {
  const auto held = redis_lock::holders(place.uri, name, kind).size();
  const auto question = "Free \"" + printable(name) + "\" with its " + std::to_string(held) +
                        (held == 1 ? " holder?" : " holders?");
  const auto free = [&] {
    const auto options = redis_lock::Options::without_renewal();
    const bool was_held = kind == LockKind::permit
                              ? redis_lock::Semaphore{place.uri, name, 1, options}.reset()
                              : redis_lock::SharedLock{place.uri, name, options}.reset();
    std::cout << printable(name) << (was_held ? " was freed\n" : " is free\n");
    return was_held ? Status::done : Status::no;
  };
  return held == 0 ? free() : free_after(yes, question, free);
}

}  // namespace

int list(const Place& place, const Listing& listing) {
  Report report{place, listing};
  if (listing.json) {
    const bool has_any = print_as_found(place, [&](const HeldLock& lock, bool is_first) {
      std::cout << (is_first ? "[\n" : ",\n") << text_of(report.json(lock), -1);
    });
    std::cout << (has_any ? "\n]\n" : "[]\n");
    return Status::done;
  }
  bool has_any = false;
  if (::isatty(STDOUT_FILENO) != 0) {
    std::vector<Row> rows{report.titles()};
    for (const auto& lock : redis_lock::held_locks(place.uri, place.key_prefix))
      rows.push_back(report.row(lock));
    has_any = rows.size() > 1;
    if (has_any) print_table(rows);
  } else {
    has_any = print_as_found(place, [&](const HeldLock& lock, bool is_first) {
      if (is_first) print(report.titles());
      print(report.row(lock));
    });
  }
  if (!has_any) tell("no lock is held\n");
  return Status::done;
}

int show(const Place& place, const std::string& name, const Listing& listing, LockKind kind) {
  if (kind != LockKind::lock) return show_all(place, name, listing, kind);
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
  Report report{place, listing};
  if (listing.json) {
    print(report.json(*held));
  } else {
    std::cout << "name:    " << printable(held->name) << "\nholder:  " << printable(held->owner)
              << "\nleft:    " << seconds(*held) << '\n';
    if (listing.waiters) std::cout << "waiters: " << report.waiting_text(*held) << '\n';
  }
  return Status::done;
}

int reset(const Place& place, const std::string& name, bool yes, LockKind kind) {
  if (kind != LockKind::lock) return reset_all_of(place, name, yes, kind);
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
  const auto question =
      "Free all that `list` shows with the prefix \"" + printable(place.key_prefix) + "\"?";
  return free_after(yes, question, [&] {
    const auto freed = redis_lock::reset_all(place.uri, place.key_prefix, place.signal_prefix);
    std::cout << freed << (freed == 1 ? " lock was freed\n" : " locks were freed\n");
    return freed > 0 ? Status::done : Status::no;
  });
}

}  // namespace redis_lock_command
