#pragma once

#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/net/hiredis.hpp>
#include <redis_lock/reply.hpp>

namespace redis_lock::detail {

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

/// The choice of receive() not to poll.
struct SleepAtOnce {
  template <class HasCome>
  [[nodiscard]] bool finds(const HasCome&) const noexcept {
    return false;
  }
};

/// Reads one reply. If `may_wait`, only the deadline counts: the socket's own timeout is too short. Polls before it
/// sleeps, as long as the `spin` finds that better.
template <class Spin = SleepAtOnce>
Reply& receive(redisContext& context, IncomingReply& incoming, Time deadline, bool may_wait,
               Nudge nudge = {}, Spin&& spin = {}) {
  for (;;) {
    if (take_reply(context, incoming)) {
      if (incoming.is_push) continue;
      return incoming.reply;
    }
    const bool plain = is_plain(context);
    const bool has_come =
        spin.finds([&] { return plain ? receive_some(context) : is_stale(context); });
    if (has_come && plain) continue;
    // Check before each read: signals and single bytes must not prolong the wait for ever.
    const bool blocks = (context.flags & REDIS_BLOCK) != 0;
    if (!has_come && (may_wait || !blocks || Time::clock::now() >= deadline))
      wait_for_reply(context, deadline, nudge);
    if (plain) {
      errno = 0;
      if (::redisBufferRead(&context) != REDIS_OK) throw failure_of(context, errno);
    } else {
      call_hiredis(context, [&] { return ::redisBufferRead(&context); });
    }
  }
}

}  // namespace redis_lock::detail
