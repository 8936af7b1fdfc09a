#pragma once

#include <atomic>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <sys/syscall.h>
#include <unistd.h>

#include "support/eventually.hpp"

namespace redis_lock_test {

/// A thread of which a test can wait until it sleeps in what it calls.
class SleepingThread {
 public:
  template <class Function>
  explicit SleepingThread(Function function)
      : thread_([this, call = std::move(function)] {
          id_ = ::syscall(SYS_gettid);
          call();
        }) {}
  SleepingThread(const SleepingThread&) = delete;
  SleepingThread& operator=(const SleepingThread&) = delete;
  ~SleepingThread() {
    if (thread_.joinable()) thread_.join();
  }

  /// Returns when the kernel says, several times on end, that the thread sleeps.
  void await_sleep() const {
    int times = 0;
    const bool asleep = eventually([&] {
      times = id_ != 0 && state() == 'S' ? times + 1 : 0;
      return times == 5;
    });
    if (!asleep) throw std::runtime_error("the thread does not sleep");
  }

  void join() { thread_.join(); }

 private:
  [[nodiscard]] char state() const {
    std::ifstream file{"/proc/self/task/" + std::to_string(id_) + "/stat"};
    std::string line;
    std::getline(file, line);
    const auto end_of_name = line.rfind(") ");
    return end_of_name == line.npos ? '?' : line.at(end_of_name + 2);
  }

  std::atomic<long> id_{0};
  std::thread thread_;
};

}  // namespace redis_lock_test
