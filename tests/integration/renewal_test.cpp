#include "integration.hpp"

#include <malloc.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

using std::chrono::steady_clock;

/// Counts what on_lost tells.
struct Losses {
  std::mutex mutex;
  std::vector<std::error_code> told;

  std::function<void(std::error_code)> callback() {
    return [this](std::error_code error) {
      const std::lock_guard guard{mutex};
      told.push_back(error);
    };
  }
  std::size_t count() {
    const std::lock_guard guard{mutex};
    return told.size();
  }
};

/// For tests that something does not happen: that long it does not.
void let_pass(milliseconds time) { std::this_thread::sleep_for(time); }

using LockRenewal = OnRedis;

TEST_F(LockRenewal, HoldsBeyondTheLease) {
  Losses losses;
  auto options = renewed_for(900ms);
  options.on_lost = losses.callback();
  Lock lock{client, name, options}, other{client, name};
  lock.lock();
  const auto first_end = lock.expires_at();
  while (steady_clock::now() < first_end + 900ms) {
    ASSERT_TRUE(lock.owns_lock());
    ASSERT_FALSE(other.try_lock_for(20ms));
  }
  EXPECT_GT(lock.expires_at(), first_end);
  EXPECT_EQ(redis.string("GET", key), lock.id());
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
  EXPECT_EQ(losses.count(), 0U);
}

TEST_F(LockRenewal, WorksForManyLocksOfOneClient) {
  std::vector<std::unique_ptr<Lock>> locks;
  for (int i = 0; i < 300; ++i) {
    locks.push_back(std::make_unique<Lock>(client, name + std::to_string(i), renewed_for(1500ms)));
    locks.back()->lock();
  }
  const auto end = locks.back()->expires_at();
  std::this_thread::sleep_until(end + 100ms);
  int owned = 0;
  for (const auto& lock : locks) owned += lock->owns_lock() ? 1 : 0;
  EXPECT_EQ(owned, 300);
}

TEST_F(LockRenewal, EndsWithTheRelease) {
  const RedisServer server;
  Redis own{server.endpoint()};
  const Client its_client{server.uri()};
  Lock lock{its_client, name, renewed_for(150ms)};
  lock.lock();
  ASSERT_TRUE(eventually([&] { return own.calls_of("pexpire") >= 2; })) << "renewals are seen";
  lock.unlock();
  own.reset_stats();
  let_pass(400ms);
  EXPECT_THAT(own.calls(), ::testing::IsEmpty());
}

TEST_F(LockRenewal, NeedsOneThreadForEachClient) {
  const auto threads = [] {
    const std::filesystem::directory_iterator tasks{"/proc/self/task"};
    return std::distance(begin(tasks), end(tasks));
  };
  Lock not_renewed{client, name + "-0", leased_for(60s)};
  not_renewed.lock();
  std::thread{[] {}}.join();  // ThreadSanitizer starts a thread of its own with the first
  const auto before = threads();
  std::vector<std::unique_ptr<Lock>> locks;
  for (int i = 1; i <= 10; ++i) {
    const Client copy = client;
    locks.push_back(std::make_unique<Lock>(copy, name + "-" + std::to_string(i)));
    locks.back()->lock();
  }
  EXPECT_EQ(threads(), before + 1);
}

/// Returns how many bytes the program has allocated.
std::size_t allocated_bytes() {
#if __GLIBC_PREREQ(2, 33)
  return ::mallinfo2().uordblks;
#else
  return static_cast<std::size_t>(::mallinfo().uordblks);
#endif
}

/// Taken and dropped again and again: the renewer keeps nothing, and renews nothing that is gone.
TEST_F(LockRenewal, OfLocksThatAreGoneLeavesNothingBehind) {
  const RedisServer server;
  Lock lock{server.uri(), name};
  const auto take_and_drop = [&](int times) {
    for (int i = 0; i < times; ++i) const std::lock_guard guard{lock};
    return allocated_bytes();
  };
  const auto before = take_and_drop(100);
  const auto after = take_and_drop(10'000);
  EXPECT_LT(after, before + 10'000);  // less than one byte for each
  EXPECT_EQ(Redis{server.uri()}.calls_of("pexpire"), 10'100)
      << "one in each release, none to renew";
}

TEST_F(LockRenewal, EndsItsThreadWithTheClient) {
  const auto threads = [] {
    const std::filesystem::directory_iterator tasks{"/proc/self/task"};
    return std::distance(begin(tasks), end(tasks));
  };
  {
    Lock warm_up{Client{test_uri()}, name};
    warm_up.lock();
  }
  const auto before = threads();
  {
    Lock lock{Client{test_uri()}, name};
    lock.lock();
    EXPECT_EQ(threads(), before + 1);
  }
  EXPECT_TRUE(eventually([&] { return threads() == before; }));
}

TEST_F(LockRenewal, SurvivesDroppedConnections) {
  const RedisServer server;
  Redis own{server.endpoint()};
  Losses losses;
  auto options = renewed_for(1500ms);
  options.on_lost = losses.callback();
  Lock lock{server.uri(), name, options};
  lock.lock();
  const auto end = lock.expires_at() + 1s;
  while (steady_clock::now() < end) {
    own.integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    ASSERT_TRUE(lock.owns_lock());
    std::this_thread::sleep_for(100ms);
  }
  EXPECT_EQ(own.string("GET", key), lock.id());
  EXPECT_EQ(losses.count(), 0U);
  lock.unlock();
  EXPECT_FALSE(own.exists(key));
}

TEST_F(LockRenewal, SurvivesALostReply) {
  Proxy proxy{redis_lock::Endpoint::parse(test_uri())};
  Lock lock{proxy.uri(), name, renewed_for(1500ms)};
  lock.lock();
  const auto first_end = lock.expires_at();
  proxy.inject("EVALSHA", Fault::lose_reply);
  EXPECT_TRUE(eventually([&] { return lock.expires_at() > first_end; }, 1400ms));
  EXPECT_EQ(proxy.faults_left(), 0U);
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(LockRenewal, StopsAtMaxHold) {
  Losses losses;
  auto options = renewed_for(600ms);
  options.max_hold = 1s;
  options.on_lost = losses.callback();
  const Stopwatch watch;
  Lock hanging{client, name, options}, next{client, name};
  hanging.lock();
  next.lock();
  EXPECT_GE(watch.elapsed(), 1s - clock_error) << "renewed until then";
  EXPECT_LT(watch.elapsed(), 1s + 600ms + soon);
  EXPECT_FALSE(hanging.owns_lock());
  EXPECT_TRUE(eventually([&] { return losses.count() == 1; }));
  std::error_code error;
  hanging.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_TRUE(next.owns_lock());
  EXPECT_EQ(redis.string("GET", key), next.id());
}

TEST_F(LockRenewal, ContinuesWhenAnotherLockIsReleased) {
  Lock kept{client, name + "-kept", renewed_for(900ms)};
  Lock released{client, name + "-released", renewed_for(900ms)};
  kept.lock();
  const auto first_end = kept.expires_at();
  while (steady_clock::now() < first_end) {
    const std::lock_guard guard{released};
  }
  let_pass(50ms);
  EXPECT_TRUE(kept.owns_lock());
}

using LockLoss = OnRedis;

TEST_F(LockLoss, IsToldOnceWhenTheKeyIsGone) {
  Losses losses;
  auto options = renewed_for(300ms);
  options.on_lost = losses.callback();
  Lock lock{client, name, options};
  lock.lock();
  redis.command("DEL", key);
  ASSERT_TRUE(eventually([&] { return losses.count() == 1; }));
  EXPECT_EQ(losses.told.front(), errc::lease_lost);
  EXPECT_FALSE(lock.owns_lock());
  let_pass(500ms);
  EXPECT_EQ(losses.count(), 1U) << "not at the lease's end again";
  EXPECT_FALSE(redis.exists(key)) << "a late renewal never re-creates a lost key";
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_EQ(losses.count(), 1U);
}

TEST_F(LockLoss, IsToldOnceForEachAcquisition) {
  Losses losses;
  auto options = renewed_for(300ms);
  options.on_lost = losses.callback();
  Lock lock{client, name, options};
  for (std::size_t times = 1; times <= 3; ++times) {
    lock.lock();
    redis.command("DEL", key);
    ASSERT_TRUE(eventually([&] { return losses.count() == times; }));
    lock.unlock();
  }
  lock.lock();
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(losses.count(), 3U);
}

TEST_F(LockLoss, IsToldWhenTheKeyHasAnotherOwner) {
  Losses losses;
  auto options = renewed_for(300ms);
  options.on_lost = losses.callback();
  Lock lock{client, name, options};
  lock.lock();
  redis.command("SET", key, "somebody", "PX", 60'000);
  ASSERT_TRUE(eventually([&] { return losses.count() == 1; }));
  EXPECT_FALSE(lock.owns_lock());
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_EQ(redis.string("GET", key), "somebody");
  EXPECT_GT(redis.integer("PTTL", key), 30'000) << "nor was its lease touched";
}

TEST_F(LockLoss, WithoutServerIsToldBeforeTheLeaseEnds) {
  bool in_time = false;
  for (int attempt = 0; attempt < 5 && !in_time;
       ++attempt) {  // a busy machine may wake the thread late
    RedisServer server;
    std::atomic<int> told{0};
    std::atomic<steady_clock::time_point> told_at{steady_clock::time_point::max()};
    auto options = renewed_for(800ms);
    options.on_lost = [&](std::error_code) {
      told_at = steady_clock::now();
      ++told;
    };
    Lock lock{server.uri(), name, options};
    lock.lock();
    if (attempt % 2 == 0) {
      server.kill();
    } else {
      server.pause();
    }
    // A watched lock expires a tenth of its lease before the lease is over.
    const auto lease_end = [&lock] { return lock.expires_at() + 80ms; };
    ASSERT_TRUE(eventually([&] { return told == 1; }));
    EXPECT_FALSE(lock.owns_lock());
    in_time = told_at.load() < lease_end();
    EXPECT_EQ(told, 1);
  }
  EXPECT_TRUE(in_time);
}

TEST_F(LockLoss, IsToldWithoutRenewalToo) {
  Losses losses;
  auto options = leased_for(200ms);
  options.on_lost = losses.callback();
  Lock lock{client, name, options};
  lock.lock();
  EXPECT_TRUE(eventually([&] { return losses.count() == 1; }));
  EXPECT_FALSE(lock.owns_lock());
}

TEST_F(LockLoss, IsNotToldOfAReleasedLock) {
  Losses losses;
  auto options = leased_for(100ms);
  options.on_lost = losses.callback();
  Lock lock{client, name, options};
  lock.lock();
  lock.unlock();
  let_pass(300ms);
  EXPECT_EQ(losses.count(), 0U);
}

TEST_F(LockLoss, CallbackMayUseTheLock) {
  std::atomic<int> told{0};
  std::unique_ptr<Lock> lock;
  auto options = renewed_for(300ms);
  options.on_lost = [&](std::error_code) {
    EXPECT_FALSE(lock->owns_lock());
    EXPECT_FALSE(lock->id().empty());
    EXPECT_EQ(lock->owner(), std::nullopt);
    EXPECT_EQ(error_of([&] { lock->extend(); }), errc::lease_lost);
    std::error_code error;
    lock->unlock(error);
    EXPECT_EQ(error, errc::lease_lost);
    ++told;
  };
  lock = std::make_unique<Lock>(client, name, options);
  lock->lock();
  redis.command("DEL", key);
  ASSERT_TRUE(eventually([&] { return told == 1; }));
  EXPECT_TRUE(lock->try_lock()) << "it was unlocked by the callback";
  lock->unlock();
}

TEST_F(LockLoss, CallbackMayUnlockALockDueForRenewal) {
  Options options;
  options.expire = 1800ms;
  Lock renewed{client, name + "-renewed", options};
  std::atomic<bool> unlocked{false};
  auto leased = leased_for(600ms);
  leased.on_lost = [&](std::error_code) {
    renewed.unlock();
    unlocked = true;
  };
  Lock lost{client, name, leased};
  renewed.lock();  // due after 600 ms, as the loss
  lost.lock();
  EXPECT_TRUE(eventually([&] { return unlocked.load(); }));
  EXPECT_FALSE(renewed.owns_lock());
}

TEST_F(LockLoss, AThrowingCallbackIsCaughtAndOthersRun) {
  Losses losses;
  auto throwing = renewed_for(300ms);
  throwing.on_lost = [](std::error_code) { throw std::runtime_error("from on_lost"); };
  auto counting = renewed_for(300ms);
  counting.on_lost = losses.callback();
  Lock first{client, name + "-1", throwing}, second{client, name + "-2", counting};
  first.lock();
  second.lock();
  redis.command("DEL", key + "-1");
  ASSERT_TRUE(eventually([&] { return !first.owns_lock(); }));
  redis.command("DEL", key + "-2");
  EXPECT_TRUE(eventually([&] { return losses.count() == 1; }));
}

TEST_F(LockLoss, DestructorWaitsForARunningCallback) {
  std::atomic<bool> entered{false}, left{false};
  auto options = renewed_for(300ms);
  options.on_lost = [&](std::error_code) {
    entered = true;
    std::this_thread::sleep_for(200ms);
    left = true;
  };
  {
    Lock lock{client, name, options};
    lock.lock();
    redis.command("DEL", key);
    ASSERT_TRUE(eventually([&] { return entered.load(); }));
  }
  EXPECT_TRUE(left) << "what the callback refers to may be gone after the Lock";
}

/// A lock that was lost, and not unlocked since.
using LostLock = OnRedis;

TEST_F(LostLock, IsAcquiredAnewByItsThread) {
  for (const bool renewed : {false, true}) {
    Losses losses;
    auto options = renewed ? renewed_for(900ms) : leased_for(60s);
    options.on_lost = losses.callback();
    Lock lock{client, name, options};
    lock.lock();
    const auto first = lock.id();
    ASSERT_EQ(redis.string("SET", key, "another"), "OK");
    EXPECT_TRUE(eventually([&] { return renewed ? losses.count() == 1 : true; }));
    if (!renewed) {
      EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
    }
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_FALSE(lock.try_lock()) << "another has it";
    EXPECT_EQ(redis.integer("DEL", key), 1);
    EXPECT_TRUE(lock.try_lock());
    EXPECT_TRUE(lock.owns_lock());
    EXPECT_NE(lock.id(), first);
    EXPECT_EQ(redis.string("GET", key), lock.id());
    std::error_code error;
    lock.unlock(error);
    EXPECT_FALSE(error) << error.message();
    EXPECT_FALSE(redis.exists(key));
    EXPECT_TRUE(eventually([&] { return losses.count() == 1; }));
  }
  EXPECT_EQ(client.stats().lost, 2U);
  EXPECT_EQ(client.stats().acquired, client.stats().lost + client.stats().released);
}

TEST_F(LostLock, IsAcquiredAnewByLockOfItsThread) {
  Lock lock{client, name, leased_for(30ms)};
  for (int i = 0; i < 3; ++i) {
    ASSERT_NO_THROW(lock.lock());
    EXPECT_TRUE(lock.owns_lock());
    EXPECT_TRUE(eventually([&] { return !lock.owns_lock(); }));
  }
  EXPECT_EQ(client.stats().lost, 2U);
}

TEST_F(LostLock, IsBusyForOtherThreadsUntilUnlocked) {
  Lock lock{client, name, leased_for(30ms)};
  lock.lock();
  EXPECT_TRUE(eventually([&] { return !redis.exists(key); }));
  std::thread other{[&] { EXPECT_FALSE(lock.try_lock()); }};
  other.join();
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_TRUE(lock.try_lock());
}

TEST_F(LostLock, OfAQuorumIsReacquiredByItsThread) {
  QuorumServers servers{3};
  redis_lock::QuorumLock lock{servers.clients(), name, leased_for(100ms)};
  lock.lock();
  EXPECT_TRUE(eventually([&] { return !lock.owns_lock(); }));
  EXPECT_TRUE(lock.try_lock_for(10s));
  EXPECT_TRUE(lock.owns_lock());
}

}  // namespace
}  // namespace redis_lock_test
