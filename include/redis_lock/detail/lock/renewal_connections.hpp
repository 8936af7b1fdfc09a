#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/pool.hpp>
#include <redis_lock/detail/net/topology.hpp>
#include <redis_lock/detail/protocol/known_errors.hpp>
#include <redis_lock/detail/protocol/message.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock::detail {

/// Outcome of a batch of renewals.
struct Renewals {
  Replies replies{};
  std::optional<Failure> failure{};  // why there are no replies

  [[nodiscard]] const Reply& reply(std::size_t i) const {
    static const Reply none;
    return i < replies.size() ? replies[i] : none;
  }
  /// Returns why the renewal number `i` failed.
  [[nodiscard]] Failure failure_of(std::size_t i) const {
    const auto& reply = this->reply(i);
    if (reply.is_error() && !reply.text.empty()) return detail::failure_of(reply);
    return failure ? *failure
                   : Failure{errc::protocol_error, "unexpected reply to the extend script"};
  }
};

/// The connections of a renewal thread: one to each server. If none can be opened, a renewal borrows an idle
/// connection of the pool, and gives it back at once. For one thread.
class RenewalConnections {
 public:
  /// `pool` may be null: then nothing can be borrowed.
  RenewalConnections(std::shared_ptr<Topology> topology, Pool* pool)
      : topology_(std::move(topology)), pool_(pool) {}

  /// Sends all calls in one write to the server that has the slot. A call that got no answer has a reply that is not
  /// an integer.
  [[nodiscard]] Renewals evaluate(Slot slot, const std::vector<ScriptCall>& calls, Time limit) {
    auto renewals = extend_on_own(slot, calls, limit);
    auto& replies = renewals.replies;
    if (!pool_ || !std::all_of(replies.begin(), replies.end(), got_no_answer)) return renewals;
    auto lent = pool_->lend(topology_->presumed_server_of(slot));
    if (!lent) return renewals;
    auto on_lent = extend_on(*lent, calls, limit);
    replies = std::move(on_lent.replies);
    if (!renewals.failure) renewals.failure = std::move(on_lent.failure);
    if (std::any_of(replies.begin(), replies.end(), got_no_answer))
      topology_->suspect(lent->server());
    lent->independent_replies = false;
    pool_->give_back(std::move(lent));
    return renewals;
  }

  /// Returns whether the pool must repeat releases: a borrowed connection may have failed with some.
  [[nodiscard]] bool left_failed_releases() const noexcept { return pool_ && pool_->has_failed(); }

 private:
  [[nodiscard]] static bool got_no_answer(const Reply& reply) {
    return reply.kind != Reply::Kind::integer;
  }

  /// Extends on a connection of the thread, or a new one. A server may refuse a new one only when it is used.
  [[nodiscard]] Renewals extend_on_own(Slot slot, const std::vector<ScriptCall>& calls,
                                       Time limit) {
    std::unique_ptr<Connection> connection;
    try {
      connection = take_connection(topology_->server_of(slot));
      if (!connection) {
        const auto now = Time::clock::now();  // the pool's connection has the rest
        if (pool_) limit = now + left_until(limit, now) / 2;
        connection = topology_->connect(slot, limit);
      }
    } catch (const Failure& failure) {
      return {Replies(calls.size()), failure};
    } catch (const std::exception& error) {
      return {Replies(calls.size()), Failure{errc::connection_failed, error.what()}};
    }
    auto renewals = extend_on(*connection, calls, limit);
    const auto& replies = renewals.replies;
    const auto failed = [](const Reply& reply) { return reply.is_error() || reply.is_nil(); };
    if (std::none_of(replies.begin(), replies.end(), failed)) {
      connections_.push_back(std::move(connection));
    } else {  // there may have been a failover: look for the server anew
      give_up(*connection);
    }
    return renewals;
  }

  /// Extends on this connection. What fails is retried until the lease is over, which is reported as a loss.
  [[nodiscard]] static Renewals extend_on(Connection& connection,
                                          const std::vector<ScriptCall>& calls, Time limit) {
    try {
      connection.independent_replies = true;
      LimitedLink link{connection, limit};
      return {detail::evaluate(link, calls)};
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
    const auto is_stale = [](const auto& connection) { return connection->stale(); };
    const auto stale = std::remove_if(connections_.begin(), connections_.end(), is_stale);
    for (auto one = stale; one != connections_.end(); ++one) topology_->count_broken();
    connections_.erase(stale, connections_.end());
    const auto found =
        std::find_if(connections_.begin(), connections_.end(),
                     [&](const auto& connection) { return connection->server() == server; });
    if (found == connections_.end()) return nullptr;
    auto connection = std::move(*found);
    connections_.erase(found);
    return connection;
  }

  const std::shared_ptr<Topology> topology_;
  Pool* const pool_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace redis_lock::detail
