#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/net/owed_reply.hpp>
#include <redis_lock/detail/net/pipeline.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>

namespace redis_lock::detail {

/// Returns how long a lease on several servers is certain: the clocks of client and servers may drift apart by 1 % and
/// 2 ms. https://redis.io/docs/latest/develop/use/patterns/distributed-locks/
[[nodiscard]] constexpr milliseconds validity(milliseconds duration) {
  return std::max(duration - duration / 100 - milliseconds{2}, milliseconds::zero());
}

/// A release that was sent to one node of a QuorumLock, and must run there even if no thread waits for the reply. It
/// has nothing to report: NodeHealth records what the node refuses.
class NodeRelease final : public OwedReply {
 public:
  /// What the releases on all nodes have in common.
  struct Arguments {
    Keys keys;
    std::string id, signal_expire, kept_for{};

    [[nodiscard]] ScriptCall call() const {
      return release_call(keys, id, signal_expire, kept_for);
    }
    /// Returns the bytes of an EVAL, which runs even if a node does not know the script.
    [[nodiscard]] std::string encode() const {
      Commands commands;
      add_call(commands, call(), false);
      return commands.encode();
    }
  };

  NodeRelease(std::shared_ptr<const Arguments> arguments, Time lease_end)
      : arguments_(std::move(arguments)), lease_end_(lease_end) {}

  [[nodiscard]] const std::string& key() const noexcept override { return arguments_->keys.lock; }
  [[nodiscard]] ScriptCall call() const override { return arguments_->call(); }
  [[nodiscard]] Time needed_until() const noexcept override { return lease_end_; }
  void settle(const Reply&) noexcept override {}
  void succeed() noexcept override {}
  void fail(const Failure&) noexcept override {}

 private:
  const std::shared_ptr<const Arguments> arguments_;
  const Time lease_end_;
};

/// One acquisition of a QuorumLock. Lease::expire is its validity(), not the lease that servers are asked for.
struct QuorumLease : Lease {
  /// State of one server.
  struct Share {
    bool asked = false;            // the id may hold the lock there
    std::uint64_t connection = 0;  // serial() of the connection on which it was asked
    Pipeline::Number reply = 0;    // the number of the reply on that connection
    Pipeline::Received received;
    /// The shortest lease of an extension in doubt on this server; max(): none.
    milliseconds shortest_in_doubt = milliseconds::max();

    /// Returns whether the server has done what it was asked. If not, commands on another connection may run first.
    [[nodiscard]] bool is_done() const noexcept {
      return !received || received->load(std::memory_order_acquire) > reply;
    }
  };
  std::vector<Share> shares;  // for each server
  std::shared_ptr<const NodeRelease::Arguments> release;
  milliseconds duration{};  // that servers are asked for
};

}  // namespace redis_lock::detail
