#pragma once

#include <memory>
#include <string>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/reply.hpp>

namespace redis_lock::detail {

struct ScriptCall;

/// A call whose reply is read later, and the receiver of that reply. One of settle(), succeed() and fail() is called,
/// unless there is no memory.
class OwedReply : Pinned {
 public:
  virtual ~OwedReply() = default;

  /// Returns the key, by which a cluster finds the server to call.
  [[nodiscard]] virtual const std::string& key() const noexcept = 0;
  [[nodiscard]] virtual ScriptCall call() const = 0;
  /// Returns the time after which the call need not be repeated.
  [[nodiscard]] virtual Time needed_until() const noexcept { return never; }
  /// Receives the reply to the first attempt.
  virtual void settle(const Reply& reply) noexcept = 0;
  /// Reports that a repeated call was answered: it has run, now or before.
  virtual void succeed() noexcept = 0;
  /// Reports that no reply will come, and why.
  virtual void fail(const Failure& failure) noexcept = 0;
};

using OwedReplies = std::vector<std::unique_ptr<OwedReply>>;

}  // namespace redis_lock::detail
