#pragma once

#include <algorithm>
#include <chrono>
#include <thread>

namespace redis_lock_test {

using namespace std::chrono_literals;

/// How long a test waits for what should happen at once: long enough for a loaded machine under
/// valgrind, and never waited for in full when the code is right.
inline constexpr std::chrono::seconds patience{20};

/// Polls `predicate` until it is true (then true) or `timeout` is over (then false).
template <class Predicate>
[[nodiscard]] bool eventually(Predicate&& predicate, std::chrono::milliseconds timeout = patience) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (auto pause = 1ms; !predicate(); pause = std::min(pause * 2, 10ms)) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(pause);
  }
  return true;
}

/// Time that has passed since it was made.
class Stopwatch {
 public:
  [[nodiscard]] std::chrono::milliseconds elapsed() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                                 start_);
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace redis_lock_test
