#pragma once

#include <memory>
#include <string>
#include <vector>

#include <redis_lock/basic_lock.hpp>
#include <redis_lock/client.hpp>
#include <redis_lock/detail/base/thread_safety.hpp>
#include <redis_lock/node_status.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {
class Majority;
}

namespace redis_lock {

/// Lock on the majority of several independent servers, three or five: the Redlock algorithm
/// (https://redis.io/docs/latest/develop/use/patterns/distributed-locks/). It works while any
/// minority of them is down, frozen or out of reach. Members, promises and the keys on each node
/// are those of Lock. But a Lock on one node does not exclude a QuorumLock. docs/quorum.md says
/// when one Redis with fencing is the better choice.
///
/// **Rounds.** All nodes are asked at once. A round is over as soon as a majority has decided. A
/// node that does not answer is left out until it does, and does not slow rounds down. If a round
/// fails, what it was granted is given back at once on all nodes.
///
/// **Lease.** The lease is certain for expire − 1 % − 2 ms, counted on the steady clock from before
/// it was asked for. That requires that the clocks of the nodes run at nearly the same rate. It
/// does not protect a store from a holder that was paused: there are no fencing tokens here.
///
/// **When nodes are away.** With a majority, nothing changes. Without one, an operation keeps
/// connecting for the smallest Endpoint::retry_for of the nodes. Then it throws what the nodes
/// said: errc::connection_failed, errc::timed_out, errc::authentication_failed or
/// errc::server_error; what() says how many failed. A round waits for a node that it needs for the
/// smallest of all connect_timeout and command_timeout, and no longer than expire/10 or 20 ms,
/// whichever is more. If an acquisition throws, nothing was acquired, and nothing stays on the
/// nodes beyond the lease. nodes() tells which nodes fail.
///
/// **Loss.** A lock can be lost while it is held: its lease ends, or a majority of the nodes has it
/// no more. Options::on_lost and lost_token() report a loss. Without them only owns_lock() of the
/// QuorumLock tells it. **owns_lock() of a guard such as std::unique_lock stays true after a loss:
/// ask the QuorumLock.** unlock() and ~QuorumLock() throw nothing: they report a loss to
/// Options::on_error, and are silent without it.
///
///     Options options;
///     options.on_lost = [](std::error_code) { stop_working(); };
///     QuorumLock lock{{"redis://a", "redis://b", "redis://c"}, "name", options};
///     std::unique_lock guard{lock};
///     while (lock.owns_lock() && more_work()) work();  // not guard.owns_lock()
class REDIS_LOCK_CAPABILITY("mutex") QuorumLock : public BasicLock<detail::Majority> {
 public:
  /// Checks the arguments. No I/O: the first operation connects. Give the nodes in the same order
  /// in all programs that use the name, because waiters queue at the first that answers. Throws
  /// std::invalid_argument, which says what is wrong: fewer than three nodes; an even number; the
  /// same server twice; a node behind Sentinel or of a cluster; or options that a majority cannot
  /// keep. These are an expire of no_expiry or under 10 ms, fencing, local_handoffs, replicas and
  /// deferred_unlock.
  QuorumLock(std::vector<Client> nodes, std::string name, Options options = {});

  /// Releases the lock like unlock(), if it is held. Waits until a running callback of this lock
  /// has returned, unless that callback destroys the lock.
  ~QuorumLock() = default;

  /// Returns the state of each node, in the order of the constructor: which fail, since when and
  /// why. A failing minority stops no operation, so look here to see it. No I/O: these are the
  /// findings of the operations of all QuorumLocks over copies of these Clients, in this process. A
  /// node that has failed at one kind of request, such as releasing, fails until it has done that
  /// kind again.
  [[nodiscard]] std::vector<NodeStatus> nodes() const;

 private:
  [[nodiscard]] static std::vector<std::shared_ptr<detail::ClientState>> states_of(
      const std::vector<Client>& nodes);
};

}  // namespace redis_lock

#ifdef REDIS_LOCK_SEPARATE_COMPILATION
extern template class redis_lock::BasicLock<redis_lock::detail::Majority>;
#else
#include <redis_lock/detail/impl/quorum.hpp>
#endif
