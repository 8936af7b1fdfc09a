/// 10,000 locks, or readings, held by one process under renewal: what that costs the client, and how the renewals
/// spread over time.

#include <string>
#include <thread>

#include <sys/resource.h>

#include <redis_lock/lock.hpp>

#include "measure.hpp"
#include "renewed.hpp"
#include "sharing.hpp"

namespace {

using namespace redis_lock_benchmark;

constexpr int count = 10'000;

double cpu_microseconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
}

/// `name_of(i)` is the name of one of them. Returns whether all were renewed.
template <class Locking, class NameOf>
bool measure(const std::string& where, NameOf name_of) {
  constexpr int periods = 3;
  const RedisServer server;
  redis_lock_test::Redis redis{server.endpoint()};
  redis.reset_stats();  // connects
  const Renewed<Locking> locks{server, count, {}, name_of};
  Samples cpu, threads, connections;
  for (int period = 0; period < periods; ++period) {
    // A period of renewal is a third of the lease, so 10 s.
    const auto start = Clock::now();
    const auto cpu_before = cpu_microseconds();
    std::this_thread::sleep_for(10s);
    cpu.push_back((cpu_microseconds() - cpu_before) / microseconds(Clock::now() - start) * 100);
    threads.push_back(locks.threads());
    connections.push_back(locks.connections());
  }
  // One more period with a look each 100 ms: what the busiest of those renewed.
  Samples renewals;
  for (int i = 0; i < 100; ++i) {
    const auto before = redis.calls_of("evalsha");
    std::this_thread::sleep_for(100ms);
    renewals.push_back(static_cast<double>(redis.calls_of("evalsha") - before));
  }
  if (!locks.all_owned()) return false;
  report("renewal_cpu_percent", where, cpu);
  report("renewal_threads", where, threads);
  report("renewal_connections", where, connections);
  report("renewals_each_100_ms", where, renewals);
  return true;
}

}  // namespace

int main() {
  const bool all_locks = measure<redis_lock::Lock>(
      "10,000 locks", [](int i) { return "renewed-" + std::to_string(i); });
  const bool all_readings =
      measure<ReaderLock>("10,000 readings of one SharedLock", [](int) { return "renewed"; });
  return all_locks && all_readings ? 0 : 1;
}
