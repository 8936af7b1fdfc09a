#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <vector>

#include <redis_lock/options.hpp>

namespace redis_lock_test::campaign {

using namespace std::chrono_literals;

enum class Link { unix_socket, tcp, first_proxy, second_proxy };

/// What one worker process does. Few processes for each lock, so that a fault of one process leaves
/// other locks undisturbed: there the checker may ask for prompt wake-ups.
struct Role {
  std::vector<std::string> names;  ///< of the locks it contends for
  Link link = Link::unix_socket;
  int threads = 1;
  std::chrono::milliseconds lease{};
  bool renewed = true;
  bool fencing = true;
  bool deferred_unlock = false;
  unsigned local_handoffs = 0;
  bool share_locks = false;  ///< the threads use the same Lock objects
  bool moved_clock = false;  ///< its wall clock is moved now and then
  bool leisurely =
      false;  ///< holds for long, and pauses now and then for longer than a waiter's slice

  [[nodiscard]] redis_lock::Options options() const {
    redis_lock::Options options;
    options.expire = lease;
    options.auto_renewal = renewed;
    options.fencing = fencing;
    options.deferred_unlock = deferred_unlock;
    options.local_handoffs = local_handoffs;
    return options;
  }

  /// Without what only one server can do, so that QuorumLock has none of it.
  [[nodiscard]] Role without_one_server() const {
    auto role = *this;
    role.fencing = role.deferred_unlock = false;
    role.local_handoffs = 0;
    return role;
  }

  [[nodiscard]] std::string all_names() const {
    std::string all;
    for (const auto& name : names) all += (all.empty() ? "" : ",") + name;
    return all;
  }
};

/// On a cluster the locks are on all three masters: "slow" and "steady" on one each.
/// The leases of "slow" and "steady" are long, so their waiters may sleep for a whole slice, and nobody
/// comes by who takes what they were not woken for: a wake-up that is lost shows.
[[nodiscard]] inline const std::vector<Role>& roles() {
  static const std::vector<Role> all = [] {
    std::vector<Role> made(10);
    made[0] = {{"brief"}, Link::unix_socket, 2, 400ms, false};
    made[1] = {{"brief"}, Link::tcp, 2, 400ms, false};
    made[1].deferred_unlock = made[1].moved_clock = true;
    made[2] = {{"renewed"}, Link::first_proxy, 2, 900ms};
    made[3] = {{"renewed", "brief"}, Link::second_proxy, 2, 600ms};
    made[3].moved_clock = true;
    made[4] = {{"slow"}, Link::unix_socket, 1, 10s};
    made[5] = {{"slow"}, Link::tcp, 1, 10s};
    made[5].moved_clock = true;
    made[4].leisurely = made[5].leisurely = true;
    made[6] = {{"shared"}, Link::unix_socket, 3, 1s, true, false};
    made[6].local_handoffs = 5;
    made[6].share_locks = true;
    made[7] = {{"shared", "renewed"}, Link::tcp, 2, 1s, false, false};
    made[7].deferred_unlock = true;
    made[8] = made[4];
    made[9] = made[5];
    made[8].names = made[9].names = {"steady"};
    return made;
  }();
  return all;
}

/// Of all roles.
[[nodiscard]] inline std::vector<std::string> lock_names() {
  std::vector<std::string> names;
  for (const auto& role : roles()) names.insert(names.end(), role.names.begin(), role.names.end());
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

/// On a cluster in the slot of the lock.
[[nodiscard]] inline std::string ledger_of(const std::string& name) {
  return "ledger:{" + name + '}';
}

}  // namespace redis_lock_test::campaign
