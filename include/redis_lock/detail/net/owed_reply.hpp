#pragma once

#include <memory>
#include <string>
#include <vector>

#include <redis_lock/detail/base/fault.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/reply.hpp>

namespace redis_lock::detail {

/// A call whose reply is read by a later exchange, and the receiver of that reply. It receives one of settle(),
/// succeed() and fail(), unless there is no memory.
class OwedReply {
 public:
  OwedReply() = default;
  virtual ~OwedReply() = default;
  OwedReply(const OwedReply&) = delete;
  OwedReply(OwedReply&&) = delete;
  OwedReply& operator=(const OwedReply&) = delete;
  OwedReply& operator=(OwedReply&&) = delete;

  /// The key that says which server of a cluster is called.
  [[nodiscard]] virtual const std::string& key() const noexcept = 0;
  [[nodiscard]] virtual ScriptCall call() const = 0;
  /// Receives the reply to the first attempt.
  virtual void settle(const Reply& reply) noexcept = 0;
  /// Says that a repeated call was answered: it has run, now or before.
  virtual void succeed() noexcept = 0;
  /// Says that no reply will come, and why.
  virtual void fail(const Fault& fault) noexcept = 0;
};

using OwedReplies = std::vector<std::unique_ptr<OwedReply>>;

}  // namespace redis_lock::detail
