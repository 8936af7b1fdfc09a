/// Eight threads that share one Lock, with an empty section: acquisitions each second, by
/// local_handoffs, and of a std::timed_mutex in its place.

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <redis_lock/lock.hpp>

#include "measure.hpp"

namespace {

using namespace redis_lock_benchmark;

constexpr int repetitions = 15;

template <class Mutex>
double rate(Mutex& mutex) {
  std::atomic<bool> stop{false};
  long long acquired = 0;  // guarded by the mutex
  std::vector<std::thread> threads;
  const auto start = Clock::now();
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        mutex.lock();
        ++acquired;
        mutex.unlock();
      }
    });
  }
  std::this_thread::sleep_for(300ms);
  stop = true;
  for (auto& thread : threads) thread.join();
  return static_cast<double>(acquired) / microseconds(Clock::now() - start);
}

redis_lock::Options with_handoffs(unsigned count) {
  redis_lock::Options options;
  options.local_handoffs = count;
  return options;
}

}  // namespace

int main() {
  for (const auto transport : transports) {
    const RedisServer server{transport};
    const redis_lock::Client client{server.endpoint()};
    redis_lock::Lock none{client, "shared"}, some{client, "shared", with_handoffs(64)},
        many{client, "shared", with_handoffs(4096)};
    std::timed_mutex mutex;
    Samples some_over_none, many_over_mutex, none_over_mutex, some_over_mutex;
    for (int i = 0; i < repetitions; ++i) {
      const double without = rate(none), with_64 = rate(some), with_4096 = rate(many),
                   in_memory = rate(mutex);
      some_over_none.push_back(with_64 / without);
      many_over_mutex.push_back(with_4096 / in_memory);
      none_over_mutex.push_back(without / in_memory);
      some_over_mutex.push_back(with_64 / in_memory);
    }
    const std::string where = name_of(transport);
    report("local_64_over_0", where, some_over_none);
    report("local_4096_over_mutex", where, many_over_mutex);
    report("local_64_over_mutex", where, some_over_mutex);
    report("local_0_over_mutex", where, none_over_mutex);
  }
}
