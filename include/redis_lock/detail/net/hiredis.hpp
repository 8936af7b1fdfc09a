#pragma once

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/net/openssl_error.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/reply.hpp>

/// All that the library knows of hiredis: its handles, its errors, and its lack of MSG_NOSIGNAL.
namespace redis_lock::detail {

struct ContextCloser {
  void operator()(redisContext* context) const noexcept {
    const CancellationPause no_cancellation;
    ::redisFree(context);
  }
};
using Context = std::unique_ptr<redisContext, ContextCloser>;

struct ReplyFreer {
  void operator()(redisReply* reply) const noexcept { ::freeReplyObject(reply); }
};
using HiredisReply = std::unique_ptr<redisReply, ReplyFreer>;

/// A block of SIGPIPE on this thread for the time of a write. hiredis writes without MSG_NOSIGNAL, so a write to a
/// connection that the peer has closed raises the signal. The mask is put back as it was, and no handler of the
/// application is called.
class SigpipeBlock : Pinned {
 public:
  SigpipeBlock() {
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
    if (sigismember(&before_, SIGPIPE) == 1) {
      sigset_t pending;
      sigpending(&pending);
      was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    }
  }
  ~SigpipeBlock() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  /// Takes back the signal that a write raised. Call it after a write that failed.
  void take_back() const {
    if (was_pending_) return;
    const timespec at_once{};
    while (::sigtimedwait(&sigpipe_, nullptr, &at_once) == -1 && errno == EINTR) {
    }
  }

 private:
  sigset_t sigpipe_{}, before_{};
  bool was_pending_ = false;
};

[[nodiscard]] inline timeval to_timeval(milliseconds time) {
  timeval value{};
  using Seconds = std::chrono::duration<decltype(value.tv_sec)>;
  using Microseconds = std::chrono::duration<decltype(value.tv_usec), std::micro>;
  const auto limited = std::min(time, milliseconds{std::chrono::hours{24}});
  const auto seconds = std::chrono::duration_cast<Seconds>(limited);
  value.tv_sec = seconds.count();
  value.tv_usec = std::chrono::duration_cast<Microseconds>(limited - seconds).count();
  return value;
}

/// Returns the failure behind a hiredis call that failed. `error` is the errno after the call.
[[nodiscard]] inline Failure failure_of(const redisContext& context, int error) {
  const std::string text = context.errstr;
  switch (context.err) {
    case REDIS_ERR_IO:
      if (error == EAGAIN || error == EWOULDBLOCK) {
        return {errc::timed_out, "no answer within the timeout", Failure::Kind::transient};
      }
      break;
    case REDIS_ERR_PROTOCOL:
    case REDIS_ERR_OOM: return {errc::protocol_error, text};
    default: break;
  }
  return {errc::connection_failed, text, Failure::Kind::transient};
}

/// Returns the failure behind an error of TLS. It is final if the other end refuses something, such as our certificate:
/// it will refuse that again.
[[nodiscard]] inline Failure failure_of(const OpensslError& error) {
  if (error.hung_up) {
    return {errc::connection_failed, "TLS: the server closed the connection",
            Failure::Kind::transient};
  }
  if (!error.from_peer) {
    return {errc::connection_failed, "TLS: " + error.text, Failure::Kind::transient};
  }
  return {errc::connection_failed, "TLS: refused by the server: " + error.text};
}

/// Returns whether hiredis reads and writes on the bare socket; otherwise it uses TLS.
[[nodiscard]] inline bool is_plain(const redisContext& context) {
#if HIREDIS_MAJOR >= 1
  return context.privctx == nullptr;
#else
  (void)context;
  return true;
#endif
}

/// Waits until the socket is ready for `events` (true), or until `time` (false).
[[nodiscard]] inline bool is_ready(int descriptor, short events, Time time) {
  for (;;) {
    const auto left = left_until(time, Time::clock::now());
    if (left <= milliseconds::zero()) return false;
    const auto most = milliseconds{std::numeric_limits<int>::max()};
    pollfd socket{descriptor, events, 0};
    if (::poll(&socket, 1, static_cast<int>(std::min(left, most).count())) > 0) return true;
  }
}

/// Waits until the connection is ready for `events`. Throws timed_out at the deadline.
inline void wait_for(const redisContext& context, short events, Time deadline,
                     const char* complaint = "no answer within the timeout") {
  if (!is_ready(context.fd, events, deadline)) {
    throw Failure{errc::timed_out, complaint, Failure::Kind::transient};
  }
}

/// Calls hiredis to write, or to read if reading may write, as with TLS.
template <class Call>
void call_hiredis(redisContext& context, const Call& call) {
  const SigpipeBlock sigpipe;
  clear_openssl_errors();
  errno = 0;
  const int result = call();
  const int error = errno;
  if (result == REDIS_OK && is_plain(context)) return;
  sigpipe.take_back();
  if (result == REDIS_OK) return;
  const auto complaint = take_openssl_error();
  throw complaint.text.empty() ? failure_of(context, error) : failure_of(complaint);
}

/// Sends the bytes through hiredis, which may have its own way of writing (TLS).
inline void send_through_hiredis(redisContext& context, std::string_view bytes, Time deadline) {
  if (::redisAppendFormattedCommand(&context, bytes.data(), bytes.size()) != REDIS_OK) {
    throw failure_of(context, 0);
  }
  for (int done = 0;;) {
    call_hiredis(context, [&] { return ::redisBufferWrite(&context, &done); });
    if (done != 0) return;
    wait_for(context, POLLOUT, deadline);
  }
}

[[nodiscard]] inline Reply to_reply(const redisReply& from) {
  Reply reply;
  switch (from.type) {
    case REDIS_REPLY_NIL: reply.kind = Reply::Kind::nil; break;
    case REDIS_REPLY_STATUS: reply.kind = Reply::Kind::status; break;
    case REDIS_REPLY_STRING: reply.kind = Reply::Kind::string; break;
    case REDIS_REPLY_INTEGER: reply.kind = Reply::Kind::integer; break;
    case REDIS_REPLY_ERROR: reply.kind = Reply::Kind::error; break;
    case REDIS_REPLY_ARRAY: reply.kind = Reply::Kind::array; break;
    default: reply.kind = Reply::Kind::other; return reply;
  }
  reply.integer = from.integer;
  if (from.str) reply.text.assign(from.str, from.len);
  for (std::size_t i = 0; i < from.elements; ++i)
    reply.elements.push_back(to_reply(*from.element[i]));
  return reply;
}

/// A way to end a blocking command on time. Redis ends one that has timed out when its event loop turns next: on an
/// idle server up to 100 ms late. An empty line, which Redis does not answer, makes the loop turn.
struct Nudge {
  Time at = never;                         // when to send the next one
  Time::duration pause = milliseconds{2};  // after the next one; doubles each time

  /// Writes the empty line. If that fails, reading the reply will show it.
  void send(redisContext& context, Time now, Time deadline) {
    at = now + pause;
    pause *= 2;
    if (is_plain(context)) {
      (void)::send(context.fd, "\r\n", 2, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      send_through_hiredis(context, "\r\n", deadline);
    }
  }
};

/// Waits until there is something to read, and nudges meanwhile. Throws timed_out at the deadline.
inline void wait_for_reply(redisContext& context, Time deadline, Nudge& nudge) {
  while (nudge.at < deadline) {
    if (is_ready(context.fd, POLLIN, nudge.at)) return;
    nudge.send(context, Time::clock::now(), deadline);
  }
  wait_for(context, POLLIN, deadline);
}

/// Reads one reply. If `may_wait`, only the deadline counts: the socket's own timeout is too short.
[[nodiscard]] inline Reply receive(redisContext& context, Time deadline, bool may_wait,
                                   Nudge nudge = {}) {
  for (;;) {
    void* parsed = nullptr;
    if (::redisGetReplyFromReader(&context, &parsed) != REDIS_OK) throw failure_of(context, 0);
    if (parsed) {
      const HiredisReply reply{static_cast<redisReply*>(parsed)};
#ifdef REDIS_REPLY_PUSH  // client-side caching of the owner of a borrowed RESP3 connection
      if (reply->type == REDIS_REPLY_PUSH) continue;
#endif
      return to_reply(*reply);
    }
    // Check before each read: signals and single bytes must not prolong the wait for ever.
    const bool blocks = (context.flags & REDIS_BLOCK) != 0;
    if (may_wait || !blocks || Time::clock::now() >= deadline)
      wait_for_reply(context, deadline, nudge);
    if (is_plain(context)) {
      errno = 0;
      if (::redisBufferRead(&context) != REDIS_OK) throw failure_of(context, errno);
    } else {
      call_hiredis(context, [&] { return ::redisBufferRead(&context); });
    }
  }
}

/// Reads what has come on a plain socket, without waiting. Returns what recv() returns.
inline ssize_t feed(redisContext& context) {
  std::array<char, 4096> bytes;
  const auto count = ::recv(context.fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
  const bool has_come = count > 0;
  if (has_come &&
      ::redisReaderFeed(context.reader, bytes.data(), static_cast<std::size_t>(count)) != REDIS_OK)
    throw Failure{errc::protocol_error, context.reader->errstr};
  return count;
}

/// Returns the failure of a system call on a socket.
[[nodiscard]] inline Failure failure_of_socket(int error) {
  return {errc::connection_failed, std::generic_category().message(error),
          Failure::Kind::transient};
}

/// Returns whether the peer has closed this idle connection, or sent something unasked.
[[nodiscard]] inline bool is_stale(const redisContext& context) noexcept {
  const CancellationPause no_cancellation;
  char byte = 0;
  return ::recv(context.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
         (errno != EAGAIN && errno != EWOULDBLOCK);
}

/// Returns whether the peer has sent more than it was asked for.
[[nodiscard]] inline bool has_more(const redisContext& context) {
  return context.reader->pos < context.reader->len;
}

/// Returns whether the owner of a borrowed connection has commands or replies under way, which would pass for ours.
[[nodiscard]] inline bool is_busy(const redisContext& context) {
  return ::sdslen(context.obuf) > 0 || has_more(context);
}

/// Makes a borrowed connection that still owes replies useless to its owner, through hiredis itself. Otherwise a late
/// reply would pass for the reply to the owner's next command.
inline void poison(redisContext& context) noexcept {
  const CancellationPause no_cancellation;
  {
    const SigpipeBlock sigpipe;  // TLS may still write to the closed connection
    ::shutdown(context.fd, SHUT_RDWR);
    while (::redisBufferRead(&context) == REDIS_OK) {
    }
    sigpipe.take_back();
    clear_openssl_errors();
  }
  // Discard what was read before the end: hiredis would still hand it out.
  void* late = nullptr;
  while (::redisReaderGetReply(context.reader, &late) == REDIS_OK && late) ::freeReplyObject(late);
}

}  // namespace redis_lock::detail
