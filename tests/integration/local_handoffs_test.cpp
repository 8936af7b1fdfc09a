#include <atomic>
#include <limits>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "integration.hpp"

namespace redis_lock_test {
namespace {

Options handing_on(unsigned most) {
  Options options;
  options.local_handoffs = most;
  return options;
}

/// So many threads that share `lock`, each with its turns.
void contend(Lock& lock, int threads, const std::function<void()>& turn) {
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) all.emplace_back(turn);
  for (auto& thread : all) thread.join();
  static_cast<void>(lock);
}

using LocalHandoffs = OnRedis;

TEST_F(LocalHandoffs, KeepThreadsApart) {
  Lock lock{client, name, handing_on(16)};
  int counter = 0;
  bool inside = false, overlap = false;
  contend(lock, 4, [&] {
    for (int i = 0; i < 2000; ++i) {
      const std::lock_guard guard{lock};
      overlap = overlap || std::exchange(inside, true);
      ++counter;
      inside = false;
    }
  });
  EXPECT_EQ(counter, 8000);
  EXPECT_FALSE(overlap);
  EXPECT_FALSE(lock.locked());
}

/// A thread that passes the lock on may be overtaken, before its unlock() returns, by the next one's whole turn.
TEST_F(LocalHandoffs, LoseNothingWhenTheNextHolderOvertakes) {
  Lock lock{client, name, handing_on(4)};
  std::atomic<int> lost{0};
  std::atomic<unsigned> seed{0};
  contend(lock, 3, [&] {
    std::minstd_rand random{++seed};
    for (int i = 0; i < 20'000; ++i) {
      lock.lock();
      std::error_code error;
      lock.unlock(error);
      if (error) ++lost;
      // Now and then nobody waits.
      if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds{random() % 200});
    }
  });
  EXPECT_EQ(lost, 0);
}

TEST_F(LocalHandoffs, SpareTheServerMostOfTheWork) {
  const RedisServer server;
  Lock lock{server.uri(), name, handing_on(1000)};
  std::atomic<int> arrived{0};
  lock.lock();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      ++arrived;
      const std::lock_guard guard{lock};
    });
  }
  EXPECT_TRUE(eventually([&] { return arrived == 8; }));
  std::this_thread::sleep_for(100ms);  // for the last of them to queue
  lock.unlock();
  for (auto& thread : threads) thread.join();
  EXPECT_LE(Redis{server.uri()}.calls_of("set"), 4);
  EXPECT_FALSE(lock.locked());
}

TEST_F(LocalHandoffs, AreNoMoreInARowThanAllowed) {
  const RedisServer server;
  Lock lock{server.uri(), name, handing_on(4)};
  contend(lock, 4, [&] {
    for (int i = 0; i < 250; ++i) const std::lock_guard guard{lock};
  });
  EXPECT_GE(Redis{server.uri()}.calls_of("set"), 1000 / 5);
}

TEST_F(LocalHandoffs, LetAnotherProcessHaveItsTurn) {
  Lock lock{client, name, handing_on(8)};
  std::atomic<bool> stop{false};
  std::thread other{[&] {
    Lock outsider{test_uri(), name};
    for (int i = 0; i < 5; ++i) const std::lock_guard guard{outsider};
    stop = true;
  }};
  contend(lock, 3, [&] {
    while (!stop) const std::lock_guard guard{lock};
  });
  other.join();
  EXPECT_TRUE(stop);
}

TEST_F(LocalHandoffs, HappenOnlyToThreadsThatWait) {
  Lock lock{client, name, handing_on(1000)};
  lock.lock();
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LocalHandoffs, DoNotPassOnALostLock) {
  std::atomic<int> losses{0};
  auto options = handing_on(1000);
  options.expire = 300ms;
  std::atomic<bool> reported{false};
  options.on_lost = [&](std::error_code) { ++losses; };
  options.on_error = [&](const Error& error) { reported = error.code() == errc::lease_lost; };
  Lock lock{client, name, options};
  lock.lock();
  const auto first = lock.id();
  std::string second;
  std::thread next{[&] {
    const std::lock_guard guard{lock};
    second = lock.id();
  }};
  redis.integer("DEL", key);
  EXPECT_TRUE(eventually([&] { return losses == 1; }));
  lock.unlock();
  next.join();
  EXPECT_TRUE(reported);
  EXPECT_NE(first, second);
}

TEST_F(LocalHandoffs, DoNotGoPastMaxHold) {
  auto options = handing_on(std::numeric_limits<unsigned>::max());
  options.expire = 600ms;
  options.max_hold = 100ms;
  Lock lock{client, name, options};
  std::mutex mutex;
  std::vector<std::string> ids;
  const Stopwatch watch;
  contend(lock, 16, [&] {
    while (watch.elapsed() < 2s) {
      const std::lock_guard guard{lock};
      const std::lock_guard inner{mutex};
      if (ids.empty() || ids.back() != lock.id()) ids.push_back(lock.id());
    }
  });
  EXPECT_GE(ids.size(), 10U);  // by the lease alone it would be half of that
}

TEST_F(LocalHandoffs, WithoutRenewalNeedTheWholeLease) {
  const RedisServer server;
  auto options = leased_for(60s);
  options.local_handoffs = 1000;
  Lock lock{server.uri(), name, options};
  contend(lock, 4, [&] {
    for (int i = 0; i < 50; ++i) const std::lock_guard guard{lock};
  });
  EXPECT_EQ(Redis{server.uri()}.calls_of("evalsha") + Redis{server.uri()}.calls_of("eval"),
            200 + 1);
}

/// A waiter that gives up in the moment in which it is handed the lock must not take it along.
TEST_F(LocalHandoffs, SurviveWaitersThatGiveUp) {
  Lock lock{client, name, handing_on(64)};
  std::atomic<int> taken{0};
  contend(lock, 4, [&] {
    for (int i = 0; i < 1000; ++i) {
      if (!lock.try_lock_for(std::chrono::microseconds{i % 50})) continue;
      ++taken;
      lock.unlock();
    }
  });
  EXPECT_GT(taken, 0);
  EXPECT_FALSE(lock.locked());
  EXPECT_TRUE(lock.try_lock_for(soon));
}

}  // namespace
}  // namespace redis_lock_test
