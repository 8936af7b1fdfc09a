#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include <sched.h>
#include <sys/mman.h>

#include "measure.hpp"
#include "support/child.hpp"

namespace redis_lock_benchmark {

enum class Workers { threads, processes };

/// What the workers do, each by itself: acquire, stay in the critical section, release.
struct Contention {
  Workers kind = Workers::threads;
  int workers = 2;
  int acquisitions = 100;               // by each worker, after those that warm up
  std::chrono::microseconds section{};  // asleep, as a section is that waits for something else
};

struct ContentionTimes {
  Samples waits;               // lock() called to lock() returned, microseconds
  Samples hand_offs;           // unlock() called by one worker to lock() returned in another
  Samples sections;            // lock() returned to unlock() called
  double first_to_finish = 0;  // in parts of the time that the last one took
  double rate = 0;             // acquisitions each second, of all workers
};

inline constexpr int warm_up = 10;  // acquisitions of each worker, whose times do not count

namespace detail {

/// One acquisition as its worker saw it.
struct Turn {
  Clock::time_point called, locked, unlocked;
  int previous;                         // the worker who held it before
  Clock::time_point previous_unlocked;  // and when that one called unlock()
};

/// Memory that forked children share.
template <class T>
class Shared {
 public:
  explicit Shared(std::size_t count) : bytes_(count * sizeof(T)) {
    void* const memory =
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc{};
    data_ = static_cast<T*>(memory);
    for (std::size_t i = 0; i < count; ++i) new (data_ + i) T{};
  }
  ~Shared() { ::munmap(data_, bytes_); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  T& operator[](std::size_t i) { return data_[i]; }

 private:
  std::size_t bytes_;
  T* data_;
};

struct Baton {
  std::atomic<int> ready{0};
  // Written by the holder before it unlocks, read by the next after it has locked.
  std::atomic<int> holder{-1};
  std::atomic<Clock::time_point> unlocked{Clock::time_point{}};
};

}  // namespace detail

/// Runs the workers and tells their times. `make(i)` gives worker i what it locks, and is called in
/// the worker.
template <class Make>
ContentionTimes contend(const Contention& contention, Make make) {
  const auto turns = static_cast<std::size_t>(contention.acquisitions + warm_up);
  const auto workers = static_cast<std::size_t>(contention.workers);
  detail::Shared<detail::Turn> log{turns * workers};
  detail::Shared<detail::Baton> shared{1};
  auto& baton = shared[0];

  const auto work = [&](std::size_t self) {
    auto lock = make(static_cast<int>(self));
    ++baton.ready;
    while (baton.ready < contention.workers) ::sched_yield();
    for (std::size_t i = 0; i < turns; ++i) {
      auto& turn = log[self * turns + i];
      turn.called = Clock::now();
      lock->lock();
      turn.locked = Clock::now();
      turn.previous = baton.holder;
      turn.previous_unlocked = baton.unlocked;
      if (contention.section.count() > 0) std::this_thread::sleep_for(contention.section);
      turn.unlocked = Clock::now();
      baton.holder = static_cast<int>(self);
      baton.unlocked = turn.unlocked;
      lock->unlock();
    }
    return 0;
  };

  if (contention.kind == Workers::threads) {
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < workers; ++i) threads.emplace_back(work, i);
    for (auto& thread : threads) thread.join();
  } else {
    std::vector<redis_lock_test::Child> children;
    for (std::size_t i = 0; i < workers; ++i) children.emplace_back([&work, i] { return work(i); });
    for (auto& child : children) {
      if (child.exit_code(120s) != 0) throw std::runtime_error("a worker failed");
    }
  }

  ContentionTimes times;
  auto start = Clock::time_point::max(), first = start, last = Clock::time_point::min();
  for (std::size_t worker = 0; worker < workers; ++worker) {
    for (std::size_t i = warm_up; i < turns; ++i) {
      const auto& turn = log[worker * turns + i];
      times.waits.push_back(microseconds(turn.locked - turn.called));
      times.sections.push_back(microseconds(turn.unlocked - turn.locked));
      if (turn.previous >= 0 && turn.previous != static_cast<int>(worker)) {
        times.hand_offs.push_back(microseconds(turn.locked - turn.previous_unlocked));
      }
    }
    start = std::min(start, log[worker * turns].called);
    first = std::min(first, log[worker * turns + turns - 1].unlocked);
    last = std::max(last, log[worker * turns + turns - 1].unlocked);
  }
  times.rate = static_cast<double>(turns * workers) / microseconds(last - start) * 1e6;
  times.first_to_finish = microseconds(first - start) / microseconds(last - start);
  return times;
}

}  // namespace redis_lock_benchmark
