#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>

namespace redis_lock_test {

using namespace std::chrono_literals;
using redis_lock::detail::Commands;
using redis_lock::detail::Replies;
using redis_lock::detail::Reply;
using redis_lock::detail::Time;
using std::chrono::milliseconds;

/// A clock that goes only when a test, or the Redis of a test, lets time pass.
struct FakeClock {
  static Time now() { return time; }
  static inline Time time = Time{} + 1000h;
};

inline Reply status(std::string text) { return {Reply::Kind::status, 0, std::move(text), {}}; }
inline Reply string(std::string text) { return {Reply::Kind::string, 0, std::move(text), {}}; }
inline Reply error(std::string text) { return {Reply::Kind::error, 0, std::move(text), {}}; }
inline Reply integer(long long value) { return {Reply::Kind::integer, value, {}, {}}; }
inline Reply array(std::vector<Reply> elements) {
  return {Reply::Kind::array, 0, {}, std::move(elements)};
}
inline Reply nil() { return {}; }

using Command = std::vector<std::string>;

/// The commands of one write, and when it was made.
struct Exchange {
  std::vector<Command> commands;
  milliseconds wait{};
  Time sent{};

  [[nodiscard]] bool waits() const { return commands.front().front() == "BLPOP"; }
  [[nodiscard]] bool tries() const { return asks("SET"); }
  [[nodiscard]] bool calls(const redis_lock::detail::Script& script) const {
    return commands.front().size() > 1 &&
           (commands.front()[1] == script.digest || commands.front()[1] == script.text);
  }
  [[nodiscard]] bool asks(std::string_view command) const {
    for (const auto& each : commands) {
      if (each.front() == command) return true;
    }
    return false;
  }
};

/// A Redis in memory, over a connection of its own: what Acquisition calls a Link. Its BLPOP lets the
/// fake clock go on to the wake-up or the timeout; nothing ever sleeps.
class FakeRedis {
 public:
  /// A lock under the name of these tests.
  const redis_lock::detail::Keys keys{"lock:n", "lock-signal:n"};

  // The server.
  bool knows_scripts = true;     // false: after SCRIPT FLUSH
  bool knows_fractions = true;   // of seconds, as Redis 6.0 and later do
  bool tells_missing = true;     // PTTL of a missing key is -2, as in Redis 2.8 and later; else -1
  milliseconds blocks_longer{};  // than it was asked to
  int replicas = 0;              // that are connected
  int acks = 0;                  // of those that are not frozen

  // The way to it and back.
  milliseconds there{}, back{};
  milliseconds delay_next_reply{};
  bool lose_next_reply = false;    // the commands run, and nobody hears of it
  bool lose_next_command = false;  // they do not even run

  /// Answers in place of the server where it returns something.
  std::function<std::optional<Replies>(const Exchange&)> instead;

  std::vector<Exchange> exchanges;
  std::vector<milliseconds> pauses;

  // What Acquisition asks of a Link.
  bool whole_seconds = false;
  bool asked_elsewhere = false;
  redis_lock::detail::Progress progress{};
  [[nodiscard]] static bool is_out_of_step() { return false; }
  [[nodiscard]] bool cancelled() const { return FakeClock::time >= cancelled_at; }
  [[nodiscard]] bool cancelled_late() const { return notices_cancellation_late; }
  void pause(milliseconds time) {
    pauses.push_back(time);
    pass(time);
  }
  void reuse(Replies&&) {}
  [[nodiscard]] Replies exchange(const Commands& commands, milliseconds wait = 0ms) {
    Exchange exchange{{}, wait, FakeClock::time};
    for (std::size_t i = 0; i < commands.size(); ++i) {
      exchange.commands.emplace_back(commands.begin(i), commands.end(i));
    }
    exchanges.push_back(exchange);
    if (exchanges.size() > 10'000) throw std::logic_error("this polls for ever");
    if (std::exchange(lose_next_command, false)) lose();
    pass(there);
    if (instead) {
      if (auto replies = instead(exchange)) return *replies;
    }
    Replies replies;
    for (const auto& command : exchange.commands) replies.push_back(run(command));
    pass(back + std::exchange(delay_next_reply, 0ms));
    if (std::exchange(lose_next_reply, false)) lose();
    return replies;
  }

  Time cancelled_at = Time::max();
  bool notices_cancellation_late = false;

  // What others do.

  /// Somebody holds the lock, for good unless told.
  void hold(const std::string& id, std::optional<milliseconds> lease = {}) {
    values_[keys.lock] = {string(id), lease ? FakeClock::time + *lease : Time::max()};
  }
  /// The holder frees it and signals.
  void free() {
    values_.erase(keys.lock);
    signal();
  }
  void signal() { values_[keys.signal] = {array({string("1")}), Time::max()}; }
  /// A key of another type than it should have.
  void put(const std::string& key, Reply value) { values_[key] = {std::move(value), Time::max()}; }

  /// Something happens `delay` from now, while the clock goes on.
  void in(milliseconds delay, std::function<void()> event) {
    events_.emplace(FakeClock::time + delay, std::move(event));
  }
  void pass(milliseconds time) { pass_until(FakeClock::time + time); }

  /// The id that holds the lock; empty if it is free.
  [[nodiscard]] std::string holder() {
    const auto value = find(keys.lock);
    return value ? value->reply.text : std::string{};
  }
  [[nodiscard]] bool has_signal() { return find(keys.signal) != nullptr; }

  /// The timeouts of the BLPOPs so far, as text.
  [[nodiscard]] std::vector<std::string> slices() const {
    std::vector<std::string> all;
    for (const auto& exchange : exchanges) {
      if (exchange.waits()) all.push_back(exchange.commands.front().at(2));
    }
    return all;
  }
  [[nodiscard]] std::size_t count(const redis_lock::detail::Script& script) const {
    std::size_t calls = 0;
    for (const auto& exchange : exchanges) calls += exchange.calls(script) ? 1U : 0U;
    return calls;
  }

 private:
  struct Value {
    Reply reply;
    Time expires_at;
  };

  /// What comes next is another connection.
  [[noreturn]] void lose() {
    using redis_lock::detail::Failure;
    has_written_ = false;
    throw Failure{redis_lock::errc::connection_failed, "the connection is lost",
                  Failure::Kind::transient};
  }
  static Reply wrong_type() {
    return error("WRONGTYPE Operation against a key holding the wrong kind of value");
  }

  void pass_until(Time time) {
    while (!events_.empty() && events_.begin()->first <= time) {
      const auto event = events_.extract(events_.begin());
      FakeClock::time = std::max(FakeClock::time, event.key());
      event.mapped()();
    }
    FakeClock::time = std::max(FakeClock::time, time);
  }

  [[nodiscard]] Value* find(const std::string& key) {
    const auto found = values_.find(key);
    if (found == values_.end()) return nullptr;
    if (found->second.expires_at > FakeClock::time) return &found->second;
    values_.erase(found);
    return nullptr;
  }

  [[nodiscard]] Reply run(const Command& command) {
    const auto& name = command.at(0);
    if (name == "SET") return set(command);
    if (name == "PTTL") return integer(left(command.at(1)));
    if (name == "GET") return get(command.at(1));
    if (name == "BLPOP") return pop(command.at(1), command.at(2));
    if (name == "EVALSHA" || name == "EVAL") return script(command);
    if (name == "WAIT")
      return wait(std::stoi(command.at(1)), milliseconds{std::stoi(command.at(2))});
    return error("ERR unknown command");
  }

  [[nodiscard]] Reply set(const Command& command) {
    if (find(command.at(1))) return nil();
    has_written_ = true;
    const bool expires = command.size() == 6 && command[4] == "PX";
    values_[command.at(1)] = {
        string(command.at(2)),
        expires ? FakeClock::time + milliseconds{std::stoll(command[5])} : Time::max()};
    return status("OK");
  }

  [[nodiscard]] Reply get(const std::string& key) {
    const auto value = find(key);
    if (!value) return nil();
    return value->reply.kind == Reply::Kind::string ? value->reply : wrong_type();
  }

  [[nodiscard]] long long left(const std::string& key) {
    const auto value = find(key);
    if (!value) return tells_missing ? -2 : -1;
    if (value->expires_at == Time::max()) return -1;
    return std::chrono::duration_cast<milliseconds>(value->expires_at - FakeClock::time).count();
  }

  [[nodiscard]] Reply pop(const std::string& key, const std::string& seconds) {
    if (!knows_fractions && seconds.find('.') != seconds.npos) {
      return error("ERR timeout is not an integer or out of range");
    }
    const milliseconds timeout{std::llround(std::stod(seconds) * 1000)};
    if (timeout == 0ms) throw std::logic_error("BLPOP for ever");
    const auto end = FakeClock::time + timeout + blocks_longer;
    while (!find(key) && !events_.empty() && events_.begin()->first <= end) {
      pass_until(events_.begin()->first);
    }
    const auto list = find(key);
    if (!list) {
      pass_until(end);
      return nil();
    }
    if (list->reply.kind != Reply::Kind::array) return wrong_type();
    values_.erase(key);
    return array({string(key), string("1")});
  }

  /// As Redis does: for what this connection has written, if anything.
  [[nodiscard]] Reply wait(int least, milliseconds timeout) {
    if (timeout == 0ms) throw std::logic_error("WAIT for ever");
    if (!has_written_) return integer(replicas);
    if (acks < least) pass(timeout);
    return integer(acks);
  }

  [[nodiscard]] Reply script(const Command& command) {
    using namespace redis_lock::detail;
    const auto calls = [&](const Script& script) {
      return command.at(1) == (command[0] == "EVAL" ? script.text : script.digest);
    };
    if (command[0] == "EVAL") knows_scripts = true;
    if (!knows_scripts) return error("NOSCRIPT No matching script. Please use EVAL.");
    const auto key = command.at(3);
    if (calls(release_script)) {
      if (get(key).text != command.at(5)) return integer(get(key).is_nil() ? 3 : 1);
      has_written_ = true;
      values_[command.at(4)] = {array({string("1")}),
                                FakeClock::time + milliseconds{std::stoll(command.at(6))}};
      values_.erase(key);
      return integer(0);
    }
    if (calls(acquire_script)) {
      if (find(key)) return nil();
      const auto count = std::stoll(std::max<std::string>(get(command.at(4)).text, "0")) + 1;
      put(command.at(4), string(std::to_string(count)));
      (void)set(command.at(6).empty()
                    ? Command{"SET", key, command.at(5), "NX"}
                    : Command{"SET", key, command.at(5), "NX", "PX", command.at(6)});
      return integer(count);
    }
    if (calls(rewrite_script)) {
      if (get(key).text != command.at(4)) return integer(1);
      put(key, string(command.at(4)));
      has_written_ = true;
      return integer(0);
    }
    if (!calls(extend_script)) return error("NOSCRIPT No matching script. Please use EVAL.");
    if (get(key).text != command.at(4)) return integer(get(key).is_nil() ? 3 : 1);
    if (left(key) < 0) return integer(2);
    has_written_ = true;
    find(key)->expires_at = FakeClock::time + milliseconds{std::stoll(command.at(5))};
    return integer(0);
  }

  bool has_written_ = false;  // this connection
  std::map<std::string, Value> values_;
  std::multimap<Time, std::function<void()>> events_;
};

}  // namespace redis_lock_test
