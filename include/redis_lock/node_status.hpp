#pragma once

#include <chrono>
#include <string>
#include <system_error>

namespace redis_lock {

/// State of one node of a QuorumLock: see QuorumLock::nodes().
struct NodeStatus {
  /// Address: "host:port", or the path of the Unix socket.
  std::string address{};
  /// Whether it fails at no kind of request. Default true, also for a node that was not asked yet.
  bool works = true;
  /// Since when it has failed. time_point{} if it works.
  std::chrono::steady_clock::time_point failing_since{};
  /// Errc: connection_failed, timed_out, authentication_failed, server_error or protocol_error. No
  /// error if it works.
  std::error_code error{};
  /// What failed, and why, with the server's own words if it said any. Never contains a password.
  /// Empty if it works.
  std::string reason{};
};

}  // namespace redis_lock
