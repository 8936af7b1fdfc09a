// Options::min_hold: what is released early stays locked for the rest of the time.

#include <algorithm>
#include <future>
#include <stdexcept>
#include <thread>

#include "integration.hpp"
#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Gt;
using ::testing::Le;

Options kept_for_a_minute(milliseconds lease = 10s) {
  auto options = leased_for(lease);
  options.min_hold = 60s;
  return options;
}

class MinHold : public OnRedis {
 protected:
  [[nodiscard]] long long time_left() { return redis.integer("PTTL", key); }
  /// A minute, less what has passed since.
  const ::testing::Matcher<long long> all_but_soon = AllOf(Gt(50'000), Le(60'000));
};

TEST_F(MinHold, KeepsWhatIsReleasedEarlyForTheRest) {
  Lock lock{client, name, kept_for_a_minute()};
  lock.lock();
  EXPECT_THAT(time_left(), Le(10'000));
  lock.unlock();
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_THAT(time_left(), all_but_soon);
  EXPECT_EQ(lock.owner(), lock.id());
  EXPECT_FALSE(lock.try_lock());
  EXPECT_EQ(client.stats().released, 1U);
}

TEST_F(MinHold, OfALockThatIsDestroyedKeepsIt) {
  {
    Lock lock{client, name, kept_for_a_minute()};
    lock.lock();
  }
  EXPECT_THAT(time_left(), all_but_soon);
}

TEST_F(MinHold, EndsALeaseThatIsLonger) {
  Lock lock{client, name, kept_for_a_minute(10min)};
  lock.lock();
  lock.unlock();
  EXPECT_THAT(time_left(), all_but_soon);
}

TEST_F(MinHold, GivesALockWithoutExpiryAnEnd) {
  Lock lock{client, name, kept_for_a_minute(redis_lock::no_expiry)};
  lock.lock();
  lock.unlock();
  EXPECT_THAT(time_left(), all_but_soon);
}

TEST_F(MinHold, FreesAtOnceWhenTheTimeIsOver) {
  auto options = leased_for(10s);
  options.min_hold = 1ms;
  Lock lock{client, name, options};
  lock.lock();
  std::this_thread::sleep_for(2ms);
  lock.unlock();
  EXPECT_FALSE(lock.locked());
}

TEST_F(MinHold, SignalsThatThereIsANewEnd) {
  auto options = kept_for_a_minute();
  options.signal_expire = 60s;
  Lock lock{client, name, options};
  lock.lock();
  lock.unlock();
  EXPECT_EQ(redis.integer("LLEN", signal), 1);
  EXPECT_THAT(redis.integer("PTTL", signal), all_but_soon);
}

TEST_F(MinHold, TellsAWaiterOfTheNewEnd) {
  auto options = leased_for(60s);
  options.min_hold = 1s;
  Lock lock{client, name, options}, other{client, name};
  lock.lock();
  auto waiter = std::async(std::launch::async, [&] { return other.try_lock_for(soon); });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  lock.unlock();
  EXPECT_FALSE(redis.exists(signal)) << "the waiter has not taken it";
  EXPECT_TRUE(redis.exists(key));
  EXPECT_TRUE(waiter.get());
}

TEST_F(MinHold, HoldsForDeferredReleases) {
  auto options = kept_for_a_minute();
  options.deferred_unlock = true;
  Lock lock{client, name, options};
  lock.lock();
  lock.unlock();
  EXPECT_FALSE(lock.try_lock());
  EXPECT_TRUE(eventually([this] { return time_left() > 50'000; }));
  EXPECT_TRUE(eventually([this] { return client.stats().released == 1; }));
}

TEST_F(MinHold, HoldsForARepeatedDeferredRelease) {
  RedisServer server;
  Redis own{server.uri()};
  auto options = kept_for_a_minute();
  options.deferred_unlock = true;
  Lock lock{server.uri(), name, options};
  lock.lock();
  lock.unlock();
  own.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  own.command("SCRIPT", "FLUSH");
  EXPECT_FALSE(lock.try_lock());
  EXPECT_TRUE(eventually([&] { return own.integer("PTTL", key) > 50'000; }));
}

TEST_F(MinHold, IsNoHindranceToReset) {
  Lock lock{client, name, kept_for_a_minute()};
  lock.lock();
  lock.unlock();
  EXPECT_TRUE(lock.reset(lock.id()));
  EXPECT_TRUE(lock.try_lock());
}

TEST_F(MinHold, OfWhatIsLostChangesNothing) {
  Lock lock{client, name, kept_for_a_minute()};
  lock.lock();
  redis.command("SET", key, "somebody", "PX", 5000);
  lock.unlock();
  EXPECT_THAT(time_left(), Le(5000));
  EXPECT_EQ(client.stats().lost, 1U);
}

TEST_F(MinHold, WorksOnAServerOutOfMemory) {
  const RedisServer server;
  Redis own{server.uri()};
  Lock lock{server.uri(), name, kept_for_a_minute()};
  lock.lock();
  own.command("CONFIG", "SET", "maxmemory", "1");
  lock.unlock();
  EXPECT_THAT(own.integer("PTTL", key), all_but_soon);
}

TEST_F(MinHold, OfAQuorumLockHoldsOnEachNode) {
  QuorumServers servers{3};
  redis_lock::QuorumLock lock{servers.clients(), name, kept_for_a_minute()};
  redis_lock::QuorumLock other{servers.clients(), name};
  lock.lock();
  lock.unlock();
  EXPECT_EQ(lock.owner(), lock.id());
  EXPECT_FALSE(other.try_lock());
  EXPECT_TRUE(eventually([&] {
    const auto values = servers.values(key);
    return std::count(values.begin(), values.end(), lock.id()) == 3;
  }));
}

TEST_F(MinHold, IsRefusedWhereItCannotBeKept) {
  const auto is_refused = [&](Options options, milliseconds min_hold) {
    options.min_hold = min_hold;
    EXPECT_THROW(Lock(client, name, options), std::invalid_argument);
  };
  is_refused({}, -1ms);
  Options fixed, passed_on;
  fixed.id = "fixed";
  passed_on.local_handoffs = 1;
  is_refused(fixed, 1s);
  is_refused(passed_on, 1s);
  Options for_ever;
  for_ever.min_hold = milliseconds::max();
  EXPECT_NO_THROW(Lock(client, name, for_ever));
}

}  // namespace
}  // namespace redis_lock_test
