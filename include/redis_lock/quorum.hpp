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
class REDIS_LOCK_CAPABILITY("mutex") QuorumLock : public BasicLock<detail::Majority> {
 public:
  /// The nodes in the same order wherever the name is used: waiters queue at the first that is there.
  /// Checks its arguments, without I/O. Throws std::invalid_argument, which names what is wrong: fewer
  /// than three nodes, an even number, the same server twice, one behind Sentinel or of a cluster; or
  /// options that a majority cannot keep (expire of no_expiry or under 10 ms, fencing, local_handoffs,
  /// replicas, deferred_unlock).
  QuorumLock(std::vector<Client> nodes, std::string name, Options options = {});

  /// Releases the lock if it is held, like unlock(), and waits for a running callback of this lock to return,
  /// unless that callback destroys the lock.
  ~QuorumLock() = default;

  /// The state of each node, in the order in which they were given: which fail, since when and why. A failing
  /// minority stops no operation, so this is where it is seen. No I/O: it is what the operations of all
  /// QuorumLocks over copies of these Clients found in this process. A node that was refused a right, say to
  /// release, fails until it has done the same again.
  [[nodiscard]] std::vector<NodeStatus> nodes() const;

 private:
  [[nodiscard]] static std::vector<std::shared_ptr<detail::ClientState>> cores_of(
      const std::vector<Client>& nodes);
};

}  // namespace redis_lock

#ifdef REDIS_LOCK_SEPARATE_COMPILATION
extern template class redis_lock::BasicLock<redis_lock::detail::Majority>;
#else
#include <redis_lock/detail/impl/quorum.hpp>
#endif
