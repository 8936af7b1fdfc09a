// Threads that are cancelled by pthread_cancel() in the middle of an operation.

#include <pthread.h>

#include <atomic>
#include <functional>
#include <random>
#include <thread>

#include "faults.hpp"
#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

/// A thread that can be cancelled: std::thread ends the process when it is.
class CancellableThread {
 public:
  explicit CancellableThread(std::function<void()> work) : work_(std::move(work)) {
    const auto run = [](void* self) -> void* {
      static_cast<CancellableThread*>(self)->work_();
      return nullptr;
    };
    if (::pthread_create(&thread_, nullptr, run, this) != 0) throw std::bad_alloc{};
  }
  ~CancellableThread() {
    if (!joined_) (void)join();
  }
  CancellableThread(const CancellableThread&) = delete;
  CancellableThread& operator=(const CancellableThread&) = delete;

  void cancel() { ::pthread_cancel(thread_); }
  /// Did it end by cancellation?
  bool join() {
    void* result = nullptr;
    ::pthread_join(thread_, &result);
    joined_ = true;
    return result == PTHREAD_CANCELED;
  }

 private:
  std::function<void()> work_;
  pthread_t thread_{};
  bool joined_ = false;
};

/// Requests the cancellation of the calling thread, which ends at the next cancellation point.
void cancel_this_thread() { ::pthread_cancel(::pthread_self()); }

using CancelledThread = OnOwnServer;

TEST_F(CancelledThread, FreesTheLockInUnlockBeforeItEnds) {
  Client client{server.uri()};
  Lock lock{client, name};
  std::atomic<bool> unlocked{false};
  CancellableThread thread{[&] {
    lock.lock();
    cancel_this_thread();
    lock.unlock();
    unlocked = true;
    ::pthread_testcancel();
  }};
  EXPECT_TRUE(thread.join());
  EXPECT_TRUE(unlocked);
  expect_free();
}

TEST_F(CancelledThread, FreesTheLockInDestructorsBeforeItEnds) {
  std::atomic<bool> destroyed{false};
  CancellableThread thread{[&] {
    {
      Client client{server.uri()};
      Lock lock{client, name};
      lock.lock();
      cancel_this_thread();
    }
    destroyed = true;
    ::pthread_testcancel();
  }};
  EXPECT_TRUE(thread.join());
  EXPECT_TRUE(destroyed);
  expect_free();
}

TEST_F(CancelledThread, FinishesTheOverloadsThatDoNotThrow) {
  Client client{server.uri()};
  Lock lock{client, name};
  std::atomic<bool> acquired{false};
  CancellableThread thread{[&] {
    std::error_code error;
    cancel_this_thread();
    lock.lock(error);
    acquired = !error && lock.owns_lock();
    lock.unlock(error);
    acquired = acquired && lock.try_lock(error);
    lock.unlock(error);
    ::pthread_testcancel();
  }};
  EXPECT_TRUE(thread.join());
  EXPECT_TRUE(acquired);
  expect_free();
}

TEST_F(CancelledThread, EndsInLockAndLeavesNothingBehind) {
  held_by_somebody();
  Client client{server.uri()};
  Lock lock{client, name};
  CancellableThread thread{[&] { lock.lock(); }};
  EXPECT_TRUE(are_waiting(1));
  thread.cancel();
  EXPECT_TRUE(thread.join());
  EXPECT_FALSE(lock.owns_lock());
  released_by_somebody();
  EXPECT_TRUE(lock.try_lock_for(10s));
  lock.unlock();
  expect_free();
}

TEST_F(CancelledThread, WaitingItsTurnDoesNotBlockTheNext) {
  Client client{server.uri()};
  Lock lock{client, name};
  lock.lock();
  CancellableThread first{[&] { lock.lock(); }}, second{[&] {
    lock.lock();
    lock.unlock();
  }};
  std::this_thread::sleep_for(50ms);  // both are at the gate, or will be
  first.cancel();
  EXPECT_TRUE(first.join());
  lock.unlock();
  EXPECT_FALSE(second.join());
  expect_free();
}

TEST_F(CancelledThread, AtAnyMomentLeavesALockThatWorks) {
  auto options = leased_for(2s);
  options.local_handoffs = 3;
  options.on_error = [](const Error&) {};
  Client client{server.uri()};
  Lock shared{client, name, options};
  std::mt19937 random{1};
  for (int i = 0; i < 300; ++i) {
    std::atomic<bool> holds{false};
    CancellableThread thread{[&, i] {
      Lock own{client, name, leased_for(2s)};
      auto& lock = i % 2 == 0 ? own : shared;
      for (;;) {
        if (i % 3 == 0) {
          if (!lock.try_lock_for(1s)) continue;
        } else {
          lock.lock();
        }
        int before = 0;
        ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
        holds = true;
        holds = false;
        lock.unlock();
        ::pthread_setcancelstate(before, nullptr);
        ::pthread_testcancel();
      }
    }};
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 2000});
    thread.cancel();
    ASSERT_TRUE(thread.join());
    ASSERT_FALSE(holds);
    ASSERT_FALSE(shared.owns_lock());
  }
  EXPECT_TRUE(shared.try_lock_for(10s));
  shared.unlock();
}

TEST(CancelledThreadOfAQuorumLock, AtAnyMomentLeavesALockThatWorks) {
  QuorumServers servers{3};
  auto options = leased_for(2s);
  redis_lock::QuorumLock lock{servers.clients(), unique_name(), options};
  std::mt19937 random{1};
  for (int i = 0; i < 100; ++i) {
    CancellableThread thread{[&] {
      for (;;) {
        lock.lock();
        int before = 0;
        ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
        lock.unlock();
        ::pthread_setcancelstate(before, nullptr);
        ::pthread_testcancel();
      }
    }};
    std::this_thread::sleep_for(std::chrono::microseconds{random() % 3000});
    thread.cancel();
    ASSERT_TRUE(thread.join());
    ASSERT_FALSE(lock.owns_lock());
  }
  EXPECT_TRUE(lock.try_lock_for(10s));
  lock.unlock();
}

}  // namespace
}  // namespace redis_lock_test
