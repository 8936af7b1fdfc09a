#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/random_id.hpp>
#include <redis_lock/detail/net/fan_out.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/protocol/attempt.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/quorum/lease.hpp>
#include <redis_lock/detail/quorum/node_set.hpp>
#include <redis_lock/detail/quorum/view.hpp>

namespace redis_lock::detail {

/// One vote for a lock under one id: an Attempt on every server.
class QuorumVote {
 public:
  static constexpr std::size_t nobody = QuorumView::nobody;

  /// Reply of one server.
  struct Ballot {
    bool asked = false, granted = false, refused = false;
    bool is_passed_over = false;       // refused, by a key that is known to be left over
    Time sent{};                       // when the grant was asked for
    std::optional<milliseconds> left;  // of the holder's lease
    Attempt attempt;                   // the latest
  };

  QuorumVote(const NodeSet& nodes, const Keys& keys, std::string_view fixed_id,
             std::string_view signal_expire, QuorumLease& lease, IdSource& ids,
             QuorumView::PassedOver& passed_over, Cancellation* cancellation)
      : fan_out(nodes.probers(), cancellation),
        timeout(nodes.timeout(lease.duration)),
        nodes_(nodes),
        keys_(keys),
        fixed_id_(fixed_id),
        signal_expire_(signal_expire),
        lease_(lease),
        ids_(ids),
        passed_over_(passed_over) {
    passed_over_.resize(fan_out.size());
  }

  /// Starts anew under another id, unless it is fixed: a late release of the id before cannot free it.
  void begin() {
    ballots.assign(fan_out.size(), {});
    lease_.id = fixed_id_.empty() ? ids_.next() : std::string(fixed_id_);
    lease_.release = std::make_shared<const NodeRelease::Arguments>(
        NodeRelease::Arguments{keys_, lease_.id, std::string(signal_expire_)});
    lease_.shares.assign(fan_out.size(), {});
    arbiter = nobody;
  }

  /// Asks all servers that have not granted it yet. Returns whether there is a majority. Also waits for the arbiter,
  /// if it does not take much longer than the rest; if there is a majority without it, only if `hears_arbiter`.
  [[nodiscard]] bool run(bool hears_arbiter) {
    fan_out.connect(Time::clock::now() + timeout);
    const auto start = Time::clock::now();
    ask_rest(start);
    Time patience = never;
    fan_out.collect(start + timeout, [&] {
      const auto granted = count_all();
      const auto open = static_cast<std::size_t>(
          std::count_if(fan_out.servers().begin(), fan_out.servers().end(),
                        [](const FanOut::Server& server) { return server.is_pending(); }));
      const bool won = granted >= fan_out.majority();
      if (!won && granted + open >= fan_out.majority()) return never;
      const bool heard = arbiter == nobody || !fan_out.servers()[arbiter].is_pending();
      if (heard || (won && !hears_arbiter)) return Time::min();
      const auto now = Time::clock::now();
      if (patience == never) patience = now + (now - start) + milliseconds{1};
      return patience;
    });
    round = Time::clock::now() - start;
    const auto granted = count_all();
    std::size_t there = granted;
    for (const auto& ballot : ballots) there += ballot.refused ? 1U : 0U;
    if (there >= fan_out.majority()) progress = std::max(progress, Progress::asked);
    return granted >= fan_out.majority();
  }

  /// How a wait on one server has ended.
  struct Waited {
    bool is_over = false;            // it ended without a signal
    std::optional<Failure> failure;  // the server cannot be waited on
  };

  /// Makes one attempt after a wait on one server, and gives the connections of the others back.
  [[nodiscard]] Waited wait_on(std::size_t i, milliseconds slice, Cancellation* cancellation) {
    for (std::size_t other = 0; other < fan_out.size(); ++other) {
      if (other != i) fan_out.leave(fan_out.servers()[other]);
    }
    auto& server = fan_out.servers()[i];
    if (!server.connection) return {true, std::nullopt};
    auto& connection = *server.connection;
    const auto wait = split(slice, connection.whole_seconds);
    if (wait.pause > wait.pause.zero()) fan_out.pause(wait.pause);
    Attempt attempt{wait.slice, connection.whole_seconds};
    const auto question = encode(attempt);
    connection.set_cancellation(cancellation);
    fan_out.is_watched = true;
    const auto now = Time::clock::now();
    ask(i, attempt, question, now, attempt.waits() ? Request::wait : Request::vote);
    const auto wait_end = now + attempt.longest_wait();
    const auto deadline = wait_end + timeout;
    Nudge nudge;
    if (attempt.waits()) nudge.at = wait_end + milliseconds{1};
    for (;;) {
      fan_out.collect(deadline, [&nudge] { return nudge.at; });
      if (!server.is_pending() || fan_out.is_cancelled() || server.late) break;
      if (server.connection->has_unsent()) {
        nudge = {};
      } else {
        connection.send_nudge(nudge, Time::clock::now(), deadline);
      }
    }
    fan_out.is_watched = false;
    if (server.connection) connection.set_cancellation(nullptr);
    if (!server.has_answered()) return {true, server.failure};
    count(i);
    if (!attempt.waits()) return {true, server.failure};
    const auto& signal = server.replies.front();
    if (!signal.is_error()) progress = Progress::waited;
    const auto wake_up = wake_up_of(signal);
    if (wake_up == WakeUp::refused_fraction) {
      connection.whole_seconds = true;
    } else if (is_refusal(signal)) {
      return {false, failure_of(signal)};
    }
    return {wake_up == WakeUp::timed_out, server.failure};
  }

  /// Which servers are asked for the id that holds the lock.
  enum class Looking {
    likely,  // as many as make up a majority, without those whose key is left over
    arbiter,
    all  // all servers, also for what is left of the lease
  };

  /// Asks servers which id holds the lock there. A key of another type would look like a lock that is never freed: it
  /// is a failure of its server.
  [[nodiscard]] QuorumView look(Looking looking) {
    Commands commands;
    commands.add({"GET", keys_.lock});
    if (looking == Looking::all) commands.add({"PTTL", keys_.lock});
    const auto bytes = commands.encode();
    fan_out.connect(Time::clock::now() + timeout);
    const auto start = Time::clock::now();
    std::vector<std::size_t> asked;
    for (std::size_t i = 0; i < fan_out.size(); ++i) {
      auto& server = fan_out.servers()[i];
      if (!server.connection || (looking == Looking::arbiter && i != arbiter)) continue;
      if (looking == Looking::likely &&
          (ballots[i].is_passed_over || asked.size() == fan_out.majority())) {
        continue;
      }
      fan_out.ask(server, bytes, commands.size(), start, Request::look);
      asked.push_back(i);
    }
    QuorumView view{fan_out.size(), looking == Looking::all};
    Time patience = never;
    fan_out.collect(start + timeout, [&] {
      for (const auto i : asked) see(view, i);
      const auto holder = view.holder(passed_over_);
      if (!holder || !holder->is_certain) return never;
      const auto now = Time::clock::now();
      if (patience == never) patience = now + (now - start) + milliseconds{1};
      return patience;
    });
    for (const auto i : asked) see(view, i);
    return view;
  }

  /// Releases what was granted or may have been, without waiting for the replies.
  void give_back() {
    const auto now = Time::clock::now();
    const auto lease_end = after(now, lease_.duration);
    std::string bytes;  // made when they are needed
    for (std::size_t i = ballots.size(); i-- > 0;) {
      auto& ballot = ballots[i];
      if (!ballot.asked || ballot.refused) continue;
      ballot = {};
      auto& server = fan_out.servers()[i];
      auto release = std::make_unique<NodeRelease>(lease_.release, lease_end);
      if (!server.connection) {
        server.prober->call_later(std::move(release));
      } else {
        if (bytes.empty()) bytes = lease_.release->encode();
        fan_out.ask(server, bytes, 1, now, Request::release, std::move(release));
        nodes_.maintain_soon();
      }
    }
  }

  /// Returns whether any server has refused.
  [[nodiscard]] bool is_refused() const {
    return std::any_of(ballots.begin(), ballots.end(),
                       [](const Ballot& ballot) { return ballot.refused; });
  }

  /// Returns whether enough servers are there for a majority.
  [[nodiscard]] bool has_enough() {
    std::size_t there = 0;
    for (const auto& server : fan_out.servers())
      there += server.connection && !server.failure ? 1U : 0U;
    return there >= fan_out.majority();
  }

  FanOut fan_out;
  const milliseconds timeout;
  std::vector<Ballot> ballots;
  /// The first server whose key is not known to be left over. It decides between acquisitions that come at once.
  std::size_t arbiter = nobody;
  Time::duration round{};  // how long the latest vote took
  Progress progress = Progress::none;

 private:
  struct Question {
    std::string bytes;
    std::size_t replies = 0;
  };

  [[nodiscard]] Question encode(Attempt& attempt) const {
    Commands commands;
    attempt.add_to(commands, keys_, lease_.id, lease_.expire_text);
    return {commands.encode(), commands.size()};
  }

  void ask(std::size_t i, const Attempt& attempt, const Question& question, Time now,
           Request request) {
    auto& server = fan_out.servers()[i];
    auto& share = lease_.shares[i];
    ballots[i].asked = share.asked = true;
    ballots[i].refused = false;
    ballots[i].attempt = attempt;
    share.connection = server.connection->serial();
    share.received = server.connection->received();
    fan_out.ask(server, question.bytes, question.replies, now, request);
    share.reply =
        server.to == 0 ? 0 : server.to - 1;  // 0: it was not sent, and the connection is closed
  }

  /// Asks the servers that remain. What is left of the holder's lease matters to an acquisition that may have to
  /// wait: the first time, at the arbiter. If a key was left over, the id tells whether it is still the same.
  void ask_rest(Time now) {
    const bool is_first = arbiter == nobody;
    std::array<Question, 4> questions;  // made when they are needed
    bool has_arbiter = false;
    for (std::size_t i = 0; i < fan_out.size(); ++i) {
      if (!fan_out.servers()[i].connection || (ballots[i].asked && !ballots[i].refused)) continue;
      if (arbiter == nobody) arbiter = i;
      const bool is_suspect = passed_over_[i].has_value();
      Attempt attempt;
      attempt.asks_for_left = !is_first || is_suspect || !has_arbiter;
      attempt.asks_for_id = is_suspect;
      if (!is_suspect) has_arbiter = true;
      auto& question =
          questions[(attempt.asks_for_left ? 1U : 0U) + (attempt.asks_for_id ? 2U : 0U)];
      if (question.bytes.empty()) question = encode(attempt);
      ask(i, attempt, question, now, Request::vote);
    }
  }

  [[nodiscard]] std::size_t count_all() {
    std::size_t granted = 0;
    for (std::size_t i = 0; i < fan_out.size(); ++i) {
      count(i);
      granted += ballots[i].granted ? 1U : 0U;
    }
    while (arbiter != nobody && ballots[arbiter].is_passed_over) {
      do ++arbiter;
      while (arbiter < fan_out.size() && !ballots[arbiter].asked);
      if (arbiter == fan_out.size()) arbiter = nobody;
    }
    return granted;
  }

  void count(std::size_t i) {
    auto& server = fan_out.servers()[i];
    auto& ballot = ballots[i];
    if (!ballot.asked || ballot.granted || ballot.refused || !server.has_answered()) return;
    const auto& attempt = ballot.attempt;
    try {
      ballot.granted = attempt.grant_of(server.replies, keys_) == Attempt::Grant::granted;
      ballot.refused = !ballot.granted;
      ballot.sent = server.sent;
      const auto rest = attempt.rest_of(server.replies, keys_, lease_.id, ballot.granted);
      if (attempt.asks_for_left) ballot.left = rest.left;
      if (!attempt.asks_for_id) return;
      ballot.is_passed_over = ballot.refused && rest.id == passed_over_[i];
      if (!ballot.is_passed_over) passed_over_[i].reset();
    } catch (const Failure& failure) {
      server.failure = failure;
    }
  }

  /// Records the replies to GET and PTTL.
  void see(QuorumView& view, std::size_t i) {
    auto& server = fan_out.servers()[i];
    auto& node = view.nodes[i];
    if (node.told || !server.has_answered()) return;
    try {
      node.id = string_of(server.replies[0], "GET");
      if (server.replies.size() > 1) ballots[i].left = left_of(server.replies[1]);
      node.told = true;
    } catch (const Failure& failure) {
      server.failure = failure;
    }
  }

  const NodeSet& nodes_;
  const Keys& keys_;
  std::string_view fixed_id_, signal_expire_;
  QuorumLease& lease_;
  IdSource& ids_;
  QuorumView::PassedOver& passed_over_;
};

}  // namespace redis_lock::detail
