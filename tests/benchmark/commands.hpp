#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <redis_lock/lock.hpp>
#include <redis_lock/semaphore.hpp>
#include <redis_lock/shared_lock.hpp>

#include "measure.hpp"
#include "sharing.hpp"
#include "support/eventually.hpp"
#include "support/redis.hpp"
#include "support/redis_server.hpp"

namespace redis_lock_benchmark {

/// How often the server ran each command, in the mean. Those inside scripts count too.
using Calls = std::map<std::string, double>;

[[nodiscard]] inline Calls calls_between(const std::map<std::string, long long>& before,
                                         const std::map<std::string, long long>& after, int count) {
  Calls each;
  for (const auto& [command, calls] : after) {
    const auto found = before.find(command);
    const auto more = calls - (found == before.end() ? 0 : found->second);
    if (more > 0) each[command] = static_cast<double>(more) / count;
  }
  return each;
}

/// What the server ran for each acquisition, while `waiters` threads waited, and so many others held what `make(i)`
/// gives thread i; by turns. `all` keeps everyone out at the beginning.
template <class All, class Make>
Calls contended_calls(const redis_lock_test::RedisServer& server, All& all, int holders,
                      int waiters, int acquisitions, Make make,
                      std::chrono::microseconds section = {}) {
  redis_lock_test::Redis redis{server.endpoint()};
  redis.reset_stats();  // connects, before the crowd fills the server's queue
  std::map<std::string, long long> before, after;
  std::atomic<bool> stop{false};
  std::atomic<int> acquired{0};

  all.lock();
  std::vector<std::thread> threads;
  for (int i = 0; i < holders + waiters; ++i) {
    threads.emplace_back([&, i] {
      const auto lock = make(i);
      while (!stop) {
        lock->lock();
        // The counts are taken inside the section, while all others wait.
        const int earlier = acquired++;
        if (earlier == waiters) before = redis.calls();
        if (earlier == waiters + acquisitions) {
          after = redis.calls();
          stop = true;
        }
        if (section.count() > 0) std::this_thread::sleep_for(section);
        lock->unlock();
      }
    });
  }
  const bool all_wait = redis_lock_test::eventually(
      [&] { return redis.info("blocked_clients") == holders + waiters; });
  all.unlock();
  for (auto& thread : threads) thread.join();
  if (!all_wait) throw std::runtime_error("the waiters did not come to Redis");
  return calls_between(before, after, acquisitions);
}

inline Calls commands_per_acquisition(const redis_lock_test::RedisServer& server, int waiters,
                                      int acquisitions) {
  const redis_lock::Client client{server.endpoint()};
  redis_lock::Lock all{client, "contended"};
  return contended_calls(server, all, 1, waiters, acquisitions, [&](int) {
    return std::make_unique<redis_lock::Lock>(client, "contended");
  });
}

/// Of a SharedLock; so many of a hundred acquisitions are readings.
inline Calls commands_per_shared_acquisition(const redis_lock_test::RedisServer& server,
                                             int percent_readers, int waiters, int acquisitions) {
  const redis_lock::Client client{server.endpoint()};
  redis_lock::SharedLock all{client, "contended"};
  return contended_calls(server, all, 1, waiters, acquisitions, [&](int i) {
    return std::make_unique<MixedLock>(client, "contended", Mixture{i, percent_readers});
  });
}

/// Of a Semaphore. Sections take some time, as otherwise holders that are on their way leave permits free.
inline Calls commands_per_permit(const redis_lock_test::RedisServer& server, int permits,
                                 int waiters, int acquisitions) {
  const redis_lock::Client client{server.endpoint()};
  const auto count = static_cast<std::size_t>(permits);
  AllPermits all{client, "contended", count};
  const auto make = [&](int) {
    return std::make_unique<redis_lock::Semaphore>(client, "contended", count);
  };
  return contended_calls(server, all, permits, waiters, acquisitions, make, 1ms);
}

/// What the server read and ran for each lock and unlock of one thread.
struct CycleOnServer {
  double requests;  // reads from its sockets: one for each write of the client
  Calls calls;
};

template <class Locking>
CycleOnServer cycle_on_server(const redis_lock_test::RedisServer& server, Locking& lock) {
  constexpr int count = 100;
  redis_lock_test::Redis redis{server.endpoint()};
  cycle(lock);  // connects, and makes the scripts known
  const auto before = redis.calls();
  const auto reads_before = redis.info("total_reads_processed");
  cycle(lock, count);
  const auto reads = redis.info("total_reads_processed") - reads_before - 1;  // without that INFO
  return {static_cast<double>(reads) / count, calls_between(before, redis.calls(), count)};
}

[[nodiscard]] inline double sum(const Calls& calls) {
  double total = 0;
  for (const auto& [command, each] : calls) total += each;
  return total;
}

}  // namespace redis_lock_benchmark
