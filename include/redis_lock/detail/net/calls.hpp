#pragma once

#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/net/call_limits.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/owed_reply.hpp>
#include <redis_lock/detail/net/pool.hpp>
#include <redis_lock/detail/net/repeat_queue.hpp>
#include <redis_lock/detail/net/topology.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock::detail {

/// Runs the calls of one Client on idle or new connections, and repeats what fails. Safe to share between threads.
class Calls {
 public:
  /// `longest_idle`: how long a connection may be unused before it is closed.
  Calls(const Endpoint& endpoint, std::shared_ptr<Topology> topology,
        milliseconds longest_idle = usual_longest_idle)
      : endpoint_(endpoint),
        topology_(std::move(topology)),
        pool_(endpoint.max_idle, longest_idle) {}

  /// Runs `work(Connection&)` on an idle or a new connection. After a transient Failure runs it again on a new one,
  /// until it returns or the limits are reached. Gives up at once if a server accepts a new connection but does not
  /// answer, unless another server may take its place.
  template <class Work>
  auto perform(const CallLimits& limits, Work&& work) {
    Retries retries;
    std::optional<Time> connect_by;
    std::optional<Failure> before;
    auto connection = take_idle(limits.slot);
    for (;;) {
      const bool is_new = !connection;
      const auto started = is_new ? Time::clock::now() : Time{};
      try {
        if (is_new) {
          if (!connect_by) connect_by = std::max(limits.deadline.at(), started + least_to_connect);
          connection = topology_->connect(limits.slot, *connect_by);
        }
        // NOLINTNEXTLINE(bugprone-use-after-move): what was moved from is null, and then a new one
        connection->expect_answer();
        connection->set_cancellation(limits.cancellation);
        auto result = work(*connection);
        keep(std::move(connection));
        return result;
      } catch (const Failure& failure) {
        const bool answered = connection && connection->answered();
        const auto now = Time::clock::now();
        retries.failed(connection ? connection->progress : Progress::none, now);
        const bool silent =
            failure.code() == errc::timed_out && is_new && !answered && !topology_->fail_over();
        const bool cancelled = limits.cancellation && limits.cancellation->requested();
        if (connection && failure.is_transient() && !cancelled)
          topology_->suspect(connection->server());
        // What failed on an old connection gets one new connection in any case.
        const auto give_up_at =
            std::min(limits.deadline.at(), retries.give_up_at(limits.retry_for));
        if (is_new) connect_by = give_up_at;
        const bool out_of_time = is_new && now >= give_up_at;
        const auto told = connection ? topology_->named(*connection, failure) : failure;
        if (!failure.is_transient() || silent || cancelled || out_of_time) {
          if (connection && !connection->usable()) {
            for (const auto& owed : connection->take_unanswered()) owed->fail(failure);
          }
          if (!failure.is_transient()) {
            keep(std::move(connection));
          } else if (connection) {
            topology_->count_broken();
          }
          // The deadline cut off the last attempt: report the earlier, more specific error.
          const bool is_cut = !connection || failure.code() == errc::timed_out;
          if (out_of_time && is_cut && before) throw *before;
          throw told;
        }
        before = told;
      } catch (...) {  // no memory, or the thread is cancelled
        abandon(std::move(connection));
        throw;
      }
      close(std::move(connection), limits.retry_for);
      if (!is_new) continue;
      const auto pause_end = after(started, retries.next_pause());
      sleep_until(std::min(limits.deadline.at(), pause_end), limits.cancellation);
    }
  }

  /// Lends an idle connection to this server, to a thread that cannot open its own. Null if there is none.
  /// give_back() ends the loan.
  [[nodiscard]] std::unique_ptr<Connection> lend(const Address& server) {
    const bool is_any = !topology_->fail_over();
    for (;;) {
      auto [connection, since] =
          pool_.take([&](const Connection& idle) { return is_any || idle.server() == server; });
      if (!connection) return nullptr;
      // A check costs a system call. A connection that was used just now is good; if not, that shows soon.
      const bool used_just_now = Time::clock::now() - since < milliseconds{1000};
      if (used_just_now || connection->owes() || !connection->stale()) return std::move(connection);
      topology_->count_broken();
    }
  }
  /// Takes back what lend() gave. Leaves calls that a broken connection has not answered to settle_idle().
  void give_back(std::unique_ptr<Connection> connection) {
    if (connection->usable()) return keep(std::move(connection));
    repeat_later(connection->take_unanswered(), endpoint_.retry_for);
    topology_->count_broken();
  }

  /// Sends the call that `make()` makes on an idle connection, without waiting for the reply. Returns false if there
  /// is no such connection, or too many replies are to come on it.
  template <class Make>
  [[nodiscard]] bool defer(const std::string& key, const Make& make) {
    auto connection = take_idle(topology_->slot_of(key));
    if (!connection || !connection->may_defer()) {
      keep(std::move(connection));
      return false;
    }
    try {
      connection->defer(make());
      keep(std::move(connection));
    } catch (const Failure&) {
      close(std::move(connection), endpoint_.retry_for);
    }
    return true;
  }

  /// Reads the replies of deferred calls on connections that were idle for a while, if they have come or are
  /// overdue. Repeats those that failed. Closes connections that were idle for too long. Returns when to do it again.
  [[nodiscard]] Time settle_idle() {
    bool left = false;
    const auto now = Time::clock::now();
    auto due = pool_.take_all([&](const Pool<Connection>::Idle& idle) {
      const auto age = now - idle.since;
      const bool owes = idle.connection->owes();
      const bool ready = owes && age > settle_after &&
                         (age > endpoint_.command_timeout || idle.connection->stale());
      left = left || (owes && !ready);
      return ready;
    });
    for (auto& idle : due) settle(std::move(idle.connection), moment, endpoint_.retry_for);
    const auto next_close = pool_.close_superfluous();
    return repeat_failed() || left ? Time::clock::now() + between_settlings : next_close;
  }

  /// Returns when settle_idle() must close a connection that became idle since the last call; nothing if none did.
  [[nodiscard]] std::optional<Time> take_plan() { return pool_.take_plan(); }

  /// Returns whether calls have failed that settle_idle() must repeat.
  [[nodiscard]] bool has_failed() const noexcept { return !repeats_.is_empty(); }

  /// Reads all owed replies, and waits for those to come. Retries those that failed once. Throws nothing.
  void settle_all() {
    const auto owes = [](const Connection& idle) { return idle.owes(); };
    while (auto connection = pool_.take(owes).connection) {
      try {
        settle(std::move(connection), endpoint_.command_timeout, milliseconds::zero());
      } catch (const std::exception&) {  // no memory
      }
    }
    auto calls = repeats_.take_all();
    for (auto& call : calls) call.give_up_at = Time::min();
    repeats_.put_back(std::move(calls));
    while (repeat_failed()) {
    }
  }

 private:
  /// Time that the first new connection of an operation has, even if its deadline is nearer.
  static constexpr milliseconds least_to_connect{100};

  /// How long a connection with a deferred call must be idle before it is settled.
  static constexpr milliseconds settle_after{50};
  /// Time between two checks of replies to come and calls that failed.
  static constexpr milliseconds between_settlings{100};
  /// How long one repetition of a failed call may take: the thread has other work.
  static constexpr milliseconds patience{200};
  /// Time to read a reply that is there, or overdue.
  static constexpr milliseconds moment{20};

  /// Takes the latest used connection to the server that has the slot.
  [[nodiscard]] std::unique_ptr<Connection> take_idle(Slot slot) {
    return lend(topology_->server_of(slot));
  }

  /// Keeps a usable connection, and closes any other. Throws nothing, because what was done on it stands.
  void keep(std::unique_ptr<Connection> connection) try {
    if (!connection || !connection->usable())
      return close(std::move(connection), endpoint_.retry_for);
    connection->set_cancellation(nullptr);
    pool_.keep({std::move(connection), Time::clock::now()});
  } catch (const std::exception&) {  // no memory: it is closed
  }

  void settle(std::unique_ptr<Connection> connection, milliseconds limit, milliseconds retry_for) {
    if (!connection->owes()) return;
    try {
      connection->settle_by(after(Time::clock::now(), limit));
    } catch (const std::exception&) {  // what is not answered is repeated
    }
    repeat_later(connection->take_unanswered(), retry_for);
    keep(std::move(connection));
  }

  void repeat_later(OwedReplies all, milliseconds retry_for) {
    repeats_.add(std::move(all), after(Time::clock::now(), retry_for));
  }

  /// Repeats the calls that failed, up to the first that fails again. Returns whether any are left.
  bool repeat_failed() {
    return repeats_.repeat([this](const OwedReply& owed) {
      const auto limit = after(Time::clock::now(), patience);
      const auto connection = topology_->connect(topology_->slot_of(owed.key()), limit);
      try {
        const auto replies = evaluate(*connection, {owed.call()}, milliseconds::zero(), limit);
        (void)integer_of_repeatable(replies.front(), "the repeated script");
      } catch (const Failure&) {
        topology_->suspect(connection->server());
        throw;
      }
    });
  }

  /// Closes a connection that failed. Repeats the calls that it has not answered once. The rest is for
  /// settle_idle(), because a caller that wants something else must not wait for them.
  void close(std::unique_ptr<Connection> connection, milliseconds retry_for) try {
    if (!connection) return;
    auto unanswered = connection->take_unanswered();
    connection.reset();
    topology_->count_broken();
    if (unanswered.empty()) return;
    repeat_later(std::move(unanswered), retry_for);
    (void)repeat_failed();
  } catch (const std::exception&) {  // no memory: the calls are given up
  }

  /// Closes a connection in whatever state it is. Leaves the calls that it has not answered to settle_idle().
  void abandon(std::unique_ptr<Connection> connection) noexcept try {
    if (connection) repeat_later(connection->take_unanswered(), endpoint_.retry_for);
  } catch (const std::exception&) {  // no memory: the calls are given up
  }

  const Endpoint& endpoint_;
  const std::shared_ptr<Topology> topology_;
  Pool<Connection> pool_;
  RepeatQueue repeats_;
};

}  // namespace redis_lock::detail
