#pragma once

#include <chrono>
#include <string>
#include <system_error>

namespace redis_lock {

/// The state of one node of a QuorumLock: see QuorumLock::nodes(). A node works if it did what it was asked last.
struct NodeStatus {
  /// "host:port", or the path of the Unix socket.
  std::string address{};
  /// Default true, also for a node that was not asked yet.
  bool works = true;
  /// Since when it has failed at what is in `reason`. time_point{} if it works.
  std::chrono::steady_clock::time_point failing_since{};
  /// An errc: connection_failed, timed_out, authentication_failed, server_error or protocol_error. No error if
  /// it works.
  std::error_code error{};
  /// What failed, and why, in the server's own words if it said any. Never a password. Empty if it works.
  std::string reason{};
};

}  // namespace redis_lock
