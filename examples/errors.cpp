// When Redis is away: operations throw redis_lock::Error, or fill a std::error_code; neither says
// "busy" when it could not ask. A mistake in the program is a std::invalid_argument instead.
//
// Prints:
//   lock: no connection to Redis
//   try_lock: no connection to Redis
//   bad URI: redis_lock: malformed URI "redis://***@localhost:70000": port must be a number from 0 to 65535

#include <iostream>
#include <mutex>
#include <stdexcept>

#include <redis_lock/redis_lock.hpp>

int main() {
  // Nobody listens there. retry_for=0: one attempt; by default an operation goes on trying for 5 s.
  redis_lock::Lock lock{"unix:///nonexistent/redis.sock?retry_for=0", "example:errors"};

  try {
    std::lock_guard guard{lock};
    std::cout << "never reached\n";
  } catch (const redis_lock::Error& error) {  // error.what() also names the operation and the lock
    if (error.code() == redis_lock::errc::connection_failed) {
      std::cout << "lock: " << error.code().message() << '\n';
    }
  }

  std::error_code code;
  if (lock.try_lock(code)) {
    lock.unlock(code);
  } else if (code) {  // without one, the lock is busy
    std::cout << "try_lock: " << code.message() << '\n';
  }

  try {
    redis_lock::Client client{"redis://:secret@localhost:70000"};
  } catch (const std::invalid_argument& error) {
    std::cout << "bad URI: " << error.what() << '\n';
  }
}
