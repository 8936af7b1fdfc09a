// Scoped locking: the lock is held to the end of the block, however the block is left.
//
// Prints:
//   before the block: free
//   in the block: held
//   after the block: free
//   the work failed, and the lock is free

#include <iostream>
#include <mutex>
#include <stdexcept>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

int main(int argc, char** argv) try {
  redis_lock::Client client{redis_url(argc, argv)};
  redis_lock::Lock lock{client, "example:scoped"};
  const auto state = [&lock] { return lock.locked() ? "held" : "free"; };

  std::cout << "before the block: " << state() << '\n';
  {
    std::lock_guard guard{lock};  // waits until the lock is ours
    std::cout << "in the block: " << state() << '\n';
  }
  std::cout << "after the block: " << state() << '\n';

  try {
    std::lock_guard guard{lock};
    throw std::runtime_error{"the work failed"};
  } catch (const std::runtime_error& error) {
    std::cout << error.what() << ", and the lock is " << state() << '\n';
  }
} catch (const std::exception& error) {
  std::cerr << "scoped: " << error.what() << '\n';
  return 1;
}
