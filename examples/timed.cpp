// Timed locking: wait for the lock, but not for ever. The wait is a blocked read, not a loop that
// polls, and it ends the moment the holder lets go.
//
// Prints:
//   gave up after 300 ms
//   acquired as soon as it was free
//   acquired before the deadline

#include <chrono>
#include <future>
#include <iostream>
#include <mutex>
#include <thread>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  using Clock = std::chrono::steady_clock;
  redis_lock::Client client{redis_url(argc, argv)};
  redis_lock::Lock theirs{client, "example:timed"}, ours{client, "example:timed"};

  std::unique_lock holder{theirs};
  const auto start = Clock::now();
  // Given a duration, std::unique_lock calls try_lock_for; given a time, try_lock_until.
  if (std::unique_lock waiter{ours, 300ms}; !waiter && Clock::now() - start >= 300ms) {
    std::cout << "gave up after 300 ms\n";
  }

  auto release = std::async(std::launch::async, [&holder] {
    std::this_thread::sleep_for(100ms);  // the holder's work
    holder.unlock();
  });
  if (std::unique_lock waiter{ours, 10s}; waiter && Clock::now() - start < 5s) {
    std::cout << "acquired as soon as it was free\n";
  }
  release.get();

  // Any clock will do.
  if (std::unique_lock waiter{ours, std::chrono::system_clock::now() + 10s}; waiter) {
    std::cout << "acquired before the deadline\n";
  }
} catch (const std::exception& error) {
  std::cerr << "timed: " << error.what() << '\n';
  return 1;
}
