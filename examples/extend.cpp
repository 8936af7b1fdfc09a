// Leases by hand: without renewal, a holder that hangs loses the lock after one lease, even if its
// process lives. The price is that the work itself says "I am alive" before each step.
//
// Prints:
//   step 1 done
//   step 2 done
//   step 3 done
//   4 steps of 600 ms under a lease of 2 s, and still held
//   after a pause of 2.2 s: the lease ended or the lock changed hands

#include <chrono>
#include <iostream>
#include <mutex>
#include <thread>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  auto options = redis_lock::Options::without_renewal();
  options.expire = 2s;
  redis_lock::Lock lock{redis_lock::Client{redis_url(argc, argv)}, "example:extend", options};

  std::unique_lock guard{lock};
  for (int step = 1; step <= 3; ++step) {
    std::this_thread::sleep_for(600ms);  // the work
    lock.extend();                       // two seconds from now; throws if the lock was lost
    std::cout << "step " << step << " done\n";
  }
  std::this_thread::sleep_for(600ms);
  if (lock.owns_lock()) std::cout << "4 steps of 600 ms under a lease of 2 s, and still held\n";

  std::this_thread::sleep_for(2200ms);  // a holder that hangs
  try {
    lock.extend();
  } catch (const redis_lock::Error& error) {
    std::cout << "after a pause of 2.2 s: " << error.code().message() << '\n';
  }
} catch (const std::exception& error) {
  std::cerr << "extend: " << error.what() << '\n';
  return 1;
}
