#include "integration.hpp"

#include <thread>

namespace redis_lock_test {
namespace {

using std::chrono::steady_clock;
using LockExtending = OnRedis;

TEST_F(LockExtending, StartsTheLeaseAnew) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  redis.command("PEXPIRE", key, 20'000);
  const auto before = steady_clock::now();
  lock.extend();
  EXPECT_GT(redis.integer("PTTL", key), 40'000);
  EXPECT_GE(lock.expires_at(), before + 60s);
  EXPECT_LE(lock.expires_at(), steady_clock::now() + 60s) << "counted from before it was sent";
}

TEST_F(LockExtending, SetsTheLeaseAskedFor) {
  Lock lock{client, name, leased_for(20s)};
  lock.lock();
  const auto before = steady_clock::now();
  lock.extend(90s);
  EXPECT_GT(redis.integer("PTTL", key), 60'000);
  EXPECT_GE(lock.expires_at(), before + 90s);
  lock.extend(5s);
  EXPECT_LE(redis.integer("PTTL", key), 5'000);
  EXPECT_LE(lock.expires_at(), steady_clock::now() + 5s);
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(LockExtending, KeepsOwnershipBeyondTheFirstLease) {
  Lock lock{client, name, leased_for(800ms)};
  lock.lock();
  const auto first = lock.expires_at();
  while (steady_clock::now() < first + 100ms) {
    lock.extend();
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_F(LockExtending, OfALockNotHeldIsNotOwned) {
  Lock lock{client, name};
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::not_owned);
  EXPECT_EQ(error_of([&] { lock.extend(1s); }), errc::not_owned);
  lock.lock();
  lock.unlock();
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::not_owned);
}

TEST_F(LockExtending, OfASomebodyElsesLockIsNotOwned) {
  held_by_somebody();
  Lock lock{client, name};
  EXPECT_FALSE(lock.try_lock());
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::not_owned);
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

TEST_F(LockExtending, AfterTheLeaseIsLeaseLost) {
  Lock lock{client, name, leased_for(50ms)};
  lock.lock();
  std::this_thread::sleep_until(lock.expires_at());
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
  EXPECT_FALSE(lock.owns_lock());
}

TEST_F(LockExtending, OfADeletedKeyFailsWithoutRecreatingIt) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  redis.command("DEL", key);
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LockExtending, OfAStolenKeyFailsWithoutTouchingIt) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  redis.command("SET", key, "somebody", "PX", 1'000'000);
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_EQ(redis.string("GET", key), "somebody");
  EXPECT_GT(redis.integer("PTTL", key), 500'000);
}

TEST_F(LockExtending, OfALockWithoutExpiryIsNotExpirable) {
  Lock lock{client, name, leased_for(redis_lock::no_expiry)};
  lock.lock();
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::not_expirable);
  EXPECT_EQ(error_of([&] { lock.extend(1s); }), errc::not_expirable);
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(redis.integer("PTTL", key), -1);
}

TEST_F(LockExtending, OfAPersistedKeyIsNotExpirable) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  redis.command("PERSIST", key);
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::not_expirable);
}

TEST_F(LockExtending, ByNoTimeIsRefusedAndLosesNothing) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  EXPECT_THROW(lock.extend(0ms), std::invalid_argument);
  EXPECT_THROW(lock.extend(-1ms), std::invalid_argument);
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_F(LockExtending, WorksBesideRenewal) {
  Lock lock{client, name};
  lock.lock();
  lock.extend(90s);
  EXPECT_GT(redis.integer("PTTL", key), 60'000);
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(LockExtending, WithoutTheServerFailsAndKeepsTheLease) {
  RedisServer server;
  Lock lock{server.uri("retry_for=0"), name, leased_for(60s)};
  lock.lock();
  const auto lease_end = lock.expires_at();
  server.kill();
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::connection_failed);
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(lock.expires_at(), lease_end);
}

}  // namespace
}  // namespace redis_lock_test
