#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/process_local.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/deferred_release.hpp>
#include <redis_lock/detail/lock/observer.hpp>
#include <redis_lock/detail/lock/renewal_connections.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/net/calls.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/server_text.hpp>
#include <redis_lock/detail/net/tls.hpp>
#include <redis_lock/detail/net/topology.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock::detail {

class Prober;
class QuorumNodes;

/// The state that all copies of a Client share: connections, renewals, counters. For a borrowed context, a wrapper of it.
class ClientState : public std::enable_shared_from_this<ClientState> {
 public:
  explicit ClientState(Endpoint endpoint) : endpoint_(std::move(endpoint)) {
    if (endpoint_.tls) prepare_tls();
  }
  explicit ClientState(redisContext* borrowed) : borrowed_(borrowed) {}

  [[nodiscard]] bool is_borrowed() const noexcept { return borrowed_ != nullptr; }

  /// Returns the limits of an operation that is given no other time.
  [[nodiscard]] CallLimits limits(Slot slot = 0) const {
    return {endpoint_.retry_for, never, nullptr, slot};
  }

  [[nodiscard]] bool is_cluster() const noexcept { return !endpoint_.cluster.empty(); }
  /// Returns the slot of a key; 0 if there is no cluster.
  [[nodiscard]] Slot slot_of(std::string_view key) const {
    return is_cluster() ? detail::slot_of(key) : Slot{0};
  }
  /// Runs `work(Connection&)`, and again on a new connection if that may help. Throws Failure.
  template <class Work>
  auto perform(const CallLimits& limits, Work&& work) {
    if (!borrowed_) {
      const MaintainLater maintain{*process_};
      return process_->calls.perform(limits, std::forward<Work>(work));
    }
    if (made_in_ != process_generation()) {
      throw Failure{errc::connection_failed, "the borrowed context belongs to the parent process"};
    }
    const std::lock_guard guard{process_->borrowed};
    Connection connection{borrowed_};
    connection.set_cancellation(limits.cancellation);
    try {
      return work(connection);
    } catch (const Failure& failure) {
      const bool is_named =
          failure.code() != errc::timed_out && failure.code() != errc::connection_failed;
      if (is_named) throw;
      throw named(text_of(*borrowed_), failure);
    }
  }

  /// Runs `work(Connection&)` for the caller of the library. Throws Error, which names the operation and the lock.
  template <class Work>
  auto perform(const char* operation, std::string_view name, const CallLimits& limits,
               Work&& work) {
    try {
      return perform(limits, std::forward<Work>(work));
    } catch (const Failure& failure) {
      throw error_of(operation, name, failure);
    }
  }

  /// Asks a cluster or Sentinel where the keys are now. Throws Error.
  [[nodiscard]] Places survey(const char* operation, std::string_view name) {
    if (!process_->topology->fail_over()) return {};
    return perform(operation, name, limits(),
                   [&](Connection&) { return process_->topology->survey(); });
  }

  /// Makes sure that the id of an acquisition or release which was given up does not hold the lock. If that fails,
  /// the end of the lease frees the lock.
  void give_up(const Keys& keys, std::string_view id, std::string_view signal_expire,
               std::string_view kept_for = {}) noexcept try {
    const CancellationPause no_cancellation;
    if (borrowed_) return;
    // All in one write, which needs no reply: that works, later, on a server that is frozen now.
    const auto connection = process_->topology->connect(
        slot_of(keys.lock), after(Time::clock::now(), endpoint_.connect_timeout),
        Connection::Greeting::with_first_commands);
    const auto database = std::to_string(endpoint_.database);
    auto commands = greeting(endpoint_, database);
    add_call(commands, release_call(keys, id, signal_expire, kept_for), false);
    (void)connection->exchange_by(commands, after(Time::clock::now(), patience));
  } catch (const std::exception&) {  // the failure that led here is reported
  }

  /// Sends a release without waiting for the reply. Returns false, and sends nothing, if it cannot be sent at once,
  /// or if no thread can read the reply.
  [[nodiscard]] bool defer(const std::string& signal_expire, const std::shared_ptr<Lease>& lease) {
    try {
      process_->renewer->start();
    } catch (const Failure&) {
      return false;
    }
    const bool is_sent = process_->calls.defer(lease->keys->lock, [&] {
      return std::make_unique<DeferredRelease>(signal_expire, lease,
                                               process_->renewer->callbacks());
    });
    if (!is_sent) return false;
    process_->renewer->maintain_soon();
    return true;
  }

  [[nodiscard]] Renewer& renewer() { return *process_->renewer; }
  [[nodiscard]] const std::shared_ptr<Counters>& counters() { return process_->counters; }

  [[nodiscard]] const Endpoint& endpoint() const noexcept { return endpoint_; }
  /// State that QuorumLocks with this server among their nodes share. The first of them makes it.
  struct Quorums {
    std::mutex mutex;  // guards the rest
    std::shared_ptr<Prober> prober;
    std::vector<std::weak_ptr<QuorumNodes>> known;  // those whose first node is this server
  };
  [[nodiscard]] Quorums& quorums() { return process_->quorums; }

 private:
  static constexpr milliseconds patience{200};

  /// State of one process.
  struct ProcessState : Pinned {
    ProcessState(const Endpoint& endpoint, ClientState& client)
        : topology(std::make_shared<Topology>(endpoint, counters)),
          calls(endpoint, topology),
          renewals(topology, {[this](const Address& server) { return calls.lend(server); },
                              [this](std::unique_ptr<Connection> lent) {
                                calls.give_back(std::move(lent));
                              }}),
          renewer(std::make_shared<Renewer>(
              endpoint.command_timeout,
              Renewer::Work{
                  [this](const Leases& batch, Time limit) { return extend(batch, limit); },
                  [this](Slot slot) { return topology->presumed_server_of(slot); },
                  [this, &client] { return maintain(client); }})) {}
    ~ProcessState() {
      const CancellationPause no_cancellation;
      renewer->stop();
      calls.settle_all();
    }
    [[nodiscard]] Renewals extend(const Leases& batch, Time limit) {
      auto outcomes = renewals.extend(batch, limit);
      if (calls.has_failed()) renewer->maintain_soon();
      return outcomes;
    }

    /// Settling a deferred release may destroy a callback of its lock, and with it the last Client. Then everything
    /// here lives until that is done.
    [[nodiscard]] Time maintain(ClientState& client) {
      const auto alive = client.weak_from_this().lock();
      return calls.settle_idle();
    }

    std::shared_ptr<Counters> counters = std::make_shared<Counters>();
    std::shared_ptr<Topology> topology;
    Calls calls;
    RenewalConnections renewals;  // used by the renewal thread alone
    Quorums quorums;
    std::shared_ptr<Renewer> renewer;
    std::mutex borrowed;  // one thread at a time may use the borrowed context
  };

  /// A guard that leaves failed releases and idle connections of an operation to the renewal thread.
  struct MaintainLater : Pinned {
    ProcessState& process;
    explicit MaintainLater(ProcessState& of) : process(of) {}
    ~MaintainLater() {
      if (process.calls.has_failed()) process.renewer->maintain_soon();
      if (const auto time = process.calls.take_plan()) process.renewer->maintain_by(*time);
    }
  };

  const Endpoint endpoint_;
  redisContext* const borrowed_ = nullptr;
  const unsigned made_in_ = process_generation();
  ProcessLocal<ProcessState> process_{
      [this] { return std::make_unique<ProcessState>(endpoint_, *this); }};
};

/// A ClientState over a connection of the caller. Throws std::invalid_argument if it cannot be used.
[[nodiscard]] inline std::shared_ptr<ClientState> borrow(redisContext* context) {
  require(context != nullptr, "context must not be null");
  require((context->flags & REDIS_BLOCK) != 0, "context must be a blocking one");
  return std::make_shared<ClientState>(context);
}

}  // namespace redis_lock::detail
