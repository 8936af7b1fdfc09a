// What a user of the package does first. No server is needed: constructors only check arguments.

#include <cstdio>
#include <redis_lock/redis_lock.hpp>
#include <stdexcept>

int main() {
  const redis_lock::Lock lock("redis://localhost:6379/0", "a-name");
  std::printf("constructed the lock \"%s\"\n", lock.name().c_str());
  try {
    const redis_lock::Lock bad("gopher://localhost", "a-name");
  } catch (const std::invalid_argument& error) {
    std::printf("a bad URI throws std::invalid_argument: %s\n", error.what());
    return 0;
  }
  std::puts("a bad URI was accepted");
  return 1;
}
