/// What a waiter costs while it waits behind a long holder: how often its thread wakes up for each slice
/// (a slice ends with one SET, so the server counts them).

#include <string>
#include <thread>
#include <vector>

#include <sys/syscall.h>
#include <unistd.h>

#include <redis_lock/lock.hpp>

#include "measure.hpp"
#include "support/no_lock_analysis.hpp"

namespace {

using namespace redis_lock_benchmark;

/// How often a thread of this process has gone to sleep of its own will.
double voluntary_switches(pid_t thread) {
  return number_in("/proc/self/task/" + std::to_string(thread) + "/status",
                   "voluntary_ctxt_switches:");
}

}  // namespace

int main() {
  constexpr int waiters = 16;
  const RedisServer server;
  const redis_lock::Client client{server.endpoint()};
  redis_lock_test::Redis redis{server.endpoint()};
  redis_lock::Lock holder{client, "idle"};
  holder.lock();
  std::vector<std::thread> threads;
  std::vector<std::atomic<pid_t>> ids(waiters);
  for (auto& id : ids) {
    threads.emplace_back([&] {
      id = static_cast<pid_t>(::syscall(SYS_gettid));
      redis_lock::Lock lock{client, "idle"};
      lock.lock();
      lock.unlock();
    });
  }
  const auto all_wait = [&] { return redis.info("blocked_clients") == waiters; };
  if (!redis_lock_test::eventually(all_wait)) return 1;

  const auto switches = [&] {
    double sum = 0;
    for (const auto& id : ids) sum += voluntary_switches(id);
    return sum;
  };
  Samples per_slice, per_second;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const auto start = Clock::now();
    const auto switches_before = switches();
    const auto slices_before = redis.calls_of("set");
    std::this_thread::sleep_for(9s);
    const auto woken = switches() - switches_before;
    per_slice.push_back(woken / static_cast<double>(redis.calls_of("set") - slices_before));
    per_second.push_back(woken / waiters / (microseconds(Clock::now() - start) / 1e6));
  }
  holder.unlock();
  for (auto& thread : threads) thread.join();
  report("idle_wake_ups", "16 waiters", per_slice);
  report("idle_wake_ups_per_second", "16 waiters", per_second);
}
