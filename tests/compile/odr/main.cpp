// A lock that one translation unit makes is the same lock in another: files of C++17 and C++20, with and without a lock,
// can be linked together, and what C++20 adds to Lock does not change its layout.

#include <algorithm>
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
  const redis_lock::Lock lock(without_lock::client(), "name");
  bool passed = check(cxx17::standard() == 201703L, "one part is C++17");
  passed &= check(cxx20::standard() >= 202002L, "the other is C++20");
  passed &= check(cxx17::sizes() == cxx20::sizes(), "types have the same size in both");
  const auto some = without_lock::sizes();
  passed &= check(std::equal(some.begin(), some.end(), cxx17::sizes().begin()),
                  "and in the part without a lock");
  passed &= check(cxx17::name(lock) == "name" && cxx20::name(lock) == "name", "both read a lock");
  passed &= check(&cxx17::category() == &cxx20::category(), "both have the same error category");
  passed &= check(&cxx17::category() == &without_lock::category(), "and so has the other part");
  return passed ? 0 : 1;
}
