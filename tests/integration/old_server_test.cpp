#include "integration.hpp"

#include <algorithm>
#include <future>

namespace redis_lock_test {
namespace {

/// A server before Redis 6: a BLPOP whose timeout is no whole number of seconds is an error.
class OldServer : public OnRedis {
 protected:
  void SetUp() override { proxy.reject_fractional_timeouts(); }

  Proxy proxy{redis_lock::Endpoint::parse(test_uri())};
  const Client old_client{proxy.uri()};
};

TEST_F(OldServer, LocksAndUnlocks) {
  Lock lock{old_client, name};
  const std::lock_guard guard{lock};
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_F(OldServer, HandsTheLockOver) {
  Lock holder{old_client, name};
  holder.lock();
  auto waiter = std::async(std::launch::async, [this] {
    Lock lock{old_client, name};
    lock.lock();
    return lock.owns_lock();
  });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); })) << "a whole number of seconds";
  const Stopwatch since_release;
  holder.unlock();
  EXPECT_TRUE(waiter.get());
  EXPECT_LT(since_release.elapsed(), soon);
}

TEST_F(OldServer, IsWaitedForByManyInTurn) {
  std::vector<std::future<void>> contenders;
  std::atomic<int> inside{0}, overlaps{0}, entered{0};
  for (int i = 0; i < 8; ++i) {
    contenders.push_back(std::async(std::launch::async, [&] {
      Lock lock{old_client, name};
      for (int round = 0; round < 5; ++round) {
        const std::lock_guard guard{lock};
        if (++inside != 1) ++overlaps;
        ++entered;
        --inside;
      }
    }));
  }
  for (auto& contender : contenders) contender.get();
  EXPECT_EQ(overlaps, 0);
  EXPECT_EQ(entered, 40);
}

TEST_F(OldServer, KeepsDeadlinesThatAreNoWholeSeconds) {
  held_by_somebody();
  Lock lock{old_client, name};
  for (const auto limit : {300ms, 1300ms}) {
    auto best = milliseconds::max();
    for (int attempt = 0; attempt < 3 && best >= limit + 500ms;
         ++attempt) {  // a busy machine may be late
      const Stopwatch watch;
      EXPECT_FALSE(lock.try_lock_for(limit));
      EXPECT_GE(watch.elapsed(), limit);
      best = std::min(best, watch.elapsed());
    }
    EXPECT_LT(best, limit + 500ms);
  }
}

TEST_F(OldServer, TakesTheLockOfACrashedHolder) {
  const Stopwatch watch;
  held_by_somebody(400ms);
  Lock lock{old_client, name};
  lock.lock();
  EXPECT_GE(watch.elapsed(), 400ms - clock_error);
  EXPECT_LT(watch.elapsed(), 400ms + soon);
}

}  // namespace
}  // namespace redis_lock_test
