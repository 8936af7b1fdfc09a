#pragma once

#include <array>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace redis_lock_test::campaign {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
/// Of CLOCK_MONOTONIC, which is one for all processes of the machine.
using Time = std::chrono::steady_clock::time_point;

enum class Event {
  invoke,       ///< an operation is about to be called
  result,       ///< it has returned or thrown
  claim,        ///< the library says that a lock is held: owns_lock() was true after `at`
  fault_begin,  ///< the nemesis is about to do harm
  fault_end,    ///< the harm is over; what follows from it may not be
  applied,      ///< an entry of a ledger in Redis, in the ledger's order
  ended         ///< a process is gone: why is the outcome
};
inline constexpr std::array<std::string_view, 7> event_names{
    "invoke", "result", "claim", "fault-begin", "fault-end", "applied", "ended"};

/// One line of a history. Which fields count depends on the event; the others keep their defaults.
struct Record {
  Event event{};
  Time at{};
  int process = 0;  ///< never used twice, unlike a pid; of a fault: whom it hits, 0 for none
  int thread = 0;
  std::uint64_t operation =
      0;             ///< unique in its process; its result has the same; of a fault: its number
  std::string what;  ///< which operation ("lock"), or which fault ("server-stop")
  std::string name;  ///< of the lock; of a fault: all it concerns, "a,b", "*" for every one
  std::uint64_t hold =
      0;                ///< the operation that acquired; of an applied entry: the ledger's number
  std::string outcome;  ///< "ok", "busy", or the name of an error
  std::uint64_t token = 0;    ///< fencing token; 0: none
  Time expires_at{};          ///< what the library said
  milliseconds duration{};    ///< of the lease; of a try_lock_for that is invoked: its patience
  std::uint64_t permits = 1;  ///< how many may hold the lock at once, beside a hold like this one

  friend bool operator==(const Record& a, const Record& b) {
    return a.event == b.event && a.at == b.at && a.process == b.process && a.thread == b.thread &&
           a.operation == b.operation && a.what == b.what && a.name == b.name && a.hold == b.hold &&
           a.outcome == b.outcome && a.token == b.token && a.expires_at == b.expires_at &&
           a.duration == b.duration && a.permits == b.permits;
  }
};

/// Permits of a reading: it holds the lock together with any number of others.
inline constexpr std::uint64_t any_number = std::numeric_limits<std::uint64_t>::max();

namespace detail {

template <class Number>
[[nodiscard]] bool read_number(std::string_view text, Number& number) {
  const auto end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && stop == end;
}

[[nodiscard]] inline std::int64_t count(Time time) {
  return nanoseconds{time.time_since_epoch()}.count();
}

}  // namespace detail

/// Words with one space between them and a newline behind; an empty word is "-".
[[nodiscard]] inline std::string to_line(const Record& record) {
  const auto word = [](const std::string& text) { return ' ' + (text.empty() ? "-" : text); };
  const auto number = [](auto value) { return ' ' + std::to_string(value); };
  return std::string{event_names[static_cast<std::size_t>(record.event)]} +
         number(detail::count(record.at)) + number(record.process) + number(record.thread) +
         number(record.operation) + word(record.what) + word(record.name) + number(record.hold) +
         word(record.outcome) + number(record.token) + number(detail::count(record.expires_at)) +
         number(record.duration.count()) + number(record.permits) + '\n';
}

/// The record of a line without its newline. Throws std::runtime_error if it is none.
[[nodiscard]] inline Record from_line(std::string_view line) {
  const auto refuse = [&]() -> std::runtime_error {
    return std::runtime_error("this is no record of a history: \"" + std::string(line) + '"');
  };
  std::array<std::string_view, 13> words;
  auto rest = line;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto end = i + 1 < words.size() ? rest.find(' ') : rest.size();
    if (end == rest.npos || end == 0) throw refuse();
    words[i] = rest.substr(0, end);
    rest.remove_prefix(i + 1 < words.size() ? end + 1 : end);
  }
  Record record;
  std::size_t event = 0;
  while (event < event_names.size() && event_names[event] != words[0]) ++event;
  std::int64_t at = 0, expires_at = 0, duration = 0;
  const bool good =
      event < event_names.size() && detail::read_number(words[1], at) &&
      detail::read_number(words[2], record.process) &&
      detail::read_number(words[3], record.thread) &&
      detail::read_number(words[4], record.operation) &&
      detail::read_number(words[7], record.hold) && detail::read_number(words[9], record.token) &&
      detail::read_number(words[10], expires_at) && detail::read_number(words[11], duration) &&
      detail::read_number(words[12], record.permits);
  if (!good) throw refuse();
  const auto text = [](std::string_view word) {
    return word == "-" ? std::string{} : std::string{word};
  };
  record.event = static_cast<Event>(event);
  record.at = Time{nanoseconds{at}};
  record.what = text(words[5]);
  record.name = text(words[6]);
  record.outcome = text(words[8]);
  record.expires_at = Time{nanoseconds{expires_at}};
  record.duration = milliseconds{duration};
  return record;
}

}  // namespace redis_lock_test::campaign
