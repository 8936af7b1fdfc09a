// Cancelling (C++20): a waiter can be stopped, and a holder can hand its loss on to the work as a
// std::stop_token.
//
// Prints:
//   waiter: stopped before it got the lock
//   holder: an operator frees the lock
//   work: told to stop

#include <chrono>
#include <future>
#include <iostream>
#include <mutex>
#include <stop_token>
#include <thread>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  redis_lock::Client client{redis_url(argc, argv)};
  redis_lock::Options options;
  options.expire = 1500ms;
  redis_lock::Lock lock{client, "example:cancel", options};
  std::lock_guard guard{lock};

  std::jthread waiter{[&client](std::stop_token stop) {
    redis_lock::Lock other{client, "example:cancel"};
    if (other.lock(stop)) {
      other.unlock();
    } else {
      std::cout << "waiter: stopped before it got the lock\n";
    }
  }};
  std::this_thread::sleep_for(100ms);  // let it wait; it is stopped just as well before it began
  waiter.request_stop();
  waiter.join();

  std::promise<void> stopped;
  std::stop_callback work{lock.lost_token(), [&stopped] { stopped.set_value(); }};
  std::cout << "holder: an operator frees the lock\n";
  redis_lock::Lock{client, "example:cancel"}.reset();
  stopped.get_future().wait();
  std::cout << "work: told to stop\n";
} catch (const std::exception& error) {
  std::cerr << "cancel: " << error.what() << '\n';
  return 1;
}
