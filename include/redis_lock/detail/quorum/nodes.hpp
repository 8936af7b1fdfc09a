#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/process_local.hpp>
#include <redis_lock/detail/lock/core.hpp>
#include <redis_lock/detail/lock/hold.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/net/line.hpp>
#include <redis_lock/detail/net/line_pool.hpp>
#include <redis_lock/detail/net/panel.hpp>
#include <redis_lock/detail/net/pool.hpp>
#include <redis_lock/detail/net/server_text.hpp>
#include <redis_lock/detail/protocol/message.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/quorum/extend.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/node_status.hpp>

namespace redis_lock::detail {

/// Returns the lines to one of the nodes.
[[nodiscard]] inline LinePool& lines_of(Core& core) {
  auto& quorums = core.quorums();
  const std::lock_guard guard{quorums.mutex};
  if (!quorums.lines) quorums.lines = std::make_shared<LinePool>(core.endpoint(), core.counters());
  return *quorums.lines;
}

/// Returns why there is no majority: which servers did not answer, and why.
[[nodiscard]] inline Fault no_majority(Panel& panel) {
  std::size_t failed = 0, final = 0;
  std::optional<Fault> first;
  std::string text;
  for (std::size_t i = 0; i < panel.size(); ++i) {
    const auto& seat = panel.seats()[i];
    if (seat.line && !seat.fault) continue;
    const auto fault = seat.fault ? *seat.fault : seat.pool->fault();
    ++failed;
    if (!fault.passing()) ++final;
    if (!first || (first->passing() && !fault.passing())) first = fault;
    const auto& endpoint = seat.pool->endpoint();
    text += (text.empty() ? "node " : "; node ") + std::to_string(i + 1) + " (" +
            text_of(endpoint) + ')' + origin_of(endpoint) + ": " + fault.what();
  }
  const auto code = first ? first->code() : errc::connection_failed;
  return {code,
          std::to_string(failed) + " of " + std::to_string(panel.size()) +
              " nodes did not answer: " + text,
          final > panel.size() - panel.majority() ? Fault::Kind::final : Fault::Kind::passing};
}

/// A thread that renews the leases of all QuorumLocks over the same nodes.
class QuorumRenewer final : public Renewer {
 public:
  QuorumRenewer(const Endpoint& endpoint, std::vector<std::shared_ptr<Core>> cores)
      : Renewer(endpoint, std::make_shared<Servers>(endpoint, cores.front()->counters()),
                [cores] { return tidy(cores); }),
        cores_(std::move(cores)) {}

 private:
  [[nodiscard]] static Time tidy(const std::vector<std::shared_ptr<Core>>& cores) {
    auto next = never;
    for (const auto& core : cores) next = std::min(next, lines_of(*core).tidy());
    return next;
  }

  [[nodiscard]] Renewals extend_all(const Holds& batch, Time limit) override {
    Renewals renewals{Replies(batch.size())};
    auto& replies = renewals.replies;
    try {
      std::vector<LinePool*> pools;
      for (const auto& core : cores_) pools.push_back(&lines_of(*core));
      std::vector<QuorumHold*> holds;
      for (const auto& hold : batch) holds.push_back(static_cast<QuorumHold*>(hold.get()));
      Panel panel{pools};
      panel.connect(limit);
      QuorumExtension extension{holds, milliseconds::zero()};
      extension.run(panel, limit);
      for (std::size_t i = 0; i < holds.size(); ++i) {
        const auto verdict = extension.verdict(i);
        if (!verdict) {  // retried; the shares know what is in doubt
          replies[i].kind = Reply::Kind::error;
          if (!renewals.fault) renewals.fault = no_majority(panel);
          continue;
        }
        if (!is_lost(*verdict)) {
          const auto certain = extension.certain(i, panel.majority());
          holds[i]->shortest_in_doubt = certain < holds[i]->expire ? certain : milliseconds::max();
        }
        replies[i].kind = Reply::Kind::integer;
        replies[i].integer = *verdict == Extension::gone       ? 3
                             : *verdict == Extension::not_ours ? 1
                                                               : 0;
      }
    } catch (const std::exception& error) {  // no memory: retried until the lease is over
      for (auto& reply : replies) reply.kind = Reply::Kind::error;
      renewals.fault = Fault{errc::connection_failed, error.what()};
    }
    return renewals;
  }

  const std::vector<std::shared_ptr<Core>> cores_;
};

/// The servers of a QuorumLock, and the state that all QuorumLocks over the same ones share.
class QuorumNodes {
 public:
  explicit QuorumNodes(std::vector<std::shared_ptr<Core>> cores)
      : cores_(std::move(cores)),
        timeout_(std::min(least(&Endpoint::connect_timeout), least(&Endpoint::command_timeout))),
        retry_for_(least(&Endpoint::retry_for)) {}

  /// Returns the nodes of these cores. All QuorumLocks over them share one object.
  [[nodiscard]] static std::shared_ptr<QuorumNodes> of(
      const std::vector<std::shared_ptr<Core>>& cores) {
    auto& quorums = cores.front()->quorums();
    const std::lock_guard guard{quorums.mutex};
    auto& known = quorums.known;
    known.erase(
        std::remove_if(known.begin(), known.end(), [](const auto& one) { return one.expired(); }),
        known.end());
    for (const auto& one : known) {
      if (auto nodes = one.lock(); nodes && nodes->cores_ == cores) return nodes;
    }
    auto nodes = std::make_shared<QuorumNodes>(cores);
    known.push_back(nodes);
    return nodes;
  }

  [[nodiscard]] std::size_t size() const noexcept { return cores_.size(); }
  [[nodiscard]] std::size_t majority() const noexcept { return cores_.size() / 2 + 1; }
  [[nodiscard]] milliseconds retry_for() const noexcept { return retry_for_; }

  /// Returns how long a round waits for servers that it needs.
  [[nodiscard]] milliseconds timeout(milliseconds expire) const {
    return std::min(timeout_, std::max(expire / 10, milliseconds{20}));
  }

  [[nodiscard]] std::vector<LinePool*> pools() const {
    std::vector<LinePool*> pools;
    pools.reserve(size());
    for (const auto& core : cores_) pools.push_back(&lines_of(*core));
    return pools;
  }

  [[nodiscard]] std::vector<NodeStatus> statuses() const {
    std::vector<NodeStatus> statuses;
    for (const auto& core : cores_) {
      auto& status = statuses.emplace_back();
      status.address = text_of(core->endpoint());
      auto failure = lines_of(*core).health().failure();
      if (!failure) continue;
      status.works = false;
      status.failing_since = to_steady(failure->since);
      status.error = make_error_code(failure->code);
      status.reason = std::move(failure->text);
    }
    return statuses;
  }

  /// What one attempt of an operation found, also if it failed.
  struct Status {
    Progress progress = Progress::none;
    bool was_stale = false;  // a connection failed that was used before
  };

  /// Runs `work(Status&)`, and again if that may help, until it returns or the terms are used up. Throws Fault.
  template <class Work>
  auto perform(const Terms& terms, Work&& work) const {
    Retries retries;
    bool renewed = false, was_silent = false;
    for (;;) {
      Status status;
      try {
        auto result = work(status);
        tidy_one_day();
        return result;
      } catch (const Fault& fault) {
        const auto now = Time::clock::now();
        if (status.progress != Progress::none) was_silent = false;
        retries.failed(status.progress, now);
        const bool cancelled = terms.cancellation && terms.cancellation->requested();
        // What failed on old connections gets new ones in any case.
        const bool stale = status.was_stale && !std::exchange(renewed, status.was_stale || renewed);
        const bool silent =
            fault.code() == errc::timed_out && std::exchange(was_silent, true) && !stale;
        const bool out_of_time =
            now >= std::min(terms.deadline.at(), retries.give_up_at(terms.retry_for)) && !stale;
        if (!fault.passing() || cancelled || silent || out_of_time) throw;
        if (stale) continue;
      }
      const auto until = std::min(terms.deadline.at(), Time::clock::now() + retries.next_pause());
      if (terms.cancellation) {
        terms.cancellation->sleep_until(until);
      } else {
        std::this_thread::sleep_until(until);
      }
    }
  }

  [[nodiscard]] Renewer& renewer() const { return *here_->renewer; }

  /// Makes the renewal thread close lines that are idle for too long, if it runs.
  void tidy_one_day() const {
    renewer().tidy_by(after(Time::clock::now(), LinePool::longest_idle));
  }

  /// Makes the renewal thread read, by and by, the replies that no thread waits for.
  void tidy_soon() const noexcept {
    try {
      renewer().start();
      renewer().tidy_soon();
    } catch (const std::exception&) {  // no thread: the next user of the line reads them
    }
  }

  [[nodiscard]] bool is_here() const noexcept { return here_.is_here(); }

 private:
  struct Here {
    std::shared_ptr<QuorumRenewer> renewer;
    ~Here() {
      const CancellationPause no_cancellation;
      renewer->stop();
    }
  };

  [[nodiscard]] milliseconds least(milliseconds Endpoint::*time) const {
    auto least = milliseconds::max();
    for (const auto& core : cores_) least = std::min(least, core->endpoint().*time);
    return least;
  }

  [[nodiscard]] std::unique_ptr<Here> make_here() const {
    Endpoint endpoint;
    endpoint.command_timeout = timeout_;
    // NOLINTNEXTLINE(modernize-make-unique): cannot make an aggregate
    return std::unique_ptr<Here>(new Here{std::make_shared<QuorumRenewer>(endpoint, cores_)});
  }

  const std::vector<std::shared_ptr<Core>> cores_;
  const milliseconds timeout_, retry_for_;
  mutable ProcessLocal<Here> here_{[this] { return make_here(); }};
};

}  // namespace redis_lock::detail
