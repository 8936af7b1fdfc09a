#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "place.hpp"
#include "status.hpp"

namespace redis_lock_command {

/// A command to be run while the lock is held.
struct Run {
  std::string name;
  std::vector<std::string> command;
  std::optional<std::chrono::milliseconds> wait;  // none: for ever
  std::chrono::milliseconds expire{30'000};
  std::chrono::milliseconds grace{10'000};  // from TERM to KILL when the lock is lost
  bool fencing = false;
  int conflict_status = Status::no;
};

/// What `redis-lock run` does: returns its exit status. Throws redis_lock::Error if Redis cannot be asked.
[[nodiscard]] int run(const Place& place, const Run& run);

}  // namespace redis_lock_command
