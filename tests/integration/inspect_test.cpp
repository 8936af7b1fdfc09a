#include <redis_lock/detail/lock/keyspace.hpp>

#include "integration.hpp"

#include <future>
#include <stdexcept>
#include <string>
#include <vector>

namespace redis_lock_test {
namespace {

using redis_lock::HeldLock;
using redis_lock::LockKind;
using redis_lock::Semaphore;
using redis_lock::SharedLock;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using LockInspection = OnRedis;

TEST_F(LockInspection, LockedTellsWhetherAnybodyHoldsIt) {
  Lock lock{client, name}, observer{client, name};
  EXPECT_FALSE(observer.locked());
  lock.lock();
  EXPECT_TRUE(observer.locked());
  EXPECT_TRUE(lock.locked());
  EXPECT_FALSE(observer.owns_lock());
  lock.unlock();
  EXPECT_FALSE(observer.locked());
}

TEST_F(LockInspection, OwnerTellsTheHoldersId) {
  Lock lock{client, name}, observer{client, name};
  EXPECT_EQ(observer.owner(), std::nullopt);
  lock.lock();
  EXPECT_EQ(observer.owner(), lock.id());
  EXPECT_EQ(lock.owner(), lock.id());
  lock.unlock();
  held_by_somebody();
  EXPECT_EQ(observer.owner(), "somebody");
}

TEST_F(LockInspection, OwnerTellsAPersonWhoHoldsIt) {
  Options options;
  options.id_prefix = redis_lock::host_and_pid();
  Lock lock{client, name, options}, observer{client, name};
  EXPECT_TRUE(lock.try_lock());
  const auto owner = observer.owner().value_or("");
  EXPECT_EQ(owner, lock.id());
  EXPECT_EQ(owner.find(options.id_prefix), 0U) << owner;
  EXPECT_EQ(owner.size(), options.id_prefix.size() + 32);
  lock.unlock();
  EXPECT_FALSE(observer.locked());
  EXPECT_TRUE(lock.try_lock());
  EXPECT_EQ(lock.id().find(options.id_prefix), 0U);
  EXPECT_NE(lock.id(), owner);
}

TEST_F(LockInspection, AnEmptyOwnerIsAnOwner) {
  redis.command("SET", key, "");
  Lock observer{client, name};
  EXPECT_TRUE(observer.locked());
  EXPECT_EQ(observer.owner(), "");
  EXPECT_FALSE(observer.try_lock());
  EXPECT_TRUE(observer.reset());
}

/// Over a server of its own, as it walks all keys.
class HeldLocks : public ::testing::Test {
 protected:
  [[nodiscard]] std::vector<std::string> names() {
    std::vector<std::string> names;
    for (const auto& lock : redis_lock::held_locks(client)) names.push_back(lock.name);
    return names;
  }
  const RedisServer server;
  Redis redis{server.uri()};
  Client client{server.uri()};
};

TEST_F(HeldLocks, AreListedByNameWithTheirHolders) {
  EXPECT_THAT(names(), IsEmpty());
  const std::string odd("b\0\n*[", 5);
  auto forever = leased_for(redis_lock::no_expiry);
  Lock a{client, "a", leased_for(60s)}, b{client, odd, forever}, free{client, "free"};
  b.lock();
  a.lock();
  free.lock();
  free.unlock();
  const auto locks = redis_lock::held_locks(client);
  ASSERT_EQ(locks.size(), 2U);
  EXPECT_EQ(locks[0].name, "a");
  EXPECT_EQ(locks[0].owner, a.id());
  ASSERT_TRUE(locks[0].time_left);
  EXPECT_GT(*locks[0].time_left, 50s);
  EXPECT_LE(*locks[0].time_left, 60s);
  EXPECT_EQ(locks[1].name, odd);
  EXPECT_EQ(locks[1].owner, b.id());
  EXPECT_FALSE(locks[1].time_left);

  const auto one = redis_lock::held_lock(client, "a");
  ASSERT_TRUE(one);
  EXPECT_EQ(one->name, "a");
  EXPECT_EQ(one->owner, a.id());
  EXPECT_GT(one->time_left, 50s);
  EXPECT_FALSE(redis_lock::held_lock(client, "free"));
}

TEST_F(HeldLocks, IncludeReadersWritersAndPermits) {
  SharedLock read{client, "read"}, written{client, "written"};
  Semaphore one{client, "permits", 2}, other{client, "permits", 2, leased_for(60s)};
  read.lock_shared();
  written.lock();
  one.acquire();
  other.acquire();
  redis.integer("ZADD", "semaphore:over", 1, "over");
  redis.string("SET", "shared-lock-fence:written", "7");
  redis.string("SET", "semaphore:string", "x");
  const auto locks = redis_lock::held_locks(client);
  ASSERT_EQ(locks.size(), 4U);
  EXPECT_EQ(locks[0].name + locks[1].name, "permitspermits");
  EXPECT_NE(locks[0].owner, locks[1].owner);
  for (const auto& permit : {locks[0], locks[1]}) {
    EXPECT_EQ(permit.kind, LockKind::permit);
    ASSERT_TRUE(permit.time_left);
    const auto lease = permit.owner == other.id() ? 60s : 30s;
    EXPECT_GT(*permit.time_left, lease - 10s);
    EXPECT_LE(*permit.time_left, lease);
  }
  EXPECT_EQ(locks[2].name, "read");
  EXPECT_EQ(locks[2].kind, LockKind::reading);
  EXPECT_EQ(locks[3].name, "written");
  EXPECT_EQ(locks[3].owner, written.id());
  EXPECT_EQ(locks[3].kind, LockKind::writing);

  EXPECT_EQ(redis_lock::held_locks(client, "shared-lock:").size(), 1U);
  EXPECT_EQ(redis_lock::holders(client, "permits", LockKind::permit).size(), 2U);
  EXPECT_EQ(redis_lock::holders(client, "read", LockKind::reading).size(), 1U);
  EXPECT_EQ(redis_lock::holders(client, "written", LockKind::reading).front().owner, written.id());
  EXPECT_THAT(redis_lock::holders(client, "read", LockKind::lock), IsEmpty());

  EXPECT_EQ(redis_lock::reset_all(client, "lock:x"), 0U);
  EXPECT_EQ(redis_lock::reset_all(client), 3U) << "two locks, one semaphore";
  EXPECT_EQ(redis.string("GET", "shared-lock-fence:written"), "7");
  EXPECT_TRUE(redis.exists("semaphore:string"));
}

TEST_F(HeldLocks, LeaveForeignKeysWithSimilarNamesAlone) {
  const std::vector<std::string> foreign{"shared-lock",       "shared-locks:x",
                                         "shared-lock-own:x", "shared-lockers:count",
                                         "semaphores",        "semaphore-x:y"};
  for (const auto& each : foreign) redis.string("SET", each, "precious");
  redis.string("SET", "lock:held", "id");
  EXPECT_THAT(names(), ElementsAre("held"));
  EXPECT_EQ(redis_lock::reset_all(client), 1U);
  for (const auto& each : foreign) EXPECT_EQ(redis.string("GET", each), "precious") << each;
}

TEST_F(HeldLocks, LeaveOutWhatTheUserMayNotSee) {
  redis.command("ACL", "SETUSER", "limited", "on", ">pw", "~lock:*", "~lock-signal:*", "+@all");
  SharedLock read{client, "read"};
  Semaphore permits{client, "permits", 2};
  read.lock_shared();
  permits.acquire();
  redis.string("SET", "lock:held", "id");
  auto endpoint = server.endpoint();
  endpoint.username = "limited";
  endpoint.password = "pw";
  Client limited{endpoint};
  const auto seen = redis_lock::held_locks(limited);
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen.front().name, "held");
  EXPECT_EQ(redis_lock::reset_all(limited), 1U);
  EXPECT_EQ(permits.available(), 1U);
}

TEST_F(HeldLocks, AreNoOtherKeys) {
  redis.integer("LPUSH", "lock:list", "x");
  redis.string("SET", "block:x", "x");
  redis.string("SET", "lock-signal:x", "x");
  redis.string("SET", "lock:held", "");
  EXPECT_THAT(names(), ElementsAre("held"));
  EXPECT_EQ(
      message_of([&] { return redis_lock::held_locks(client, ""); }).find("redis_lock: key_prefix"),
      0U);
}

TEST_F(HeldLocks, AreListedOnceHoweverMany) {
  for (int i = 0; i < 3000; ++i) redis.string("SET", "lock:" + std::to_string(i), "id");
  EXPECT_EQ(names().size(), 3000U);
}

TEST(HeldLocksOneByOne, AreToldOnceThoughScanRepeatsAKey) {
  const FakeServer server{FakeServer::each_command([](const Command& command) -> std::string {
    if (command.front() == "SCAN" && command[3] != "lock:*") return "*2\r\n$1\r\n0\r\n*0\r\n";
    if (command.front() == "SCAN" && command[1] == "0")
      return "*2\r\n$1\r\n7\r\n*2\r\n$6\r\nlock:b\r\n$6\r\nlock:a\r\n";
    if (command.front() == "SCAN") return "*2\r\n$1\r\n0\r\n*1\r\n$6\r\nlock:b\r\n";
    if (command.front() == "GET") return "$2\r\nid\r\n";
    return ":1000\r\n";
  })};
  std::vector<std::string> names;
  redis_lock::held_locks(server.endpoint(),
                         [&](const HeldLock& lock) { names.push_back(lock.name); });
  EXPECT_THAT(names, ElementsAre("b", "a"));
}

TEST_F(HeldLocks, EndAtAnExceptionOfTheirListener) {
  for (const auto* name : {"a", "b"}) redis.string("SET", std::string("lock:") + name, "id");
  int told = 0;
  const auto stop = [&](const HeldLock&) {
    ++told;
    throw std::runtime_error("enough");
  };
  EXPECT_THROW(redis_lock::held_locks(client, stop), std::runtime_error);
  EXPECT_EQ(told, 1);
  EXPECT_EQ(names().size(), 2U) << "the client works on";
}

TEST_F(HeldLocks, CannotBeListedWithoutAServer) {
  RedisServer other;
  auto endpoint = other.endpoint();
  endpoint.retry_for = 0ms;
  Client away{endpoint};
  other.kill();
  EXPECT_EQ(error_of([&] { return redis_lock::held_locks(away); }), errc::connection_failed);
}

TEST(HeldLocksOfACluster, HaveTheNamesThatTheirUsersGaveThem) {
  using redis_lock::detail::name_under;
  EXPECT_EQ(name_under("{a}", true), "a");
  EXPECT_EQ(name_under("{a}", false), "{a}");
  EXPECT_EQ(name_under("{a}b", true), "{a}b");
  EXPECT_EQ(name_under("{a}{b}", true), "{a}{b}");
  EXPECT_EQ(name_under("{}", true), "{}");
  EXPECT_EQ(name_under("{a}b}", true), "a}b");
  EXPECT_EQ(name_under("{{}}", true), "{}");
  EXPECT_EQ(name_under("{x{y}", true), "x{y");
  EXPECT_EQ(name_under("{a}", true, "lock:"), "a");
  EXPECT_EQ(name_under("{a}", true, "{app}:"), "{a}") << "the tag is in the prefix";
}

/// What tells locks from other keys, with the default prefixes.
redis_lock::detail::LockKeys lock_keys(const std::string& prefix, bool is_cluster = false) {
  return {prefix, "lock-signal:", "lock-fence:", is_cluster};
}

TEST(KeysOfLocks, ExcludeOtherKindsWhateverThePrefix) {
  for (const std::string prefix : {"l", "lock", "lock-", "lock-f", "lock-fence", "c", "cache"}) {
    for (const std::string other : {"lock-fence:x", "lock-signal:x", "cache:x"}) {
      const bool begins = other.compare(0, prefix.size(), prefix) == 0;
      EXPECT_FALSE(begins && lock_keys(prefix).may_have(other)) << prefix;
    }
  }
  EXPECT_TRUE(lock_keys("l").may_have("lock:x"));
  EXPECT_TRUE(lock_keys("lock:").may_have("lock:x"));
  EXPECT_TRUE(lock_keys("lock:").may_have("lock:lock-fence:x"));
  EXPECT_TRUE(lock_keys("cache:").may_have("cache:x")) << "that is what was asked for";
  const redis_lock::detail::LockKeys own{"app:", "app:signal:", "app:fence:", false};
  EXPECT_TRUE(own.may_have("app:x"));
  EXPECT_FALSE(own.may_have("app:fence:x"));
  EXPECT_FALSE(own.may_have("app:signal:x"));
}

TEST(KeysOfLocks, AreNotUnderThePrefixOfFencingTokens) {
  for (const auto* prefix : {"lock-fence:", "lock-fence:x"}) {
    EXPECT_EQ(message_of([&] {
                return lock_keys(prefix).may_have(prefix);
              }).find("redis_lock: key_prefix must not begin with"),
              0U);
  }
}

TEST(KeysOfLocks, HaveAHashTagOnACluster) {
  EXPECT_TRUE(lock_keys("lock:").may_have("lock:foo"));
  for (const auto* foreign : {"lock:foo", "lock:{}", "lock:{}x}", "lock:}", "lock:{"})
    EXPECT_FALSE(lock_keys("lock:", true).may_have(foreign)) << foreign;
  for (const auto* own : {"lock:{foo}", "lock:a{b}c", "lock:{{}}", "lock:{a}b}"})
    EXPECT_TRUE(lock_keys("lock:", true).may_have(own)) << own;
}

using LockReset = OnRedis;

TEST_F(LockReset, FreesTheNameWhoeverHoldsIt) {
  held_by_somebody();
  Lock lock{client, name};
  EXPECT_TRUE(lock.reset());
  EXPECT_FALSE(redis.exists(key));
  EXPECT_TRUE(lock.try_lock());
}

TEST_F(LockReset, TellsWhenThereWasNothingToFree) {
  Lock lock{client, name};
  EXPECT_FALSE(lock.reset());
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LockReset, WakesAWaiter) {
  held_by_somebody();
  auto waiter = std::async(std::launch::async, [this] {
    Lock lock{client, name};
    return lock.try_lock_for(std::chrono::minutes{1});
  });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  const Stopwatch since_reset;
  Lock observer{client, name};
  EXPECT_TRUE(observer.reset());
  EXPECT_TRUE(waiter.get());
  EXPECT_LT(since_reset.elapsed(), soon);
}

TEST_F(LockReset, IsReportedToTheHolderByUnlock) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  Lock other{client, name};
  EXPECT_TRUE(other.reset());
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
}

TEST_F(LockReset, OfOneHolderLeavesTheOthers) {
  held_by_somebody();
  Lock observer{client, name};
  EXPECT_FALSE(observer.reset("another"));
  EXPECT_EQ(redis.string("GET", key), "somebody");
  EXPECT_TRUE(observer.reset("somebody"));
  EXPECT_FALSE(redis.exists(key));
  EXPECT_EQ(redis.integer("LLEN", signal), 1);
  EXPECT_FALSE(observer.reset("somebody"));
}

class ResetAll : public OnRedis {
 protected:
  const std::string locks = "l-" + name + ":";
  const std::string signals = "s-" + name + ":";
};

TEST_F(ResetAll, FreesAndCountsEveryLockUnderThePrefix) {
  for (const auto* holder : {"a", "b", "c"}) redis.command("SET", locks + holder, holder);
  redis.command("SET", "other-" + locks, "kept");
  EXPECT_EQ(redis_lock::reset_all(client, locks, signals), 3U);
  for (const auto* holder : {"a", "b", "c"}) {
    EXPECT_FALSE(redis.exists(locks + holder));
    EXPECT_EQ(redis.integer("LLEN", signals + holder), 1);
  }
  EXPECT_EQ(redis.string("GET", "other-" + locks), "kept");
  EXPECT_EQ(redis_lock::reset_all(client, locks, signals), 0U);
}

TEST_F(ResetAll, TouchesStringsOnly) {
  redis.command("SET", locks + "lock", "x");
  redis.command("LPUSH", locks + "list", "x");
  redis.command("SADD", locks + "set", "x");
  redis.command("HSET", locks + "hash", "x", "y");
  EXPECT_EQ(redis_lock::reset_all(client, locks, signals), 1U);
  EXPECT_FALSE(redis.exists(locks + "lock"));
  for (const auto* kept : {"list", "set", "hash"}) EXPECT_TRUE(redis.exists(locks + kept)) << kept;
}

TEST_F(ResetAll, TakesGlobCharactersInThePrefixLiterally) {
  const auto prefix = name + "*[a-z]?\\{x}^:";
  redis.command("SET", prefix + "mine", "x");
  redis.command("SET", name + "anything-b?\\{x}^:not mine", "x");
  redis.command("SET", name + "*b?{x}^:not mine", "x");
  redis.command("SET", name + "*b?\\{x}^:not mine", "x");
  EXPECT_EQ(redis_lock::reset_all(client, prefix, signals), 1U);
  EXPECT_FALSE(redis.exists(prefix + "mine"));
  EXPECT_TRUE(redis.exists(name + "anything-b?\\{x}^:not mine"));
  EXPECT_TRUE(redis.exists(name + "*b?{x}^:not mine"));
  EXPECT_TRUE(redis.exists(name + "*b?\\{x}^:not mine"));
}

TEST_F(ResetAll, ScansRepeatedlyAndNeverUsesKeys) {
  const RedisServer server;
  Redis own{server.endpoint()};
  std::vector<std::string> words{"MSET"};
  for (int i = 0; i < 2500; ++i) {
    words.push_back("lock:" + std::to_string(i));
    words.push_back("holder");
  }
  own.send(words);
  EXPECT_EQ(redis_lock::reset_all(server.uri()), 2500U) << "the default prefixes";
  EXPECT_EQ(own.integer("LLEN", "lock-signal:2499"), 1);
  EXPECT_EQ(own.calls_of("keys"), 0);
}

TEST_F(ResetAll, TakesNamesOfAnyBytes) {
  const std::string odd{"\0\n\r %s\xff*", 9};
  redis.command("SET", locks + odd, "x");
  EXPECT_EQ(redis_lock::reset_all(client, locks, signals), 1U);
  EXPECT_FALSE(redis.exists(locks + odd));
  EXPECT_EQ(redis.integer("LLEN", signals + odd), 1);
}

TEST_F(ResetAll, NeverTouchesKeysOfOtherKinds) {
  const RedisServer server;
  Redis own{server.endpoint()};
  Client at{server.uri()};
  auto options = leased_for(60s);
  options.fencing = true;
  for (const std::string prefix : {"l", "lock", "lock:", "c"}) {
    SCOPED_TRACE(prefix);
    own.command("FLUSHALL");
    Lock lock{at, "name", options};
    lock.lock();
    own.command("SET", "lock-fence:other", "41");
    own.command("SET", "lock-signal:odd", "1");
    own.command("SET", "cache:value", "v");
    const auto is_lock = prefix == "c" ? 0U : 1U;
    EXPECT_EQ(redis_lock::held_locks(at, prefix).size(), is_lock);
    EXPECT_EQ(redis_lock::reset_all(at, prefix), is_lock);
    EXPECT_EQ(own.string("GET", "lock-fence:name"), "1");
    EXPECT_EQ(own.string("GET", "lock-fence:other"), "41");
    EXPECT_EQ(own.string("GET", "lock-signal:odd"), "1");
    EXPECT_EQ(own.string("GET", "cache:value"), "v");
  }
  own.command("SET", "app:lock:a", "x");
  own.command("SET", "app:fence:a", "9");
  EXPECT_EQ(redis_lock::held_locks(at, "app:", "app:fence:").size(), 1U);
  EXPECT_EQ(redis_lock::reset_all(at, "app:", "app:signal:", "app:fence:"), 1U);
  EXPECT_EQ(own.string("GET", "app:fence:a"), "9");
  const auto complaint = message_of([&] { return redis_lock::reset_all(at, "lock-fence:"); });
  EXPECT_EQ(complaint.find("redis_lock: key_prefix"), 0U) << complaint;
}

TEST_F(ResetAll, WakesTheWaiters) {
  redis.command("SET", locks + "x", "somebody");
  auto waiter = std::async(std::launch::async, [this] {
    auto options = leased_for(60s);
    options.key_prefix = locks;
    options.signal_prefix = signals;
    Lock lock{client, "x", options};
    return lock.try_lock_for(std::chrono::minutes{1});
  });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  const Stopwatch since_reset;
  EXPECT_EQ(redis_lock::reset_all(client, locks, signals), 1U);
  EXPECT_TRUE(waiter.get());
  EXPECT_LT(since_reset.elapsed(), soon);
}

}  // namespace
}  // namespace redis_lock_test
