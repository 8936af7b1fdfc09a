#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/counters.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/notification.hpp>
#include <redis_lock/detail/base/thread.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/net/owed_reply.hpp>
#include <redis_lock/detail/net/repeat_queue.hpp>
#include <redis_lock/detail/net/resolve.hpp>
#include <redis_lock/detail/protocol/message.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock::detail {

/// The open lines to one server, for callers that ask several servers at once. They do not wait for one that is away:
/// a thread connects and probes it. It lives while a line is wanted, or a call must be repeated. Safe to
/// share between threads.
class LinePool {
 public:
  /// How long a line may be unused before it is closed.
  static constexpr std::chrono::minutes longest_idle{1};

  LinePool(const Endpoint& endpoint, std::shared_ptr<Counters> counters,
           milliseconds idle_limit = longest_idle)
      : endpoint_(endpoint), counters_(std::move(counters)), idle_limit_(idle_limit) {}
  /// Waits for the end of an attempt to connect.
  ~LinePool() {
    const CancellationPause no_cancellation;
    {
      const std::lock_guard guard{mutex_};
      stopping_ = true;
      wake_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
  }
  LinePool(const LinePool&) = delete;
  LinePool(LinePool&&) = delete;
  LinePool& operator=(const LinePool&) = delete;
  LinePool& operator=(LinePool&&) = delete;

  /// Why there is no line.
  enum class State {
    opening,  // one will be open soon, as far as is known
    away,     // the server has failed, and is being asked again
    resting   // the server has failed; a pause between two attempts
  };
  struct Taken {
    std::unique_ptr<Connection> line;
    State state = State::opening;
  };

  /// Takes a line that is not in use: the one of the number `preferred`, or else any. If there is none, has one
  /// opened, and notifies `notification` when that has succeeded or failed.
  [[nodiscard]] Taken take(std::uint64_t preferred,
                           const std::shared_ptr<Notification>& notification) {
    const std::lock_guard guard{mutex_};
    while (!silent_ && !idle_.empty()) {
      if (auto line = pop(preferred)) return {std::move(line)};
    }
    wanted_ = true;
    if (notification) waiting_.push_back(notification);
    start();
    if (!away_) return {};
    const bool rests = !running_ || Time::clock::now() < next_attempt_;
    return {nullptr, rests ? State::resting : State::away};
  }

  /// Takes a line back. If it is `silent` (a reply is overdue), none is handed out until the server has answered.
  void give_back(std::unique_ptr<Connection> line, bool silent) {
    const auto now = Time::clock::now();
    std::vector<std::unique_ptr<Connection>> superfluous;  // closed after the mutex is released
    const std::lock_guard guard{mutex_};
    if (!line->is_sound()) return retire(*line);
    if (silent || is_overdue(*line, now)) {
      silence(std::move(line));
      return;
    }
    backoff_ = {};
    line->suspect_until = Time::min();
    idle_.push_back({std::move(line), now});
    take_superfluous(now, superfluous);
  }

  /// Takes a line that has failed, and closes the idle ones, which may have failed, too. If the server hung up soon
  /// after opening, before any user was done with it, the next one is opened after a pause. That doubles each time.
  void discard(std::unique_ptr<Connection> line, const Failure& failure) {
    health_.failed(line->asked(), failure);
    std::vector<Idle> closed;
    const std::lock_guard guard{mutex_};
    const auto now = Time::clock::now();
    if (now < line->suspect_until) next_attempt_ = now + backoff_.next();
    closed.swap(idle_);
    for (auto& idle : closed) retire(*idle.line);
    retire(*line);
    start();
  }

  /// Reads what no thread waits for, finds lines that have failed, and closes those that were idle for too long.
  /// Returns when to do it again.
  [[nodiscard]] Time maintain() {
    const auto now = Time::clock::now();
    bool again = false;
    std::vector<Idle> kept;
    std::vector<std::unique_ptr<Connection>> superfluous;  // closed after the mutex is released
    const std::lock_guard guard{mutex_};
    for (auto& idle : std::exchange(idle_, {})) {
      if (!idle.line->owes() || settle(idle.line)) {
        if (is_overdue(*idle.line, now)) {
          silence(std::move(idle.line));
          continue;
        }
        again = again || idle.line->owes();
        kept.push_back(std::move(idle));
      }
    }
    idle_ = std::move(kept);
    take_superfluous(now, superfluous);
    start();
    if (again) return now + between_looks;
    return idle_.empty() ? never : idle_.front().since + idle_limit_;
  }

  /// Marks the server as away if it has no line: a caller has waited for one as long as any should.
  void give_up_waiting() {
    const std::lock_guard guard{mutex_};
    away_ = away_ || idle_.empty();
    if (away_ && !health_.fails(Request::connect)) health_.failed(Request::connect, no_line());
  }

  /// Runs a call when there is a new connection, unless it is not needed any more by then.
  void call_later(std::unique_ptr<OwedReply> owed) {
    OwedReplies calls;
    calls.push_back(std::move(owed));
    repeats_.add(std::move(calls), never);
    const std::lock_guard guard{mutex_};
    start();
  }

  /// Returns why there is no line.
  [[nodiscard]] Failure failure() {
    const std::lock_guard guard{mutex_};
    if (reason_) return {reason_->code, reason_->text, reason_->kind};
    return no_line();
  }

  [[nodiscard]] const Endpoint& endpoint() const noexcept { return endpoint_; }
  /// Returns what the server has failed at. No I/O.
  [[nodiscard]] const NodeHealth& health() const noexcept { return health_; }

 private:
  [[nodiscard]] static Failure no_line() {
    return {errc::connection_failed, "no connection within the timeout", Failure::Kind::transient};
  }

  struct Idle {
    std::unique_ptr<Connection> line;
    Time since;
  };
  /// A Failure in parts, because copies of an exception share their text.
  struct Reason {
    errc code;
    std::string text;
    Failure::Kind kind;
  };
  /// How often maintain() looks while there are replies that no thread waits for.
  static constexpr milliseconds between_looks{100};
  /// A line that was used within this time counts as good; if it is not, that shows soon.
  static constexpr milliseconds just_now{500};
  /// A line that fails within this time is not trusted. Longer than the longest pause between two attempts to
  /// connect.
  static constexpr std::chrono::seconds soon{1};
  static constexpr std::size_t most_repeats = 256;

  /// Needs mutex_, like all below but run() and open_line(). Keeps a line that owes replies, perhaps to a call that must run.
  void take_superfluous(Time now, std::vector<std::unique_ptr<Connection>>& superfluous) {
    // The line used last is taken next, so the first is the one that has been idle for longest.
    for (auto idle = idle_.begin(); idle != idle_.end();) {
      if (idle_.size() <= endpoint_.max_idle && now - idle->since < idle_limit_) return;
      const bool closes = !idle->line->owes();
      if (closes) superfluous.push_back(std::move(idle->line));
      idle = closes ? idle_.erase(idle) : std::next(idle);
    }
  }

  /// Returns null if the line that was there is not good any more.
  [[nodiscard]] std::unique_ptr<Connection> pop(std::uint64_t preferred) {
    const auto now = Time::clock::now();
    auto found = std::find_if(idle_.begin(), idle_.end(), [preferred](const Idle& idle) {
      return idle.line->serial() == preferred;
    });
    if (found == idle_.end()) --found;
    auto idle = std::move(*found);
    idle_.erase(found);
    if (now - idle.since < just_now) return std::move(idle.line);
    if (!settle(idle.line)) return nullptr;
    if (is_overdue(*idle.line, now)) {
      silence(std::move(idle.line));
    } else if (idle.line->owes() || !idle.line->stale()) {
      return std::move(idle.line);
    } else {
      ++broken_;
    }
    return nullptr;
  }

  /// Counts a line that has failed, and leaves its unanswered calls to the next connection.
  void retire(Connection& line) {
    ++broken_;
    repeats_.add(line.take_unanswered(), never);
  }

  /// Reads what no thread waits for. If the line fails, closes it and returns false.
  [[nodiscard]] bool settle(std::unique_ptr<Connection>& line) {
    try {
      line->receive_owed();
      return true;
    } catch (const std::exception&) {  // it has failed, or there is no memory
      const auto failed = std::exchange(line, nullptr);
      retire(*failed);
      return false;
    }
  }

  [[nodiscard]] bool is_overdue(const Connection& line, Time now) const {
    const auto since = line.silent_since();
    return since != never && now - since > endpoint_.command_timeout;
  }

  void silence(std::unique_ptr<Connection> line) {
    if (silent_) retire(*silent_);
    silent_ = std::move(line);
    away_ = wanted_ = true;
    reason_ = Reason{errc::timed_out, "no answer within the timeout", Failure::Kind::transient};
    health_.failed(Request::connect, {reason_->code, reason_->text});
    start();
  }

  [[nodiscard]] bool has_work() const { return wanted_ || !repeats_.is_empty(); }

  void start() {
    if (running_ || stopping_ || !has_work()) return;
    if (thread_.joinable()) thread_.join();  // the thread is past its last use of the mutex
    try {
      thread_ = without_signals([this] { run(); });
      running_ = true;
    } catch (const Failure& failure) {  // the server was not asked: the next take() retries
      note(failure);
    }
  }

  void run() {
    std::unique_lock guard{mutex_};
    while (!stopping_ && has_work()) {
      wake_.wait_until(guard, waitable(next_attempt_), [this] { return stopping_; });
      if (stopping_) break;
      try {
        if (has_spoken()) {
          add(std::move(silent_));
        } else {
          open(guard);
        }
      } catch (const std::exception&) {  // no memory
        if (!guard.owns_lock()) guard.lock();
        away_ = wanted_ = true;
        next_attempt_ = Time::clock::now() + backoff_.next();
      }
      for (const auto& notification : std::exchange(waiting_, {})) notification->notify();
    }
    running_ = false;
  }

  /// Returns whether the silent line has caught up.
  [[nodiscard]] bool has_spoken() { return silent_ && settle(silent_) && !silent_->owes(); }

  /// `was_wanted`: false if it was only opened to repeat calls. Each call would add a line otherwise.
  void add(std::unique_ptr<Connection> line, bool was_wanted = true) {
    if (was_wanted || idle_.empty()) idle_.push_back({std::move(line), Time::clock::now()});
    if (silent_) retire(*silent_);
    silent_.reset();
    reason_.reset();
    health_.worked(Request::connect);
    next_attempt_ = Time::min();
    away_ = wanted_ = false;
  }

  void open(std::unique_lock<std::mutex>& guard) {
    const bool was_wanted = std::exchange(wanted_, false);
    auto calls = repeats_.take_all();
    std::unique_ptr<Connection> line;
    std::optional<Failure> failure;
    guard.unlock();
    calls.remove_if([now = Time::clock::now()](const RepeatQueue::Call& call) {
      return call.owed->needed_until() < now;
    });
    try {
      if (was_wanted || !calls.empty()) line = open_line(calls);
    } catch (const Failure& thrown) {
      failure = thrown;
    } catch (const std::exception& thrown) {  // no memory, or no OpenSSL
      failure.emplace(errc::connection_failed, thrown.what());
    }
    guard.lock();
    if (line) {
      if (broken_ > 0) {
        --broken_;
        counters_->reconnected();
      }
      add(std::move(line), was_wanted);
      return;
    }
    repeats_.put_back(std::move(calls));
    if (failure) fail(*failure);
  }

  /// Records why there is no line.
  void note(const Failure& failure) {
    away_ = true;
    reason_ = Reason{failure.code(), failure.what(),
                     failure.is_transient() ? Failure::Kind::transient : Failure::Kind::final};
  }

  void fail(const Failure& failure) {
    note(failure);
    health_.failed(Request::connect, failure);
    next_attempt_ = Time::clock::now() + backoff_.next();
  }

  /// Connects, probes the server (a frozen one, too, lets clients connect) and repeats the calls.
  [[nodiscard]] std::unique_ptr<Connection> open_line(RepeatQueue::Calls& calls) {
    auto connection = std::make_unique<Connection>(endpoint_, resolver_, never);
    Commands commands;
    commands.add({"PING"});
    for (const auto& call : calls) add_call(commands, call.owed->call(), false);
    const auto replies = connection->exchange(commands);
    const auto& alive = replies.front();
    if (!alive.is_error("NOPERM")) expect(alive, alive.kind == Reply::Kind::status, "PING");
    connection->health = &health_;
    connection->suspect_until = Time::clock::now() + soon;
    for (auto reply = std::next(replies.begin()); reply != replies.end(); ++reply) {
      auto& owed = *calls.front().owed;
      if (is_refusal(*reply)) {
        const auto failure = failure_of(*reply);
        health_.failed(Request::release, failure);
        owed.fail(failure);
      } else {
        health_.worked(Request::release);
        owed.succeed();
      }
      calls.pop_front();
    }
    return connection;
  }

  const Endpoint& endpoint_;
  mutable Resolver resolver_;
  const std::shared_ptr<Counters> counters_;
  const milliseconds idle_limit_;
  NodeHealth health_;
  RepeatQueue repeats_{most_repeats};
  std::mutex mutex_;     // guards all below
  unsigned broken_ = 0;  // lines that failed and are not replaced yet
  std::condition_variable wake_;
  std::vector<Idle> idle_;
  std::unique_ptr<Connection> silent_;                  // a reply on it is overdue
  std::vector<std::shared_ptr<Notification>> waiting_;  // to ring after the next attempt
  std::optional<Reason> reason_;                        // why the server is away
  Backoff backoff_;
  Time next_attempt_ = Time::min();
  bool away_ = false;
  bool wanted_ = false;  // a line, since the latest attempt
  bool running_ = false, stopping_ = false;
  std::thread thread_;
};

}  // namespace redis_lock::detail
