// Two plugins that use the library without knowing of each other: each has its own category, and reads the other's errors.

#include <dlfcn.h>

#include <cstdio>

#include "plugin.hpp"

namespace {

const Plugin* load(const char* path) {
  void* const library = ::dlopen(path, RTLD_NOW | RTLD_LOCAL);
  const void* const found = library != nullptr ? ::dlsym(library, "plugin") : nullptr;
  if (found == nullptr) std::printf("%s\n", ::dlerror());
  return static_cast<const Plugin*>(found);
}

bool check(bool holds, const char* what) {
  std::printf("%s: %s\n", what, holds ? "yes" : "no");
  return holds;
}

}  // namespace

int main(int argc, char** argv) {
  const auto* const a = argc == 3 ? load(argv[1]) : nullptr;
  const auto* const b = argc == 3 ? load(argv[2]) : nullptr;
  if (a == nullptr || b == nullptr) return 2;
  bool passed = check(&a->category() != &b->category(), "each has its own category");
  passed &= check(a->understands(a->fail), "one understands its own errors");
  passed &= check(a->understands(b->fail), "one understands those of the other");
  passed &= check(b->understands(a->fail), "and the other those of the one");
  return passed ? 0 : 1;
}
