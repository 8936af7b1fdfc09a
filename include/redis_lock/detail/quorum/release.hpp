#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/net/fan_out.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/quorum/lease.hpp>
#include <redis_lock/detail/quorum/node_set.hpp>

namespace redis_lock::detail {

/// The end of one acquisition of a QuorumLock: frees it on every node that may hold it. Nodes that are away are freed
/// when they are back.
class QuorumRelease {
 public:
  QuorumRelease(const NodeSet& nodes, QuorumLease& lease)
      : nodes_(nodes),
        lease_(lease),
        releases_(nodes.size()),
        lease_end_(after(Time::clock::now(), lease.duration)) {
    if (lease.kept_for.empty()) return;
    auto release = *lease.release;
    release.kept_for = lease.kept_for;
    lease.release = std::make_shared<const NodeRelease::Arguments>(std::move(release));
  }

  /// Returns whether it was held until now. It must not be renewed any more. Throws Failure if that cannot be found
  /// out.
  [[nodiscard]] bool run() {
    const bool lost = !lease_.owned();
    try {
      nodes_.perform({lost ? milliseconds::zero() : nodes_.retry_for(), lease_.expires_at.load()},
                     [this](NodeSet::Status& status) { return attempt(status); });
    } catch (const Failure&) {
      leave_rest();
      if (!lost) throw;
    }
    leave_rest();
    if (lost) return false;
    if (!is_freed()) lease_.found_lost(reason());
    return is_freed();
  }

 private:
  /// Outcome on one node.
  struct Outcome {
    bool was_sent = false;   // it may have run
    bool is_queued = false;  // behind other commands that are not answered yet
    bool freed = false, not_ours = false;
    bool gone = false;                 // if not_ours: there is no key
    std::optional<Failure> refusal{};  // final: not to be sent again
  };

  [[nodiscard]] std::unique_ptr<NodeRelease> make_release() const {
    return std::make_unique<NodeRelease>(lease_.release, lease_end_);
  }

  [[nodiscard]] bool is_due(std::size_t i) const {
    const auto& outcome = releases_[i];
    return lease_.shares[i].asked && !outcome.freed && !outcome.not_ours && !outcome.refusal;
  }

  [[nodiscard]] bool is_freed() const {
    const auto freed = [](const Outcome& outcome) { return outcome.freed; };
    return static_cast<std::size_t>(std::count_if(releases_.begin(), releases_.end(), freed)) >=
           nodes_.majority();
  }

  /// Returns whether it is certain that no majority had it any more.
  [[nodiscard]] bool is_lost() const {
    std::size_t may_have = 0;
    for (std::size_t i = 0; i < releases_.size(); ++i)
      may_have += lease_.shares[i].asked && !releases_[i].not_ours ? 1U : 0U;
    return may_have < nodes_.majority();
  }

  /// Returns why no majority had it any more.
  [[nodiscard]] LossReason reason() const {
    const auto taken = [](const Outcome& outcome) { return outcome.not_ours && !outcome.gone; };
    const bool is_taken = std::any_of(releases_.begin(), releases_.end(), taken);
    return is_taken ? LossReason::taken : LossReason::gone;
  }

  bool attempt(NodeSet::Status& status) {
    FanOut fan_out{nodes_.probers()};
    std::vector<std::uint64_t> preferred;
    for (const auto& share : lease_.shares) preferred.push_back(share.connection);
    const auto timeout = nodes_.timeout(lease_.duration);
    fan_out.connect(Time::clock::now() + timeout, preferred);
    const auto start = Time::clock::now();
    first_ = fan_out.size();
    send(fan_out);
    // Also wait for the first node, if it does not take much longer than the rest: if this thread wants the lock
    // again, a waiter at that node shall come first.
    Time patience = never;
    fan_out.collect(start + timeout, [&] {
      for (std::size_t i = 0; i < fan_out.size(); ++i) count(fan_out, i);
      if (!is_freed()) return never;
      if (!fan_out.servers()[first_].is_pending()) return Time::min();
      const auto now = Time::clock::now();
      if (patience == never) patience = now + (now - start) + milliseconds{1};
      return patience;
    });
    status.was_stale = fan_out.was_stale();
    for (std::size_t i = 0; i < fan_out.size(); ++i) {
      releases_[i].is_queued = fan_out.servers()[i].is_pending();
      releases_[i].was_sent = releases_[i].was_sent || releases_[i].is_queued;
    }
    if (fan_out.is_pending()) nodes_.maintain_soon();
    if (!is_freed() && !is_lost()) throw no_majority(fan_out);
    return true;
  }

  void send(FanOut& fan_out) {
    const auto now = Time::clock::now();
    const auto bytes = lease_.release->encode();
    for (std::size_t i = 0; i < fan_out.size(); ++i) {
      auto& server = fan_out.servers()[i];
      if (releases_[i].refusal) server.failure = releases_[i].refusal;
      if (!server.connection || !is_due(i)) continue;
      const auto& share = lease_.shares[i];
      if (server.connection->serial() != share.connection && !share.is_done()) continue;
      if (first_ == fan_out.size()) first_ = i;
      fan_out.ask(server, bytes, 1, now, Request::release, make_release());
    }
  }

  /// Counts one reply. If an earlier reply was lost, "not mine" means that it was freed.
  void count(FanOut& fan_out, std::size_t i) {
    auto& server = fan_out.servers()[i];
    auto& outcome = releases_[i];
    if (!is_due(i)) return;
    if (!server.has_answered()) {
      outcome.was_sent = outcome.was_sent || (server.failure && server.sent != Time{});
      return;
    }
    const auto& reply = server.replies.front();
    try {
      const auto answer = extension_of(integer_of(reply, "the release script"));
      outcome.freed = answer == Extension::extended || outcome.was_sent;
      outcome.not_ours = !outcome.freed;
      outcome.gone = answer == Extension::gone;
    } catch (const Failure& failure) {
      server.failure = failure;
      if (!failure.is_transient()) outcome.refusal = failure;
    }
  }

  void leave_rest() {
    const auto probers = nodes_.probers();
    for (std::size_t i = 0; i < releases_.size(); ++i) {
      if (is_due(i) && !releases_[i].is_queued) probers[i]->call_later(make_release());
    }
  }

  const NodeSet& nodes_;
  QuorumLease& lease_;
  std::vector<Outcome> releases_;
  const Time lease_end_;   // of the latest extension that may have been sent
  std::size_t first_ = 0;  // the first node that was asked
};

}  // namespace redis_lock::detail
