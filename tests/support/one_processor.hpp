#pragma once

#include <cstddef>

#include <sched.h>
#include <sys/types.h>

namespace redis_lock_test {

/// Confines a thread (0: the calling one) to one of its processors while it lives, and what it starts meanwhile.
class OneProcessor {
 public:
  explicit OneProcessor(pid_t thread = 0) : thread_(thread) {
    ::sched_getaffinity(thread_, sizeof before_, &before_);
    std::size_t first = 0;
    while (!CPU_ISSET(first, &before_)) ++first;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ::sched_setaffinity(thread_, sizeof one, &one);
  }
  OneProcessor(const OneProcessor&) = delete;
  OneProcessor& operator=(const OneProcessor&) = delete;
  ~OneProcessor() { ::sched_setaffinity(thread_, sizeof before_, &before_); }

 private:
  const pid_t thread_;
  cpu_set_t before_{};
};

}  // namespace redis_lock_test
