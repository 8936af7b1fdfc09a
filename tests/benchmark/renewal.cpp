/// 10,000 locks held by one process under renewal: what that costs the client, and how the renewals spread
/// over time.

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>

#include <redis_lock/lock.hpp>

#include "measure.hpp"
#include "support/no_lock_analysis.hpp"

namespace {

using namespace redis_lock_benchmark;

double cpu_microseconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
}

double threads_of_this_process() { return number_in("/proc/self/status", "Threads:"); }

}  // namespace

int main() {
  constexpr int count = 10'000;
  constexpr int periods = 3;
  const RedisServer server;
  redis_lock_test::Redis redis{server.endpoint()};
  (void)redis.info("connected_clients");
  {
    const redis_lock::Client client{server.endpoint()};
    std::vector<std::unique_ptr<redis_lock::Lock>> locks;
    for (int i = 0; i < count; ++i) {
      locks.push_back(std::make_unique<redis_lock::Lock>(client, "renewed-" + std::to_string(i)));
      locks.back()->lock();
    }
    Samples cpu, threads, connections;
    for (int period = 0; period < periods; ++period) {
      // A period of renewal is a third of the lease, so 10 s.
      const auto start = Clock::now();
      const auto cpu_before = cpu_microseconds();
      std::this_thread::sleep_for(10s);
      cpu.push_back((cpu_microseconds() - cpu_before) / microseconds(Clock::now() - start) * 100);
      threads.push_back(threads_of_this_process() - 1);
      connections.push_back(static_cast<double>(redis.info("connected_clients") - 1));
    }
    // One more period with a look each 100 ms: what the busiest of those renewed.
    Samples renewals;
    for (int i = 0; i < 100; ++i) {
      const auto before = redis.calls_of("evalsha");
      std::this_thread::sleep_for(100ms);
      renewals.push_back(static_cast<double>(redis.calls_of("evalsha") - before));
    }
    for (const auto& lock : locks) {
      if (!lock->owns_lock()) return 1;
    }
    report("renewal_cpu_percent", "10,000 locks", cpu);
    report("renewal_threads", "10,000 locks", threads);
    report("renewal_connections", "10,000 locks", connections);
    report("renewals_each_100_ms", "10,000 locks", renewals);
  }
}
