#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>

namespace redis_lock::detail {

/// How long a connection may be unused before it is closed.
inline constexpr milliseconds usual_longest_idle{60'000};

/// The idle connections of one Client. A Connection has owes(). Keeps those that owe replies until they have received them. Safe to share
/// between threads.
template <class Connection>
class Pool {
 public:
  struct Idle {
    std::unique_ptr<Connection> connection;  // null: there is none
    Time since{};
  };

  explicit Pool(std::size_t max_idle, milliseconds longest_idle = usual_longest_idle)
      : max_idle_(max_idle), longest_idle_(longest_idle) {}

  [[nodiscard]] bool is_empty() const {
    const std::lock_guard guard{mutex_};
    return idle_.empty();
  }

  /// Takes the latest used of the connections that `fits(const Connection&)` accepts; if there is none, `or_any`.
  template <class Fits>
  [[nodiscard]] Idle take(const Fits& fits, bool or_any = false) {
    const std::lock_guard guard{mutex_};
    auto found = std::find_if(idle_.rbegin(), idle_.rend(),
                              [&](const Idle& idle) { return fits(*idle.connection); });
    if (found == idle_.rend() && or_any) found = idle_.rbegin();
    if (found == idle_.rend()) return {};
    auto idle = std::move(*found);
    idle_.erase(std::next(found).base());
    return idle;
  }

  /// Takes all connections that `is_due(const Idle&)` accepts.
  template <class IsDue>
  [[nodiscard]] std::vector<Idle> take_all(const IsDue& is_due) {
    std::vector<Idle> due;
    const std::lock_guard guard{mutex_};
    for (auto idle = idle_.begin(); idle != idle_.end();) {
      const bool takes = is_due(*idle);
      if (takes) due.push_back(std::move(*idle));
      idle = takes ? idle_.erase(idle) : std::next(idle);
    }
    return due;
  }

  /// Takes a connection back that was used until `idle.since`, and closes what is superfluous.
  void keep(Idle idle) {
    std::vector<Idle> superfluous;  // closed after the mutex is released
    const std::lock_guard guard{mutex_};
    insert(std::move(idle));
    take_superfluous(idle_.back().since, superfluous);
    if (!idle_.empty() && !std::exchange(is_planned_, true)) has_plan_ = true;
  }
  /// Takes a new connection, which will be used at once.
  void add(std::unique_ptr<Connection> connection) {
    Idle idle{std::move(connection), Time::clock::now()};
    const std::lock_guard guard{mutex_};
    insert(std::move(idle));
  }

  /// Closes what is superfluous. Returns when to do it again; `never` if nothing is idle.
  [[nodiscard]] Time close_superfluous() {
    std::vector<Idle> superfluous;
    const std::lock_guard guard{mutex_};
    take_superfluous(Time::clock::now(), superfluous);
    is_planned_ = !idle_.empty();
    return is_planned_ ? idle_.front().since + longest_idle_ : never;
  }
  /// Returns when to call close_superfluous(), if it does not know of the present connections.
  [[nodiscard]] std::optional<Time> take_plan() {
    if (!has_plan_.load(std::memory_order_relaxed) || !has_plan_.exchange(false))
      return std::nullopt;
    return after(Time::clock::now(), longest_idle_);
  }

 private:
  /// Needs mutex_, like the next. If there is no memory, leaves the connection to the caller, who closes it without
  /// mutex_: receivers may call back.
  void insert(Idle&& idle) {
    const auto before = std::find_if(idle_.rbegin(), idle_.rend(),
                                     [&](const Idle& other) { return other.since <= idle.since; });
    idle_.insert(before.base(), std::move(idle));
  }

  void take_superfluous(Time now, std::vector<Idle>& superfluous) {
    for (auto idle = idle_.begin(); idle != idle_.end();) {
      if (idle_.size() <= max_idle_ && now - idle->since < longest_idle_) return;
      const bool closes = !idle->connection->owes();
      if (closes) superfluous.push_back(std::move(*idle));
      idle = closes ? idle_.erase(idle) : std::next(idle);
    }
  }

  const std::size_t max_idle_;
  const milliseconds longest_idle_;
  mutable std::mutex mutex_;  // guards idle_ and is_planned_
  std::vector<Idle> idle_;    // the longest idle first: the one used last is taken next
  bool is_planned_ = false;   // close_superfluous() will be called, or take_plan() reports it
  std::atomic<bool> has_plan_{false};
};

}  // namespace redis_lock::detail
