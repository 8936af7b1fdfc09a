#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/protocol/attempt.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// The acquisition of a lock on one server, as a step machine. It sends nothing, waits for nothing and reads no clock:
/// each step says what the driver does next, and the driver reports how that ended. Drive is such a driver.
///
///   trying       an Attempt: the first without a wait, later ones after a wait for the release
///   checking     GET lock: a key of another type looks like a lock that is never freed
///   confirming   extend, if less than two thirds of the granted lease are left
///   replicating  WAIT, if replicas must acknowledge the grant
///   returning    release, if the grant came too late or too few replicas acknowledged it
///
/// After a Failure, begin() starts over on a new connection. If the reply to a SET was lost, it may have run: then each
/// attempt also asks for the holder's id.
class Acquisition : Pinned {
 public:
  struct Step {
    enum class Action : unsigned char {
      exchange,  // send commands(), then call answered()
      pause,     // for `time`, then call rested()
      acquired,  // done: the lease ends at `lease_end`
      stopped    // done, at the deadline or by cancellation: nothing is held
    };
    Action action;
    milliseconds time{};  // exchange: how long the server may wait before it replies
    Time lease_end{};     // `never` if the lease has no end
  };

  /// How an exchange ended.
  struct Answer {
    const Replies& replies;
    Time now;
    bool is_cancelled = false;  // the caller wants no lock any more
    bool is_elsewhere = false;  // another server of the cluster has replied to a part
  };

  Acquisition(const Keys& keys, std::string_view id, milliseconds expire,
              std::string_view signal_expire, Deadline deadline, Time now,
              const Replicas& replicas = {})
      : keys_(keys),
        id_(id),
        expire_(expire),
        expire_text_(expire == without_end ? std::string{} : std::to_string(expire.count())),
        signal_expire_(signal_expire),
        deadline_(deadline),
        replicas_(replicas),
        type_is_known_(keys.kind != Keys::Kind::lock) {
    attempt_.tries_once = deadline.at() <= now;
    attempt_.signal_expire = signal_expire_;
  }

  /// Starts on a connection. `whole_seconds`: its server is known to refuse fractions of a second. `slow_to_cancel`: a
  /// cancellation is noticed only when the server replies.
  [[nodiscard]] Step begin(Time now, bool whole_seconds, bool slow_to_cancel) {
    attempt_.whole_seconds = whole_seconds;
    slow_to_cancel_ = slow_to_cancel;
    was_over_ = pauses_ = must_be_in_time_ = attempt_.is_entered = false;
    progress_ = Progress::none;
    return try_after(milliseconds::zero(), now);
  }

  /// Continues after an exchange. Throws Failure if the replies end the acquisition on this connection.
  [[nodiscard]] Step answered(const Answer& answer) {
    is_elsewhere_ = is_elsewhere_ || answer.is_elsewhere;
    const auto& first = answer.replies.front();
    switch (state_) {
      case State::trying: return tried(answer);
      case State::checking:
        (void)string_of(first, "GET");
        type_is_known_ = true;
        return go_on(without_end, answer);
      case State::confirming:
        return is_unknown_script(first) ? send_script(false) : confirmed(answer);
      case State::replicating: return replicated(answer);
      case State::returning: break;
    }
    return is_unknown_script(first) ? send_script(false) : returned(answer);
  }

  /// Continues after a pause. It tries once more if the deadline passed in it, unless a wait was to follow.
  [[nodiscard]] Step rested(Time now, bool is_cancelled) {
    const auto slice = std::exchange(slice_, milliseconds::zero());
    if (is_cancelled || (slice > slice.zero() && now >= deadline_.at())) return stop();
    return try_after(std::min(slice, left_until(deadline_.at(), now)), now);
  }

  /// Reports that the present step ended with a Failure. Throws the one that the acquisition was about to end with.
  void failed() {
    if (state_ == State::returning && failure_) throw Failure{*failure_};
  }

  /// Returns the call that frees what may have been granted.
  [[nodiscard]] ScriptCall release_call() const {
    return detail::release_call(keys_, id_, signal_expire_);
  }

  /// Returns the commands of the present step.
  [[nodiscard]] const Commands& commands() const noexcept { return commands_; }

  /// Returns whether the server refuses fractions of a second, as servers before Redis 6.0 do.
  [[nodiscard]] bool whole_seconds() const noexcept { return attempt_.whole_seconds; }

  /// Returns whether a command may have run whose reply was lost. Then the lock may be held under this id.
  [[nodiscard]] bool in_doubt() const noexcept { return in_doubt_; }

  /// Returns whether Redis may still run a release of this id, which would free a later grant. Then the acquisition
  /// must go on under another id.
  [[nodiscard]] bool id_is_spent() const noexcept { return id_is_spent_; }
  void go_on_as(std::string_view fresh_id) noexcept {
    id_ = fresh_id;
    in_doubt_ = extension_in_doubt_ = id_is_spent_ = false;
  }

  /// Returns whether Redis may still run an extension whose reply was lost.
  [[nodiscard]] bool extension_in_doubt() const noexcept { return extension_in_doubt_; }

  /// Makes the first attempt run in turn: behind a release that is not answered yet. It overtakes no blocked waiter.
  void go_in_turn() noexcept { attempt_.in_turn = true; }

  /// Returns whether another holder had the lock.
  [[nodiscard]] bool contended() const noexcept { return contended_; }

  /// Returns how far it has got on the latest connection.
  [[nodiscard]] Progress progress() const noexcept { return progress_; }

  /// Returns the fencing token: greater than those of all acquisitions before, 0 without a fence.
  [[nodiscard]] std::uint64_t fencing_token() const noexcept { return fencing_token_; }

 private:
  enum class State : unsigned char { trying, checking, confirming, replicating, returning };
  using Action = Step::Action;

  /// Tries after a wait of up to `slice` for the release.
  [[nodiscard]] Step try_after(milliseconds slice, Time now) {
    if (std::exchange(pauses_, false)) {
      slice_ = slice;
      return {Action::pause, waits::between_tries};
    }
    const auto wait = split(slice, attempt_.whole_seconds);
    if (wait.pause > wait.pause.zero()) return {Action::pause, wait.pause};
    return try_now(wait.slice, now);
  }

  [[nodiscard]] Step try_now(milliseconds slice, Time now, bool by_digest = true) {
    attempt_.slice = slice;
    attempt_.by_digest = by_digest;
    attempt_.asks_for_id = in_doubt_;
    attempt_.has_waited = attempt_.has_waited || slice > slice.zero();
    sent_ = now;
    in_doubt_ = true;
    is_elsewhere_ = false;
    commands_.clear();
    attempt_.add_to(commands_, keys_, id_, expire_text_);
    state_ = State::trying;
    return {Action::exchange, attempt_.longest_wait()};
  }

  [[nodiscard]] Step tried(const Answer& answer) {
    in_doubt_ = attempt_.asks_for_id || attempt_.may_have_run(answer.replies, keys_);
    const auto grant = attempt_.grant_of(answer.replies, keys_);
    if (grant == Attempt::Grant::unknown_script) {
      check_wake_up(answer.replies);
      return try_now(milliseconds::zero(), answer.now, false);
    }
    const bool in_turn = std::exchange(attempt_.in_turn, false);
    const bool granted = grant == Attempt::Grant::granted;
    attempt_.is_entered = grant == Attempt::Grant::entered;
    in_doubt_ = in_doubt_ || granted || attempt_.is_entered;
    const auto result = attempt_.rest_of(answer.replies, keys_, id_, granted);
    // Without a holder, the signal is gone for another reason: no waiter is before us.
    if (in_turn && !granted && result.has_no_ttl) return try_now(attempt_.slice, answer.now);
    check_wake_up(answer.replies);
    if (!granted && !result.is_found) return refused(result.left, answer);
    fencing_token_ = result.fencing_token;
    const auto lease = granted || result.has_no_ttl ? expire_ : result.left;
    const auto lease_end = lease == without_end ? never : after(sent_, lease);
    if (must_be_in_time_ && answer.now > deadline_.at()) {
      id_is_spent_ = true;
      return give_back(Next::stop);
    }
    return confirm(lease_end, result.is_found, answer);
  }

  [[nodiscard]] Step refused(milliseconds left, const Answer& answer) {
    was_over_ = false;
    if (left != without_end || type_is_known_) return go_on(left, answer);
    commands_.clear();
    commands_.add({"GET", keys_.lock});
    state_ = State::checking;
    return {Action::exchange};
  }

  /// Goes on while the holder's lease has at most `left`, or returns at the deadline.
  [[nodiscard]] Step go_on(milliseconds left, const Answer& answer) {
    contended_ = contended_ || !was_over_;
    progress_ = std::max(progress_, Progress::asked);
    const bool again = was_over_ && attempt_.tries_once;
    if ((answer.now >= deadline_.at() && !again) || answer.is_cancelled) return stop();
    must_be_in_time_ = !again;
    if (again) return try_after(milliseconds::zero(), answer.now);
    const auto cap = attempt_.is_entered
                         ? expire_ / 3  // the next attempt also keeps the gate closed
                     : slow_to_cancel_ ? waits::shortest_cap
                                       : waits::longest;
    return try_after(slice_of(expire_, left, deadline_, answer.now, cap), answer.now);
  }

  /// Ends without the lock. A writer opens its gate again.
  [[nodiscard]] Step stop() {
    if (!attempt_.is_entered) return {Action::stopped};
    id_is_spent_ = true;
    return give_back(Next::stop);
  }

  void check_wake_up(const Replies& replies) {
    if (!attempt_.waits()) return;
    const auto& reply = replies.front();
    switch (wake_up_of(reply)) {
      case WakeUp::signalled:
      case WakeUp::timed_out: progress_ = Progress::waited; break;
      case WakeUp::unblocked: break;
      case WakeUp::moving: pauses_ = true; break;  // the cluster is moving the keys; that ends soon
      case WakeUp::refused_fraction:
        if (std::exchange(attempt_.whole_seconds, true)) throw failure_of(reply);
        break;
      case WakeUp::refused: expect(reply, false, "BLPOP");
    }
  }

  /// A grant may have lain in a socket for a while: if less than two thirds of its lease are left, extends it from now.
  /// Also extends a lock that was found, if replicas must acknowledge it: WAIT covers only what its own connection
  /// wrote.
  [[nodiscard]] Step confirm(Time lease_end, bool is_found, const Answer& answer) {
    const bool is_good = expire_ == without_end || lease_end - answer.now >= expire_ - expire_ / 3;
    if (is_good && !(is_found && replicas_.min_acks > 0)) return replicate(lease_end, answer);
    if (lease_end <= answer.now) return too_late(answer);
    extension_sent_ = answer.now;
    extension_was_in_doubt_ = std::exchange(extension_in_doubt_, true);
    state_ = State::confirming;
    return call(expire_ == without_end ? rewrite_call(keys_.lock, id_)
                                       : extend_call(keys_, id_, expire_text_));
  }

  [[nodiscard]] Step confirmed(const Answer& answer) {
    const auto extension = extension_of(answer.replies.front());
    extension_in_doubt_ = extension_was_in_doubt_;
    if (extension != Extension::extended) return too_late(answer);
    return replicate(expire_ == without_end ? never : after(extension_sent_, expire_), answer);
  }

  /// Waits for the replicas, after confirm(), so that they have the lease that is reported.
  [[nodiscard]] Step replicate(Time lease_end, const Answer& answer) {
    lease_end_ = lease_end;
    if (replicas_.min_acks == 0 || answer.now >= lease_end) return finish(answer);
    auto limit = replicas_.timeout;
    if (expire_ != without_end)
      limit = std::min(limit, left_until(lease_end - expire_ / 3, answer.now));
    limit = std::max(limit, milliseconds{1});  // WAIT 0 waits for ever
    min_acks_ = std::to_string(replicas_.min_acks);
    ack_timeout_ = std::to_string(limit.count());
    commands_.clear();
    commands_.add({"WAIT", min_acks_, ack_timeout_});
    state_ = State::replicating;
    return {Action::exchange, limit + lateness(attempt_.whole_seconds)};
  }

  /// If too few replicas have acknowledged the grant, or the server cannot tell, gives the lock back and fails.
  [[nodiscard]] Step replicated(const Answer& answer) {
    const auto& reply = answer.replies.front();
    if (is_transient_error(reply)) throw failure_of(reply);
    // If another server ran the SET, the replicas of this one do not count.
    const auto acks = is_elsewhere_ ? 0 : reply.integer;
    if (reply.kind == Reply::Kind::integer && acks >= replicas_.min_acks) return finish(answer);
    failure_ = failure_of_wait(reply, acks, min_acks_, ack_timeout_);
    return give_back(Next::fail);
  }

  [[nodiscard]] Step finish(const Answer& answer) {
    if (answer.now >= lease_end_) return too_late(answer);
    return {Action::acquired, {}, lease_end_};
  }

  /// The lease was over before its grant was known. After a single pause of this process the next attempt is in time.
  /// If not, the way to Redis is too long.
  [[nodiscard]] Step too_late(const Answer& answer) {
    id_is_spent_ = true;
    if (!std::exchange(was_over_, true)) return give_back(Next::retry);
    const auto taken = std::chrono::ceil<milliseconds>(answer.now - sent_);
    failure_ =
        Failure{errc::timed_out, "the lease of " + expire_text_ +
                                     " ms is over before the answer comes, after " +
                                     std::to_string(taken.count()) + " ms: expire is too short"};
    return give_back(Next::fail);
  }

  enum class Next : unsigned char { stop, retry, fail };  // after a grant has gone back

  [[nodiscard]] Step give_back(Next next) {
    next_ = next;
    state_ = State::returning;
    attempt_.is_entered = false;
    if (next != Next::fail) failure_.reset();
    return call(release_call());
  }

  [[nodiscard]] Step returned(const Answer& answer) {
    const auto& reply = answer.replies.front();
    if (next_ == Next::fail) {
      if (reply.kind == Reply::Kind::integer) in_doubt_ = id_is_spent_ = false;
      throw Failure{*failure_};
    }
    (void)integer_of_repeatable(reply, "the release script");
    id_is_spent_ = false;
    return next_ == Next::stop ? Step{Action::stopped} : go_on(milliseconds::zero(), answer);
  }

  /// Calls a script by its digest. If the server does not know that, its text follows.
  [[nodiscard]] Step call(const ScriptCall& script) {
    script_ = script;
    return send_script(true);
  }
  [[nodiscard]] Step send_script(bool by_digest) {
    is_by_digest_ = by_digest;
    commands_.clear();
    add_call(commands_, script_, by_digest);
    return {Action::exchange};
  }
  [[nodiscard]] bool is_unknown_script(const Reply& reply) const {
    return is_by_digest_ && reply.is_error("NOSCRIPT");
  }

  const Keys& keys_;
  std::string_view id_;
  const milliseconds expire_;
  const std::string expire_text_;
  const std::string_view signal_expire_;
  const Deadline deadline_;
  const Replicas replicas_;
  bool type_is_known_;  // of the key; a script looks itself

  State state_ = State::trying;
  Commands commands_;  // of the present step; refer to what is below
  Attempt attempt_;
  ScriptCall script_{};
  std::string min_acks_, ack_timeout_;  // of WAIT
  Time sent_{}, extension_sent_{};
  milliseconds slice_{};  // of the wait after a pause
  Time lease_end_{};
  Next next_ = Next::stop;
  std::optional<Failure> failure_;  // that the acquisition ends with

  bool slow_to_cancel_ = false, contended_ = false, id_is_spent_ = false;
  bool was_over_ = false;         // the latest grant came when its lease had ended
  bool pauses_ = false;           // before the next attempt: the cluster is moving the keys
  bool must_be_in_time_ = false;  // a grant after the deadline goes back; false for a first attempt
  bool is_by_digest_ = false, is_elsewhere_ = false;  // script_; another server has replied, too
  Progress progress_ = Progress::none;
  bool in_doubt_ = false, extension_in_doubt_ = false, extension_was_in_doubt_ = false;
  std::uint64_t fencing_token_ = 0;
};

}  // namespace redis_lock::detail
