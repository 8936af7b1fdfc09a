#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_jthread
#include <stop_token>
#endif

#include <redis_lock/client.hpp>
#include <redis_lock/detail/base/callback.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/base/thread_safety.hpp>
#include <redis_lock/detail/lock/core.hpp>
#include <redis_lock/detail/lock/lockable.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/quorum/holder.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>
#include <redis_lock/node_status.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock {

/// A Lock on the majority of several independent servers, three or five (the Redlock algorithm): it goes
/// on working while any minority of them is down, frozen or out of reach. Members and promises are those
/// of Lock, and so are the keys on each node; but a Lock on one node does not exclude a QuorumLock.
///
/// All nodes are asked at once, and a round is over as soon as a majority has decided. A node that
/// does not answer is left out until it does, at no cost to the rounds in between. What a
/// failed round was granted goes back at once, everywhere.
///
/// The lease is certain for expire − 1 % − 2 ms, counted on the steady clock from before it was asked
/// for. That rests on the nodes' clocks running at nearly the same rate, and says nothing to a store
/// that a paused holder writes to: there are no fencing tokens here. Read docs/quorum.md on when one
/// Redis with fencing is the better choice.
///
/// When nodes are away: with a majority, nothing changes. Without, an operation goes on connecting for
/// the smallest Endpoint::retry_for and then throws what the nodes said: errc::connection_failed,
/// errc::timed_out, errc::authentication_failed or errc::server_error; what() has how many. A round waits
/// for a node that it needs for the least connect_timeout or command_timeout, or expire/10 if that is less
/// (but 20 ms). If an acquisition throws, nothing was acquired, and nothing stays behind beyond the lease.
/// nodes() tells which nodes fail.
///
/// A lock can be lost while it is held: when the lease ends, or if a majority of the nodes has it no more. Without
/// Options::on_lost or lost_token(), only owns_lock() of the QuorumLock tells the loss. **owns_lock() of a guard such as
/// std::unique_lock stays true after a loss: ask the QuorumLock.** unlock() throws nothing: it tells a loss to
/// Options::on_error, and is silent without it, like ~QuorumLock().
///
///     Options options;
///     options.on_lost = [](std::error_code) { stop_working(); };
///     QuorumLock lock{{"redis://a", "redis://b", "redis://c"}, "name", options};
///     std::unique_lock guard{lock};
///     while (lock.owns_lock() && more_work()) work();  // not guard.owns_lock()
class REDIS_LOCK_CAPABILITY("mutex") QuorumLock {
 public:
  /// The nodes in the same order wherever the name is used: waiters queue at the first that is there.
  /// Checks its arguments, without I/O. Throws std::invalid_argument, which names what is wrong: fewer
  /// than three nodes, an even number, the same server twice, one behind Sentinel or of a cluster; or
  /// options that a majority cannot keep (expire of no_expiry or under 10 ms, fencing, local_handoffs,
  /// replicas, deferred_unlock).
  QuorumLock(std::vector<Client> nodes, std::string name, Options options = {})
      : holder_(checked_cores(nodes), name, checked_options(name, std::move(options))) {}

  /// Releases what is still held, as unlock() does, and waits for a running callback of this lock to return,
  /// unless that callback destroys the lock.
  ~QuorumLock() {
    const detail::CancellationPause no_cancellation;
    if (holder_.current()) unlock();
    holder_.await_callback();
  }

  /// Neither copied nor moved; but a function may return one.
  QuorumLock(const QuorumLock&) = delete;
  /// The same.
  QuorumLock& operator=(const QuorumLock&) = delete;

  /// Blocks until the lock is acquired. Waits on one node, in order of arrival there; asks all anew at
  /// least every 3 seconds. Throws Error, also with errc::no_thread if the thread that renews cannot be
  /// started; std::system_error with resource_deadlock_would_occur if this thread holds it.
  void lock() REDIS_LOCK_ACQUIRE { (void)holder_.acquire("lock", detail::never, detail::never); }

  /// One attempt, one round trip; a few more if others try at the very same time. False: someone else
  /// holds it or is about to, and nothing else. Throws Error.
  [[nodiscard]] bool try_lock() REDIS_LOCK_TRY_ACQUIRE {
    return holder_.acquire("try_lock", detail::Time::min(), detail::never);
  }

  /// As try_lock_until(now + duration), for any duration: zero and negative ones try once, huge ones
  /// wait for ever.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& duration)
      REDIS_LOCK_TRY_ACQUIRE {
    return acquire_until(detail::after(detail::Time::clock::now(), duration));
  }

  /// Blocks until the lock is acquired (true) or the deadline has passed (false), of any clock; tries
  /// at least once. False is never early, and late by no more than a few round trips; before Redis 6.0,
  /// by a fraction of a second. Throws Error; without a majority, not much after the deadline.
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& deadline)
      REDIS_LOCK_TRY_ACQUIRE {
    if constexpr (!Clock::is_steady) {
      const std::function<detail::Time()> look = [&] { return detail::steady_now(deadline); };
      return acquire_until(detail::Deadline{look});
    }
    while (!acquire_until(detail::steady(deadline))) {
      if (detail::has_passed(deadline))
        return false;  // otherwise that clock was set back meanwhile
    }
    return true;
  }

  /// Frees the lock on all nodes, and wakes the first waiter: one round trip. Never throws: what fails
  /// goes to Options::on_error, as with Lock. A node that is away is released when it is back, as long
  /// as a copy of its Client lives, or else by the lease.
  void unlock() noexcept REDIS_LOCK_RELEASE {
    const detail::CancellationPause no_cancellation;
    try {
      holder_.release();
    } catch (const Error& error) {
      detail::call_back(holder_.options().on_error, error);
    } catch (const std::exception& error) {
      detail::call_back_about(holder_.options().on_error, error);
    }
  }

  /// The same without exceptions: `error` says what the other would throw. It is cleared on success.
  /// (Not annotated for thread-safety analysis, which has no word for "acquired unless error".)
  void lock(std::error_code& error) noexcept {
    detail::without_exceptions(
        error, [this] { return holder_.acquire("lock", detail::never, detail::never); });
  }
  /// As try_lock(). If `error` is set, Redis could not be asked, and false says nothing of the holder.
  [[nodiscard]] bool try_lock(std::error_code& error) noexcept REDIS_LOCK_TRY_ACQUIRE {
    return detail::without_exceptions(
        error, [this] { return holder_.acquire("try_lock", detail::Time::min(), detail::never); });
  }
  /// As unlock(), but what fails goes to `error` instead of Options::on_error.
  void unlock(std::error_code& error) noexcept REDIS_LOCK_RELEASE {
    detail::without_exceptions(error, [this] { return holder_.release(), true; });
  }

#ifdef __cpp_lib_jthread
  /// As lock(), until stop is requested: false, and nothing was acquired.
  [[nodiscard]] bool lock(std::stop_token token) REDIS_LOCK_TRY_ACQUIRE {
    if (token.stop_requested()) return false;
    detail::Cancellation cancellation;
    const std::stop_callback callback{token, [&] {
                                        cancellation.request();
                                        holder_.interrupt();
                                      }};
    return holder_.acquire("lock", detail::never, detail::never, &cancellation);
  }

  /// Stop is requested where on_lost is called, for the present acquisition. A token that is never
  /// stopped if the lock is not held. No I/O. Throws Error with errc::no_thread if the thread that watches the
  /// lease cannot be started.
  [[nodiscard]] std::stop_token lost_token() const {
    const auto hold = holder_.current();
    if (!hold) return {};
    holder_.watch(hold);
    return detail::lost_token(*hold);
  }
#endif

  /// Sets the lease to Options::expire from now, on a majority: one round trip. Throws Error:
  /// errc::not_owned, errc::lease_lost (a lost key is never re-created), errc::not_expirable, or as for
  /// lock().
  void extend() { holder_.extend(holder_.options().expire); }

  /// The same with a lease of its own. With auto_renewal the next renewals return to Options::expire.
  /// Throws std::invalid_argument if it is not positive, or no_expiry.
  void extend(std::chrono::milliseconds lease) {
    detail::require(lease > lease.zero() && lease != no_expiry,
                    "lease must be positive and finite");
    holder_.extend(detail::limited(lease));
  }

  /// Is the lock held, and its lease not over? No I/O. True means that nobody else can have acquired
  /// the lock before expires_at(); by the time the answer is used, that may be over.
  [[nodiscard]] bool owns_lock() const noexcept {
    const auto hold = holder_.current();
    return hold && hold->owned();
  }

  /// Why the present or latest acquisition was lost; LossReason::none if it was not. Also for use in
  /// Options::on_lost. The words for it are in the errors of unlock() and extend(), and in Event::message. No I/O.
  [[nodiscard]] LossReason loss_reason() const noexcept { return holder_.loss_reason(); }

  /// When owns_lock() becomes false unless the lease is extended: until then no other holder can have the
  /// lock. This is the end of what is certain of the lease, for watched locks earlier as Lock::expires_at() says.
  /// time_point::min() if the lock is not held. No I/O.
  [[nodiscard]] std::chrono::steady_clock::time_point expires_at() const noexcept {
    const auto hold = holder_.current();
    return detail::to_steady(hold ? hold->owned_until() : detail::Time::min());
  }

  /// Asks the nodes whether anyone holds the lock, on a majority. Throws Error.
  [[nodiscard]] bool locked() { return holder_.owner("locked").has_value(); }

  /// Asks the nodes for the id of the holder, whom a majority must name. Throws Error.
  [[nodiscard]] std::optional<std::string> owner() { return holder_.owner("owner"); }

  /// Frees the name whoever holds it, on all nodes that answer, and wakes a waiter; says whether it was
  /// held on any. For clearing up by hand: it breaks mutual exclusion. Throws Error if no majority
  /// answers; the others are freed then nevertheless.
  bool reset() { return holder_.reset(); }

  /// The state of each node, in the order in which they were given: which fail, since when and why. A failing
  /// minority stops no operation, so this is where it is seen. No I/O: it is what the operations of all
  /// QuorumLocks over copies of these Clients found in this process. A node that was refused a right, say to
  /// release, fails until it has done the same again.
  [[nodiscard]] std::vector<NodeStatus> nodes() const { return holder_.nodes(); }

  /// The name, as it was given. No I/O.
  [[nodiscard]] const std::string& name() const noexcept { return holder_.name(); }

  /// The id of the present or latest acquisition, the same on all nodes; before the first, Options::id.
  [[nodiscard]] std::string id() const { return holder_.id(); }

 private:
  [[nodiscard]] static std::vector<std::shared_ptr<detail::Core>> checked_cores(
      const std::vector<Client>& nodes) {
    detail::require(nodes.size() >= 3, "nodes must be three or more");
    detail::require(
        nodes.size() % 2 == 1,
        "nodes must be of odd number: one more than an odd number bears no more failures");
    std::vector<std::shared_ptr<detail::Core>> cores;
    for (const auto& node : nodes) {
      const auto& endpoint = node.core_->endpoint();
      detail::require(!endpoint.sentinel && endpoint.cluster.empty(),
                      "nodes must be single servers: a failover of one could undo its vote");
      for (const auto& core : cores) {
        detail::require(core != node.core_, "nodes must not contain copies of one Client");
        const auto& other = core->endpoint();
        const bool is_same = endpoint.unix_socket == other.unix_socket &&
                             (!endpoint.unix_socket.empty() ||
                              (endpoint.host == other.host && endpoint.port == other.port));
        detail::require(!is_same, "nodes must be different servers: two of them have one address");
      }
      cores.push_back(node.core_);
    }
    return cores;
  }

  [[nodiscard]] static Options checked_options(const std::string& name, Options options) {
    detail::require(options.expire != no_expiry,
                    "expire must not be no_expiry: a node that was away for the release would hold "
                    "the lock for ever");
    options = detail::checked(name, std::move(options), false);
    detail::require(options.expire >= std::chrono::milliseconds{10},
                    "expire must be at least 10 ms on several nodes");
    detail::require(!options.fencing,
                    "fencing is not possible on several nodes: no counter is common to them");
    detail::require(options.local_handoffs == 0,
                    "local_handoffs are not possible on several nodes");
    detail::require(options.replicas.min_acks == 0,
                    "replicas are not possible on several nodes: these are to have none");
    detail::require(
        !options.deferred_unlock,
        "deferred_unlock is not possible on several nodes: only the answers of a majority "
        "tell whether the lock was still held");
    return options;
  }

  [[nodiscard]] bool acquire_until(const detail::Deadline& deadline) {
    return holder_.acquire("try_lock", deadline, deadline);
  }

  detail::QuorumHolder holder_;
};

}  // namespace redis_lock
