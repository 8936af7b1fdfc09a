#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/random_id.hpp>
#include <redis_lock/detail/net/connect.hpp>
#include <redis_lock/detail/net/hiredis.hpp>
#include <redis_lock/detail/net/owed_reply.hpp>
#include <redis_lock/detail/net/pipeline.hpp>
#include <redis_lock/detail/net/receive.hpp>
#include <redis_lock/detail/net/resolve.hpp>
#include <redis_lock/detail/net/spin.hpp>
#include <redis_lock/detail/net/tls.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock::detail {

/// An interface that handles the replies of a cluster's server which redirect to another server.
class Redirector {
 public:
  /// Follows redirects. Returns whether any of the replies are another server's now. If that server
  /// fails, throws; but if `independent`, only this reply is lost: it gets the kind `other`.
  virtual bool redirect(const Address& asked, const Commands& commands, Replies& replies,
                        Time deadline, bool independent) = 0;

 protected:
  ~Redirector() = default;
};

/// One connection to Redis: commands in, their replies out. exchange() blocks; the members of Pipeline do not. After a
/// failure it owes replies that no thread will read, so it is not usable() any more. For one thread at a time.
class Connection : public Pipeline {
 public:
  enum class Greeting { now, with_first_commands };

  /// Connects. With Greeting::now also authenticates and selects the database. Blocks up to connect_timeout, but not
  /// past `deadline`, and then up to command_timeout; over TLS up to twice command_timeout.
  Connection(const Endpoint& endpoint, Resolver& resolver, Time deadline,
             Greeting greeting = Greeting::now)
      : command_timeout_(endpoint.command_timeout) {
    spinner = Spinner{endpoint.spin};
    if (endpoint.tls) require_tls();
    const auto start = Time::clock::now();
    const auto timeout = std::min(endpoint.connect_timeout, left_until(deadline, start));
    const auto connected_by = after(start, timeout);
    const auto addresses = endpoint.unix_socket.empty()
                               ? resolver.resolve(endpoint.host, endpoint.port, connected_by)
                               : SocketAddresses{address_of_unix_socket(endpoint.unix_socket)};
    owned_ = open_context(endpoint, addresses, connected_by);
    context_ = owned_.get();
    if (endpoint.tls) start_tls(*context_, endpoint, connected_by, deadline);
    if (greeting == Greeting::now) greet(endpoint, deadline);
  }

  /// Works over a borrowed connection, which is never closed or reconnected.
  explicit Connection(redisContext* borrowed) {
    context_ = borrowed;
    if (context_->err) {
      throw Failure{errc::connection_failed,
                    "the borrowed context has failed before: " + std::string(context_->errstr)};
    }
    if (is_busy(*context_)) {
      throw Failure{errc::protocol_error,
                    "the borrowed context has commands of its owner under way"};
    }
    for (std::size_t i = 0; i < timeouts_.size(); ++i) {
      socklen_t length = sizeof(timeval);
      ::getsockopt(context_->fd, SOL_SOCKET, timeout_options[i], &timeouts_[i], &length);
    }
    const auto& receive_timeout = timeouts_.front();
    const auto own = std::chrono::seconds{receive_timeout.tv_sec} +
                     std::chrono::microseconds{receive_timeout.tv_usec};
    if (own > own.zero()) command_timeout_ = std::chrono::ceil<milliseconds>(own);
    set_timeouts({to_timeval(command_timeout_), to_timeval(command_timeout_)});
  }

  ~Connection() {
    if (cancellation_) cancellation_->watch(-1);
    if (owned_) return;
    if (!usable()) poison(*context_);
    set_timeouts(timeouts_);
  }

  /// Sends all commands in one write and reads their replies, behind those that it still owes. They are due
  /// command_timeout after `wait`, the time that the server was asked to wait; or at `by`, unless that is `never`. If
  /// the server is late after `wait`, nudges it. Throws Failure; error replies are returned.
  [[nodiscard]] Replies exchange(const Commands& commands, milliseconds wait = milliseconds::zero(),
                                 Time by = never) {
    if (!owes_to_receivers_only()) {
      throw Failure{errc::protocol_error, "replies to earlier commands are still to come"};
    }
    const auto now = Time::clock::now();
    const auto deadline = by == never ? after(now, command_timeout_ + wait) : by;
    const bool may_wait = wait > milliseconds::zero() || by != never;
    const auto owed = batches().size();
    const auto marker = owned_ || is_in_step_ ? std::string{} : fresh_marker(now);
    expect_replies(commands.size(), now);
    if (owned_) {
      send_owned(*context_, incoming_, encoded(commands), deadline);
    } else {
      send_borrowed(commands, marker, deadline);
    }
    Nudge nudge;  // the server begins to count a little later, in whole milliseconds
    if (wait > milliseconds::zero()) nudge.at = after(now, wait + milliseconds{1});
    Replies late, replies;
    {
      Spinner sleeper;
      SpinOnOne spin{may_wait ? sleeper : spinner, now};
      if (owed > 0) late = receive_all(owed, deadline, may_wait, {}, spin);
      replies = receive_all(commands.size(), deadline, may_wait, nudge, spin);
    }
    if (owed > 0) hand_over(late, deadline);
    count_all();
    if (redirector_ &&
        redirector_->redirect(server_, commands, replies, deadline, independent_replies))
      asked_elsewhere = true;
    const bool refused = std::any_of(replies.begin(), replies.end(), is_transient_error);
    answered_ = answered_ || !refused;
    return replies;
  }

  /// Takes replies back that were read: the next exchange needs no new memory for its own.
  void reuse(Replies&& replies) noexcept { spare_ = std::move(replies); }

  /// Sends all commands in one write and reads their replies within command_timeout, but not past `deadline`.
  [[nodiscard]] Replies exchange_by(const Commands& commands, Time deadline) {
    return exchange(commands, milliseconds::zero(),
                    std::min(deadline, after(Time::clock::now(), command_timeout_)));
  }

  /// Finds failures that can be known before a command that must not be sent twice. Throws Failure.
  void make_sure() {
    if (owes()) settle_by(after(Time::clock::now(), command_timeout_));
    if (owned_ && stale()) {
      throw Failure{errc::connection_failed, "the server closed the connection",
                    Failure::Kind::transient};
    }
  }

  /// Sends the call of `receiver`. The next exchange reads its reply.
  void defer(std::unique_ptr<OwedReply> receiver) {
    Commands commands;
    add_call(commands, receiver->call(), std::exchange(has_sent_script_, true));
    is_sound_ = false;
    expect_replies(1, Time::clock::now(), Request::connect, std::move(receiver));
    send_owned(*context_, incoming_, encoded(commands),
               after(Time::clock::now(), command_timeout_));
    is_sound_ = true;
  }
  /// Returns the next reply that no command has asked for, such as those of MONITOR. Throws timed_out at the deadline.
  [[nodiscard]] Reply listen(Time deadline) {
    return std::move(detail::receive(*context_, incoming_, deadline, true));
  }
  void send_nudge(Nudge& nudge, Time now, Time deadline) { nudge.send(*context_, now, deadline); }
  [[nodiscard]] bool may_defer() const noexcept { return batches().size() < most_deferred; }
  /// Reads the replies that it owes.
  void settle_by(Time deadline) { (void)exchange(Commands{}, milliseconds::zero(), deadline); }

  /// Records that the connection leads to `server`, one of several.
  void belong_to(Address server, Redirector* redirector) {
    server_ = std::move(server);
    redirector_ = redirector;
  }
  [[nodiscard]] const Address& server() const noexcept { return server_; }

  /// Returns whether the owner cannot use a borrowed context any more: replies to the owner came on it.
  [[nodiscard]] bool is_out_of_step() const noexcept { return is_out_of_step_; }

  /// Returns whether another operation may use the connection.
  [[nodiscard]] bool usable() const noexcept {
    return !is_out_of_step_ && is_sound() && owes_to_receivers_only() && refused_.empty() &&
           context_->err == 0 && !has_more(*context_);
  }
  [[nodiscard]] bool stale() const noexcept { return is_stale(*context_); }
  /// Returns whether the server has done what it was asked since the last call of expect_answer().
  [[nodiscard]] bool answered() const noexcept { return answered_; }
  void expect_answer() noexcept {
    answered_ = false;
    progress = Progress::none;
  }

  /// Lets another thread end what this connection waits for. A borrowed connection notices between two waits.
  void set_cancellation(Cancellation* cancellation) {
    if (owned_ && cancellation_) cancellation_->watch(-1);
    cancellation_ = cancellation;
    if (owned_ && cancellation_) cancellation_->watch(context_->fd);
  }
  [[nodiscard]] bool cancelled() const noexcept {
    return cancellation_ && cancellation_->requested();
  }
  /// Returns whether a cancellation is noticed only when the server replies.
  [[nodiscard]] bool cancelled_late() const noexcept { return cancellation_ && !owned_; }
  void pause(milliseconds time) const {
    sleep_until(after(Time::clock::now(), time), cancellation_);
  }

  /// True once the server has refused a fractional BLPOP timeout, as servers before Redis 6.0 do.
  bool whole_seconds = false;

  /// True once another server of the cluster has replied for this one, which is handing keys over to it.
  bool asked_elsewhere = false;
  /// How far the current operation has got since expect_answer(). The operation sets it when it fails.
  Progress progress = Progress::none;
  /// True if each reply is useful to its reader without the others.
  bool independent_replies = false;

 private:
  static constexpr std::size_t most_deferred = 64;
  static constexpr std::size_t most_bytes_kept = 16384;
  static constexpr std::array<int, 2> timeout_options{SO_RCVTIMEO, SO_SNDTIMEO};

  void set_timeouts(const std::array<timeval, 2>& timeouts) const noexcept {
    for (std::size_t i = 0; i < timeouts.size(); ++i) {
      ::setsockopt(context_->fd, SOL_SOCKET, timeout_options[i], &timeouts[i], sizeof(timeval));
    }
  }

  /// Returns the bytes of the commands, in memory that the connection keeps unless it is much.
  [[nodiscard]] const std::string& encoded(const Commands& commands) {
    if (bytes_.capacity() > most_bytes_kept) std::string{}.swap(bytes_);
    commands.encode_to(bytes_);
    return bytes_;
  }

  /// Sends the commands on a borrowed connection, and makes sure that the next replies are theirs.
  void send_borrowed(const Commands& commands, const std::string& marker, Time deadline) {
    auto bytes = marker.empty() ? std::string{} : Commands{}.add({"ECHO", marker}).encode();
    send_through_hiredis(*context_, bytes.append(commands.encode()), deadline);
    if (!marker.empty()) find_marker(marker, commands.size(), deadline);
  }

  /// Returns a text that no reply to the owner of a borrowed context has.
  [[nodiscard]] static std::string fresh_marker(Time now) {
    const auto ticks = static_cast<std::uint64_t>(now.time_since_epoch().count());
    return "redis_lock:" + std::to_string(mix(ticks)) + std::to_string(mix(~ticks));
  }

  /// Makes sure that the next replies on a borrowed context are the library's. An ECHO stands before the first
  /// commands of an operation, and must come back in its place. Inside MULTI nothing has run, and nothing will once
  /// the connection is shut down. If replies to the owner come first, reads on until nothing is owed, so that what
  /// has run can be undone.
  void find_marker(const std::string& marker, std::size_t count, Time deadline) {
    const auto first = detail::receive(*context_, incoming_, deadline, false);
    if (first.kind == Reply::Kind::string && first.text == marker) {
      is_in_step_ = true;
      return;
    }
    is_out_of_step_ = true;
    if (first.kind == Reply::Kind::status && first.text == "QUEUED") {
      throw Failure{errc::protocol_error, "the borrowed context is inside MULTI"};
    }
    const bool is_refused =
        first.is_error() && first.text.find("'echo'") != first.text.npos;  // NOPERM, or subscribed
    for (auto reply = first; !is_refused && reply.text != marker;)
      reply = detail::receive(*context_, incoming_, deadline, false);
    while (count-- > 0) (void)detail::receive(*context_, incoming_, deadline, false);
    count_all();
    is_in_step_ = true;
    if (is_refused) throw failure_of(first);
    throw Failure{errc::protocol_error, "the borrowed context has replies of its owner under way"};
  }

  /// Reads replies. The first may be that of a command which blocks.
  template <class Spin = SleepAtOnce>
  [[nodiscard]] Replies receive_all(std::size_t count, Time deadline, bool may_wait,
                                    Nudge nudge = {}, Spin&& spin = {}) {
    auto replies = std::exchange(spare_, {});
    replies.clear();
    replies.reserve(count);
    while (replies.size() < count) {
      try {
        replies.push_back(std::move(detail::receive(*context_, incoming_, deadline, may_wait,
                                                    std::exchange(nudge, {}), spin)));
      } catch (const Failure&) {
        const bool is_told =
            !replies.empty() && (is_transient_error(replies.back()) || is_parting(replies.back()));
        if (is_told) throw failure_of(replies.back());
        throw;
      }
    }
    return replies;
  }

  /// Hands over the replies that were owed. Calls whose script the server does not know are repeated first: what the
  /// caller does next may depend on them.
  void hand_over(Replies& late, Time deadline) {
    struct Link {
      Connection& connection;
      Time deadline;
      [[nodiscard]] Replies exchange(const Commands& commands) const {
        send_owned(*connection.context_, connection.incoming_, connection.encoded(commands),
                   deadline);
        return connection.receive_all(commands.size(), deadline, true);
      }
    };
    Link link{*this, deadline};
    repeat_unknown(
        link, [this](std::size_t i) { return batches()[i].receiver->call(); }, late);
    OwedReplies receivers = take_unanswered();
    count_all();
    for (std::size_t i = 0; i < receivers.size(); ++i) {
      const bool elsewhere = redirector_ && late[i].is_error();
      if (elsewhere || is_transient_error(late[i])) {
        refused_.push_back(std::move(receivers[i]));
      } else {
        receivers[i]->settle(late[i]);
      }
    }
  }

  void greet(const Endpoint& endpoint, Time deadline);

  milliseconds command_timeout_ = Endpoint{}.command_timeout;
  Context owned_;
  std::array<timeval, 2> timeouts_{};
  Address server_;
  Redirector* redirector_ = nullptr;
  bool has_sent_script_ = false;  // the first goes as EVAL: what follows finds the lock free
  Cancellation* cancellation_ = nullptr;
  std::string bytes_;  // of the latest commands, for the room that they have
  Replies spare_;
  bool is_in_step_ = false, is_out_of_step_ = false;  // of a borrowed context
  bool answered_ = false;
};

/// Returns the commands that begin a connection to this endpoint: AUTH, SELECT and CLIENT SETNAME, as needed. They
/// refer to the text `database`.
[[nodiscard]] inline Commands greeting(const Endpoint& endpoint, const std::string& database) {
  Commands commands;
  if (!endpoint.username.empty()) {
    commands.add({"AUTH", endpoint.username, endpoint.password});
  } else if (!endpoint.password.empty()) {
    commands.add({"AUTH", endpoint.password});
  }
  if (endpoint.database != 0) commands.add({"SELECT", database});
  if (!endpoint.client_name.empty()) commands.add({"CLIENT", "SETNAME", endpoint.client_name});
  return commands;
}

/// Removes secrets from an error: servers quote the arguments of a command that they do not know.
[[nodiscard]] inline std::string without_secrets(std::string text, const Endpoint& endpoint) {
  for (const auto& secret : {endpoint.password, endpoint.username}) {
    if (secret.empty()) continue;
    for (auto at = text.find(secret); at != text.npos; at = text.find(secret, at + 3)) {
      text.replace(at, secret.size(), "***");
    }
  }
  return text;
}

inline void Connection::greet(const Endpoint& endpoint, Time deadline) try {
  const auto database = std::to_string(endpoint.database);
  const auto commands = greeting(endpoint, database);
  if (commands.empty()) return;
  const auto replies = exchange_by(commands, deadline);
  const bool authenticates = !endpoint.username.empty() || !endpoint.password.empty();
  const auto& first = replies.front();
  const bool is_refused = first.is_error() && !is_transient_error(first) && !is_parting(first);
  if (authenticates && is_refused) {
    throw Failure{errc::authentication_failed, first.text};
  }
  for (const auto& reply : replies) expect(reply, reply.is_ok(), "the greeting");
  answered_ = false;
} catch (const Failure& failure) {
  throw failure.with(without_secrets(failure.what(), endpoint));
}

}  // namespace redis_lock::detail
