#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <redis_lock/options.hpp>

#include "place.hpp"
#include "status.hpp"

namespace redis_lock_command {

/// A command to be run while the lock is held.
struct Run {
  std::string name;
  std::optional<std::chrono::milliseconds> once_in;  // the period of `once`; none: `run`
  std::vector<std::string> command;
  std::optional<std::chrono::milliseconds> wait;  // none: for ever
  std::chrono::milliseconds expire{30'000};
  std::chrono::milliseconds grace{10'000};  // from TERM to KILL when the lock is lost
  std::chrono::milliseconds at_least{0};    // how long nobody else gets the lock
  bool fencing = false;
  std::string fence_prefix = redis_lock::Options{}.fence_prefix;
  std::size_t slots = 0;  // permits of a Semaphore; 0: a lock
  int conflict_status = Status::no;
  bool passes_url = false;  // REDIS_URL, to the command
};

/// How `redis-lock run` and `once` end: with a status, or of the signal that ended the command or the wait.
struct End {
  int status = Status::done;
  int signal = 0;
};

/// What `redis-lock run` and `once` do. Throws redis_lock::Error if Redis cannot be asked.
[[nodiscard]] End run(const Place& place, const Run& run);

}  // namespace redis_lock_command
