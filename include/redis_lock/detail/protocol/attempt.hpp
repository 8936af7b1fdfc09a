#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>

namespace redis_lock::detail {

/// Stands for a lease without end.
inline constexpr milliseconds without_end = milliseconds::max();

namespace waits {
/// How long a waiter waits at most before it checks the server and the lock again.
inline constexpr milliseconds longest{3000};
/// The least upper limit of a wait: a shorter one would be polling. See slice_of().
inline constexpr milliseconds shortest_cap{1000};
/// How long after the end of a lease a waiter tries, so that Redis has noticed that end.
inline constexpr milliseconds behind_the_lease{5};
/// Pause between tries in the last second of a wait, if the server blocks for whole seconds only.
inline constexpr milliseconds between_tries{50};
}  // namespace waits

/// Returns how long one wait lasts at most. That is a third of the caller's lease, so that a grant surely has two
/// thirds left without an extension. If a third would be polling, it is up to a second, and the grant is confirmed.
/// `left`: of the holder's lease.
[[nodiscard]] inline milliseconds slice_of(milliseconds lease, milliseconds left,
                                           const Deadline& deadline, Time now,
                                           milliseconds cap = waits::longest) {
  auto slice = std::min({cap, waits::longest, std::max(waits::shortest_cap, lease / 3)});
  if (left != without_end) slice = std::min(slice, left + waits::behind_the_lease);
  if (deadline.may_move()) slice = std::min(slice, Deadline::longest_trust);
  return std::max(std::min(slice, left_until(deadline.at(), now)), milliseconds{1});
}

/// Returns how much longer than asked a server may let a client wait: up to two seconds before Redis 6.0, because of
/// slower clocks.
[[nodiscard]] constexpr milliseconds lateness(bool whole_seconds) noexcept {
  return milliseconds{whole_seconds ? 2000 : 0};
}

/// How to wait for `slice`: first without the server, then on it.
struct SplitWait {
  milliseconds pause, slice;
};

/// Splits a wait for a server that may count whole seconds only. Less than one is a pause between tries.
[[nodiscard]] inline SplitWait split(milliseconds slice, bool whole_seconds) {
  if (!whole_seconds) return {milliseconds::zero(), slice};
  const milliseconds whole = std::chrono::floor<std::chrono::seconds>(slice);
  if (whole > whole.zero()) return {milliseconds::zero(), whole};
  return {std::min(slice, waits::between_tries), whole};
}

/// Returns a BLPOP timeout. printf() would use the decimal point of the locale.
[[nodiscard]] inline std::string in_seconds(milliseconds time, bool whole_seconds) {
  auto text = std::to_string(time.count() / 1000);
  if (whole_seconds) return text;
  const auto fraction = std::to_string(time.count() % 1000);
  return text.append(".").append(3 - fraction.size(), '0').append(fraction);
}

/// Reads the reply to PTTL: what is left of the lease, without_end if it has no end.
[[nodiscard]] inline milliseconds left_of(const Reply& reply) {
  const milliseconds left{integer_of(reply, "PTTL")};
  // -2: freed in between. -1: no expiry; on Redis 2.6 either of the two.
  return left.count() == -1 ? without_end
                            : std::clamp<milliseconds>(left, milliseconds::zero(), longest);
}

/// What a BLPOP ended with. What it popped does not matter, because the SET behind it decides.
enum class WakeUp { signalled, timed_out, unblocked, moving, refused_fraction, refused };

[[nodiscard]] inline WakeUp wake_up_of(const Reply& reply) {
  if (reply.kind == Reply::Kind::array) return WakeUp::signalled;
  if (reply.is_nil()) return WakeUp::timed_out;
  if (!reply.is_error()) return WakeUp::refused;
  if (reply.text.find("timeout is not an integer") != reply.text.npos)
    return WakeUp::refused_fraction;
  if (reply.is_error("ASK")) return WakeUp::moving;
  return reply.is_error("UNBLOCKED") ? WakeUp::unblocked : WakeUp::refused;
}

/// Returns why a reply to WAIT is not good enough, with `acks` replicas.
[[nodiscard]] inline Failure failure_of_wait(const Reply& reply, long long acks,
                                             const std::string& min_acks,
                                             const std::string& timeout) {
  if (reply.kind == Reply::Kind::integer) {
    return {errc::too_few_replicas, std::to_string(acks) + " of " + min_acks +
                                        " replicas acknowledged it within " + timeout + " ms"};
  }
  if (reply.is_error()) return failure_of(reply);
  return {errc::protocol_error, "unexpected reply to WAIT"};
}

/// One attempt to take a lock on one server, perhaps after a wait for its release. Sends this in one write:
///
///   [BLPOP signal]  SET NX PX  [PTTL lock]  [GET fence]  [GET lock]
///
/// The server runs the rest when the BLPOP ends, before it reads what other clients send next. If the Keys have a
/// fence, or the attempt is in turn, a script replaces SET. For a SharedLock or a Semaphore a script replaces all behind
/// BLPOP: it asks the server's clock, and finds what an earlier attempt under the same id was granted.
struct Attempt {
  milliseconds slice{};        // of the wait; zero: none
  bool whole_seconds = false;  // the server refuses fractions of a second
  bool by_digest = true;       // the script, if there is one
  bool in_turn = false;        // behind a release of this lock that is not answered yet
  bool asks_for_left = true;   // what is left of the lease
  bool asks_for_id = false;    // of the holder
  std::string timeout{};       // of BLPOP
  // For a SharedLock or a Semaphore:
  bool is_entered = false;  // the gate is closed for this writer: it waits for the readers
  bool has_waited = false;  // this acquisition may have taken a signal
  bool tries_once = false;
  std::string_view signal_expire{};

  enum class Grant : unsigned char { refused, granted, entered, unknown_script };

  /// What the other replies say.
  struct Rest {
    milliseconds left = without_end;  // of the lease that is held
    bool has_no_ttl = false;          // no lock, or one without expiry
    bool is_found = false;            // granted to an earlier attempt, whose reply was lost
    std::optional<std::string> id{};  // of the holder
    std::uint64_t fencing_token = 0;
  };

  [[nodiscard]] bool waits() const noexcept { return slice > slice.zero(); }
  /// Returns how long the server may wait before it replies.
  [[nodiscard]] milliseconds longest_wait() const noexcept {
    return waits() ? slice + lateness(whole_seconds) : milliseconds::zero();
  }

  /// Adds the commands, which refer to the arguments and to this object. `expire`: milliseconds; empty: no expiry.
  void add_to(Commands& commands, const Keys& keys, std::string_view id, std::string_view expire) {
    const bool is_fenced = !keys.fence.empty();
    if (waits()) {
      timeout = in_seconds(slice, whole_seconds);
      commands.add({"BLPOP", is_entered ? keys.drained : keys.signal, timeout});
    }
    if (keys.kind != Keys::Kind::lock) return add_call(commands, call(keys, id, expire), by_digest);
    if (in_turn && is_fenced) {
      add_call(commands, {&acquire_turn_script, {keys.lock, keys.fence, keys.signal, id, expire}},
               by_digest);
    } else if (in_turn) {
      add_call(commands, {&turn_script, {keys.lock, keys.signal, id, expire}}, by_digest);
    } else if (is_fenced) {
      add_call(commands, {&acquire_script, {keys.lock, keys.fence, id, expire}}, by_digest);
    } else {
      commands.add({"SET", keys.lock, id, "NX"});
      if (!expire.empty()) commands.append("PX").append(expire);
    }
    if (asks_for_left) commands.add({"PTTL", keys.lock});
    // GET of the lock comes after that of the fence: if the lock is ours, the fence is ours too.
    if (asks_for_id && is_fenced) commands.add({"GET", keys.fence});
    if (asks_for_id) commands.add({"GET", keys.lock});
  }

  /// Returns whether a script has failed that may have written before.
  [[nodiscard]] bool may_have_run(const Replies& replies, const Keys& keys) const {
    const auto& reply = replies[waits() ? 1 : 0];
    return keys.kind != Keys::Kind::lock && reply.is_error() && !reply.is_error("NOSCRIPT");
  }

  /// Reads the reply to SET or to the script. Throws Failure.
  [[nodiscard]] Grant grant_of(const Replies& replies, const Keys& keys) const {
    const bool is_fenced = !keys.fence.empty();
    const auto& set = replies[waits() ? 1 : 0];
    if (by_digest && set.is_error("NOSCRIPT")) return Grant::unknown_script;
    if (keys.kind != Keys::Kind::lock) return grant_of(set);
    const bool granted = is_fenced ? set.kind == Reply::Kind::integer : set.is_ok();
    expect(set, granted || set.is_nil(), is_fenced ? "the acquire script" : "SET");
    return granted ? Grant::granted : Grant::refused;
  }

  /// Reads the replies behind that to SET or to the script. Throws Failure.
  [[nodiscard]] Rest rest_of(const Replies& replies, const Keys& keys, std::string_view own_id,
                             bool granted) const {
    Rest rest;
    const bool is_fenced = !keys.fence.empty();
    auto reply = replies.begin() + (waits() ? 1 : 0);
    if (keys.kind != Keys::Kind::lock) {
      rest.left = left_of(reply->elements[1]);
      rest.has_no_ttl = reply->elements[1].integer < 0;
      const auto& said = reply->elements;
      if (granted && is_fenced)
        rest.fencing_token = token_of(said.size() > 2 ? said[2].integer : 0);
      return rest;
    }
    if (granted && is_fenced) rest.fencing_token = token_of(reply->integer);
    if (asks_for_left) {
      rest.left = left_of(*++reply);
      rest.has_no_ttl = reply->integer < 0;
    }
    if (!asks_for_id || granted) return rest;
    rest.id = string_of(replies.back(), "GET");
    rest.is_found = rest.id == own_id;
    if (rest.is_found && is_fenced) {
      const auto fence = string_of(*++reply, "GET").value_or("");
      rest.fencing_token = token_of(std::strtoll(fence.c_str(), nullptr, 10));
    }
    return rest;
  }

  /// Makes the call that replaces SET for a SharedLock or a Semaphore.
  [[nodiscard]] ScriptCall call(const Keys& keys, std::string_view id,
                                std::string_view expire) const {
    const std::string_view how = in_turn ? "turn" : has_waited ? "waited" : "";
    switch (keys.kind) {
      case Keys::Kind::permit:
        return {&take_permit_script,
                {keys.lock, keys.signal, id, expire, keys.most, how, signal_expire}};
      case Keys::Kind::reading:
        return {&start_reading_script,
                {keys.lock, keys.signal, keys.others, id, expire, keys.most, how, signal_expire}};
      default: break;
    }
    const std::string_view once = tries_once ? "once" : "", turn = in_turn ? "turn" : "";
    if (keys.fence.empty())
      return {&close_gate_script, {keys.lock, keys.others, keys.signal, id, expire, once, turn}};
    return {&close_gate_fenced_script,
            {keys.lock, keys.others, keys.signal, keys.fence, id, expire, once, turn}};
  }

  /// Reads the reply to that call. Throws Failure.
  [[nodiscard]] static Grant grant_of(const Reply& reply) {
    if (reply.is_error() && reply.text.find("non deterministic") != reply.text.npos) {
      throw Failure{errc::server_error, "SharedLock and Semaphore need Redis 5 or later"};
    }
    const auto& said = reply.elements;
    const bool is_good = said.size() >= 2 && said.front().kind == Reply::Kind::integer &&
                         said.front().integer >= 0 && said.front().integer <= 2;
    expect(reply, is_good, "the acquire script");
    constexpr std::array grants{Grant::refused, Grant::granted, Grant::entered};
    return grants[static_cast<std::size_t>(said.front().integer)];
  }

  [[nodiscard]] static std::uint64_t token_of(long long count) {
    if (count <= 0) throw Failure{errc::protocol_error, "the fence does not count acquisitions"};
    return static_cast<std::uint64_t>(count);
  }
};

}  // namespace redis_lock::detail
