#include "integration.hpp"

#include <memory>
#include <thread>

namespace redis_lock_test {
namespace {

using ::testing::Pair;
using ::testing::UnorderedElementsAre;

class Commands : public ::testing::Test {
 protected:
  /// Commands that the server ran for each of `waiters` acquisitions behind a holder, from the first
  /// attempt to the release.
  double for_each_contended(int waiters) {
    Lock holder{client, "x", leased_for(60s)};
    holder.lock();
    redis.reset_stats();
    std::vector<std::thread> threads;
    for (int i = 0; i < waiters; ++i) {
      threads.emplace_back([this] {
        Lock lock{client, "x", leased_for(60s)};
        lock.lock();
        lock.unlock();
      });
    }
    EXPECT_TRUE(eventually([&] { return redis.info("blocked_clients") == waiters; }));
    holder.unlock();
    for (auto& thread : threads) thread.join();
    double sum = -6;  // the holder's release: EVALSHA, GET, DEL, LPUSH, PEXPIRE, DEL
    for (const auto& [command, calls] : redis.calls()) sum += static_cast<double>(calls);
    return sum / waiters;
  }

  const RedisServer server;
  Redis redis{server.endpoint()};
  const Client client{server.uri()};
};

TEST_F(Commands, OfAnUncontendedLockAndUnlockAreThree) {
  Lock lock{client, "x", leased_for(60s)};
  lock.lock();  // connects, and the server learns the script
  lock.unlock();
  redis.reset_stats();
  lock.lock();
  EXPECT_THAT(redis.calls(), UnorderedElementsAre(Pair("set", 1), Pair("pttl", 1)));
  lock.unlock();
  EXPECT_THAT(
      redis.calls(),
      UnorderedElementsAre(Pair("set", 1), Pair("pttl", 1), Pair("evalsha", 1),  //
                           Pair("get", 1), Pair("del", 2), Pair("lpush", 1), Pair("pexpire", 1)))
      << "the second line is what the script runs";
}

TEST_F(Commands, OfABusyTryAreTwo) {
  redis.command("SET", "lock:x", "somebody", "PX", 60'000);
  Lock lock{client, "x"};
  EXPECT_FALSE(lock.try_lock());
  redis.reset_stats();
  EXPECT_FALSE(lock.try_lock());
  EXPECT_THAT(redis.calls(), UnorderedElementsAre(Pair("set", 1), Pair("pttl", 1)));
}

TEST_F(Commands, OfContendedAcquisitionsDoNotGrowWithWaiters) {
  {
    Lock warm_up{client, "x", leased_for(60s)};
    warm_up.lock();
  }
  redis.command("DEL", "lock-signal:x");
  const auto with_two = for_each_contended(2);
  redis.command("DEL", "lock-signal:x");
  const auto with_many = for_each_contended(32);
  EXPECT_LE(with_two, 13);
  EXPECT_LE(with_many, 13);
  EXPECT_NEAR(with_two, with_many, 1);
}

}  // namespace
}  // namespace redis_lock_test
