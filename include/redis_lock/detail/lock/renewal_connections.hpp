#pragma once

#include <algorithm>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/pool.hpp>
#include <redis_lock/detail/net/topology.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock::detail {

/// The connections of a renewal thread: one to each server. If none can be opened, a renewal borrows an idle
/// connection of the Client, and gives it back at once. For one thread.
class RenewalConnections {
 public:
  /// Where idle connections can be borrowed: see Calls.
  struct Lender {
    std::function<std::unique_ptr<Connection>(const Address&)> lend;
    std::function<void(std::unique_ptr<Connection>)> give_back;
  };

  RenewalConnections(std::shared_ptr<Topology> topology, Lender lender)
      : topology_(std::move(topology)), lender_(std::move(lender)), pool_(0) {}

  /// Extends the leases in one write to the server that they are on.
  [[nodiscard]] Renewals extend(const Leases& batch, Time limit) {
    std::vector<ScriptCall> calls;
    for (const auto& lease : batch)
      calls.push_back(extend_call(*lease->keys, lease->id, lease->expire_text));
    const auto answer = evaluate(batch.front()->slot, calls, limit);
    Renewals renewals;
    for (const auto& reply : answer.replies) {
      auto& renewal = renewals.emplace_back();
      if (reply.kind == Reply::Kind::integer) {
        renewal.result = extension_of(reply);
      } else if (reply.is_error()) {
        renewal.failure = failure_of(reply);
      } else {
        renewal.may_run_later = true;
        renewal.failure =
            answer.failure ? *answer.failure
                           : Failure{errc::protocol_error, "unexpected reply to the extend script"};
      }
    }
    return renewals;
  }

 private:
  struct Answer {
    Replies replies;
    std::optional<Failure> failure{};  // why there are no replies
  };

  /// Sends all calls in one write to the server that has the slot. A call that got no answer has a reply that is not
  /// an integer.
  [[nodiscard]] Answer evaluate(Slot slot, const std::vector<ScriptCall>& calls, Time limit) {
    auto answer = extend_on_own(slot, calls, limit);
    auto& replies = answer.replies;
    if (!std::all_of(replies.begin(), replies.end(), got_no_answer)) return answer;
    auto lent = lender_.lend(topology_->presumed_server_of(slot));
    if (!lent) return answer;
    auto on_lent = extend_on(*lent, calls, limit);
    replies = std::move(on_lent.replies);
    if (!answer.failure) answer.failure = std::move(on_lent.failure);
    if (std::any_of(replies.begin(), replies.end(), got_no_answer))
      topology_->suspect(lent->server());
    lent->independent_replies = false;
    lender_.give_back(std::move(lent));
    return answer;
  }

  [[nodiscard]] static bool got_no_answer(const Reply& reply) {
    return reply.kind != Reply::Kind::integer;
  }

  /// Extends on a connection of the thread, or a new one. A server may refuse a new one only when it is used.
  [[nodiscard]] Answer extend_on_own(Slot slot, const std::vector<ScriptCall>& calls, Time limit) {
    std::unique_ptr<Connection> connection;
    try {
      connection = take_connection(topology_->server_of(slot));
      if (!connection) {
        const auto now = Time::clock::now();  // a borrowed connection has the rest
        limit = now + left_until(limit, now) / 2;
        connection = topology_->connect(slot, limit);
      }
    } catch (const Failure& failure) {
      return {Replies(calls.size()), failure};
    } catch (const std::exception& error) {
      return {Replies(calls.size()), Failure{errc::connection_failed, error.what()}};
    }
    auto answer = extend_on(*connection, calls, limit);
    const auto& replies = answer.replies;
    const auto failed = [](const Reply& reply) { return reply.is_error() || reply.is_nil(); };
    if (std::none_of(replies.begin(), replies.end(), failed)) {
      pool_.add(std::move(connection));
    } else {  // there may have been a failover: look for the server anew
      give_up(*connection);
    }
    return answer;
  }

  /// Extends on this connection. What fails is retried until the lease is over, which is reported as a loss.
  [[nodiscard]] static Answer extend_on(Connection& connection,
                                        const std::vector<ScriptCall>& calls, Time limit) {
    try {
      connection.independent_replies = true;
      return {detail::evaluate(connection, calls, milliseconds::zero(), limit)};
    } catch (const Failure& failure) {
      return {Replies(calls.size()), failure};
    } catch (const std::exception& error) {
      return {Replies(calls.size()), Failure{errc::connection_failed, error.what()}};
    }
  }

  void give_up(const Connection& connection) {
    topology_->suspect(connection.server());
    topology_->count_broken();
  }

  [[nodiscard]] std::unique_ptr<Connection> take_connection(const Address& server) {
    // Connections to servers that are gone, or not in use any more, are closed here in time.
    const auto is_stale = [](const Pool<Connection>::Idle& idle) {
      return idle.connection->stale();
    };
    for (auto& stale : pool_.take_all(is_stale)) {
      stale.connection.reset();
      topology_->count_broken();
    }
    return pool_.take([&](const Connection& idle) { return idle.server() == server; }).connection;
  }

  const std::shared_ptr<Topology> topology_;
  const Lender lender_;
  Pool<Connection> pool_;  // its own
};

}  // namespace redis_lock::detail
