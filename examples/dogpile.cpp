// The dogpile: a cached value is gone and many callers want it at once. One of them computes it,
// under a lock; the others wait for its result instead of computing it again.
//
// Prints:
//   8 callers got "the report"; it was computed 1 time
//   and one more finds it in the cache

#include <atomic>
#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  redis_lock::Cache cache{redis_lock::Client{redis_url(argc, argv)}, "example:cache:"};
  cache.erase("report");

  std::atomic<int> computed{0}, served{0};
  const auto caller = [&] {
    const auto report = cache.get_or_create("report", 60s, [&computed] {
      ++computed;
      std::this_thread::sleep_for(200ms);  // a slow query
      return std::string{"the report"};
    });
    if (report == "the report") ++served;
  };
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) callers.emplace_back(caller);
  for (auto& thread : callers) thread.join();

  std::cout << served << " callers got \"the report\"; it was computed " << computed << " time\n";
  if (cache.get("report") == "the report") std::cout << "and one more finds it in the cache\n";
  cache.erase("report");
} catch (const std::exception& error) {
  std::cerr << "dogpile: " << error.what() << '\n';
  return 1;
}
