#pragma once

#include <atomic>
#include <random>
#include <string>

namespace redis_lock_test {

/// A name that no other test, run or process uses: tests may share a server and run at the same time.
inline std::string unique_name(const std::string& about = "test") {
  static std::atomic<unsigned> counter{0};
  return about + "-" + std::to_string(std::random_device{}()) + "-" + std::to_string(++counter);
}

}  // namespace redis_lock_test
