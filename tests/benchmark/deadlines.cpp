/// How late timed waits end, and how late a waiter goes on after a holder that crashed: ten idle servers with the
/// default hz of 10, one waiter each, at random phase.

#include <iterator>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <redis_lock/lock.hpp>

#include "measure.hpp"
#include "support/redis.hpp"

namespace {

using namespace redis_lock_benchmark;
using std::chrono::milliseconds;

constexpr int servers = 10, tries_on_each = 12;

double ms(Clock::duration time) { return microseconds(time) / 1000; }

/// Runs `one_try(server, client)`, which returns milliseconds, many times at random phase.
template <class Try>
Samples measure(Transport transport, const Try& one_try) {
  Samples all;
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < servers; ++i) {
    threads.emplace_back([&, i] {
      const RedisServer server{transport};
      redis_lock_test::Redis redis{server.endpoint()};
      const redis_lock::Client client{server.endpoint()};
      std::mt19937 random{i};
      for (int j = 0; j < tries_on_each; ++j) {
        std::this_thread::sleep_for(milliseconds{random() % 100});
        const auto late = one_try(redis, client);
        const std::lock_guard guard{mutex};
        all.push_back(late);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return all;
}

void report_late(const std::string& figure, const std::string& where, const Samples& late) {
  report(figure + "_median_ms", where, {median(late)});
  report(figure + "_p99_ms", where, {quantile(late, 0.99)});
}

}  // namespace

int main() {
  for (const auto transport : transports) {
    for (const auto limit : {250ms, 1000ms, 3500ms}) {
      const auto late = measure(
          transport, [limit](redis_lock_test::Redis& redis, const redis_lock::Client& client) {
            redis.string("SET", "lock:held", "another", "PX", 60000LL);
            redis_lock::Lock lock{client, "held"};
            const auto end = Clock::now() + limit;
            (void)lock.try_lock_for(limit);
            return ms(Clock::now() - end);
          });
      report_late("deadline_late",
                  std::string(name_of(transport)) + ", " + std::to_string(limit.count()) + " ms",
                  late);
    }
    const auto late =
        measure(transport, [](redis_lock_test::Redis& redis, const redis_lock::Client& client) {
          redis_lock::Lock lock{client, "crashed"};
          const auto end = Clock::now() + 400ms;
          redis.string("SET", "lock:crashed", "another", "PX", 400LL);
          lock.lock();
          const auto acquired = Clock::now();
          lock.unlock();
          return ms(acquired - end);
        });
    report_late("crash_late", name_of(transport), late);
  }
}
