#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/hiredis.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/net/owed_reply.hpp>
#include <redis_lock/detail/protocol/message.hpp>

namespace redis_lock::detail {

/// A connection that never waits. What is sent goes out as far as the socket takes it. Replies are read as they
/// come, in order. A reply that no thread waits for is read by the next user of the line. For one thread at a time.
class Line {
 public:
  /// Number of a reply, counted from 0 over the life of the line.
  using Number = std::uint64_t;
  struct Answer {
    Number number;
    Reply reply;
  };

  /// `health` records what the server does and refuses. It must outlive the line; null for none.
  explicit Line(std::unique_ptr<Connection> connection, NodeHealth* health = nullptr)
      : connection_(std::move(connection)), context_(connection_->context()), health_(health) {}
  /// Counts all replies as received: what was sent runs no more, or before anything sent on a new connection.
  ~Line() { received_->store(std::numeric_limits<Number>::max(), std::memory_order_release); }
  Line(const Line&) = delete;
  Line(Line&&) = delete;
  Line& operator=(const Line&) = delete;
  Line& operator=(Line&&) = delete;

  [[nodiscard]] bool was_used() const noexcept { return sent_ > 0; }
  [[nodiscard]] Time opened() const noexcept { return opened_; }
  /// Returns whether sent and received fit together. After an exception in the middle of a call they may not.
  [[nodiscard]] bool is_sound() const noexcept { return is_sound_; }
  /// True once a user has given the line back without trouble.
  bool has_proved_itself = false;

  /// Number of replies received, for threads that no longer have the line; the highest number once it is closed.
  using Progress = std::shared_ptr<const std::atomic<Number>>;
  [[nodiscard]] Progress progress() const noexcept { return received_; }

  /// Returns a number that no other line of the process has; not 0.
  [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
  [[nodiscard]] int descriptor() const noexcept { return context_.fd; }
  [[nodiscard]] Connection& connection() noexcept { return *connection_; }

  /// Sends the commands of one request, and returns the number of their first reply. If they are one call that must
  /// run in any case, `receiver` is its receiver. Throws Failure.
  Number send(std::string_view bytes, std::size_t replies, Time now, Request request,
              std::unique_ptr<OwedReply> receiver = nullptr) {
    const CancellationPause no_cancellation;  // keeps bytes and their count together
    const auto first = sent_;
    is_sound_ = false;
    sent_ += replies;
    batches_.push_back({sent_, now, request, false, std::move(receiver)});
    if (is_plain(context_)) {
      unsent_.append(bytes);
    } else if (::redisAppendFormattedCommand(&context_, bytes.data(), bytes.size()) != REDIS_OK) {
      throw failure_of(context_, 0);
    }
    has_unsent_ = true;
    flush();
    is_sound_ = true;
    return first;
  }

  [[nodiscard]] bool has_unsent() const noexcept { return has_unsent_; }

  /// Sends what the socket had no room for.
  void flush() {
    const CancellationPause no_cancellation;
    if (is_plain(context_)) {
      flush_plain();
    } else {
      int done = 0;
      call_hiredis(context_, [&] { return ::redisBufferWrite(&context_, &done); });
      has_unsent_ = done == 0;
    }
  }

  /// Reads what has come.
  void receive() {
    const CancellationPause no_cancellation;
    if (!is_plain(context_)) {
      call_hiredis(context_, [this] { return ::redisBufferRead(&context_); });
      return;
    }
    std::array<char, 4096> bytes;
    const auto count = ::recv(context_.fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count > 0) {
      if (::redisReaderFeed(context_.reader, bytes.data(), static_cast<std::size_t>(count)) !=
          REDIS_OK) {
        throw Failure{errc::protocol_error, context_.reader->errstr};
      }
    } else if (count == 0) {
      throw Failure{errc::connection_failed, "Server closed the connection",
                    Failure::Kind::transient};
    } else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
      throw Failure{errc::connection_failed, std::generic_category().message(errno),
                    Failure::Kind::transient};
    }
  }

  /// Returns the next reply that was read, if its number is at least `from`. No thread waits for earlier ones.
  [[nodiscard]] std::optional<Answer> next(Number from) {
    for (;; is_sound_ = true) {
      void* parsed = nullptr;
      if (::redisGetReplyFromReader(&context_, &parsed) != REDIS_OK) throw failure_of(context_, 0);
      if (!parsed) return std::nullopt;
      is_sound_ = false;
      const HiredisReply raw{static_cast<redisReply*>(parsed)};
      const auto number = received();
      Answer answer{number, to_reply(*raw)};
      if (number == sent_) {
        throw answer.reply.is_error()
            ? failure_of(answer.reply)
            : Failure{errc::protocol_error, "the server said more than it was asked"};
      }
      received_->store(number + 1, std::memory_order_release);
      note(answer.reply);
      auto& batch = batches_.front();
      if (batch.receiver) batch.receiver->settle(answer.reply);
      if (batch.end == number + 1) batches_.erase(batches_.begin());
      if (number < from) continue;
      is_sound_ = true;
      return answer;
    }
  }

  /// Reads what has come of the replies that no thread waits for.
  void settle() {
    for (auto before = sent_ + 1; owes() && before != received();) {
      before = received();
      receive();
      (void)next(sent_);
    }
  }

  /// Returns the calls that a failed line has not answered.
  [[nodiscard]] OwedReplies take_unanswered() {
    OwedReplies calls;
    for (auto& batch : batches_) {
      if (batch.receiver) calls.push_back(std::move(batch.receiver));
    }
    return calls;
  }

  [[nodiscard]] bool owes() const noexcept { return received() < sent_; }
  /// Returns the request that a failed line has failed at.
  [[nodiscard]] Request asked() const noexcept {
    return batches_.empty() ? Request::connect : batches_.front().request;
  }
  /// Returns since when the server has been silent; `never` if it owes nothing.
  [[nodiscard]] Time silent_since() const noexcept {
    return batches_.empty() ? never : batches_.front().sent;
  }

 private:
  [[nodiscard]] Number received() const noexcept {
    return received_->load(std::memory_order_relaxed);
  }

  /// Commands that went out together.
  struct Batch {
    Number end;  // the number behind its last reply
    Time sent;
    Request request;
    bool is_refused;                      // by one of its replies
    std::unique_ptr<OwedReply> receiver;  // null if no call must be repeated
  };

  /// Records the reply in health_, also if no thread waits for it.
  void note(const Reply& reply) {
    if (!health_) return;
    auto& batch = batches_.front();
    if (is_refusal(reply)) {
      batch.is_refused = true;
      health_->failed(batch.request, failure_of(reply));
    } else if (!batch.is_refused && batch.end == received()) {
      health_->worked(batch.request);
    }
  }

  void flush_plain() {
    std::string_view bytes = unsent_;
    while (!bytes.empty()) {
      const auto sent =
          ::send(context_.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent >= 0) {
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        break;
      } else if (errno != EINTR) {
        throw Failure{errc::connection_failed, std::generic_category().message(errno),
                      Failure::Kind::transient};
      }
    }
    unsent_.erase(0, unsent_.size() - bytes.size());
    has_unsent_ = !unsent_.empty();
  }

  static std::uint64_t next_serial() noexcept {
    static std::atomic<std::uint64_t> latest{0};
    return ++latest;
  }

  std::uint64_t serial_ = next_serial();
  const Time opened_ = Time::clock::now();
  std::unique_ptr<Connection> connection_;
  redisContext& context_;
  NodeHealth* const health_;
  std::string unsent_;
  bool has_unsent_ = false;
  bool is_sound_ = true;
  Number sent_ = 0;
  const std::shared_ptr<std::atomic<Number>> received_ = std::make_shared<std::atomic<Number>>(0);
  std::vector<Batch> batches_;  // those with replies to come, the oldest first
};

}  // namespace redis_lock::detail
