#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/counters.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/notification.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/thread.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/net/owed_reply.hpp>
#include <redis_lock/detail/net/pool.hpp>
#include <redis_lock/detail/net/repeat_queue.hpp>
#include <redis_lock/detail/net/resolve.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock::detail {

/// The connections to one server, for callers that ask several servers at once. They do not wait for one that is away:
/// a thread connects and probes it. It lives while a connection is wanted, or a call must be repeated. Safe to share
/// between threads.
class Prober : Pinned {
 public:
  Prober(const Endpoint& endpoint, std::shared_ptr<Counters> counters,
         milliseconds longest_idle = usual_longest_idle)
      : endpoint_(endpoint),
        counters_(std::move(counters)),
        pool_(endpoint.max_idle, longest_idle) {}
  /// Waits for the end of an attempt to connect.
  ~Prober() {
    const CancellationPause no_cancellation;
    {
      const std::lock_guard guard{mutex_};
      stopping_ = true;
      wake_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
  }

  enum class State {
    open,     // there is a connection
    opening,  // one will be open soon, as far as is known
    away,     // the server has failed, and is being asked again
    resting   // the server has failed; a pause between two attempts
  };
  struct Taken {
    std::unique_ptr<Connection> connection;
    State state = State::open;
  };

  /// Takes a connection that is not in use: the one of the number `preferred`, or else any. If there is none, has one
  /// opened, and notifies `notification` when that has succeeded or failed.
  [[nodiscard]] Taken take(std::uint64_t preferred,
                           const std::shared_ptr<Notification>& notification) {
    for (;;) {
      if (auto connection = take_idle(preferred)) return {std::move(connection), State::open};
      const std::lock_guard reading{reading_};
      const std::lock_guard guard{mutex_};
      if (!is_silent_ && !pool_.is_empty()) continue;
      wanted_ = true;
      if (notification) waiting_.push_back(notification);
      start();
      if (!away_) return {nullptr, State::opening};
      const bool rests = !running_ || Time::clock::now() < next_attempt_;
      return {nullptr, rests ? State::resting : State::away};
    }
  }

  /// Takes a connection back. If it is `silent` (a reply is overdue), none is handed out until the server has answered.
  void give_back(std::unique_ptr<Connection> connection, bool silent) {
    const auto now = Time::clock::now();
    if (!connection->is_sound()) return retire(std::move(connection));
    if (silent || is_overdue(*connection, now)) return silence(std::move(connection));
    {
      const std::lock_guard guard{mutex_};
      backoff_ = {};
    }
    connection->suspect_until = Time::min();
    pool_.keep({std::move(connection), now});
  }

  /// Takes a connection that has failed, and closes the idle ones, which may have failed, too. If the server hung up
  /// soon after opening, before any user was done with it, the next one is opened after a pause. That doubles each
  /// time.
  void discard(std::unique_ptr<Connection> connection, const Failure& failure) {
    health_.failed(connection->asked(), failure);
    auto idle = pool_.take_all([](const Pool<Connection>::Idle&) { return true; });
    {
      const std::lock_guard guard{mutex_};
      const auto now = Time::clock::now();
      if (now < connection->suspect_until) next_attempt_ = now + backoff_.next();
    }
    retire(std::move(connection));
    for (auto& each : idle) retire(std::move(each.connection));
  }

  /// Reads the replies that no thread waits for. Finds connections that have failed, and closes those that were idle
  /// for too long. Returns when to do it again.
  [[nodiscard]] Time maintain() {
    const auto now = Time::clock::now();
    bool again = false;
    std::unique_lock reading{reading_};
    for (auto& [connection, since] : pool_.take_all(
             [](const Pool<Connection>::Idle& idle) { return idle.connection->owes(); })) {
      if (!receive_owed(connection)) continue;
      if (is_overdue(*connection, now)) {
        silence(std::move(connection));
        continue;
      }
      again = again || connection->owes();
      pool_.keep({std::move(connection), since});
    }
    reading.unlock();
    const auto next_close = pool_.close_superfluous();
    start_if_needed();
    return again ? now + between_looks : next_close;
  }

  /// Marks the server as away if it has no connection: a caller has waited for one as long as any should.
  void give_up_waiting() {
    const std::lock_guard guard{mutex_};
    away_ = away_ || pool_.is_empty();
    if (away_ && !health_.fails(Request::connect))
      health_.failed(Request::connect, no_connection());
  }

  /// Runs a call when there is a new connection, unless it is not needed any more by then.
  void call_later(std::unique_ptr<OwedReply> owed) {
    OwedReplies calls;
    calls.push_back(std::move(owed));
    repeats_.add(std::move(calls), never);
    start_if_needed();
  }

  /// Returns why there is no connection.
  [[nodiscard]] Failure failure() {
    const std::lock_guard guard{mutex_};
    // Not a copy: it would share its text with another thread.
    return reason_ ? reason_->with(reason_->what()) : no_connection();
  }

  [[nodiscard]] const Endpoint& endpoint() const noexcept { return endpoint_; }
  /// Returns what the server has failed at. No I/O.
  [[nodiscard]] const NodeHealth& health() const noexcept { return health_; }

 private:
  /// How often maintain() looks while there are replies that no thread waits for.
  static constexpr milliseconds between_looks{100};
  /// A connection that was used within this time counts as good; if it is not, that shows soon.
  static constexpr milliseconds just_now{500};
  /// A connection that fails within this time is not trusted. Longer than the longest pause between two attempts to
  /// connect.
  static constexpr milliseconds soon{1000};

  [[nodiscard]] static Failure no_connection() {
    return {errc::connection_failed, "no connection within the timeout", Failure::Kind::transient};
  }

  [[nodiscard]] std::unique_ptr<Connection> take_idle(std::uint64_t preferred) {
    while (!is_silent_) {
      const auto is_preferred = [=](const Connection& idle) { return idle.serial() == preferred; };
      auto [connection, since] = pool_.take(is_preferred, true);
      const auto now = Time::clock::now();
      if (!connection || now - since < just_now) return std::move(connection);
      if (!receive_owed(connection)) continue;
      if (is_overdue(*connection, now)) {
        silence(std::move(connection));
      } else if (connection->owes() || !connection->stale()) {
        return std::move(connection);
      } else {
        retire(std::move(connection));
      }
    }
    return nullptr;
  }

  /// Closes and counts a connection that has failed, and leaves its unanswered calls to the next one.
  void retire(std::unique_ptr<Connection> connection) noexcept try {
    auto calls = connection->take_unanswered();
    connection.reset();
    repeats_.add(std::move(calls), never);
    const std::lock_guard guard{mutex_};
    ++broken_;
    start();
  } catch (const std::exception&) {  // no memory: the calls are given up
  }

  /// Reads what has come of the replies that no thread waits for. If the connection fails, retires it: false.
  [[nodiscard]] bool receive_owed(std::unique_ptr<Connection>& connection) {
    if (!connection->owes()) return true;
    try {
      connection->receive_owed();
      return true;
    } catch (const std::exception&) {  // it has failed, or there is no memory
      retire(std::move(connection));
      return false;
    }
  }

  [[nodiscard]] bool is_overdue(const Connection& connection, Time now) const {
    const auto since = connection.silent_since();
    return since != never && now - since > endpoint_.command_timeout;
  }

  void silence(std::unique_ptr<Connection> connection) {
    const Failure failure{errc::timed_out, "no answer within the timeout",
                          Failure::Kind::transient};
    health_.failed(Request::connect, failure);
    {
      const std::lock_guard guard{mutex_};
      std::swap(silent_, connection);
      is_silent_ = wanted_ = true;
      note(failure);
      start();
    }
    if (connection) retire(std::move(connection));
  }

  /// Records why there is no connection. Needs mutex_.
  void note(const Failure& failure) {
    away_ = true;
    reason_ = failure.with(failure.what());
  }

  /// Needs mutex_, as the next.
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
  void start_if_needed() {
    const std::lock_guard guard{mutex_};
    start();
  }

  void run() {
    std::unique_lock guard{mutex_};
    while (!stopping_ && has_work()) {
      wake_.wait_until(guard, waitable(next_attempt_), [this] { return stopping_; });
      if (stopping_) break;
      auto silent = std::move(silent_);
      const bool was_wanted = std::exchange(wanted_, false);
      guard.unlock();
      probe(silent, was_wanted);
      guard.lock();
      if (!silent_) std::swap(silent_, silent);
      for (const auto& notification : std::exchange(waiting_, {})) notification->notify();
      if (!silent) continue;
      guard.unlock();
      retire(std::move(silent));  // another one has become silent meanwhile
      guard.lock();
    }
    running_ = false;
  }

  /// Looks whether the silent connection has caught up. If not, connects, if a connection `was_wanted` or a call must
  /// be repeated.
  void probe(std::unique_ptr<Connection>& silent, bool was_wanted) try {
    if (silent && receive_owed(silent) && !silent->owes()) return add(std::move(silent), true);
    auto calls = repeats_.take_all();
    calls.remove_if([now = Time::clock::now()](const RepeatQueue::Call& call) {
      return call.owed->needed_until() < now;
    });
    if (!was_wanted && calls.empty()) return;
    std::optional<Failure> failure;
    try {
      add(open(calls, silent), was_wanted);
      if (silent) retire(std::move(silent));
      return;
    } catch (const Failure& thrown) {
      failure = thrown;
    } catch (const std::exception& thrown) {  // no memory, or no OpenSSL
      failure.emplace(errc::connection_failed, thrown.what());
    }
    repeats_.put_back(std::move(calls));
    health_.failed(Request::connect, *failure);
    const std::lock_guard guard{mutex_};
    note(*failure);
    next_attempt_ = Time::clock::now() + backoff_.next();
  } catch (const std::exception&) {  // no memory
    const std::lock_guard guard{mutex_};
    away_ = wanted_ = true;
    next_attempt_ = Time::clock::now() + backoff_.next();
  }

  /// `was_wanted`: false if it was only opened to repeat calls. Each call would add a connection otherwise.
  void add(std::unique_ptr<Connection> connection, bool was_wanted) {
    health_.worked(Request::connect);
    std::unique_ptr<Connection> silent;
    {
      const std::lock_guard guard{mutex_};
      if (was_wanted || pool_.is_empty()) pool_.add(std::move(connection));
      silent = std::move(silent_);
      reason_.reset();
      next_attempt_ = Time::min();
      is_silent_ = away_ = wanted_ = false;
    }
    if (silent) retire(std::move(silent));
  }

  /// Connects, probes the server (a frozen one, too, lets clients connect) and repeats the calls. Throws Failure.
  [[nodiscard]] std::unique_ptr<Connection> open(RepeatQueue::Calls& calls,
                                                 std::unique_ptr<Connection>& silent) {
    auto connection = std::make_unique<Connection>(endpoint_, resolver_, never);
    const auto alive = ask(*connection, Commands{}.add({"PING"}));
    if (!alive.is_error("NOPERM")) expect(alive, alive.kind == Reply::Kind::status, "PING");
    // A release must not overtake its attempt, which the server may still have to read from the silent connection.
    const auto limit = after(Time::clock::now(), endpoint_.command_timeout);
    while (!calls.empty() && silent && receive_owed(silent) && silent->owes()) {
      if (Time::clock::now() >= limit) break;
      std::this_thread::sleep_for(milliseconds{1});
    }
    Commands commands;
    for (const auto& call : calls) add_call(commands, call.owed->call(), false);
    const auto replies = calls.empty() ? Replies{} : connection->exchange(commands);
    connection->health = &health_;
    connection->suspect_until = Time::clock::now() + soon;
    for (const auto& reply : replies) {
      auto& owed = *calls.front().owed;
      if (is_refusal(reply)) {
        const auto failure = failure_of(reply);
        health_.failed(Request::release, failure);
        owed.fail(failure);
      } else {
        health_.worked(Request::release);
        owed.succeed();
      }
      calls.pop_front();
    }
    const std::lock_guard guard{mutex_};
    if (broken_ > 0) {
      --broken_;
      counters_->reconnected();
    }
    return connection;
  }

  const Endpoint& endpoint_;
  Resolver resolver_;
  const std::shared_ptr<Counters> counters_;
  NodeHealth health_;
  Pool<Connection> pool_;
  RepeatQueue repeats_{256};
  std::atomic<bool> is_silent_{false};  // no connection is handed out; set with mutex_
  std::mutex reading_;  // held while maintain() reads, so that no caller misses what it took
  std::mutex mutex_;    // guards all below
  std::condition_variable wake_;
  unsigned broken_ = 0;                 // connections that failed and are not replaced yet
  std::unique_ptr<Connection> silent_;  // a reply on it is overdue
  std::vector<std::shared_ptr<Notification>> waiting_;  // to notify after the next attempt
  std::optional<Failure> reason_;                       // why the server is away
  Backoff backoff_;
  Time next_attempt_ = Time::min();
  bool away_ = false, wanted_ = false;  // wanted_: a connection, since the latest attempt
  bool running_ = false, stopping_ = false;
  std::thread thread_;
};

}  // namespace redis_lock::detail
