#pragma once

#include <poll.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/net/line.hpp>
#include <redis_lock/detail/net/line_pool.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/protocol/message.hpp>

namespace redis_lock::detail {

/// Several servers that one thread asks at once: one write to each in a row, then one poll() over all of them. Late
/// replies are not waited for longer than the caller wants.
class Panel {
 public:
  /// One of the servers, in the order in which they were given.
  struct Seat {
    LinePool* pool = nullptr;
    std::unique_ptr<Line> line;
    std::optional<Fault> fault;  // why it did not answer
    Replies replies;
    Line::Number from = 0, to = 0;  // numbers of the replies to the latest question
    Time sent{};
    bool late = false;      // a reply is overdue
    bool was_used = false;  // the line was, before this

    [[nodiscard]] bool is_pending() const noexcept { return line && replies.size() < to - from; }
    [[nodiscard]] bool has_answered() const noexcept {
      return !fault && to != from && replies.size() == to - from;
    }
  };

  explicit Panel(const std::vector<LinePool*>& pools, Cancellation* cancellation = nullptr)
      : cancellation_(cancellation), seats_(pools.size()) {
    for (std::size_t i = 0; i < pools.size(); ++i) seats_[i].pool = pools[i];
  }
  ~Panel() {
    for (auto& seat : seats_) {
      try {
        leave(seat);
      } catch (const std::exception&) {  // no memory: the line is closed
      }
    }
  }
  Panel(const Panel&) = delete;
  Panel(Panel&&) = delete;
  Panel& operator=(const Panel&) = delete;
  Panel& operator=(Panel&&) = delete;

  [[nodiscard]] std::vector<Seat>& seats() noexcept { return seats_; }
  [[nodiscard]] std::size_t size() const noexcept { return seats_.size(); }
  [[nodiscard]] std::size_t majority() const noexcept { return seats_.size() / 2 + 1; }

  /// Returns whether a line has failed that was used before. A new one may do better.
  [[nodiscard]] bool was_stale() const noexcept { return was_stale_; }

  /// Takes a line for each server that is there. Once a majority has one, gives the rest a moment. Blocks until
  /// `deadline` at most. `preferred`: the line to take for each server, if it is free.
  void connect(Time deadline, const std::vector<std::uint64_t>& preferred = {}) {
    std::shared_ptr<Bell> bell;
    Time start = never, enough_at = never;
    for (;;) {
      std::size_t open = 0, opening = 0, away = 0;
      for (std::size_t i = 0; i < size(); ++i) {
        switch (sit_down(seats_[i], i < preferred.size() ? preferred[i] : 0, bell)) {
          case Sitting::open: ++open; break;
          case Sitting::opening: ++opening; break;
          case Sitting::away: ++away; break;
          case Sitting::resting: break;
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
        for (auto& seat : seats_) {
          if (!seat.line) seat.pool->give_up_waiting();
        }
        return;
      }
      if (!bell) {
        bell = std::make_shared<Bell>();
        continue;  // leave it with the pools first
      }
      bell->wait_until(next_look(limit, now));
    }
  }

  /// Sends one question to one server that has a line.
  void ask(Seat& seat, std::string_view bytes, std::size_t replies, Time now, Request request,
           const LateRelease& release = {}) {
    seat.replies.clear();
    seat.fault.reset();
    seat.from = seat.to = 0;
    seat.sent = now;
    try {
      seat.from = seat.line->send(bytes, replies, now, request, release);
      seat.to = seat.from + replies;
    } catch (const Fault& fault) {
      fail(seat, fault);
    }
  }

  /// Reads replies until none are to come, or until the time that `wait_until()` returns, which is called before each
  /// wait. A server that has not answered by `deadline` is late.
  template <class WaitUntil>
  void collect(Time deadline, const WaitUntil& wait_until) {
    for (;;) {
      const Time until = wait_until();
      if (until == Time::min()) return;
      polled_.clear();
      for (auto& seat : seats_) {
        if (!seat.is_pending()) continue;
        const int events = seat.line->has_unsent() ? POLLIN | POLLOUT : POLLIN;
        polled_.push_back({seat.line->descriptor(), static_cast<short>(events), 0});
      }
      if (polled_.empty()) return;
      const auto now = Time::clock::now();
      const auto limit = std::min(until, deadline);
      if (now >= limit || is_cancelled()) {
        if (now >= deadline) call_late();
        return;
      }
      const auto most = milliseconds{std::numeric_limits<int>::max()};
      const auto timeout = std::min(left_until(next_look(limit, now), now), most);
      if (::poll(polled_.data(), polled_.size(), static_cast<int>(timeout.count())) > 0) receive();
    }
  }

  /// Gives the line of this server back.
  void leave(Seat& seat) {
    if (!seat.line) return;
    seat.line->connection().set_cancellation(nullptr);
    seat.pool->give_back(std::exchange(seat.line, nullptr), seat.late);
  }

  void fail(Seat& seat, const Fault& fault) {
    was_stale_ = was_stale_ || seat.was_used;
    seat.fault = fault;
    seat.line->connection().set_cancellation(nullptr);
    seat.pool->distrust(std::exchange(seat.line, nullptr), fault);
  }

  void pause(Time::duration time) const {
    const auto until = Time::clock::now() + time;
    if (cancellation_) {
      cancellation_->sleep_until(until);
    } else {
      std::this_thread::sleep_until(until);
    }
  }

  /// True if a cancellation ends the wait on a socket, so that nothing need check for it periodically.
  bool is_watched = false;

  /// Returns whether replies are to come.
  [[nodiscard]] bool is_pending() const {
    return std::any_of(seats_.begin(), seats_.end(),
                       [](const Seat& seat) { return seat.is_pending(); });
  }

  [[nodiscard]] bool is_cancelled() const noexcept {
    return cancellation_ && cancellation_->requested();
  }

 private:
  enum class Sitting { open, opening, away, resting };

  /// How long the other servers have at least, once there is a majority.
  static constexpr milliseconds moment{20};
  static constexpr milliseconds between_looks{20};

  [[nodiscard]] Sitting sit_down(Seat& seat, std::uint64_t preferred,
                                 const std::shared_ptr<Bell>& bell) {
    if (seat.line) return Sitting::open;
    auto taken = seat.pool->take(preferred, bell);
    seat.line = std::move(taken.line);
    if (seat.line) {
      seat.late = false;
      seat.was_used = seat.line->was_used();
      return Sitting::open;
    }
    switch (taken.state) {
      case LinePool::State::opening: return Sitting::opening;
      case LinePool::State::away: return Sitting::away;
      case LinePool::State::resting: break;
    }
    return Sitting::resting;
  }

  [[nodiscard]] Time next_look(Time limit, Time now) const {
    return cancellation_ && !is_watched ? std::min(limit, now + between_looks) : limit;
  }

  void receive() {
    auto polled = polled_.begin();
    for (auto& seat : seats_) {
      if (!seat.is_pending()) continue;
      if ((polled++)->revents == 0) continue;
      try {
        if (seat.line->has_unsent()) seat.line->flush();
        seat.line->receive();
        while (seat.is_pending()) {
          auto answer = seat.line->next(seat.from);
          if (!answer) break;
          seat.replies.push_back(std::move(answer->reply));
        }
      } catch (const Fault& fault) {
        fail(seat, fault);
      }
    }
  }

  void call_late() {
    for (auto& seat : seats_) {
      if (!seat.is_pending()) continue;
      seat.late = true;
      seat.fault.emplace(errc::timed_out, "no answer within the timeout", Fault::Kind::passing);
    }
  }

  Cancellation* cancellation_;
  std::vector<Seat> seats_;
  std::vector<pollfd> polled_;
  bool was_stale_ = false;
};

}  // namespace redis_lock::detail
