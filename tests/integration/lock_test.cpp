#include "integration.hpp"

#include <future>
#include <memory>
#include <mutex>

namespace redis_lock_test {
namespace {

using ::testing::HasSubstr;

static_assert(noexcept(std::declval<Lock&>().unlock()));
static_assert(noexcept(std::declval<Lock&>().lock(std::declval<std::error_code&>())));
static_assert(noexcept(std::declval<Lock&>().try_lock(std::declval<std::error_code&>())));
static_assert(noexcept(std::declval<Lock&>().unlock(std::declval<std::error_code&>())));
static_assert(noexcept(std::declval<const Lock&>().owns_lock()));
static_assert(noexcept(std::declval<const Lock&>().expires_at()));
static_assert(noexcept(std::declval<const Lock&>().name()));
static_assert(std::is_nothrow_destructible_v<Lock>);
static_assert(!std::is_copy_constructible_v<Lock> && !std::is_copy_assignable_v<Lock>);
static_assert(std::is_copy_constructible_v<Client> && std::is_copy_assignable_v<Client>);

using LockTaking = OnRedis;

TEST_F(LockTaking, SetsTheHoldersIdForTheLease) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(redis.string("GET", key), lock.id());
  const auto lease = redis.integer("PTTL", key);
  EXPECT_LE(lease, 60'000);
  EXPECT_GT(lease, 30'000);
  lock.unlock();
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LockTaking, WithoutExpirySetsNoExpiry) {
  Lock lock{client, name, leased_for(redis_lock::no_expiry)};
  lock.lock();
  EXPECT_EQ(redis.integer("PTTL", key), -1);
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_GT(lock.expires_at(), std::chrono::steady_clock::now() + std::chrono::hours{24 * 365});
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LockTaking, TryLockTakesAFreeName) {
  Lock lock{client, name};
  ASSERT_TRUE(lock.try_lock());
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_F(LockTaking, TryLockIsFalseWhenAnotherHoldsIt) {
  held_by_somebody();
  Lock lock{client, name};
  EXPECT_FALSE(lock.try_lock());
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

TEST_F(LockTaking, WaitsUntilTheHolderReleases) {
  Lock holder{client, name};
  holder.lock();
  auto waiter = std::async(std::launch::async, [this] {
    Lock lock{client, name};
    lock.lock();
    return lock.owns_lock();
  });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  EXPECT_EQ(waiter.wait_for(0s), std::future_status::timeout);
  const Stopwatch since_release;
  holder.unlock();
  EXPECT_TRUE(waiter.get());
  EXPECT_LT(since_release.elapsed(), soon);
}

TEST_F(LockTaking, CanBeRepeated) {
  Lock lock{client, name};
  for (int i = 0; i < 5; ++i) {
    lock.lock();
    EXPECT_TRUE(lock.owns_lock());
    lock.unlock();
    ASSERT_TRUE(lock.try_lock());
    lock.unlock();
  }
}

TEST_F(LockTaking, UsesItsOwnPrefixes) {
  auto options = leased_for(60s);
  options.key_prefix = "k-" + name + ":";
  options.signal_prefix = "s-" + name + ":";
  Lock lock{client, "x", options};
  lock.lock();
  EXPECT_EQ(redis.string("GET", options.key_prefix + "x"), lock.id());
  lock.unlock();
  EXPECT_EQ(redis.integer("LLEN", options.signal_prefix + "x"), 1);
}

using LockNaming = OnRedis;

TEST_F(LockNaming, TellsItsName) {
  const Lock lock{client, name};
  EXPECT_EQ(lock.name(), name);
}

TEST_F(LockNaming, EachAcquisitionHasAFreshId) {
  Lock lock{client, name};
  lock.lock();
  const auto first = lock.id();
  lock.unlock();
  EXPECT_EQ(lock.id(), first) << "the latest acquisition's";
  lock.lock();
  EXPECT_NE(lock.id(), first);
  EXPECT_GE(lock.id().size(), 16U);
}

TEST_F(LockNaming, AnIdGivenIsTheHoldersMark) {
  auto options = leased_for(60s);
  options.id = "worker 7";
  Lock lock{client, name, options};
  lock.lock();
  EXPECT_EQ(lock.id(), "worker 7");
  EXPECT_EQ(redis.string("GET", key), "worker 7");
  EXPECT_EQ(lock.owner(), "worker 7");
}

using LockExpiry = OnRedis;

TEST_F(LockExpiry, WaiterAcquiresWhenTheHolderCrashed) {
  const Stopwatch since_crash;
  held_by_somebody(400ms);
  Lock lock{client, name};
  lock.lock();
  EXPECT_GE(since_crash.elapsed(), 400ms - clock_error);
  EXPECT_LT(since_crash.elapsed(), 400ms + soon);
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(LockExpiry, EndsTheOwnershipWithoutAnyWord) {
  Lock lock{client, name, leased_for(200ms)};
  const auto before = std::chrono::steady_clock::now();
  lock.lock();
  EXPECT_LE(lock.expires_at(), std::chrono::steady_clock::now() + 200ms)
      << "counted from before the SET";
  EXPECT_GE(lock.expires_at(), before + 200ms);
  std::this_thread::sleep_until(lock.expires_at());
  EXPECT_FALSE(lock.owns_lock());
}

TEST_F(LockExpiry, MakesUnlockReportTheLoss) {
  Lock lock{client, name, leased_for(100ms)};
  lock.lock();
  std::this_thread::sleep_until(lock.expires_at());
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  lock.unlock(error);
  EXPECT_EQ(error, errc::not_owned) << "reported once; now it holds nothing";
}

TEST_F(LockExpiry, NeverFreesTheNextHolder) {
  Lock lock{client, name, leased_for(100ms)};
  lock.lock();
  ASSERT_TRUE(eventually([this] { return !redis.exists(key); }));
  held_by_somebody();
  lock.unlock();
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

TEST_F(LockExpiry, OwnershipIsToldWithoutRedis) {
  RedisServer server;
  Lock lock{server.uri("retry_for=0"), name, leased_for(60s)};
  lock.lock();
  server.pause();
  const Stopwatch watch;
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_GT(lock.expires_at(), std::chrono::steady_clock::now());
  EXPECT_LT(watch.elapsed(), 900ms) << "less than a command_timeout";
  server.kill();
  EXPECT_TRUE(lock.owns_lock());
  lock.unlock();
  EXPECT_FALSE(lock.owns_lock());
}

using LockReleasing = OnRedis;

TEST_F(LockReleasing, TheDestructorReleases) {
  {
    Lock lock{client, name};
    lock.lock();
  }
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LockReleasing, DestroyingALockNotHeldTouchesNothing) {
  held_by_somebody();
  {
    Lock lock{client, name};
    EXPECT_FALSE(lock.try_lock());
  }
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

TEST_F(LockReleasing, UnlockingWithoutHoldingGoesToOnError) {
  std::vector<std::error_code> told;
  std::string message;
  Options options;
  options.on_error = [&](const Error& error) {
    told.push_back(error.code());
    message = error.what();
  };
  Lock lock{client, name, options};
  lock.unlock();
  EXPECT_THAT(told, ::testing::ElementsAre(errc::not_owned));
  EXPECT_THAT(message, HasSubstr(name));
  EXPECT_THAT(message, HasSubstr("unlock"));
}

TEST_F(LockReleasing, FailedUnlockOrDestructionGoesToOnError) {
  RedisServer server;
  int told = 0;
  auto options = leased_for(60s);
  options.on_error = [&told](const Error& error) {
    EXPECT_EQ(error.code(), errc::connection_failed);
    ++told;
  };
  {
    const Client impatient{server.uri("retry_for=100")};
    Lock unlocked{impatient, "a", options}, destroyed{impatient, "b", options};
    unlocked.lock();
    destroyed.lock();
    server.kill();
    unlocked.unlock();
    EXPECT_EQ(told, 1);
    EXPECT_FALSE(unlocked.owns_lock());
  }
  EXPECT_EQ(told, 2);
}

TEST_F(LockReleasing, AThrowingCallbackIsCaught) {
  Options options;
  options.on_error = [](const Error&) { throw std::runtime_error("from on_error"); };
  Lock lock{client, name, options};
  lock.unlock();
  lock.lock();
  ASSERT_TRUE(redis.integer("DEL", key) == 1);
  lock.unlock();
  EXPECT_FALSE(lock.owns_lock());
}

TEST_F(LockReleasing, UnlockAfterAnotherTookTheKeyReportsLoss) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  redis.command("SET", key, "somebody");
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

using LockErrorCodes = OnRedis;

TEST_F(LockErrorCodes, AreClearWhenAllIsWell) {
  auto error = make_error_code(errc::server_error);
  Lock lock{client, name};
  lock.lock(error);
  EXPECT_FALSE(error) << error.message();
  EXPECT_TRUE(lock.owns_lock());

  error = errc::server_error;
  lock.unlock(error);
  EXPECT_FALSE(error) << error.message();

  error = errc::server_error;
  EXPECT_TRUE(lock.try_lock(error));
  EXPECT_FALSE(error) << error.message();
}

TEST_F(LockErrorCodes, BusyIsNoError) {
  held_by_somebody();
  Lock lock{client, name};
  auto error = make_error_code(errc::server_error);
  EXPECT_FALSE(lock.try_lock(error));
  EXPECT_FALSE(error) << error.message();
}

TEST_F(LockErrorCodes, TellWhatTheThrowingMembersThrow) {
  redis_lock::Endpoint nobody;
  nobody.unix_socket = "/nonexistent/socket";
  nobody.retry_for = 0ms;
  Lock lock{nobody, name};
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::connection_failed);
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::connection_failed);
  EXPECT_EQ(error_of([&] { return lock.try_lock_for(1s); }), errc::connection_failed);
  EXPECT_EQ(error_of([&] { return lock.locked(); }), errc::connection_failed);
  EXPECT_EQ(error_of([&] { return lock.owner(); }), errc::connection_failed);
  EXPECT_EQ(error_of([&] { return lock.reset(); }), errc::connection_failed);
  std::error_code error;
  lock.lock(error);
  EXPECT_EQ(error, errc::connection_failed);
  EXPECT_FALSE(lock.try_lock(error));
  EXPECT_EQ(error, errc::connection_failed);
  EXPECT_FALSE(lock.owns_lock());
  lock.unlock(error);
  EXPECT_EQ(error, errc::not_owned);
}

TEST_F(LockErrorCodes, AnErrorNamesTheOperationAndTheLock) {
  redis_lock::Endpoint nobody;
  nobody.unix_socket = "/nonexistent/socket";
  nobody.retry_for = 0ms;
  Lock lock{nobody, name};
  const auto message = message_of<Error>([&] { return lock.try_lock(); });
  EXPECT_THAT(message, HasSubstr("try_lock"));
  EXPECT_THAT(message, HasSubstr(name));
}

using LockRelocking = OnRedis;

TEST_F(LockRelocking, ByTheHolderThreadIsADeadlockTold) {
  Lock lock{client, name};
  lock.lock();
  EXPECT_EQ(error_of([&] { lock.lock(); }), std::errc::resource_deadlock_would_occur);
  std::error_code error;
  lock.lock(error);
  EXPECT_EQ(error, std::errc::resource_deadlock_would_occur);
  EXPECT_TRUE(lock.owns_lock()) << "it still holds what it held";
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_F(LockRelocking, TryLockByTheHolderThreadIsFalse) {
  Lock lock{client, name};
  lock.lock();
  EXPECT_FALSE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock_for(50ms));
  std::error_code error;
  EXPECT_FALSE(lock.try_lock(error));
  EXPECT_FALSE(error);
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(LockRelocking, WithAnotherObjectFindsItBusy) {
  Lock lock{client, name}, other{client, name};
  lock.lock();
  EXPECT_FALSE(other.try_lock());
  EXPECT_FALSE(other.try_lock_for(50ms));
  lock.unlock();
  EXPECT_TRUE(other.try_lock());
}

using LockFailing = OnRedis;

TEST_F(LockFailing, HoldsNothingAndWorksLater) {
  RedisServer server;
  Lock lock{server.uri("retry_for=0"), name};
  server.kill();
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::connection_failed);
  EXPECT_FALSE(lock.owns_lock());
  server.restart();
  EXPECT_FALSE(Redis{server.endpoint()}.exists(key));
  EXPECT_TRUE(lock.try_lock());
}

using LockGuards = OnRedis;

TEST_F(LockGuards, LockGuardHoldsForItsScope) {
  Lock lock{client, name};
  {
    const std::lock_guard guard{lock};
    EXPECT_EQ(redis.string("GET", key), lock.id());
  }
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LockGuards, AGuardsDestructorSurvivesALostLease) {
  Lock lock{client, name};
  {
    const std::lock_guard guard{lock};
    redis.command("DEL", key);
  }
  EXPECT_FALSE(lock.owns_lock());
}

TEST_F(LockGuards, UniqueLockTakesEachOfItsWays) {
  Lock lock{client, name};
  { const std::unique_lock guard{lock}; }
  {
    const std::unique_lock guard{lock, std::try_to_lock};
    EXPECT_TRUE(guard.owns_lock());
  }
  {
    const std::unique_lock guard{lock, 1s};
    EXPECT_TRUE(guard.owns_lock());
  }
  {
    const std::unique_lock guard{lock, std::chrono::system_clock::now() + 1s};
    EXPECT_TRUE(guard.owns_lock());
  }
  {
    std::unique_lock guard{lock, std::defer_lock};
    EXPECT_FALSE(redis.exists(key));
    guard.lock();
    EXPECT_TRUE(redis.exists(key));
    guard.unlock();
    EXPECT_FALSE(redis.exists(key));
  }
  lock.lock();
  { const std::unique_lock guard{lock, std::adopt_lock}; }
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LockGuards, ScopedLockTakesSeveral) {
  Lock first{client, name + "-1"}, second{client, name + "-2"};
  {
    const std::scoped_lock guard{first, second};
    EXPECT_TRUE(first.owns_lock() && second.owns_lock());
  }
  EXPECT_FALSE(redis.exists(key + "-1"));
  EXPECT_FALSE(redis.exists(key + "-2"));
}

TEST_F(LockGuards, StdTryLockHoldsAllOrNone) {
  redis.command("SET", key + "-2", "somebody");
  Lock first{client, name + "-1"}, second{client, name + "-2"};
  EXPECT_EQ(std::try_lock(first, second), 1);
  EXPECT_FALSE(first.owns_lock());
  EXPECT_FALSE(redis.exists(key + "-1"));
}

}  // namespace
}  // namespace redis_lock_test
