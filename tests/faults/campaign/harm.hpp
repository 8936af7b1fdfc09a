#pragma once

#include <functional>
#include <string>

#include "record.hpp"

namespace redis_lock_test::campaign {

/// One thing that the nemesis does, and how it ends.
struct Harm {
  std::string victim;  ///< meets no other harm meanwhile
  std::string names;   ///< of the locks that it concerns: "a,b", or "*"
  std::function<void()> strike{};
  Time due = std::chrono::steady_clock::now();  ///< when it is repaired
  std::function<bool()> may_end{};  ///< asked again and again: also not before this is true
  std::function<void()> repair{};
  int process = 0;  ///< whom it hits, if that is a worker
};

/// The victim of all that the servers cannot bear more than one of at a time.
inline const std::string the_servers = "servers";

}  // namespace redis_lock_test::campaign
