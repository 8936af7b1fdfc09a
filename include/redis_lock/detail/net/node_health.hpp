#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <optional>
#include <string>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/reply.hpp>

namespace redis_lock::detail {

/// Requests to a node. The rights of its user may allow one and refuse another.
enum class Request : unsigned char { connect, vote, wait, look, extend, release };

/// Requests that a node has failed at, since when and why. Each failure is forgotten when the node has done that
/// request again. Safe to share between threads.
class NodeHealth {
 public:
  struct Record {
    Time since;
    errc code;
    std::string text;
  };

  void failed(Request request, const Failure& failure) noexcept {
    try {
      const std::lock_guard guard{mutex_};
      auto& record = failures_[index(request)];
      const auto since = record ? record->since : Time::clock::now();
      record = Record{since, failure.code(), described(request, failure.what())};
      failing_.fetch_or(bit(request), std::memory_order_relaxed);
    } catch (const std::exception&) {  // no memory for the text
    }
  }

  void worked(Request request) noexcept {
    if (!fails(request)) return;
    const std::lock_guard guard{mutex_};
    failures_[index(request)].reset();
    failing_.fetch_and(~bit(request), std::memory_order_relaxed);
  }

  [[nodiscard]] bool fails(Request request) const noexcept {
    return (failing_.load(std::memory_order_relaxed) & bit(request)) != 0;
  }

  /// Returns since when the node fails, with the first failure in the order of Request; nothing if it works.
  [[nodiscard]] std::optional<Record> failure() const {
    const std::lock_guard guard{mutex_};
    std::optional<Record> found;
    for (const auto& failure : failures_) {
      if (!failure) continue;
      if (!found) found = failure;
      found->since = std::min(found->since, failure->since);
    }
    return found;
  }

 private:
  static constexpr std::size_t requests = 6;

  [[nodiscard]] static constexpr std::size_t index(Request request) noexcept {
    return static_cast<std::size_t>(request);
  }
  [[nodiscard]] static constexpr unsigned bit(Request request) noexcept {
    return 1U << index(request);
  }

  [[nodiscard]] static std::string described(Request request, const char* words) {
    constexpr std::array<const char*, requests> names{"connecting", "asking for a lock",
                                                      "waiting",    "asking for the holder",
                                                      "extending",  "releasing"};
    return std::string(names[index(request)]) + ": " + words;
  }

  std::atomic<unsigned> failing_{0};  // a bit for each of `failures_`
  mutable std::mutex mutex_;          // guards `failures_`
  std::array<std::optional<Record>, requests> failures_;
};

/// Returns whether this reply refuses the request. Some errors are a part of the protocol, and do not.
[[nodiscard]] inline bool is_refusal(const Reply& reply) {
  return reply.is_error() && !reply.is_error("NOSCRIPT") && !reply.is_error("UNBLOCKED") &&
         reply.text.find("timeout is not an integer") == std::string::npos;
}

}  // namespace redis_lock::detail
