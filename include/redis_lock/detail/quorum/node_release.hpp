#pragma once

#include <memory>
#include <string>
#include <utility>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/net/owed_reply.hpp>
#include <redis_lock/detail/protocol/message.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>

namespace redis_lock::detail {

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
    /// Returns the release as EVAL: it runs even if the server does not know the script.
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

}  // namespace redis_lock::detail
