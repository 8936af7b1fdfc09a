// Preloaded into a process (LD_PRELOAD), moves its wall clock by as many nanoseconds as the file says that
// REDIS_LOCK_WALL_CLOCK names, which may change at any time. CLOCK_MONOTONIC stays what it is. In the
// place of libfaketime, whose version in Debian 12 does not work with redis-server: its allocator asks
// for the time before libfaketime is ready. So this one uses nothing but system calls.

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <ctime>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

constexpr std::int64_t second = 1'000'000'000;

/// Mapped when first asked for; without the file, zero.
std::int64_t offset() {
  static std::atomic<const std::atomic<std::int64_t>*> mapped{nullptr};
  static const std::atomic<std::int64_t> none{0};
  const auto* offset = mapped.load();
  if (offset == nullptr) {
    offset = &none;
    const char* const path = std::getenv("REDIS_LOCK_WALL_CLOCK");
    const int file = path != nullptr ? ::open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
      void* const place = ::mmap(nullptr, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
      if (place != MAP_FAILED) offset = static_cast<const std::atomic<std::int64_t>*>(place);
      ::close(file);
    }
    mapped = offset;
  }
  return *offset;
}

timespec wall_clock(clockid_t clock) {
  timespec time{};
  ::syscall(SYS_clock_gettime, clock, &time);
  const auto moved = time.tv_sec * second + time.tv_nsec + offset();
  return {moved / second, moved % second};
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
    return static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  *time = wall_clock(clock);
  return 0;
}

int gettimeofday(timeval* time, void*) noexcept {
  const auto now = wall_clock(CLOCK_REALTIME);
  *time = {now.tv_sec, static_cast<suseconds_t>(now.tv_nsec / 1000)};
  return 0;
}

time_t time(time_t* result) noexcept {
  const auto now = wall_clock(CLOCK_REALTIME).tv_sec;
  if (result != nullptr) *result = now;
  return now;
}

}  // extern "C"
