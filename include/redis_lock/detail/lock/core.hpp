#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/process_local.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/account.hpp>
#include <redis_lock/detail/lock/deferred_release.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/pool.hpp>
#include <redis_lock/detail/net/server_text.hpp>
#include <redis_lock/detail/net/servers.hpp>
#include <redis_lock/detail/net/tls.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock::detail {

class LinePool;
class QuorumNodes;

/// The state that all copies of a Client share: pool, renewals, counters. Or a wrapper of a borrowed context.
class Core {
 public:
  explicit Core(Endpoint endpoint) : endpoint_(std::move(endpoint)) {
    if (endpoint_.tls) prepare_tls();
  }
  explicit Core(redisContext* borrowed) : borrowed_(borrowed) {}

  [[nodiscard]] bool is_borrowed() const noexcept { return borrowed_ != nullptr; }

  /// Returns the terms of an operation that is given no other time.
  [[nodiscard]] Terms terms(Slot slot = 0) const {
    return {endpoint_.retry_for, never, nullptr, slot};
  }

  [[nodiscard]] bool is_cluster() const noexcept { return !endpoint_.cluster.empty(); }
  /// Returns the slot of a key; 0 if there is no cluster.
  [[nodiscard]] Slot slot_of(std::string_view key) const {
    return is_cluster() ? detail::slot_of(key) : Slot{0};
  }
  /// Runs `work(Connection&)`, and again on a new connection if that may help. Throws Fault.
  template <class Work>
  auto perform(const Terms& terms, Work&& work) {
    if (!borrowed_) {
      const TidyLater tidy{*here_};
      return here_->pool.perform(terms, std::forward<Work>(work));
    }
    if (made_in_ != process_generation()) {
      throw Fault{errc::connection_failed, "the borrowed context belongs to the parent process"};
    }
    const std::lock_guard guard{here_->borrowed};
    Connection connection{borrowed_};
    connection.set_cancellation(terms.cancellation);
    try {
      return work(connection);
    } catch (const Fault& fault) {
      const bool is_named =
          fault.code() != errc::timed_out && fault.code() != errc::connection_failed;
      if (is_named) throw;
      throw named(text_of(*borrowed_), fault);
    }
  }

  /// Runs `work(Connection&)` for the caller of the library. Throws Error, which names the operation and the lock.
  template <class Work>
  auto perform(const char* operation, std::string_view name, const Terms& terms, Work&& work) {
    try {
      return perform(terms, std::forward<Work>(work));
    } catch (const Fault& fault) {
      throw error_of(operation, name, fault);
    }
  }

  /// Asks a cluster or Sentinel where the keys are now. Throws Error.
  [[nodiscard]] Places survey(const char* operation, std::string_view name) {
    if (!here_->servers->fail_over()) return {};
    return perform(operation, name, terms(), [&](Connection&) { return here_->servers->survey(); });
  }

  /// Makes sure that the id of an acquisition or release which was given up does not hold the lock. If that fails,
  /// the end of the lease frees the lock.
  void give_up(const Keys& keys, std::string_view id, std::string_view signal_expire,
               std::string_view kept_for = {}) noexcept try {
    const CancellationPause no_cancellation;
    if (borrowed_) return;
    // All in one write, which needs no reply: that works, later, on a server that is frozen now.
    const auto connection = here_->servers->connect(
        slot_of(keys.lock), after(Time::clock::now(), endpoint_.connect_timeout),
        Connection::Greeting::with_first_commands);
    const auto database = std::to_string(endpoint_.database);
    auto commands = greeting(endpoint_, database);
    add_call(commands, release_call(keys, id, signal_expire, kept_for), false);
    (void)connection->exchange_within(commands, std::min(endpoint_.command_timeout, patience));
  } catch (const std::exception&) {  // the fault that led here is reported
  }

  /// Sends a release without waiting for the reply. Returns false, and sends nothing, if it cannot be sent at once,
  /// or if no thread can read the reply.
  [[nodiscard]] bool defer(const Keys& keys, const std::string& signal_expire,
                           const std::shared_ptr<Hold>& hold) {
    try {
      here_->renewer->start();
    } catch (const Fault&) {
      return false;
    }
    const bool is_sent = here_->pool.defer(keys.lock, [&] {
      return std::make_unique<DeferredRelease>(keys, signal_expire, hold,
                                               here_->renewer->callbacks());
    });
    if (!is_sent) return false;
    here_->renewer->tidy_soon();
    return true;
  }

  [[nodiscard]] Renewer& renewer() { return *here_->renewer; }
  [[nodiscard]] const std::shared_ptr<Counters>& counters() { return here_->counters; }

  [[nodiscard]] const Endpoint& endpoint() const noexcept { return endpoint_; }
  /// State that QuorumLocks with this server among their nodes share. The first of them makes it.
  struct Quorums {
    std::mutex mutex;  // guards the rest
    std::shared_ptr<LinePool> lines;
    std::vector<std::weak_ptr<QuorumNodes>> known;  // those whose first node is this server
  };
  [[nodiscard]] Quorums& quorums() { return here_->quorums; }

 private:
  static constexpr milliseconds patience{200};

  /// State of one process.
  struct Here {
    explicit Here(const Endpoint& endpoint)
        : servers(std::make_shared<Servers>(endpoint, counters)),
          pool(endpoint, servers),
          renewer(std::make_shared<Renewer>(
              endpoint, servers, [this] { return pool.settle_idle(); }, &pool)) {}
    ~Here() {
      const CancellationPause no_cancellation;
      renewer->stop();
      pool.settle_all();
    }
    Here(const Here&) = delete;
    Here(Here&&) = delete;
    Here& operator=(const Here&) = delete;
    Here& operator=(Here&&) = delete;

    std::shared_ptr<Counters> counters = std::make_shared<Counters>();
    std::shared_ptr<Servers> servers;
    Pool pool;
    Quorums quorums;
    std::shared_ptr<Renewer> renewer;
    std::mutex borrowed;  // one thread at a time may use the borrowed context
  };

  /// A guard that leaves failed releases and idle connections of an operation to the renewal thread.
  struct TidyLater {
    Here& here;
    explicit TidyLater(Here& of) : here(of) {}
    TidyLater(const TidyLater&) = delete;
    TidyLater(TidyLater&&) = delete;
    TidyLater& operator=(const TidyLater&) = delete;
    TidyLater& operator=(TidyLater&&) = delete;
    ~TidyLater() {
      if (here.pool.has_failed()) here.renewer->tidy_soon();
      if (const auto time = here.pool.take_plan()) here.renewer->tidy_by(*time);
    }
  };

  const Endpoint endpoint_;
  redisContext* const borrowed_ = nullptr;
  const unsigned made_in_ = process_generation();
  ProcessLocal<Here> here_{[this] { return std::make_unique<Here>(endpoint_); }};
};

/// A Core over a connection of the caller. Throws std::invalid_argument if it cannot be used.
[[nodiscard]] inline std::shared_ptr<Core> borrow(redisContext* context) {
  require(context != nullptr, "context must not be null");
  require((context->flags & REDIS_BLOCK) != 0, "context must be a blocking one");
  return std::make_shared<Core>(context);
}

}  // namespace redis_lock::detail
