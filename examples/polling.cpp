// Polling: a job that every machine starts and one machine should run. Whoever finds the lock
// taken does something else. try_lock() does not wait for the holder, and false means "busy" and
// nothing else: when Redis cannot be asked, it throws.
//
// Prints:
//   first: runs the job
//   second: busy, does something else
//   first: done
//   second: runs the job

#include <future>
#include <iostream>
#include <mutex>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

int main(int argc, char** argv) try {
  redis_lock::Client client{redis_url(argc, argv)};
  std::promise<void> running, finish;

  auto first = std::async(std::launch::async, [&] {
    redis_lock::Lock lock{client, "example:polling"};
    std::unique_lock turn{lock, std::try_to_lock};
    std::cout << (turn ? "first: runs the job\n" : "first: busy\n");
    running.set_value();
    finish.get_future().wait();
    std::cout << "first: done\n";
  });
  running.get_future().wait();

  redis_lock::Lock lock{client, "example:polling"};
  if (std::unique_lock turn{lock, std::try_to_lock}; !turn) {
    std::cout << "second: busy, does something else\n";
  }
  finish.set_value();
  first.get();
  if (std::unique_lock turn{lock, std::try_to_lock}; turn) {
    std::cout << "second: runs the job\n";
  }
} catch (const std::exception& error) {
  std::cerr << "polling: " << error.what() << '\n';
  return 1;
}
