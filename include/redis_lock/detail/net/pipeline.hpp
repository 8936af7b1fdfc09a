#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/net/hiredis.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/net/owed_reply.hpp>
#include <redis_lock/detail/net/spin.hpp>
#include <redis_lock/detail/protocol/errors.hpp>

namespace redis_lock::detail {

/// Returns the error that the server sent before it hung up, if any. It can be read although sending has failed.
[[nodiscard]] inline std::optional<Reply> last_words(redisContext& context,
                                                     IncomingReply& incoming) {
  if (feed(context) <= 0 || !take_reply(context, incoming) || !is_parting(incoming.reply))
    return std::nullopt;
  return incoming.reply;
}

/// Sends the bytes on a socket of the library, and returns those that it has no room for. If it `waits`, sends all, or
/// throws what the server said before it hung up. On a plain socket, MSG_NOSIGNAL saves the two system calls of
/// SigpipeBlock.
inline std::string_view send_owned(redisContext& context, IncomingReply& incoming,
                                   std::string_view bytes, Time deadline, bool waits = true) {
  if (!is_plain(context)) {
    send_through_hiredis(context, bytes, deadline);
    return {};
  }
  while (!bytes.empty()) {
    const auto sent = ::send(context.fd, bytes.data(), bytes.size(),
                             waits ? MSG_NOSIGNAL : MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    const int error = errno;
    const bool is_full = error == EAGAIN || error == EWOULDBLOCK;
    if (error == EINTR) continue;
    if (is_full && !waits) return bytes;
    if (const auto words = waits ? last_words(context, incoming) : std::nullopt)
      throw failure_of(*words);
    if (is_full)
      throw Failure{errc::timed_out, "the server does not read", Failure::Kind::transient};
    throw failure_of_socket(error);
  }
  return bytes;
}

/// Commands that were sent on one connection, the replies that it owes, and their receivers. None of its members waits
/// for a plain socket. For one thread at a time.
class Pipeline : Pinned {
 public:
  /// Number of a reply, counted from 0 over the life of the connection.
  using Number = std::uint64_t;
  /// Number of replies received, for threads that no longer have the connection; the highest number once it is closed.
  using Received = std::shared_ptr<const std::atomic<Number>>;

  /// Sends the commands of one request, as far as the socket takes them, and returns the number of their first reply.
  /// If they are one call that must run in any case, `receiver` is its receiver. Throws Failure.
  Number send(std::string_view bytes, std::size_t replies, Time now, Request request,
              std::unique_ptr<OwedReply> receiver = nullptr) {
    const CancellationPause no_cancellation;  // keeps bytes and their count together
    was_used_ = true;
    is_sound_ = false;
    const auto first = expect_replies(replies, now, request, std::move(receiver));
    if (is_plain(*context_)) {
      unsent_.append(bytes);
    } else if (::redisAppendFormattedCommand(context_, bytes.data(), bytes.size()) != REDIS_OK) {
      throw failure_of(*context_, 0);
    }
    flush();
    is_sound_ = true;
    return first;
  }

  /// Sends what the socket had no room for, as far as it takes it.
  void flush() {
    const CancellationPause no_cancellation;
    if (is_plain(*context_)) {
      unsent_.erase(
          0, unsent_.size() - send_owned(*context_, incoming_, unsent_, never, false).size());
    } else {
      int done = 0;
      call_hiredis(*context_, [&] { return ::redisBufferWrite(context_, &done); });
    }
  }
  [[nodiscard]] bool has_unsent() const noexcept {
    return !unsent_.empty() || ::sdslen(context_->obuf) > 0;
  }

  /// Reads what has come.
  void receive() {
    const CancellationPause no_cancellation;
    (void)receive_some(*context_);
  }

  /// Returns the next reply that was read, if its number is at least `from`. No thread waits for earlier ones.
  [[nodiscard]] std::optional<Reply> next(Number from) {
    for (;;) {
      is_sound_ = false;
      if (!take_reply(*context_, incoming_)) {
        is_sound_ = true;
        return std::nullopt;
      }
      auto reply = std::move(incoming_.reply);
      if (received_ == sent_) {
        throw reply.is_error()
            ? failure_of(reply)
            : Failure{errc::protocol_error, "the server said more than it was asked"};
      }
      publish(++received_);
      auto& batch = batches_.front();
      if (health) note(batch, reply);
      if (batch.receiver) batch.receiver->settle(reply);
      if (batch.end == received_) batches_.erase(batches_.begin());
      is_sound_ = true;
      if (received_ > from) return reply;
    }
  }

  /// Reads what has come of the replies that no thread waits for.
  void receive_owed() {
    for (auto before = sent_; owes() && before != received_;) {
      before = received_;
      receive();
      (void)next(sent_);
    }
  }

  [[nodiscard]] int descriptor() const noexcept { return context_->fd; }
  /// Returns whether send() was called before.
  [[nodiscard]] bool was_used() const noexcept { return was_used_; }

  /// Returns a number that no other connection of the process has; not 0.
  [[nodiscard]] std::uint64_t serial() const noexcept { return serial_; }
  [[nodiscard]] Received received() {
    if (!published_) published_ = std::make_shared<std::atomic<Number>>(received_);
    return published_;
  }

  [[nodiscard]] bool owes() const noexcept { return !batches_.empty(); }
  /// Returns since when the server has been silent; `never` if it owes nothing.
  [[nodiscard]] Time silent_since() const noexcept {
    return batches_.empty() ? never : batches_.front().sent;
  }
  /// Returns the request that a failed connection has failed at.
  [[nodiscard]] Request asked() const noexcept {
    return batches_.empty() ? Request::connect : batches_.front().request;
  }
  /// Returns whether a receiver waits for each reply to come.
  [[nodiscard]] bool owes_to_receivers_only() const noexcept {
    return std::all_of(batches_.begin(), batches_.end(),
                       [](const Batch& batch) { return batch.receiver != nullptr; });
  }
  /// Returns whether sent and received fit together. After an exception in the middle of a call they may not.
  [[nodiscard]] bool is_sound() const noexcept { return is_sound_; }

  /// Returns the calls that a failed connection has not answered, and those that were refused for now.
  [[nodiscard]] OwedReplies take_unanswered() {
    auto all = std::exchange(refused_, {});
    for (auto& batch : batches_) {
      if (batch.receiver) all.push_back(std::move(batch.receiver));
    }
    return all;
  }

  /// If it fails before this time, the server opens connections but does not keep them.
  Time suspect_until = Time::min();
  /// Whether to poll for replies before sleeping.
  Spinner spinner;
  /// Records what the server does and refuses, as next() finds it. It must outlive the connection; null for none.
  NodeHealth* health = nullptr;

 protected:
  /// Commands that went out together.
  struct Batch {
    Number end;  // the number behind its last reply
    Time sent;
    Request request;
    std::unique_ptr<OwedReply> receiver;  // of its only reply; null if only the caller reads it
    bool is_refused = false;              // by one of its replies
  };

  Pipeline() = default;
  /// Counts all replies as received: what was sent runs no more, or before anything sent on a new connection.
  ~Pipeline() { publish(std::numeric_limits<Number>::max()); }

  /// Records commands that are being sent. Returns the number of their first reply.
  Number expect_replies(std::size_t count, Time now, Request request = Request::connect,
                        std::unique_ptr<OwedReply> receiver = nullptr) {
    const auto first = sent_;
    batches_.push_back({first + count, now, request, std::move(receiver)});
    sent_ += count;
    return first;
  }

  /// Records that all replies have been received. Hands none to a receiver.
  void count_all() noexcept {
    batches_.clear();
    publish(received_ = sent_);
  }

  [[nodiscard]] const std::vector<Batch>& batches() const noexcept { return batches_; }

  redisContext* context_ = nullptr;
  IncomingReply incoming_;
  bool is_sound_ = true;
  OwedReplies refused_;  // to be repeated on another connection

 private:
  static std::uint64_t next_serial() noexcept {
    static std::atomic<std::uint64_t> latest{0};
    return ++latest;
  }

  void publish(Number received) const noexcept {
    if (published_) published_->store(received, std::memory_order_release);
  }

  void note(Batch& batch, const Reply& reply) const {
    if (is_refusal(reply)) {
      batch.is_refused = true;
      health->failed(batch.request, failure_of(reply));
    } else if (!batch.is_refused && batch.end == received_) {
      health->worked(batch.request);
    }
  }

  const std::uint64_t serial_ = next_serial();
  bool was_used_ = false;
  std::string unsent_;
  Number sent_ = 0, received_ = 0;
  std::shared_ptr<std::atomic<Number>> published_;  // null until another thread may want to know
  std::vector<Batch> batches_;                      // those with replies to come, the oldest first
};

}  // namespace redis_lock::detail
