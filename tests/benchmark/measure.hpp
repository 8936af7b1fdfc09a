#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <initializer_list>
#include <string>
#include <vector>

#include <sys/time.h>

#include "support/redis_server.hpp"

namespace redis_lock_benchmark {

using namespace std::chrono_literals;
using redis_lock_test::RedisServer;
using redis_lock_test::Transport;
using Clock = std::chrono::steady_clock;
using Samples = std::vector<double>;

inline constexpr Transport transports[] = {Transport::unix_socket, Transport::tcp};

[[nodiscard]] inline const char* name_of(Transport transport) {
  return transport == Transport::unix_socket ? "unix" : "tcp";
}

[[nodiscard]] inline double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

[[nodiscard]] inline double microseconds(timeval time) {
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
}

/// So many times lock and unlock, uncontended.
template <class Locking>
void cycle(Locking& lock, int count = 1) {
  for (int i = 0; i < count; ++i) {
    lock.lock();
    lock.unlock();
  }
}

[[nodiscard]] inline double cpu_time_of_this_thread() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

/// The smallest of the samples that is no less than the share `q` of them.
[[nodiscard]] inline double quantile(Samples samples, double q) {
  const auto rank = std::min(samples.size() - 1,
                             static_cast<std::size_t>(q * static_cast<double>(samples.size())));
  const auto at = samples.begin() + static_cast<Samples::difference_type>(rank);
  std::nth_element(samples.begin(), at, samples.end());
  return *at;
}

[[nodiscard]] inline double median(const Samples& samples) { return quantile(samples, 0.5); }

/// One line of JSON on the standard output, for report.py: what was measured (it knows the goals), in
/// which case, one value for each repetition.
inline void report(const std::string& figure, const std::string& where, const Samples& samples) {
  std::printf(R"({"figure": "%s", "case": "%s", "samples": [)", figure.c_str(), where.c_str());
  const char* separator = "";
  for (const double sample : samples) {
    std::printf("%s%.6g", separator, sample);
    separator = ", ";
  }
  std::puts("]}");
  std::fflush(stdout);
}

/// A number out of a status file of /proc, such as "Threads:" of /proc/self/status; 0 if it is not there.
inline double number_in(const std::string& status_file, const std::string& field) {
  std::ifstream status{status_file};
  for (std::string word; status >> word;) {
    if (word != field) continue;
    double number = 0;
    status >> number;
    return number;
  }
  return 0;
}

}  // namespace redis_lock_benchmark
