// Electing a leader (C++20): of several candidates one leads, and another takes over when it stops or
// loses its lock. Here both candidates are in one process; as a rule each has a process of its own.
//
// Prints:
//   first: leads term 1
//   first: ends term 1
//   second: leads term 2
//   an operator frees the lock
//   second: ends term 2
//   second: leads term 3
//   second: ends term 3

#include <chrono>
#include <cstdint>
#include <iostream>
#include <semaphore>
#include <stop_token>
#include <string>
#include <thread>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  redis_lock::Client client{redis_url(argc, argv)};
  redis_lock::Options options;
  options.expire = 1500ms;  // renewed, and looked after, every 500 ms
  options.on_error = [](const redis_lock::Error& error) {
    if (error.code() != redis_lock::errc::lease_lost) std::cout << error.what() << '\n';
  };

  std::binary_semaphore elected{0};
  const auto leading = [&elected](const std::string& who) {
    return [&elected, who](std::stop_token end, std::uint64_t term) {
      std::cout << who << ": leads term " << term << '\n';
      elected.release();
      while (!end.stop_requested()) std::this_thread::sleep_for(10ms);  // a step of the work
      std::cout << who << ": ends term " << term << '\n';
    };
  };

  redis_lock::Leader first{client, "example:leader", leading("first"), options};
  elected.acquire();
  redis_lock::Leader second{client, "example:leader", leading("second"), options};
  first.request_stop();
  elected.acquire();
  std::cout << "an operator frees the lock\n";
  redis_lock::Lock{client, "example:leader"}.reset();
  elected.acquire();  // the second has campaigned again; the end of main() stops it
} catch (const std::exception& error) {
  std::cerr << "leader: " << error.what() << '\n';
  return 1;
}
