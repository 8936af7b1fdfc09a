// Several processes: each reads a number from a file, adds one and writes it back. Without the lock
// they would overwrite each other's work.
//
// Prints:
//   4 processes added 1 ten times each: 40

#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

namespace {

int read_number(const std::filesystem::path& path) {
  int number = 0;
  std::ifstream{path} >> number;
  return number;
}

int work(const redis_lock::Client& client, const std::filesystem::path& path) try {
  redis_lock::Lock lock{client, "example:processes"};
  for (int i = 0; i < 10; ++i) {
    std::lock_guard guard{lock};
    const int number = read_number(path);
    std::ofstream{path} << number + 1;
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << "process " << getpid() << ": " << error.what() << '\n';
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const auto path =
      std::filesystem::temp_directory_path() / ("redis_lock-" + std::to_string(getpid()));
  redis_lock::Client client{redis_url(argc, argv)};  // a child opens connections of its own

  for (int i = 0; i < 4; ++i) {
    if (fork() == 0) _exit(work(client, path));
  }
  int status = 0, failed = 0;
  while (wait(&status) > 0) failed += status == 0 ? 0 : 1;

  std::cout << "4 processes added 1 ten times each: " << read_number(path) << '\n';
  std::filesystem::remove(path);
  return failed == 0 ? 0 : 1;
}
