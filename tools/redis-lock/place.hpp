#pragma once

#include <string>

namespace redis_lock_command {

/// Where the locks are.
struct Place {
  std::string uri;
  std::string key_prefix = "lock:", signal_prefix = "lock-signal:";
};

}  // namespace redis_lock_command
