#include "integration.hpp"

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

using LockShared = OnRedis;

TEST_F(LockShared, SerialisesTheThreadsThatShareOneObject) {
  constexpr int threads = 6, rounds = 20;
  Lock lock{client, name};
  int counter = 0;  // no atomic: the lock's gate orders the accesses, ThreadSanitizer watches
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      for (int round = 0; round < rounds; ++round) {
        const std::lock_guard guard{lock};
        ++counter;
      }
    });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(counter, threads * rounds);
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LockShared, ExcludesObjectsInDifferentThreads) {
  constexpr int threads = 6, rounds = 20;
  std::atomic<int> inside{0}, overlaps{0}, entered{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      Lock lock{client, name};
      for (int round = 0; round < rounds; ++round) {
        const std::lock_guard guard{lock};
        if (++inside != 1) ++overlaps;
        ++entered;
        --inside;
      }
    });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(overlaps, 0);
  EXPECT_EQ(entered, threads * rounds);
}

/// Runs `work` in a thread to which the system gives this id again.
template <class Work>
void run_with_the_id(std::thread::id id, const Work& work) {
  bool done = false;
  do {
    std::thread thread{[&] {
      done = std::this_thread::get_id() == id;
      if (done) work();
    }};
    thread.join();
  } while (!done);
}

/// A lock that was acquired by a thread which has ended is busy for all later threads.
template <class Mutex>
void expect_busy_for_a_thread_with_the_same_id(Mutex& lock) {
  std::thread::id holder;
  std::thread first{[&] {
    holder = std::this_thread::get_id();
    lock.lock();
  }};
  first.join();
  run_with_the_id(holder, [&] {
    std::error_code error;
    EXPECT_FALSE(lock.try_lock(error));
    EXPECT_FALSE(error) << error.message();
    auto unlocking = std::async(std::launch::async, [&] {
      std::this_thread::sleep_for(50ms);  // so that lock() waits, or throws
      lock.unlock();
    });
    EXPECT_NO_THROW(lock.lock());
    unlocking.get();
  });
  EXPECT_TRUE(lock.owns_lock());
  lock.unlock();
}

TEST_F(LockShared, IsBusyForReusedThreadIds) {
  Lock lock{client, name};
  expect_busy_for_a_thread_with_the_same_id(lock);
}

TEST_F(LockShared, QuorumLockIsBusyForReusedThreadIds) {
  QuorumServers servers{3};
  redis_lock::QuorumLock lock{servers.clients(), name};
  expect_busy_for_a_thread_with_the_same_id(lock);
}

TEST_F(LockShared, WithHandoffsIsBusyForReusedThreadIds) {
  Options options;
  options.local_handoffs = 8;
  Lock lock{client, name, options};
  expect_busy_for_a_thread_with_the_same_id(lock);
}

TEST_F(LockShared, IsBusyForAnotherThread) {
  Lock lock{client, name};
  lock.lock();
  std::async(std::launch::async, [&] {
    EXPECT_FALSE(lock.try_lock());
    const Stopwatch watch;
    EXPECT_FALSE(lock.try_lock_for(100ms));
    EXPECT_GE(watch.elapsed(), 100ms);
    std::error_code error;
    EXPECT_FALSE(lock.try_lock(error));
    EXPECT_FALSE(error);
  }).get();
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(LockShared, MakesAnotherThreadWaitItsTurn) {
  Lock lock{client, name};
  lock.lock();
  std::promise<void> about_to_wait;
  auto waiter = std::async(std::launch::async, [&] {
    about_to_wait.set_value();
    lock.lock();
    const bool owned = lock.owns_lock();
    lock.unlock();
    return owned;
  });
  about_to_wait.get_future().wait();
  EXPECT_EQ(waiter.wait_for(50ms), std::future_status::timeout);
  lock.unlock();
  EXPECT_TRUE(waiter.get());
}

TEST_F(LockShared, LetsOneThreadAtATimeUseRedis) {
  const RedisServer server;
  Redis own{server.endpoint()};
  own.command("SET", key, "somebody");
  Lock lock{server.uri(), name};
  std::vector<std::future<bool>> waiters;
  for (int i = 0; i < 5; ++i) {
    waiters.push_back(std::async(std::launch::async, [&] {
      const bool taken = lock.try_lock_for(300ms);
      if (taken) lock.unlock();
      return taken;
    }));
  }
  ASSERT_TRUE(eventually([&] { return own.info("blocked_clients") == 1; }));
  EXPECT_LE(own.info("blocked_clients"), 1);
  for (auto& waiter : waiters) EXPECT_FALSE(waiter.get());
  EXPECT_EQ(own.info("total_connections_received"), 3)
      << "of the test twice (the server's start, own), and one more";
}

TEST_F(LockShared, CanBeHandedToAnotherThread) {
  Lock lock{client, name};
  int guarded = 0;
  lock.lock();
  guarded = 1;
  std::thread{[&] {
    EXPECT_TRUE(lock.owns_lock());
    ++guarded;
    lock.unlock();
  }}.join();
  EXPECT_FALSE(redis.exists(key));
  lock.lock();  // this thread holds nothing any more
  EXPECT_EQ(guarded, 2);
  EXPECT_EQ(error_of([&] { lock.lock(); }), std::errc::resource_deadlock_would_occur);
}

TEST_F(LockShared, StdLockNeverDeadlocks) {
  Lock first{client, name + "-1"}, second{client, name + "-2"};
  const auto work = [](Lock& a, Lock& b) {
    for (int round = 0; round < 15; ++round) {
      const std::scoped_lock guard{a, b};
      EXPECT_TRUE(a.owns_lock() && b.owns_lock());
    }
  };
  std::thread forwards{[&] { work(first, second); }}, backwards{[&] { work(second, first); }};
  forwards.join();
  backwards.join();
  EXPECT_FALSE(redis.exists(key + "-1"));
  EXPECT_FALSE(redis.exists(key + "-2"));
}

TEST_F(LockShared, WorksWithConditionVariableAny) {
  Lock lock{client, name};
  std::condition_variable_any changed;
  int stage = 0;
  std::thread other{[&] {
    std::unique_lock guard{lock};
    changed.wait(guard, [&] { return stage == 1; });
    stage = 2;
    changed.notify_all();
  }};
  {
    std::unique_lock guard{lock};
    stage = 1;
    changed.notify_all();
    EXPECT_TRUE(changed.wait_for(guard, patience, [&] { return stage == 2; }));
    EXPECT_TRUE(lock.owns_lock());
  }
  other.join();
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LockShared, AClientServesManyThreadsAtOnce) {
  std::vector<std::thread> workers;
  std::atomic<int> taken{0};
  for (int i = 0; i < 8; ++i) {
    workers.emplace_back([&, i] {
      const Client copy = client;
      for (int round = 0; round < 10; ++round) {
        Lock lock{copy, name + "-" + std::to_string(i)};
        if (lock.try_lock()) ++taken;
      }
    });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(taken, 80);
}

}  // namespace
}  // namespace redis_lock_test
