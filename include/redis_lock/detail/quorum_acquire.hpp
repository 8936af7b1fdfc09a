#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include <redis_lock/detail/acquire.hpp>
#include <redis_lock/detail/cancellation.hpp>
#include <redis_lock/detail/deadline.hpp>
#include <redis_lock/detail/protocol.hpp>
#include <redis_lock/detail/quorum_extend.hpp>
#include <redis_lock/detail/quorum_nodes.hpp>
#include <redis_lock/detail/quorum_vote.hpp>
#include <redis_lock/detail/random_id.hpp>

namespace redis_lock::detail {

/// One acquisition on a majority of servers.
///
///   a vote:   SET NX PX on all at once. A majority: acquired. Otherwise it goes back, everywhere.
///   waiting:  BLPOP signal, SET NX PX, PTTL in one write, on the first server that refused
///
/// The first server that is there is the arbiter of those who come at once. Whom it granted the lock asks
/// the others again for a moment, as who has it there is giving it back; whom it refused gives way once,
/// also with a majority, as the arbiter's queue of waiters is the order in which they came.
class QuorumAcquisition {
 public:
  /// What a QuorumLock remembers from one acquisition to the next.
  struct Memory {
    explicit Memory(const Options& options) : ids(options.id_prefix) {}
    IdSource ids;
    /// The end of the lease of who has the arbiter, and did not take the turn that was left to him.
    Time stale_lease_end{};
  };

  QuorumAcquisition(const QuorumNodes& nodes, const Keys& keys, std::string_view fixed_id,
                    std::string_view signal_expire, QuorumHold& hold, Memory& memory, Time deadline,
                    Cancellation* cancellation)
      : vote_(nodes, keys, fixed_id, signal_expire, hold, memory.ids, cancellation),
        hold_(hold),
        memory_(memory),
        deadline_(deadline),
        cancellation_(cancellation) {
    may_give_way_ = deadline > Clock::now();
  }

  /// Blocks until the lock is acquired (true), or until the deadline or cancellation (false). When it
  /// throws a Fault, or is false, whatever was granted has gone back.
  [[nodiscard]] bool run() {
    try {
      return take_turns();
    } catch (...) {
      vote_.give_back();
      throw;
    }
  }

  /// Did it find the lock held, or wanted, by somebody else?
  [[nodiscard]] bool contended() const noexcept { return contended_; }
  /// Has a majority answered?
  [[nodiscard]] bool answered() const noexcept { return vote_.answered; }
  /// Has a connection failed that was open before?
  [[nodiscard]] bool was_stale() const noexcept { return vote_.panel.was_stale(); }

 private:
  using Clock = Time::clock;
  using Waiting = Acquisition<>;  // for its limits
  static constexpr std::size_t nobody = QuorumVote::nobody;
  static constexpr unsigned most_tries = 5;
  static constexpr milliseconds longest_round{20};

  [[nodiscard]] bool take_turns() {
    vote_.begin();
    for (unsigned tries = 0;;) {
      const bool won = vote_.run(may_give_way_);
      const bool stops = vote_.panel.is_cancelled();
      if (won && !stops && !gives_way()) {
        if (confirm()) return true;
      } else if (!won && !stops && has_turn() && tries < most_tries) {
        contended_ = true;
        pause_before_try(tries++);
        continue;
      }
      if (!won && !stops && !vote_.has_enough()) throw no_majority(vote_.panel);
      const auto refuser = vote_.first_that_refused();
      contended_ = contended_ || refuser != nobody;
      vote_.give_back();
      if (Clock::now() >= deadline_ || stops || !wait(refuser, won)) return false;
      tries = 0;
    }
  }

  [[nodiscard]] bool is_refused_by_arbiter() const {
    return vote_.arbiter != nobody && vote_.ballots[vote_.arbiter].refused;
  }

  /// With a majority, but against the arbiter: somebody else may have waited there for his turn.
  [[nodiscard]] bool gives_way() const {
    if (!may_give_way_ || !is_refused_by_arbiter()) return false;
    constexpr milliseconds same{20};
    const auto end = end_at_arbiter();
    return end < memory_.stale_lease_end - same || end > memory_.stale_lease_end + same;
  }

  [[nodiscard]] Time end_at_arbiter() const {
    const auto& left = vote_.ballots[vote_.arbiter].left;
    return left ? after(Clock::now(), *left) : Time::min();
  }

  /// Without a majority, but with the arbiter.
  [[nodiscard]] bool has_turn() {
    return vote_.arbiter != nobody && vote_.ballots[vote_.arbiter].granted && vote_.has_enough();
  }

  /// Long enough for others to give back what they have.
  void pause_before_try(unsigned tries) {
    // A round in which this process was stopped says nothing of how long others take.
    const auto round = std::min<Time::duration>(vote_.round, longest_round);
    const auto most = (round + std::chrono::microseconds{200}) * (1U << tries);
    pause(most / 2 + jitter(most / 2));
  }

  /// Not past the deadline, if that is not over yet.
  void pause(Time::duration time) const {
    const auto now = Clock::now();
    vote_.panel.pause(deadline_ > now ? std::min(time, deadline_ - now) : time);
  }

  /// A lease that counts from the latest of the questions that make up a majority. If less than two
  /// thirds of it are left, asks once more, for one that counts from now.
  [[nodiscard]] bool confirm() {
    const auto majority = vote_.panel.majority();
    std::vector<Time> sent;
    for (const auto& ballot : vote_.ballots) {
      if (ballot.granted) sent.push_back(ballot.sent);
    }
    const auto nth = sent.begin() + static_cast<std::ptrdiff_t>(majority - 1);
    std::nth_element(sent.begin(), nth, sent.end(), std::greater<>{});
    auto end = after(*nth, hold_.expire);
    const auto now = Clock::now();
    if (end - now < hold_.lease / 3 * 2) {
      const std::vector<QuorumHold*> holds{&hold_};
      QuorumExtension extension{holds, milliseconds::zero()};
      if (now < end) extension.run(vote_.panel, now + vote_.timeout);
      if (extension.verdict(0) != Extension::extended) return false;
      end = after(now, extension.certain(0, majority));
    }
    if (gave_way_ && is_refused_by_arbiter()) memory_.stale_lease_end = end_at_arbiter();
    hold_.expires_at = end;
    return Clock::now() < end;
  }

  /// Waits on the first server that refused until it grants the lock, or until it is time for another
  /// vote. False: the deadline is over, or cancellation was requested.
  [[nodiscard]] bool wait(std::size_t refuser, bool won) {
    if (refuser == nobody) {  // a majority whose lease was over before anybody knew of it
      vote_.begin();
      return true;
    }
    if (won) return give_way();
    auto left = vote_.ballots[refuser].left;
    if (left == milliseconds::max() && !type_is_known_) {
      vote_.look_at_type();
      type_is_known_ = true;
    }
    for (const auto since = Clock::now();;) {
      vote_.begin();
      const bool is_over = vote_.wait_on(refuser, next_slice(left), cancellation_);
      const auto ballot = vote_.ballots[refuser];
      if (ballot.granted && !vote_.panel.is_cancelled()) {
        vote_.arbiter = refuser;
        return true;
      }
      left = ballot.left;
      vote_.give_back();
      const auto now = Clock::now();
      if (now >= deadline_ || vote_.panel.is_cancelled()) return false;
      if (!ballot.refused || is_over || now - since > Waiting::longest_slice) {
        vote_.begin();
        return true;
      }
    }
  }

  /// No slice is longer than a third of the lease, unless that would be polling: then confirm() asks.
  [[nodiscard]] milliseconds next_slice(std::optional<milliseconds> left) const {
    auto slice = std::min(Waiting::longest_slice, std::max(Waiting::shortest_cap, hold_.lease / 3));
    if (!left) slice = std::min(slice, Waiting::shortest_cap);
    if (left && *left != milliseconds::max())
      slice = std::min(slice, *left + Waiting::behind_the_lease);
    return std::max(std::min(slice, left_until(deadline_, Clock::now())), milliseconds{1});
  }

  /// Lets somebody else ask the others who may have his turn at the arbiter, for as long as that takes.
  [[nodiscard]] bool give_way() {
    may_give_way_ = false;
    gave_way_ = true;
    const auto least = 4 * std::min<Time::duration>(vote_.round, vote_.timeout) + milliseconds{1};
    pause(least + jitter(least));
    vote_.begin();
    return !vote_.panel.is_cancelled();
  }

  /// A random time of up to so much.
  [[nodiscard]] static Time::duration jitter(Time::duration most) {
    const auto now = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
    return Time::duration{static_cast<Time::rep>(
        mix(now) % static_cast<std::uint64_t>(std::max<Time::rep>(most.count(), 1)))};
  }

  QuorumVote vote_;
  QuorumHold& hold_;
  Memory& memory_;
  Time deadline_;
  Cancellation* cancellation_;
  bool contended_ = false;
  bool may_give_way_ = false, gave_way_ = false;
  bool type_is_known_ = false;
};

}  // namespace redis_lock::detail
