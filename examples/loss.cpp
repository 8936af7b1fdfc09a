// Handling loss: a lease can end while its holder works. Here an operator frees the lock by force;
// a network that fails for longer than the lease, or a process that was stopped, has the same effect.
// A holder that works in steps asks owns_lock() before each; one that blocks is told by on_lost.
//
// Prints:
//   working
//   an operator frees the lock
//   told: the lease ended or the lock changed hands
//   extend: the lease ended or the lock changed hands
//   stopped working
//   unlock: the lease ended or the lock changed hands

#include <chrono>
#include <future>
#include <iostream>
#include <mutex>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  redis_lock::Client client{redis_url(argc, argv)};

  std::promise<std::error_code> lost;
  redis_lock::Options options;
  options.expire = 1500ms;  // renewed, and looked after, every 500 ms
  options.on_lost = [&lost](std::error_code reason) { lost.set_value(reason); };
  options.on_error = [](const redis_lock::Error& error) {
    std::cout << "unlock: " << error.code().message() << '\n';
  };
  redis_lock::Lock lock{client, "example:loss", options};

  std::lock_guard guard{lock};
  std::cout << (lock.owns_lock() ? "working\n" : "not held\n");

  std::cout << "an operator frees the lock\n";
  redis_lock::Lock{client, "example:loss"}.reset();

  // on_lost runs on another thread: it hands the news on.
  std::cout << "told: " << lost.get_future().get().message() << '\n';
  try {
    lock.extend();  // a holder may also ask Redis itself, before a step that matters
  } catch (const redis_lock::Error& error) {
    if (error.code() != redis_lock::errc::lease_lost) throw;
    std::cout << "extend: " << error.code().message() << '\n';
  }
  if (!lock.owns_lock()) std::cout << "stopped working\n";
} catch (const std::exception& error) {
  std::cerr << "loss: " << error.what() << '\n';
  return 1;
}
