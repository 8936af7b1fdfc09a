#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/random_id.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/protocol/attempt.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/quorum/extend.hpp>
#include <redis_lock/detail/quorum/node_set.hpp>
#include <redis_lock/detail/quorum/view.hpp>
#include <redis_lock/detail/quorum/vote.hpp>
#include <redis_lock/error.hpp>

namespace redis_lock::detail {

/// One acquisition on a majority of servers.
///
///   a vote:   SET NX PX on all at once. With a majority it is acquired. Otherwise all grants go back.
///   a look:   GET, PTTL on all at once: which id has a majority, and so where its release will be signalled
///   waiting:  BLPOP signal, SET NX PX, PTTL in one write, on the first server that has that id
///
/// The arbiter is the first server that is there, and whose key was not left over by a release that failed. It
/// decides between acquisitions that come at once. One that it grants asks the other servers again for a moment,
/// while its rival gives back what it has. One that it refuses gives way once, even with a majority: the arbiter's
/// queue of waiters is the order in which they came.
class QuorumAcquisition {
 public:
  /// State that a QuorumLock keeps from one acquisition to the next.
  struct Memory {
    /// For each node: the id of a key that was left over, or that did not take the turn left to it.
    QuorumView::PassedOver passed_over;
  };

  QuorumAcquisition(const NodeSet& nodes, const Keys& keys, std::string_view fixed_id,
                    std::string_view signal_expire, QuorumLease& lease, IdSource& ids,
                    Memory& memory, const Deadline& deadline, Cancellation* cancellation)
      : vote_(nodes, keys, fixed_id, signal_expire, lease, ids, memory.passed_over, cancellation),
        nodes_(nodes),
        lease_(lease),
        memory_(memory),
        deadline_(deadline),
        cancellation_(cancellation),
        marks_(nodes.size()) {
    may_give_way_ = deadline.at() > Clock::now();
  }

  /// Blocks until the lock is acquired (true), or until the deadline or cancellation (false). If it throws a Failure,
  /// or returns false, whatever was granted has gone back.
  [[nodiscard]] bool run() {
    try {
      return take_turns();
    } catch (...) {
      vote_.give_back();
      throw;
    }
  }

  /// Returns whether another acquisition held or wanted the lock.
  [[nodiscard]] bool contended() const noexcept { return contended_; }
  /// Returns how far it has got: whether a majority has answered, and whether a wait has ended normally.
  [[nodiscard]] Progress progress() const noexcept { return vote_.progress; }
  /// Returns whether a connection has failed that was used before.
  [[nodiscard]] bool was_stale() const noexcept { return vote_.fan_out.was_stale(); }

 private:
  using Clock = Time::clock;
  static constexpr std::size_t nobody = QuorumVote::nobody;
  static constexpr unsigned most_tries = 5;
  static constexpr milliseconds longest_round{20};
  /// The first wait if it is not certain that a release will be signalled there. It doubles each time.
  static constexpr milliseconds uncertain_slice{50};
  /// A wait that ends sooner than this, and grants nothing, counts as none.
  static constexpr milliseconds shortest_wait{5};
  static constexpr milliseconds longest_pause{100};
  /// How late after the deadline a grant may come; a later one goes back.
  static constexpr milliseconds latest_grant{10};

  [[nodiscard]] bool take_turns() {
    vote_.begin();
    for (unsigned tries = 0, late_grants = 0;;) {
      const bool won = vote_.run(may_give_way_);
      const bool stops = vote_.fan_out.is_cancelled();
      if (won && !stops && !gives_way()) {
        if (confirm()) return true;
        if (is_too_late_) {  // allowed once: this process may have been stopped
          if (++late_grants == 2) throw lease_too_short();
          vote_.give_back();
          vote_.begin();
          continue;
        }
      } else if (!won && !stops && has_turn() && tries < most_tries) {
        contended_ = true;
        pause_before_try(tries++);
        continue;
      }
      if (!won && !stops && !vote_.has_enough()) throw no_majority();
      if (!won) late_grants = 0;
      contended_ = contended_ || vote_.is_refused();
      vote_.give_back();
      if (is_stopped() || !wait(won)) return false;
      tries = 0;
    }
  }

  [[nodiscard]] bool is_refused_by_arbiter() const {
    return vote_.arbiter != nobody && vote_.ballots[vote_.arbiter].refused;
  }

  /// Returns whether to give way: the arbiter has refused, so another waiter may have its turn there.
  [[nodiscard]] bool gives_way() const { return may_give_way_ && is_refused_by_arbiter(); }

  /// Returns whether the arbiter has granted it, and enough servers are there for a majority.
  [[nodiscard]] bool has_turn() {
    return vote_.arbiter != nobody && vote_.ballots[vote_.arbiter].granted && vote_.has_enough();
  }

  /// Pauses long enough for others to give back what they have.
  void pause_before_try(unsigned tries) {
    // A round in which this process was stopped does not show how long others take.
    const auto round = std::min<Time::duration>(vote_.round, longest_round);
    const auto most = (round + std::chrono::microseconds{200}) * (1U << tries);
    pause(most / 2 + jitter(most / 2));
  }

  /// Pauses, but not past the deadline, unless that is over already.
  void pause(Time::duration time) const {
    const auto now = Clock::now();
    const auto deadline = deadline_.at();
    vote_.fan_out.pause(deadline > now ? std::min(time, deadline - now) : time);
  }

  /// Sets the end of the lease. Of the latest grants that make up a majority, it counts from the one asked for first.
  /// If less than two thirds of it are left, extends it, from now. Returns whether the lease is still good.
  [[nodiscard]] bool confirm() {
    const auto majority = vote_.fan_out.majority();
    std::vector<Time> sent;
    for (const auto& ballot : vote_.ballots) {
      if (ballot.granted) sent.push_back(ballot.sent);
    }
    const auto nth = sent.begin() + static_cast<std::ptrdiff_t>(majority - 1);
    std::nth_element(sent.begin(), nth, sent.end(), std::greater<>{});
    auto end = after(*nth, lease_.expire);
    const auto now = Clock::now();
    way_ = now - *nth;
    is_too_late_ = now >= end;
    if (end - now < lease_.duration / 3 * 2) {
      if (is_too_late_) return false;
      const std::vector<QuorumLease*> leases{&lease_};
      QuorumExtension extension{leases, milliseconds::zero()};
      extension.run(vote_.fan_out, now + vote_.timeout);
      const auto verdict = extension.verdict(0);
      if (!verdict) throw no_majority();
      if (*verdict != Extension::extended) return false;
      end = after(now, extension.certain(0, majority));
      way_ = Clock::now() - now;
    }
    lease_.expires_at = end;
    is_too_late_ = Clock::now() >= end;
    return !is_too_late_;
  }

  /// Returns the failure of a lease that was granted twice, and was over each time before this was known.
  [[nodiscard]] Failure lease_too_short() const {
    const auto way = std::chrono::ceil<milliseconds>(way_);
    return {errc::timed_out, "a majority of the nodes took " + std::to_string(way.count()) +
                                 " ms to answer, but a lease of " + lease_.expire_text +
                                 " ms is certain for " + std::to_string(lease_.expire.count()) +
                                 " ms only: Options::expire is too short"};
  }

  /// Returns what the nodes said, and what the lease had to do with that.
  [[nodiscard]] Failure no_majority() {
    auto failure = detail::no_majority(vote_.fan_out);
    if (failure.code() != errc::timed_out || vote_.timeout >= nodes_.timeout(longest))
      return failure;
    return failure.with(failure.what() + (" (with a lease of " + lease_.expire_text) +
                        " ms, nodes have " + std::to_string(vote_.timeout.count()) +
                        " ms to answer)");
  }

  /// Where to wait, and whether a release will certainly be signalled there.
  struct Place {
    std::size_t node = nobody;
    bool is_certain = false;
  };

  /// Waits until one server grants the lock or it is time for another vote (true). Returns false at the deadline or on
  /// cancellation.
  [[nodiscard]] bool wait(bool won) {
    if (!vote_.is_refused()) {  // a majority, but the lease was over before this was known
      pause_if_fruitless(milliseconds::zero());
      return begin_vote();
    }
    if (won) return give_way();
    const auto view = look();
    std::vector<bool> refused;
    for (const auto& ballot : vote_.ballots) refused.push_back(ballot.refused);
    for (const auto since = Clock::now(); !is_stopped();) {
      const auto place = place_to_wait(view, refused);
      if (place.node == nobody) {
        pause_if_fruitless(milliseconds::zero());
        return begin_vote();
      }
      auto left = vote_.ballots[place.node].left;
      for (;;) {
        vote_.begin();
        const auto asked = Clock::now();
        const auto slice = next_slice(left, place);
        const auto waited = vote_.wait_on(place.node, slice, cancellation_);
        const auto ballot = vote_.ballots[place.node];
        const bool is_late = Clock::now() > after(deadline_.at(), latest_grant);
        if (ballot.granted && !is_late && !vote_.fan_out.is_cancelled()) {
          vote_.arbiter = place.node;
          return true;
        }
        left = ballot.left;
        vote_.give_back();
        if (is_stopped()) return false;
        if (waited.failure) mark(place.node, *waited.failure, ballot.refused);
        const auto now = Clock::now();
        pause_if_fruitless(now - asked);
        if (waited.failure && ballot.refused) break;
        const bool goes_on =
            ballot.refused && !waited.is_over && place.is_certain && now - since < waits::longest;
        if (!goes_on) return begin_vote();
      }
      vote_.fan_out.connect(Clock::now() + vote_.timeout);
    }
    return false;
  }

  [[nodiscard]] bool begin_vote() {
    if (is_stopped()) return false;
    vote_.begin();
    return true;
  }

  [[nodiscard]] bool is_stopped() const {
    return Clock::now() >= deadline_.at() || vote_.fan_out.is_cancelled();
  }

  /// Finds out which id holds the lock. Throws Failure if no majority answers.
  [[nodiscard]] QuorumView look() {
    using Looking = QuorumVote::Looking;
    auto view = vote_.look(uncertain_waits_ == 0 ? Looking::likely : Looking::all);
    if (!vote_.fan_out.is_cancelled() && !vote_.has_enough()) throw no_majority();
    if (seen_) view.remember(*seen_, memory_.passed_over);
    seen_ = view;
    return view;
  }

  /// Returns the first server that has refused, and whose key was not left over. If the holder is certain, returns
  /// the first server that has its id and does not refuse releases. The node is nobody if none is left. Throws Failure
  /// if a majority cannot be waited on.
  [[nodiscard]] Place place_to_wait(const QuorumView& view, const std::vector<bool>& refused) {
    const auto holder = view.holder(memory_.passed_over);
    const auto now = Clock::now();
    std::size_t open = 0, first = nobody, releasable = nobody, left_over = nobody;
    for (std::size_t i = 0; i < vote_.fan_out.size(); ++i) {
      auto& server = vote_.fan_out.servers()[i];
      const auto& mark = marks_[i];
      if (mark && now < mark->until && !server.failure) server.failure = mark->failure;
      if (!server.connection || server.failure) continue;
      ++open;
      if (!refused[i]) continue;
      const auto& node = view.nodes[i];
      if (vote_.ballots[i].is_passed_over ||
          (node.is_held() && node.id == memory_.passed_over[i])) {
        left_over = std::min(left_over, i);
        continue;
      }
      first = std::min(first, i);
      const bool has_id = holder && (!node.told || node.id == holder->id);
      if (has_id && !server.prober->health().fails(Request::release))
        releasable = std::min(releasable, i);
    }
    if (open < vote_.fan_out.majority()) {
      if (!has_waited_) vote_.progress = Progress::none;  // the next pause is longer then
      throw no_majority();
    }
    if (first == nobody) return {left_over, false};
    const auto& node = view.nodes[first];
    const bool is_settled = holder && holder->is_certain && (!node.told || node.id == holder->id);
    if (is_settled && releasable != nobody) return {releasable, true};
    return {first, false};
  }

  /// Leaves this server out of waiting for a while. A connection may break once: the next one may be better.
  void mark(std::size_t node, const Failure& failure, bool has_answered) {
    if (!has_answered && !std::exchange(was_broken_, true)) return;
    marks_[node] = Mark{failure, Clock::now() + waits::longest};
  }

  /// Makes sure that no loop is without a pause, whatever the servers answer.
  void pause_if_fruitless(Time::duration waited) {
    constexpr unsigned most_at_once = 3;
    if (waited >= shortest_wait) {
      fruitless_ = 0;
      has_waited_ = true;
      was_broken_ = false;
      return;
    }
    if (++fruitless_ < most_at_once) return;
    pause(std::min(milliseconds{1} * (1U << std::min(fruitless_ - most_at_once, 10U)),
                   longest_pause));
  }

  [[nodiscard]] milliseconds next_slice(std::optional<milliseconds> left, const Place& place) {
    auto cap = left ? waits::longest : waits::shortest_cap;
    if (place.is_certain) {
      uncertain_waits_ = 0;
    } else {
      cap = std::min(cap, uncertain_slice * (1U << std::min(uncertain_waits_++, 5U)));
    }
    return slice_of(lease_.duration, left.value_or(without_end), deadline_, Clock::now(), cap);
  }

  /// Gives another waiter, which may have its turn at the arbiter, the time to ask the other servers. A key that is
  /// still at the arbiter afterwards was left over.
  [[nodiscard]] bool give_way() {
    may_give_way_ = false;
    if (is_refused_by_arbiter()) {
      const auto at_arbiter = vote_.look(QuorumVote::Looking::arbiter).nodes[vote_.arbiter];
      if (at_arbiter.is_held()) memory_.passed_over[vote_.arbiter] = at_arbiter.id;
    }
    const auto least = 4 * std::min<Time::duration>(vote_.round, vote_.timeout) + milliseconds{1};
    pause(least + jitter(least));
    vote_.begin();
    return !vote_.fan_out.is_cancelled();
  }

  /// Returns a random time of at most `most`.
  [[nodiscard]] static Time::duration jitter(Time::duration most) {
    const auto now = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
    return Time::duration{static_cast<Time::rep>(
        mix(now) % static_cast<std::uint64_t>(std::max<Time::rep>(most.count(), 1)))};
  }

  /// A server that cannot be waited on, and until when it is left out.
  struct Mark {
    Failure failure;
    Time until;
  };

  QuorumVote vote_;
  const NodeSet& nodes_;
  QuorumLease& lease_;
  Memory& memory_;
  Deadline deadline_;
  Cancellation* cancellation_;
  bool contended_ = false;
  bool may_give_way_ = false;
  std::vector<std::optional<Mark>> marks_;
  Time::duration way_{};      // how long a majority took to grant it
  bool is_too_late_ = false;  // the lease was over when it was granted
  unsigned uncertain_waits_ = 0;
  std::optional<QuorumView> seen_;  // by the latest look
  unsigned fruitless_ = 0;          // waits in a row that count as none
  bool has_waited_ = false;         // at least once
  bool was_broken_ = false;         // the connection of the latest wait
};

}  // namespace redis_lock::detail
