#pragma once

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <redis_lock/lock.hpp>

#include "support/eventually.hpp"
#include "support/redis.hpp"
#include "support/redis_server.hpp"

namespace redis_lock_benchmark {

/// What the server ran for each acquisition, by command, while one thread held the lock and `waiters` others
/// waited for it, by turns and without a pause, with Lock objects of their own. Those inside the script count too.
inline std::map<std::string, double> commands_per_acquisition(
    const redis_lock_test::RedisServer& server, int waiters, int acquisitions) {
  const redis_lock::Client client{server.endpoint()};
  redis_lock_test::Redis redis{server.endpoint()};
  redis.reset_stats();  // connects, before the crowd fills the server's queue
  redis_lock::Lock first{client, "contended"};
  std::map<std::string, long long> before, after;
  std::atomic<bool> stop{false};
  int acquired = 0;  // guarded by the lock

  first.lock();
  std::vector<std::thread> threads;
  for (int i = 0; i <= waiters; ++i) {
    threads.emplace_back([&] {
      redis_lock::Lock lock{client, "contended"};
      while (!stop) {
        lock.lock();
        // The counts are taken inside the section, while all others wait.
        if (acquired == waiters) before = redis.calls();
        if (acquired == waiters + acquisitions) {
          after = redis.calls();
          stop = true;
        }
        ++acquired;
        lock.unlock();
      }
    });
  }
  const bool all_wait =
      redis_lock_test::eventually([&] { return redis.info("blocked_clients") == waiters + 1; });
  first.unlock();
  for (auto& thread : threads) thread.join();
  if (!all_wait) throw std::runtime_error("the waiters did not come to Redis");

  std::map<std::string, double> each;
  for (const auto& [command, calls] : after) {
    if (calls > before[command])
      each[command] = static_cast<double>(calls - before[command]) / acquisitions;
  }
  return each;
}

[[nodiscard]] inline double sum(const std::map<std::string, double>& calls) {
  double total = 0;
  for (const auto& [command, each] : calls) total += each;
  return total;
}

}  // namespace redis_lock_benchmark
