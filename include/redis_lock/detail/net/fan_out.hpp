#pragma once

#include <poll.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/net/owed_reply.hpp>
#include <redis_lock/detail/net/prober.hpp>
#include <redis_lock/detail/net/server_text.hpp>
#include <redis_lock/detail/net/spin.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>

namespace redis_lock::detail {

/// Several servers that one thread asks at once: one write to each in a row, then one poll() over all of them. Late
/// replies are not waited for longer than the caller wants.
class FanOut : Pinned {
 public:
  /// One of the servers, in the order in which they were given.
  struct Server {
    Prober* prober = nullptr;
    std::unique_ptr<Connection> connection;
    std::optional<Failure> failure;  // why it did not answer
    Replies replies;
    Connection::Number from = 0, to = 0;  // numbers of the replies to the latest question
    Time sent{};
    Request request{};      // the latest question
    bool late = false;      // a reply is overdue
    bool was_used = false;  // the connection was, before this
    bool is_due_at_once = false, is_polled = false;

    [[nodiscard]] bool is_pending() const noexcept {
      return connection && replies.size() < to - from;
    }
    [[nodiscard]] bool has_answered() const noexcept {
      return !failure && to != from && replies.size() == to - from;
    }
  };

  explicit FanOut(const std::vector<Prober*>& probers, Cancellation* cancellation = nullptr)
      : cancellation_(cancellation), servers_(probers.size()) {
    for (std::size_t i = 0; i < probers.size(); ++i) servers_[i].prober = probers[i];
  }
  ~FanOut() {
    for (auto& server : servers_) {
      try {
        leave(server);
      } catch (const std::exception&) {  // no memory: the connection is closed
      }
    }
  }

  [[nodiscard]] std::vector<Server>& servers() noexcept { return servers_; }
  [[nodiscard]] std::size_t size() const noexcept { return servers_.size(); }
  [[nodiscard]] std::size_t majority() const noexcept { return servers_.size() / 2 + 1; }

  /// Returns whether a connection has failed that was used before. A new one may do better.
  [[nodiscard]] bool was_stale() const noexcept { return was_stale_; }

  /// Takes a connection for each server that is there. Once a majority has one, gives the rest a moment. Blocks until
  /// `deadline` at most. `preferred`: the serial() of the one to take from each server, if it is free.
  void connect(Time deadline, const std::vector<std::uint64_t>& preferred = {}) {
    std::shared_ptr<Notification> notification;
    Time start = never, enough_at = never;
    for (;;) {
      std::size_t open = 0, opening = 0, away = 0;
      for (std::size_t i = 0; i < size(); ++i) {
        switch (
            take_connection(servers_[i], i < preferred.size() ? preferred[i] : 0, notification)) {
          case Prober::State::open: ++open; break;
          case Prober::State::opening: ++opening; break;
          case Prober::State::away: ++away; break;
          case Prober::State::resting: break;
        }
      }
      const bool enough = open >= majority();
      if (opening == 0 && (enough || away == 0)) return;
      const auto now = Time::clock::now();
      if (start == never) start = now;
      if (enough && enough_at == never)
        enough_at = now + std::max<Time::duration>(now - start, moment);
      const auto limit = std::min(deadline, enough_at);
      if (now >= limit || is_cancelled()) {
        for (auto& server : servers_) {
          if (!server.connection) server.prober->give_up_waiting();
        }
        return;
      }
      if (!notification) {
        notification = std::make_shared<Notification>();
        continue;  // leave it with the probers first
      }
      notification->wait_until(next_look(limit, now));
    }
  }

  /// Sends one question to one server that has a connection.
  void ask(Server& server, std::string_view bytes, std::size_t replies, Time now, Request request,
           std::unique_ptr<OwedReply> receiver = nullptr) {
    server.replies.clear();
    server.failure.reset();
    server.from = server.to = 0;
    server.sent = now;
    server.request = request;
    try {
      server.from = server.connection->send(bytes, replies, now, request, std::move(receiver));
      server.to = server.from + replies;
    } catch (const Failure& failure) {
      fail(server, failure);
    }
  }

  /// Reads replies until none are to come, or until the time that `wait_until()` returns, which is called before each
  /// wait. A server that has not answered by `deadline` is late.
  template <class WaitUntil>
  void collect(Time deadline, const WaitUntil& wait_until) {
    Spin spin{Time::clock::now()};
    for (auto& server : servers_) {
      server.is_due_at_once = server.is_pending() && server.request != Request::wait &&
                              server.connection->asked() != Request::wait;
      server.is_polled = server.is_due_at_once && spin.join(server.connection->spinner);
    }
    bool polls = true;
    for (;;) {
      const Time until = wait_until();
      if (until == Time::min()) return;
      polled_.clear();
      for (auto& server : servers_) {
        if (!server.is_pending()) continue;
        const int events = server.connection->has_unsent() ? POLLIN | POLLOUT : POLLIN;
        polled_.push_back({server.connection->descriptor(), static_cast<short>(events), 0});
      }
      if (polled_.empty()) return;
      const auto now = Time::clock::now();
      const auto limit = std::min(until, deadline);
      if (now >= limit || is_cancelled()) {
        if (now >= deadline) call_late();
        return;
      }
      const auto most = milliseconds{std::numeric_limits<int>::max()};
      polls = polls && is_polled() && !spin.is_over();
      const auto timeout =
          polls ? milliseconds::zero() : std::min(left_until(next_look(limit, now), now), most);
      if (::poll(polled_.data(), polled_.size(), static_cast<int>(timeout.count())) > 0)
        receive(spin, polls);
    }
  }

  /// Gives the connection of this server back.
  void leave(Server& server) {
    if (!server.connection) return;
    server.connection->set_cancellation(nullptr);
    server.prober->give_back(std::exchange(server.connection, nullptr), server.late);
  }

  void fail(Server& server, const Failure& failure) {
    was_stale_ = was_stale_ || server.was_used;
    server.failure = failure;
    server.connection->set_cancellation(nullptr);
    server.prober->discard(std::exchange(server.connection, nullptr), failure);
  }

  void pause(Time::duration time) const { sleep_until(Time::clock::now() + time, cancellation_); }

  /// True if a cancellation ends the wait on a socket, so that nothing need check for it periodically.
  bool is_watched = false;

  /// Returns whether replies are to come.
  [[nodiscard]] bool is_pending() const {
    return std::any_of(servers_.begin(), servers_.end(),
                       [](const Server& server) { return server.is_pending(); });
  }

  [[nodiscard]] bool is_cancelled() const noexcept {
    return cancellation_ && cancellation_->requested();
  }

 private:
  /// How long the other servers have at least, once there is a majority.
  static constexpr milliseconds moment{20};
  static constexpr milliseconds between_looks{20};

  [[nodiscard]] static Prober::State take_connection(
      Server& server, std::uint64_t preferred, const std::shared_ptr<Notification>& notification) {
    if (server.connection) return Prober::State::open;
    auto taken = server.prober->take(preferred, notification);
    server.connection = std::move(taken.connection);
    server.late = false;
    server.was_used = server.connection && server.connection->was_used();
    return taken.state;
  }

  [[nodiscard]] Time next_look(Time limit, Time now) const {
    return cancellation_ && !is_watched ? std::min(limit, now + between_looks) : limit;
  }

  [[nodiscard]] bool is_polled() const {
    return std::any_of(servers_.begin(), servers_.end(), [](const Server& server) {
      return server.is_polled && server.is_pending();
    });
  }

  void receive(Spin& spin, bool polls) {
    auto polled = polled_.begin();
    for (auto& server : servers_) {
      if (!server.is_pending()) continue;
      if ((polled++)->revents == 0) continue;
      try {
        if (server.connection->has_unsent()) server.connection->flush();
        server.connection->receive();
        while (server.is_pending()) {
          auto answer = server.connection->next(server.from);
          if (!answer) break;
          server.replies.push_back(std::move(*answer));
        }
        const bool is_fair = server.is_polled || !polls;  // not found by a poll for another
        if (server.is_due_at_once && is_fair && !server.is_pending())
          spin.learn(server.connection->spinner, server.is_polled);
      } catch (const Failure& failure) {
        fail(server, failure);
      }
    }
  }

  void call_late() {
    for (auto& server : servers_) {
      if (!server.is_pending()) continue;
      server.late = true;
      server.failure.emplace(errc::timed_out, "no answer within the timeout",
                             Failure::Kind::transient);
    }
  }

  Cancellation* cancellation_;
  std::vector<Server> servers_;
  std::vector<pollfd> polled_;
  bool was_stale_ = false;
};

/// Returns why there is no majority: which servers did not answer, and why.
[[nodiscard]] inline Failure no_majority(FanOut& fan_out) {
  std::size_t failed = 0, final = 0;
  std::optional<Failure> first;
  std::string text;
  for (std::size_t i = 0; i < fan_out.size(); ++i) {
    const auto& server = fan_out.servers()[i];
    if (server.connection && !server.failure) continue;
    const auto failure = server.failure ? *server.failure : server.prober->failure();
    ++failed;
    if (!failure.is_transient()) ++final;
    if (!first || (first->is_transient() && !failure.is_transient())) first = failure;
    const auto& endpoint = server.prober->endpoint();
    text += (text.empty() ? "node " : "; node ") + std::to_string(i + 1) + " (" +
            text_of(endpoint) + ')' + origin_of(endpoint) + ": " + failure.what();
  }
  const auto code = first ? first->code() : errc::connection_failed;
  return {code,
          std::to_string(failed) + " of " + std::to_string(fan_out.size()) +
              " nodes did not answer: " + text,
          final > fan_out.size() - fan_out.majority() ? Failure::Kind::final
                                                      : Failure::Kind::transient};
}

}  // namespace redis_lock::detail
