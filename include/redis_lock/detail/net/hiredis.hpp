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
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

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

/// The reply that is being read on a connection. It must outlive the reading.
struct IncomingReply {
  Reply reply;
  bool is_push = false;  // for client-side caching of the owner of a borrowed RESP3 connection
};

/// Makes hiredis build replies in place. Objects of its own for all their parts were measured at a tenth of the
/// instructions of lock and unlock.
struct ReplyBuilder {
  /// Returns the place of the part that is read now.
  [[nodiscard]] static Reply& place(const redisReadTask& task) {
    if (task.parent) return static_cast<Reply*>(task.parent->obj)->elements.emplace_back();
    auto& incoming = *static_cast<IncomingReply*>(task.privdata);
#ifdef REDIS_REPLY_PUSH
    incoming.is_push = task.type == REDIS_REPLY_PUSH;
#endif
    incoming.reply.text.clear();
    incoming.reply.elements.clear();
    return incoming.reply;
  }

  /// Builds one part. Without memory returns null, which hiredis reports.
  static void* build(const redisReadTask* task, Reply::Kind kind, std::string_view text = {},
                     long long integer = 0) noexcept try {
    auto& reply = place(*task);
    reply.kind = kind;
    reply.text = text;
    reply.integer = integer;
    return &reply;
  } catch (const std::exception&) {
    return nullptr;
  }

  static void* string(const redisReadTask* task, char* text, std::size_t size) noexcept {
    switch (task->type) {
      case REDIS_REPLY_STATUS: return build(task, Reply::Kind::status, {text, size});
      case REDIS_REPLY_STRING: return build(task, Reply::Kind::string, {text, size});
      case REDIS_REPLY_ERROR: return build(task, Reply::Kind::error, {text, size});
      default: return build(task, Reply::Kind::other);
    }
  }
  template <class Count>  // its type depends on the version
  static void* array(const redisReadTask* task, Count) noexcept {
    const bool is_array = task->type == REDIS_REPLY_ARRAY;
    return build(task, is_array ? Reply::Kind::array : Reply::Kind::other);
  }
  static void* integer(const redisReadTask* task, long long value) noexcept {
    return build(task, Reply::Kind::integer, {}, value);
  }
  static void* nil(const redisReadTask* task) noexcept { return build(task, Reply::Kind::nil); }
#if HIREDIS_MAJOR >= 1
  static void* floating(const redisReadTask* task, double, char*, std::size_t) noexcept {
    return build(task, Reply::Kind::other);
  }
  static void* boolean(const redisReadTask* task, int) noexcept {
    return build(task, Reply::Kind::other);
  }
#endif
  static void leave(void*) noexcept {}
};

/// Takes the next reply out of what was read. Returns false if it has not come whole. Throws Failure.
[[nodiscard]] inline bool take_reply(redisContext& context, IncomingReply& incoming) {
  using Build = ReplyBuilder;
#if HIREDIS_MAJOR >= 1
  static redisReplyObjectFunctions functions{Build::string,   Build::array, Build::integer,
                                             Build::floating, Build::nil,   Build::boolean,
                                             Build::leave};
#else
  static redisReplyObjectFunctions functions{Build::string, Build::array, Build::integer,
                                             Build::nil, Build::leave};
#endif
  auto& reader = *context.reader;
  auto* const functions_before = std::exchange(reader.fn, &functions);
  auto* const data_before = std::exchange(reader.privdata, &incoming);
  void* parsed = nullptr;
  const int result = ::redisGetReplyFromReader(&context, &parsed);
  if (!reader.reply) {  // otherwise a part of ours is in there
    reader.fn = functions_before;
    reader.privdata = data_before;
  }
  if (result == REDIS_OK) return parsed != nullptr;
  if (context.err == REDIS_ERR_OOM) throw std::bad_alloc{};
  throw failure_of(context, 0);
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

/// Reads what has come, without waiting on a plain socket. Returns whether something has come there. Throws Failure.
inline bool receive_some(redisContext& context) {
  if (!is_plain(context)) {
    call_hiredis(context, [&] { return ::redisBufferRead(&context); });
    return false;
  }
  const auto count = feed(context);
  if (count == 0) {
    throw Failure{errc::connection_failed, "Server closed the connection",
                  Failure::Kind::transient};
  }
  if (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
    throw failure_of_socket(errno);
  return count > 0;
}

/// Returns whether the peer has sent more than it was asked for.
[[nodiscard]] inline bool has_more(const redisContext& context) {
  return context.reader->pos < context.reader->len;
}

/// Returns whether the owner of a borrowed connection has commands or replies under way, which would pass for ours.
[[nodiscard]] inline bool is_busy(const redisContext& context) {
  const bool is_reading = context.reader->ridx >= 0;  // a part of a reply was read
  return ::sdslen(context.obuf) > 0 || has_more(context) || is_reading;
}

/// Makes a borrowed connection that still owes replies useless to its owner, through hiredis itself. Otherwise a late
/// reply would pass for the reply to the owner's next command.
inline void poison(redisContext& context) noexcept {
  const CancellationPause no_cancellation;
  if (!context.err) {
    const SigpipeBlock sigpipe;  // TLS may still write to the closed connection
    ::shutdown(context.fd, SHUT_RDWR);
    while (::redisBufferRead(&context) == REDIS_OK) {
    }
    sigpipe.take_back();
    clear_openssl_errors();
  }
  // hiredis would still hand out what was read before the end, or go on with a reply of which a part is ours.
  auto& reader = *context.reader;
  reader.err = context.err;
  std::copy_n(context.errstr, sizeof reader.errstr, reader.errstr);
  reader.reply = nullptr;
}

}  // namespace redis_lock::detail
