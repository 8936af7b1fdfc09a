#include "integration.hpp"

#include <atomic>
#include <future>
#include <thread>

namespace redis_lock_test {
namespace {

using redis_lock::Cache;

class CacheOnRedis : public OnRedis {
 protected:
  Cache cache{client};
};
using CacheValues = CacheOnRedis;
using CacheCreation = CacheOnRedis;

TEST_F(CacheValues, AreThereUntilTheyExpire) {
  EXPECT_EQ(cache.get(name), std::nullopt);
  cache.set(name, "value", 60s);
  EXPECT_EQ(cache.get(name), "value");
  EXPECT_EQ(redis.string("GET", "cache:" + name), "value");
  EXPECT_LE(redis.integer("PTTL", "cache:" + name), 60'000);
  EXPECT_GT(redis.integer("PTTL", "cache:" + name), 30'000);
  cache.set(name, "short", 30ms);
  EXPECT_TRUE(eventually([this] { return !cache.get(name); }));
}

TEST_F(CacheValues, MayBeEmptyOrAnyBytes) {
  const std::string odd{"\0\r\n%s\xff", 6};
  cache.set(name, "", 60s);
  EXPECT_EQ(cache.get(name), "");
  cache.set(name + odd, odd, 60s);
  EXPECT_EQ(cache.get(name + odd), odd);
  const std::string big(1 << 20, 'x');
  cache.set(name, big, 60s);
  EXPECT_EQ(cache.get(name), big);
}

TEST_F(CacheValues, CanBeErased) {
  cache.set(name, "value", 60s);
  EXPECT_TRUE(cache.erase(name));
  EXPECT_EQ(cache.get(name), std::nullopt);
  EXPECT_FALSE(cache.erase(name));
}

TEST_F(CacheValues, AreKeptUnderThePrefix) {
  Cache other{client, "other:"};
  other.set(name, "value", 60s);
  EXPECT_EQ(redis.string("GET", "other:" + name), "value");
  EXPECT_EQ(cache.get(name), std::nullopt);
}

TEST_F(CacheValues, NeedATimeToLive) {
  EXPECT_THROW(cache.set(name, "value", 0ms), std::invalid_argument);
  EXPECT_THROW(cache.set(name, "value", -1ms), std::invalid_argument);
  EXPECT_FALSE(redis.exists("cache:" + name));
}

TEST_F(CacheValues, OfAnotherTypeAreAServerError) {
  redis.command("RPUSH", "cache:" + name, "precious");
  EXPECT_EQ(error_of([&] { return cache.get(name); }), errc::server_error);
}

TEST_F(CacheCreation, HappensOnAMissOnly) {
  int created = 0;
  const auto create = [&created] {
    ++created;
    return std::string("fresh");
  };
  EXPECT_EQ(cache.get_or_create(name, 60s, create), "fresh");
  EXPECT_EQ(cache.get_or_create(name, 60s, create), "fresh");
  EXPECT_EQ(created, 1);
  EXPECT_EQ(cache.get(name), "fresh");
}

TEST_F(CacheCreation, AnEmptyValueIsNoMiss) {
  int created = 0;
  const auto create = [&created] {
    ++created;
    return std::string();
  };
  EXPECT_EQ(cache.get_or_create(name, 60s, create), "");
  EXPECT_EQ(cache.get_or_create(name, 60s, create), "");
  EXPECT_EQ(created, 1);
}

TEST_F(CacheCreation, HappensOnceForManyWhoMissTogether) {
  std::atomic<int> created{0};
  std::vector<std::future<std::string>> callers;
  for (int i = 0; i < 12; ++i) {
    callers.push_back(std::async(std::launch::async, [&] {
      return cache.get_or_create(name, 60s, [&] {
        ++created;
        std::this_thread::sleep_for(50ms);
        return std::string("expensive");
      });
    }));
  }
  for (auto& caller : callers) EXPECT_EQ(caller.get(), "expensive");
  EXPECT_EQ(created, 1);
}

TEST_F(CacheCreation, ThatThrowsTellsItsCallerAndFreesOthers) {
  EXPECT_THROW(static_cast<void>(cache.get_or_create(
                   name, 60s, []() -> std::string { throw std::out_of_range("no such page"); })),
               std::out_of_range);
  EXPECT_FALSE(cache.lock(name).locked());
  EXPECT_EQ(cache.get(name), std::nullopt);
  EXPECT_EQ(cache.get_or_create(name, 60s, [] { return std::string("second try"); }), "second try");
}

TEST_F(CacheCreation, ThatDiesFreesTheOthersAfterItsLease) {
  Options options;
  options.expire = 400ms;
  Child creator{[&] {
    Cache its_cache{Client{test_uri()}};
    static_cast<void>(its_cache.get_or_create(
        name, 60s,
        [&]() -> std::string {
          Redis{test_uri()}.command("SET", name, "creating");
          for (;;) ::pause();
        },
        options));
    return 0;
  }};
  ASSERT_TRUE(eventually([this] { return redis.exists(name); }));
  creator.kill();
  ASSERT_TRUE(creator.wait());
  const Stopwatch watch;
  EXPECT_EQ(cache.get_or_create(
                name, 60s, [] { return std::string("by another"); }, options),
            "by another");
  EXPECT_LT(watch.elapsed(), 400ms + soon);
}

TEST_F(CacheCreation, UnderALostLockReturnsButStoresNothing) {
  const auto options = leased_for(100ms);
  EXPECT_EQ(cache.get_or_create(
                name, 60s,
                [&] {
                  EXPECT_TRUE(eventually([&] { return !cache.lock(name).locked(); }));
                  cache.set(name, "newer", 60s);
                  return std::string("late");
                },
                options),
            "late");
  EXPECT_EQ(cache.get(name), "newer");
}

TEST_F(CacheCreation, DoesNotOverwriteAfterATakeover) {
  Options options;
  std::vector<std::error_code> told;
  options.on_error = [&](const Error& error) { told.push_back(error.code()); };
  Lock other = cache.lock(name);
  EXPECT_EQ(cache.get_or_create(
                name, 60s,
                [&] {
                  other.reset();  // the holder does not know of it before its next renewal
                  other.lock();
                  cache.set(name, "newer", 60s);
                  return std::string("late");
                },
                options),
            "late");
  EXPECT_EQ(cache.get(name), "newer");
  EXPECT_TRUE(other.owns_lock());
  EXPECT_EQ(told, std::vector<std::error_code>{errc::lease_lost}) << "told once, by unlock()";
}

using CacheLock = CacheOnRedis;

TEST_F(CacheLock, IsUnlockedYetAndOneForEachKey) {
  Lock lock = cache.lock(name), same = cache.lock(name), other = cache.lock(name + "-other");
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_FALSE(same.locked());
  lock.lock();
  EXPECT_FALSE(same.try_lock());
  EXPECT_TRUE(other.try_lock());
  EXPECT_TRUE(redis.exists("lock:cache:" + name));
}

TEST_F(CacheLock, GuardsTheCreation) {
  Lock lock = cache.lock(name);
  lock.lock();
  auto caller = std::async(std::launch::async, [&] {
    return cache.get_or_create(name, 60s, [] { return std::string("created"); });
  });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  cache.set(name, "by the holder", 60s);
  lock.unlock();
  EXPECT_EQ(caller.get(), "by the holder") << "it looks again under the lock";
}

/// A server of the test's own, that runs out of memory, or ends.
class CacheInTrouble : public ::testing::Test {
 protected:
  CacheInTrouble() {
    options.on_error = [this](const Error& error) {
      ++told;
      complaints += error.what();
    };
  }

  const std::string key = "lock:cache:key";
  RedisServer server;
  Redis redis{server.endpoint()};
  Cache cache{Client{server.uri("retry_for=100")}};
  Options options = leased_for(5s);
  redis_lock::CacheTerms computing{redis_lock::no_expiry,
                                   redis_lock::CacheTerms::WhenAway::compute};
  int told = 0;
  std::string complaints;
};

TEST_F(CacheInTrouble, WithoutMemoryStillReturnsTheValue) {
  const auto create = [this] {
    EXPECT_EQ(redis.string("CONFIG", "SET", "maxmemory-policy", "noeviction"), "OK");
    EXPECT_EQ(redis.string("CONFIG", "SET", "maxmemory", "1"), "OK");
    return std::string("fresh");
  };
  EXPECT_EQ(cache.get_or_create("key", 60s, create, options), "fresh");
  EXPECT_EQ(told, 1);
  EXPECT_THAT(complaints, ::testing::HasSubstr("set of \"cache:key\": OOM"));
  EXPECT_EQ(cache.get("key"), std::nullopt);
  EXPECT_FALSE(redis.exists(key)) << "the lock is freed";
}

TEST_F(CacheInTrouble, WithoutServerStillReturnsTheValue) {
  const auto create = [this] {
    server.kill();
    return std::string("fresh");
  };
  EXPECT_EQ(cache.get_or_create("key", 60s, create, options), "fresh");
  EXPECT_EQ(told, 2) << "what was not stored, and what was not unlocked";
  EXPECT_THAT(complaints, ::testing::HasSubstr("set of \"cache:key\""));
}

TEST_F(CacheInTrouble, PassesOnWhatCreateThrows) {
  for (const auto& terms : {redis_lock::CacheTerms{}, computing}) {
    EXPECT_THROW(cache.get_or_create(
                     "key", 60s, []() -> std::string { throw std::runtime_error("no value"); },
                     options, terms),
                 std::runtime_error);
    EXPECT_THROW(cache.get_or_create(
                     "key", 60s,
                     []() -> std::string {
                       throw Error{errc::server_error, "of its own"};
                     },
                     options, terms),
                 Error);
    EXPECT_FALSE(redis.exists(key));
  }
  EXPECT_EQ(told, 0);
}

TEST_F(CacheInTrouble, ThatIsAwayFailsUnlessToldToCompute) {
  server.kill();
  int created = 0;
  const auto create = [&created] {
    ++created;
    return std::string("fresh");
  };
  EXPECT_EQ(error_of([&] { cache.get_or_create("key", 60s, create, options); }),
            errc::connection_failed);
  EXPECT_EQ(created, 0);
  EXPECT_EQ(told, 0);
  EXPECT_EQ(cache.get_or_create("key", 60s, create, options, computing), "fresh");
  EXPECT_EQ(created, 1);
  EXPECT_EQ(told, 1);
  EXPECT_THAT(complaints, ::testing::HasSubstr("get of \"cache:key\""));
}

TEST_F(CacheInTrouble, WithoutItsLockFailsUnlessToldToCompute) {
  redis.command("CONFIG", "SET", "maxmemory", "1");  // reading works
  const auto create = [] { return std::string("fresh"); };
  EXPECT_EQ(error_of([&] { cache.get_or_create("key", 60s, create, options); }),
            errc::server_error);
  EXPECT_EQ(told, 0);
  EXPECT_EQ(cache.get_or_create("key", 60s, create, options, computing), "fresh");
  EXPECT_EQ(told, 1);
  EXPECT_THAT(complaints, ::testing::HasSubstr("OOM"));
  EXPECT_EQ(cache.get("key"), std::nullopt) << "stores nothing";
}

TEST_F(CacheInTrouble, AfterMaxWaitComputesWithoutStoring) {
  redis.command("SET", key, "somebody that makes the value", "PX", "60000");
  redis_lock::CacheTerms impatient;
  impatient.max_wait = 150ms;
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(cache.get_or_create(
                "key", 60s, [] { return std::string("own"); }, options, impatient),
            "own");
  EXPECT_GE(std::chrono::steady_clock::now() - start, 150ms);
  EXPECT_EQ(cache.get("key"), std::nullopt);
  EXPECT_EQ(redis.string("GET", key), "somebody that makes the value");
  EXPECT_EQ(told, 0);
}

TEST_F(CacheInTrouble, TakesAValueThatComesWhileItWaits) {
  redis.command("SET", key, "somebody that makes the value", "PX", "60000");
  redis_lock::CacheTerms impatient;
  impatient.max_wait = 10s;
  auto waiter = std::async(std::launch::async, [&] {
    return cache.get_or_create(
        "key", 60s, [] { return std::string("own"); }, options, impatient);
  });
  ASSERT_TRUE(eventually([this] { return redis.info("blocked_clients") == 1; }));
  cache.set("key", "theirs", 60s);
  redis.command("DEL", key);
  redis.command("LPUSH", "lock-signal:cache:key", "1");
  EXPECT_EQ(waiter.get(), "theirs");
}

}  // namespace
}  // namespace redis_lock_test
