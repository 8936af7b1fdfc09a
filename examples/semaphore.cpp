// A semaphore: at most three exports run at a time, on any host, because each is a burden on the
// database. The others wait until one of them has ended.
//
// Prints:
//   3 exports run, 0 permits are left
//   the fourth does not wait now: false
//   one export ends, and the fourth runs
//   8 exports have run, at most 3 at a time

#include <atomic>
#include <chrono>
#include <iostream>
#include <mutex>
#include <thread>
#include <vector>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

namespace {

using namespace std::chrono_literals;
constexpr std::size_t limit = 3;  // all programs name the same number

void run_exports(const redis_lock::Client& client) {
  std::atomic<int> running{0}, most{0}, done{0};
  const auto process = [&] {  // a thread of this program stands for it
    redis_lock::Semaphore exports{client, "example:exports", limit};
    const std::lock_guard permit{exports};
    const int now = ++running;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
    }
    std::this_thread::sleep_for(20ms);  // the export
    --running;
    ++done;
  };
  std::vector<std::thread> processes;
  for (int i = 0; i < 8; ++i) processes.emplace_back(process);
  for (auto& one : processes) one.join();
  std::cout << done << " exports have run, " << (most <= 3 ? "at most 3" : "too many")
            << " at a time\n";
}

}  // namespace

int main(int argc, char** argv) try {
  const redis_lock::Client client{redis_url(argc, argv)};
  redis_lock::Semaphore first{client, "example:exports", limit};
  redis_lock::Semaphore second{client, "example:exports", limit};
  redis_lock::Semaphore third{client, "example:exports", limit};
  redis_lock::Semaphore fourth{client, "example:exports", limit};

  std::unique_lock one{first}, two{second}, three{third};
  std::cout << "3 exports run, " << first.available() << " permits are left\n";
  std::unique_lock four{fourth, std::try_to_lock};
  std::cout << "the fourth does not wait now: " << std::boolalpha << four.owns_lock() << '\n';

  std::thread end_of_the_first{[&one] {
    std::this_thread::sleep_for(50ms);
    one.unlock();
  }};
  if (four.try_lock_for(10s)) std::cout << "one export ends, and the fourth runs\n";
  end_of_the_first.join();
  for (auto* each : {&two, &three, &four}) each->unlock();

  run_exports(client);
} catch (const std::exception& error) {
  std::cerr << "semaphore: " << error.what() << '\n';
  return 1;
}
