#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace redis_lock_test::campaign {

/// A T, of atomics alone, that several processes have in common: a mapped file, which begins as zeros.
template <class T>
class SharedFile {
 public:
  explicit SharedFile(const std::string& path) : path_(path) {
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || ::ftruncate(file, sizeof(T)) != 0) fail();
    void* const place = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (place == MAP_FAILED) fail();
    ::close(file);
    value_ = static_cast<T*>(place);
  }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;
  ~SharedFile() { ::munmap(value_, sizeof(T)); }

  [[nodiscard]] T& operator*() const { return *value_; }
  [[nodiscard]] T* operator->() const { return value_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  [[noreturn]] void fail() const { throw std::system_error(errno, std::generic_category(), path_); }

  std::string path_;
  T* value_ = nullptr;
};

/// By how many nanoseconds wall_clock.cpp moves a wall clock.
using WallClock = SharedFile<std::atomic<std::int64_t>>;

inline constexpr int most_workers = 20;
inline constexpr int most_threads = 4;

enum class Doing { something_else, waiting, holding };

/// What the workers are about, for the nemesis to choose by; and whether they shall come to an end.
struct Board {
  std::atomic<bool> finish;
  std::atomic<Doing> doing[most_workers][most_threads];
};

}  // namespace redis_lock_test::campaign
