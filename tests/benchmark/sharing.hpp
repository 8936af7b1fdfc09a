#pragma once

#include <cstddef>
#include <deque>
#include <random>
#include <string>

#include <redis_lock/client.hpp>
#include <redis_lock/semaphore.hpp>
#include <redis_lock/shared_lock.hpp>

#include "support/no_lock_analysis.hpp"

/// SharedLock and Semaphore, with the interface of a lock.
namespace redis_lock_benchmark {

/// The readers' side of a SharedLock.
class ReaderLock {
 public:
  template <class... Arguments>
  explicit ReaderLock(const Arguments&... arguments) : lock_(arguments...) {}

  void lock() { lock_.lock_shared(); }
  void unlock() { lock_.unlock_shared(); }
  [[nodiscard]] bool owns_lock() const { return lock_.owns_lock_shared(); }

 private:
  redis_lock::SharedLock lock_;
};

/// Which acquisitions of a worker read, and which write: the same in every run.
class Mixture {
 public:
  Mixture(int worker, int percent_readers)
      : random_(static_cast<unsigned>(worker) + 1), percent_(percent_readers) {}

  [[nodiscard]] bool next_reads() {
    return std::uniform_int_distribution<int>{1, 100}(random_) <= percent_;
  }

 private:
  std::mt19937 random_;
  int percent_;
};

/// A SharedLock that is locked for reading or for writing, as its mixture says.
class MixedLock {
 public:
  MixedLock(const redis_lock::Client& client, const std::string& name, const Mixture& mixture)
      : lock_(client, name), mixture_(mixture) {}

  void lock() {
    reads_ = mixture_.next_reads();
    reads_ ? lock_.lock_shared() : lock_.lock();
  }
  void unlock() { reads_ ? lock_.unlock_shared() : lock_.unlock(); }

 private:
  redis_lock::SharedLock lock_;
  Mixture mixture_;
  bool reads_ = false;
};

/// All permits of a Semaphore at once.
class AllPermits {
 public:
  AllPermits(const redis_lock::Client& client, const std::string& name, std::size_t permits) {
    for (std::size_t i = 0; i < permits; ++i) permits_.emplace_back(client, name, permits);
  }

  void lock() {
    for (auto& permit : permits_) permit.acquire();
  }
  void unlock() {
    for (auto& permit : permits_) permit.release();
  }

 private:
  std::deque<redis_lock::Semaphore> permits_;
};

}  // namespace redis_lock_benchmark
