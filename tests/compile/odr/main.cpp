// A lock that one translation unit makes is the same lock in another: two can be linked together,
// and what C++20 adds to Lock does not change its layout.

#include <cstdio>
#include <redis_lock/redis_lock.hpp>

#include "part.hpp"

namespace {

bool check(bool holds, const char* what) {
  std::printf("%s: %s\n", what, holds ? "yes" : "no");
  return holds;
}

}  // namespace

int main() {
  const redis_lock::Lock lock("redis://localhost", "name");
  bool passed = check(cxx17::standard() == 201703L, "one part is C++17");
  passed &= check(cxx20::standard() >= 202002L, "the other is C++20");
  passed &= check(cxx17::sizes() == cxx20::sizes(), "types have the same size in both");
  passed &= check(cxx17::name(lock) == "name" && cxx20::name(lock) == "name", "both read a lock");
  passed &= check(&cxx17::category() == &cxx20::category(), "both have the same error category");
  return passed ? 0 : 1;
}
