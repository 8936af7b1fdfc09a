#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <vector>

#include <redis_lock/options.hpp>

namespace redis_lock_test::campaign {

using namespace std::chrono_literals;

/// What a worker contends for.
enum class Kind { lock, shared_lock, semaphore };

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
  Kind kind = Kind::lock;
  std::size_t permits = 1;  ///< of a Semaphore

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
/// The leases of "slow", "steady", "archive" and "berths" are long, so their waiters may sleep for a whole slice, and
/// nobody comes by who takes what they were not woken for: a wake-up that is lost shows.
[[nodiscard]] inline const std::vector<Role>& roles() {
  static const std::vector<Role> all = [] {
    std::vector<Role> made(19);
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

    made[10] = {{"catalog"}, Link::unix_socket, 3, 600ms};
    made[10].share_locks = true;
    made[11] = {{"catalog"}, Link::first_proxy, 2, 900ms};
    made[12] = {{"catalog"}, Link::second_proxy, 2, 500ms, false};
    made[12].deferred_unlock = made[12].moved_clock = true;
    made[13] = {{"archive"}, Link::unix_socket, 3, 10s};
    made[13].share_locks = made[13].leisurely = true;
    made[14] = {{"archive"}, Link::tcp, 3, 10s};
    made[14].moved_clock = made[14].leisurely = true;
    for (std::size_t i = 10; i <= 14; ++i) made[i].kind = Kind::shared_lock;

    made[15] = {{"pool"}, Link::first_proxy, 3, 600ms, true, false};
    made[16] = {{"pool"}, Link::second_proxy, 3, 500ms, false, false};
    made[16].deferred_unlock = made[16].moved_clock = true;
    made[15].permits = made[16].permits = 3;
    made[17] = {{"berths"}, Link::unix_socket, 3, 10s, true, false};
    made[18] = {{"berths"}, Link::tcp, 2, 10s, true, false};
    made[17].permits = made[18].permits = 2;
    made[17].leisurely = made[18].leisurely = true;
    for (std::size_t i = 15; i <= 18; ++i) made[i].kind = Kind::semaphore;
    return made;
  }();
  return all;
}

/// One of those that contend for it.
[[nodiscard]] inline const Role& role_of(const std::string& name) {
  return *std::find_if(roles().begin(), roles().end(), [&](const Role& role) {
    return std::count(role.names.begin(), role.names.end(), name) > 0;
  });
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
