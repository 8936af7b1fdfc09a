#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/protocol/message.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// Writes a BLPOP timeout. printf() would use the decimal point of the locale.
[[nodiscard]] inline std::string in_seconds(milliseconds time, bool whole_seconds) {
  auto text = std::to_string(time.count() / 1000);
  if (whole_seconds) return text;
  const auto fraction = std::to_string(time.count() % 1000);
  return text.append(".").append(3 - fraction.size(), '0').append(fraction);
}

/// One acquisition of one lock: the waiting algorithm, over any kind of connection.
///
///   first:    SET NX PX, PTTL                 granted, or busy and for how long at most
///   waiting:  BLPOP signal, SET NX PX, PTTL   in one write: the server runs the SET when the BLPOP ends,
///                                             before it waits for what other clients send next
///   granted:  WAIT                            if replicas must acknowledge it
///
/// If the Keys have a fence, the acquire script replaces SET.
///
/// run() throws Failure when its connection fails. To go on, call it again with a new connection. From then on each
/// attempt also asks for the holder's id, because a SET whose reply was lost may have run.
///
/// A Link has these members of Connection: exchange(), pause(), cancelled(), cancelled_late(), whole_seconds,
/// asked_elsewhere.
template <class Clock = Time::clock>
class Acquisition {
 public:
  /// How long a waiter waits at most before it checks the server and the lock again.
  static constexpr milliseconds longest_slice{3000};
  /// The least upper limit of a wait: a shorter one would be polling. See next_slice().
  static constexpr milliseconds shortest_cap{1000};
  /// How long after the end of a lease a waiter tries, so that Redis has noticed that end.
  static constexpr milliseconds behind_the_lease{5};
  /// Pause between tries in the last second of a wait, if the server blocks for whole seconds only.
  static constexpr milliseconds pause_between_tries{50};

  Acquisition(const Keys& keys, std::string_view id, milliseconds expire,
              std::string_view signal_expire, Deadline deadline, const Replicas& replicas = {})
      : keys_(keys),
        id_(id),
        expire_(expire),
        expire_text_(expire == without_end ? std::string{} : std::to_string(expire.count())),
        signal_expire_(signal_expire),
        deadline_(deadline),
        tries_once_(deadline.at() <= Clock::now()),
        replicas_(replicas) {}

  /// Blocks until the lock is acquired, and returns the end of its lease: `never` if `expire` is milliseconds::max().
  /// At the deadline or on cancellation returns nothing, and nothing is held. Gives back what is granted after the
  /// deadline, except by the first attempt.
  template <class Link>
  [[nodiscard]] std::optional<Time> run(Link& link) {
    auto slice = milliseconds::zero();  // no wait: also after a failure
    bool was_over = false;              // the latest grant's lease ended before its reply came
    progress_ = Progress::none;
    for (;;) {
      const auto sent = Clock::now();
      auto answer = attempt(link, slice);
      if (answer.lease_end && slice > slice.zero() && Clock::now() > deadline_.at()) {
        give_back(link);
        return std::nullopt;
      }
      if (answer.lease_end) {
        const auto lease_end = confirm(link, *answer.lease_end, answer.is_found);
        if (lease_end && replicas_.min_acks > 0) await_replicas(link, *lease_end);
        if (lease_end && Clock::now() < *lease_end) return lease_end;
        // The lease was over before its grant was known: give it back.
        const auto taken = std::chrono::ceil<milliseconds>(Clock::now() - sent);
        give_back(link);
        // After a single pause of this process the next attempt is in time. If not, the way to Redis is too long.
        if (was_over) throw too_short(taken);
        answer.held_for = milliseconds::zero();
      } else if (answer.held_for == without_end && !type_is_known_) {
        // A key of another type looks like a lock that is never freed; GET throws then.
        (void)owner(link, keys_.lock);
        type_is_known_ = true;
      }
      was_over = answer.lease_end.has_value();
      contended_ = contended_ || !was_over;
      progress_ = std::max(progress_, Progress::asked);
      const auto now = Clock::now();
      const bool again = was_over && tries_once_;
      if ((now >= deadline_.at() && !again) || link.cancelled()) return std::nullopt;
      slice =
          again ? milliseconds::zero() : next_slice(answer.held_for, now, link.cancelled_late());
    }
  }

  /// Returns whether a command may have run whose reply was lost. Then the lock may be held under this id.
  [[nodiscard]] bool in_doubt() const noexcept { return in_doubt_; }

  /// Returns whether Redis may still run a release of this id. That would free a later grant under the id: go on
  /// under another one.
  [[nodiscard]] bool id_is_spent() const noexcept { return id_is_spent_; }
  void go_on_as(std::string_view fresh_id) noexcept {
    id_ = fresh_id;
    in_doubt_ = extension_in_doubt_ = id_is_spent_ = false;
  }

  /// Returns whether Redis may still run an extension whose reply was lost.
  [[nodiscard]] bool extension_in_doubt() const noexcept { return extension_in_doubt_; }

  /// Makes the first attempt run in turn: behind a release of this lock that is not answered yet. If a waiter is
  /// blocked, the attempt must not overtake it.
  void go_in_turn() noexcept { in_turn_ = true; }

  /// Returns whether another holder had the lock.
  [[nodiscard]] bool contended() const noexcept { return contended_; }

  /// Returns how far the latest run() got.
  [[nodiscard]] Progress progress() const noexcept { return progress_; }

  /// Returns the fencing token: greater than those of all acquisitions before, 0 without a fence.
  [[nodiscard]] std::uint64_t fencing_token() const noexcept { return fencing_token_; }

 private:
  static constexpr milliseconds without_end = milliseconds::max();

  struct Answer {
    std::optional<Time> lease_end;  // if granted: the end of our lease
    bool is_found = false;          // granted to an earlier connection
    milliseconds held_for{};        // if busy: what the holder's lease has left, at most
  };

  [[nodiscard]] Failure too_short(milliseconds taken) const {
    return {errc::timed_out, "the lease of " + expire_text_ +
                                 " ms is over before the answer comes, after " +
                                 std::to_string(taken.count()) + " ms: expire is too short"};
  }

  template <class Link>
  void give_back(Link& link) {
    id_is_spent_ = true;
    release(link, keys_, id_, signal_expire_);
    id_is_spent_ = false;
  }

  /// Waits up to `slice` for the lock to come free, tries to take it, and asks how long it is held.
  template <class Link>
  [[nodiscard]] Answer attempt(Link& link, milliseconds slice, bool by_digest = true) {
    if (link.whole_seconds && slice > milliseconds::zero()) {
      const milliseconds whole = std::chrono::floor<std::chrono::seconds>(slice);
      if (whole == milliseconds::zero()) link.pause(std::min(slice, pause_between_tries));
      slice = whole;
    }
    const auto timeout = in_seconds(slice, link.whole_seconds);
    const bool waits = slice > milliseconds::zero();
    const bool asks_for_id = in_doubt_;
    Commands commands;
    if (waits) commands.add({"BLPOP", keys_.signal, timeout});
    if (in_turn_ && is_fenced()) {
      add_call(commands,
               {&acquire_turn_script, {keys_.lock, keys_.fence, keys_.signal, id_, expire_text_}},
               by_digest);
    } else if (in_turn_) {
      add_call(commands, {&turn_script, {keys_.lock, keys_.signal, id_, expire_text_}}, by_digest);
    } else if (is_fenced()) {
      add_call(commands, {&acquire_script, {keys_.lock, keys_.fence, id_, expire_text_}},
               by_digest);
    } else {
      commands.add({"SET", keys_.lock, id_, "NX"});
      if (expire_ != without_end) commands.append("PX").append(expire_text_);
    }
    commands.add({"PTTL", keys_.lock});
    // GET of the lock comes after that of the fence: if the lock is ours, the fence is ours too.
    if (asks_for_id && is_fenced()) commands.add({"GET", keys_.fence});
    if (asks_for_id) commands.add({"GET", keys_.lock});

    const auto sent = Clock::now();
    in_doubt_ = true;
    link.asked_elsewhere = false;
    const auto replies = link.exchange(commands, waits ? late(link, slice) : slice);
    auto reply = replies.begin();
    const auto* wake_up = waits ? &*reply++ : nullptr;
    const auto& set = *reply++;
    const auto& ttl = *reply++;

    if (by_digest && set.is_error("NOSCRIPT")) {
      in_doubt_ = asks_for_id;
      if (wake_up) check_wake_up(link, *wake_up);
      return attempt(link, milliseconds::zero(), false);
    }
    const bool in_turn = std::exchange(in_turn_, false);
    const bool granted = is_fenced() ? set.kind == Reply::Kind::integer : set.is_ok();
    in_doubt_ = asks_for_id || granted;
    expect(set, granted || set.is_nil(), is_fenced() ? "the acquire script" : "SET");
    const milliseconds lease_left{integer_of(ttl, "PTTL")};
    // Without a holder, the signal is gone for another reason: no waiter is before us.
    if (in_turn && !granted && lease_left.count() < 0) return attempt(link, slice);
    Answer answer;
    if (granted) {
      if (is_fenced()) fencing_token_ = token_of(set.integer);
      answer.lease_end = lease_from(sent, expire_);
    } else if (asks_for_id && string_of(replies.back(), "GET") == id_) {
      if (is_fenced()) {
        const auto fence = string_of(*reply, "GET").value_or("");
        fencing_token_ = token_of(std::strtoll(fence.c_str(), nullptr, 10));
      }
      answer.lease_end = lease_from(sent, lease_left.count() < 0 ? expire_ : lease_left);
      answer.is_found = true;
    } else {
      // -2: freed in between. -1: no expiry; on Redis 2.6 either of the two.
      answer.held_for = lease_left.count() == -1
                            ? without_end
                            : std::clamp<milliseconds>(lease_left, milliseconds::zero(), longest);
    }
    if (wake_up) check_wake_up(link, *wake_up);
    if (wake_up && !wake_up->is_error()) progress_ = Progress::waited;
    return answer;
  }

  /// Checks the reply to BLPOP. What it popped does not matter, because the SET behind it decides.
  template <class Link>
  static void check_wake_up(Link& link, const Reply& reply) {
    if (reply.is_error() && !link.whole_seconds &&
        reply.text.find("timeout is not an integer") != reply.text.npos) {
      link.whole_seconds = true;
    } else if (reply.is_error("ASK")) {  // the cluster is moving the keys; that ends soon
      link.pause(pause_between_tries);
    } else if (!reply.is_error("UNBLOCKED")) {
      expect(reply, reply.is_nil() || reply.kind == Reply::Kind::array, "BLPOP");
    }
  }

  [[nodiscard]] bool is_fenced() const noexcept { return !keys_.fence.empty(); }

  [[nodiscard]] static std::uint64_t token_of(long long count) {
    if (count <= 0) throw Failure{errc::protocol_error, "the fence does not count acquisitions"};
    return static_cast<std::uint64_t>(count);
  }

  [[nodiscard]] static Time lease_from(Time sent, milliseconds lease) {
    return lease == without_end ? never : after(sent, lease);
  }

  /// Returns the end of the lease; nothing if the lock is not ours any more. A grant may have lain in a socket for a
  /// while: if less than two thirds of its lease are left, extends it from now. Also extends a lock that was found,
  /// if replicas must acknowledge it: WAIT covers only what its own connection wrote.
  template <class Link>
  [[nodiscard]] std::optional<Time> confirm(Link& link, Time lease_end, bool is_found) {
    const auto sent = Clock::now();
    const bool is_good = expire_ == without_end || lease_end - sent >= expire_ - expire_ / 3;
    if (is_good && !(is_found && replicas_.min_acks > 0)) return lease_end;
    if (lease_end <= sent) return std::nullopt;
    const bool in_doubt_before = std::exchange(extension_in_doubt_, true);
    const auto extension = expire_ == without_end ? rewrite(link, keys_.lock, id_)
                                                  : extend(link, keys_.lock, id_, expire_text_);
    extension_in_doubt_ = in_doubt_before;
    if (extension != Extension::extended) return std::nullopt;
    return lease_from(sent, expire_);
  }

  /// Waits for the replicas. Runs after confirm(), so that they have the lease that is reported. If they do not
  /// acknowledge it in time, or the server cannot tell, gives the lock back and throws.
  template <class Link>
  void await_replicas(Link& link, Time lease_end) {
    const auto now = Clock::now();
    if (now >= lease_end) return;
    auto limit = replicas_.timeout;
    if (expire_ != without_end) limit = std::min(limit, left_until(lease_end - expire_ / 3, now));
    limit = std::max(limit, milliseconds{1});  // WAIT 0 waits for ever
    const auto least = std::to_string(replicas_.min_acks);
    const auto timeout = std::to_string(limit.count());
    const auto command = Commands{}.add({"WAIT", least, timeout});
    const auto reply = link.exchange(command, late(link, limit)).front();
    if (is_transient_error(reply)) throw failure_of(reply);
    const bool counts = reply.kind == Reply::Kind::integer;
    // If another server ran the SET, the replicas of this one do not count.
    const auto acks = link.asked_elsewhere ? 0 : reply.integer;
    if (counts && acks >= replicas_.min_acks) return;
    try {
      release(link, keys_, id_, signal_expire_);
      in_doubt_ = false;
    } catch (const Failure&) {  // it stays in doubt; report why it was given back
    }
    expect(reply, counts, "WAIT");
    throw Failure{errc::too_few_replicas, std::to_string(acks) + " of " + least +
                                              " replicas acknowledged it within " + timeout +
                                              " ms"};
  }

  /// Returns how long the reply may take. Topology before 6.0 have slower clocks: up to two seconds more.
  template <class Link>
  [[nodiscard]] static milliseconds late(const Link& link, milliseconds wait) {
    return link.whole_seconds ? wait + milliseconds{2000} : wait;
  }

  /// Returns how long the next attempt waits: at most a third of the lease, so that a grant surely has two thirds
  /// left without an extension. If a third would be polling, up to a second, and confirm() extends.
  [[nodiscard]] milliseconds next_slice(milliseconds held_for, Time now,
                                        bool cancelled_late) const {
    auto slice = std::min(longest_slice, std::max(shortest_cap, expire_ / 3));
    if (cancelled_late) slice = std::min(slice, shortest_cap);
    if (held_for != without_end) slice = std::min(slice, held_for + behind_the_lease);
    if (deadline_.may_move()) slice = std::min(slice, Deadline::longest_trust);
    return std::max(std::min(slice, left_until(deadline_.at(), now)), milliseconds{1});
  }

  const Keys& keys_;
  std::string_view id_;
  milliseconds expire_;
  std::string expire_text_;
  std::string_view signal_expire_;
  Deadline deadline_;
  bool tries_once_;  // the deadline was over at the start
  Replicas replicas_;
  Progress progress_ = Progress::none;
  bool contended_ = false;
  bool in_doubt_ = false;
  bool extension_in_doubt_ = false;
  bool in_turn_ = false;
  bool id_is_spent_ = false;
  std::uint64_t fencing_token_ = 0;
  bool type_is_known_ = false;
};

}  // namespace redis_lock::detail
