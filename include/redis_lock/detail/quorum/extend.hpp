#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/net/fan_out.hpp>
#include <redis_lock/detail/net/node_health.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/quorum/lease.hpp>

namespace redis_lock::detail {

/// One attempt to extend leases, each on a majority.
class QuorumExtension {
 public:
  /// `lease` replaces that of the holds, unless it is zero.
  QuorumExtension(const std::vector<QuorumLease*>& leases, milliseconds duration)
      : leases_(leases), duration_(duration) {
    texts_.reserve(leases.size());  // the calls refer to them
    for (const auto* lease : leases) {
      texts_.push_back(duration > duration.zero() ? std::to_string(duration.count())
                                                  : lease->expire_text);
      calls_.push_back(extend_call(*lease->keys, lease->id, texts_.back()));
    }
    votes_.resize(leases.size());
  }

  /// The replies of the servers for one lock. A server that has the id without expiry holds the lock as well as one
  /// that was extended. A server that has not answered, or with an error, does not count.
  struct Vote {
    std::vector<milliseconds> held;  // how long for certain, on each server with the id
    std::size_t extended = 0;        // how many of those have the new lease
    std::size_t not_ours = 0;        // how many servers have another id
    std::size_t gone = 0;            // how many servers have no key

    /// Returns what `size` servers say together; nothing if that is not known.
    [[nodiscard]] std::optional<Extension> verdict(std::size_t size) const {
      const auto majority = size / 2 + 1;
      if (extended >= majority) return Extension::extended;
      if (held.size() >= majority) return Extension::not_expirable;
      if (not_ours + gone > size - majority)
        return not_ours > 0 ? Extension::not_ours : Extension::gone;
      return std::nullopt;
    }
  };

  /// Asks all servers that have a connection. An extension whose reply is late is in doubt.
  void run(FanOut& fan_out, Time deadline) {
    const auto bytes = encode([](std::size_t) { return true; }, true);
    const auto now = Time::clock::now();
    for (auto& server : fan_out.servers()) {
      if (server.connection) fan_out.ask(server, bytes, calls_.size(), now, Request::extend);
    }
    Time enough_at = never;
    const auto wait_until = [&] {
      if (enough_at == never && count_settled(fan_out) >= fan_out.majority()) {
        const auto later = Time::clock::now();
        enough_at = later + std::max<Time::duration>(later - now, milliseconds{5});
      }
      return enough_at;
    };
    fan_out.collect(deadline, wait_until);
    repeat_unknown(fan_out, deadline);
    for (std::size_t i = 0; i < fan_out.size(); ++i) count(fan_out, i);
  }

  /// Returns the verdict on one of the locks.
  [[nodiscard]] std::optional<Extension> verdict(std::size_t lease) const {
    return votes_[lease].verdict(leases_[lease]->shares.size());
  }

  /// Returns how long a majority will hold the lock for certain, whatever is still under way. Call it if the verdict
  /// is extended or not_expirable.
  [[nodiscard]] milliseconds certain(std::size_t lease, std::size_t majority) {
    auto& held = votes_[lease].held;
    std::sort(held.begin(), held.end(), std::greater<>{});
    return validity(held[majority - 1]);
  }

 private:
  [[nodiscard]] milliseconds lease_of(const QuorumLease& lease) const {
    return duration_ > duration_.zero() ? duration_ : lease.duration;
  }

  template <class Wanted>
  [[nodiscard]] std::string encode(const Wanted& wanted, bool by_digest) const {
    Commands commands;
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      if (wanted(i)) add_call(commands, calls_[i], by_digest);
    }
    return commands.encode();
  }

  [[nodiscard]] static std::size_t count_settled(FanOut& fan_out) {
    std::size_t settled = 0;
    for (const auto& server : fan_out.servers()) settled += server.has_answered() ? 1U : 0U;
    return settled;
  }

  /// Sends all calls again, as text, to servers that did not know the script.
  void repeat_unknown(FanOut& fan_out, Time deadline) const {
    std::string bytes;
    for (auto& server : fan_out.servers()) {
      const auto is_unknown = [](const Reply& reply) { return reply.is_error("NOSCRIPT"); };
      if (!server.connection || !server.has_answered() ||
          std::none_of(server.replies.begin(), server.replies.end(), is_unknown)) {
        continue;
      }
      if (bytes.empty()) bytes = encode([](std::size_t) { return true; }, false);
      fan_out.ask(server, bytes, calls_.size(), Time::clock::now(), Request::extend);
    }
    if (!bytes.empty()) fan_out.collect(deadline, [] { return never; });
  }

  void count(FanOut& fan_out, std::size_t index) {
    auto& server = fan_out.servers()[index];
    std::optional<Failure> refusal;
    for (std::size_t i = 0; i < leases_.size(); ++i) {
      auto& share = leases_[i]->shares[index];
      const auto duration = lease_of(*leases_[i]);
      if (!server.has_answered()) {
        if (server.sent != Time{})
          share.shortest_in_doubt = std::min(share.shortest_in_doubt, duration);
        continue;
      }
      const auto& reply = server.replies[i];
      if (reply.kind != Reply::Kind::integer) {  // an error: nothing was done
        if (!refusal && reply.is_error()) refusal = failure_of(reply);
        continue;
      }
      auto& vote = votes_[i];
      const auto extension = extension_of(reply);
      if (is_lost(extension)) {
        ++(extension == Extension::gone ? vote.gone : vote.not_ours);
        continue;
      }
      vote.held.push_back(std::min(duration, share.shortest_in_doubt));
      if (extension == Extension::extended) ++vote.extended;
    }
    if (refusal) server.failure = std::move(refusal);
  }

  const std::vector<QuorumLease*>& leases_;
  const milliseconds duration_;
  std::vector<std::string> texts_;
  std::vector<ScriptCall> calls_;
  std::vector<Vote> votes_;
};

}  // namespace redis_lock::detail
