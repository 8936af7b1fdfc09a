#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "integration.hpp"

namespace redis_lock_test {
namespace {

using ::testing::Pair;
using ::testing::UnorderedElementsAre;

Options fenced(milliseconds expire = 30s) {
  auto options = leased_for(expire);
  options.fencing = true;
  return options;
}

class Fencing : public OnRedis {
 protected:
  const std::string fence = "lock-fence:" + name;
};

TEST_F(Fencing, TokensOfOneObjectIncrease) {
  Lock lock{client, name, fenced()};
  for (unsigned i = 1; i <= 3; ++i) {
    lock.lock();
    EXPECT_EQ(lock.fencing_token(), i);
    lock.unlock();
    EXPECT_EQ(lock.fencing_token(), i) << "that of the latest acquisition";
  }
  EXPECT_EQ(redis.string("GET", fence), "3");
}

TEST_F(Fencing, TokensOfAllObjectsIncreaseWithEachHold) {
  std::vector<std::uint64_t> tokens;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      Lock lock{client, name, fenced()};
      for (int n = 0; n < 50; ++n) {
        const std::lock_guard guard{lock};
        tokens.push_back(lock.fencing_token());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(tokens.size(), 200U);
  EXPECT_TRUE(std::is_sorted(tokens.begin(), tokens.end(), std::less_equal<>{}));
}

TEST_F(Fencing, TokenIsNotThereBeforeAnAcquisition) {
  Lock lock{client, name, fenced()};
  EXPECT_EQ(error_of([&] { return lock.fencing_token(); }), errc::not_owned);
  EXPECT_NE(message_of([&] { return lock.fencing_token(); }).find("with fencing"),
            std::string::npos)
      << "what to do about it";
}

TEST_F(Fencing, TokenIsNotThereWithoutTheOption) {
  Lock lock{client, name};
  lock.lock();
  EXPECT_EQ(error_of([&] { return lock.fencing_token(); }), errc::not_owned);
  EXPECT_FALSE(redis.exists(fence));
}

TEST_F(Fencing, HoldersWithAndWithoutExcludeEachOther) {
  Lock with{client, name, fenced()}, without{client, name, leased_for(30s)};
  with.lock();
  EXPECT_FALSE(without.try_lock());
  with.unlock();
  without.lock();
  EXPECT_FALSE(with.try_lock());
  EXPECT_FALSE(with.try_lock_for(50ms));
  without.unlock();
  EXPECT_TRUE(with.try_lock());
  EXPECT_EQ(with.fencing_token(), 2U) << "only acquisitions count";
}

TEST_F(Fencing, WaiterIsWokenByARelease) {
  Lock holder{client, name, leased_for(60s)}, waiter{client, name, fenced(60s)};
  holder.lock();
  std::thread thread{[&] { waiter.lock(); }};
  EXPECT_TRUE(eventually([this] { return somebody_waits(); }));
  holder.unlock();
  thread.join();
  EXPECT_TRUE(waiter.owns_lock());
  EXPECT_EQ(waiter.fencing_token(), 1U);
}

TEST_F(Fencing, LeaseIsThatOfTheOptions) {
  Lock lock{client, name, fenced(12'345ms)};
  lock.lock();
  EXPECT_LE(redis.integer("PTTL", key), 12'345);
  EXPECT_GT(redis.integer("PTTL", key), 2'345);
  lock.unlock();
  auto options = fenced();
  options.expire = redis_lock::no_expiry;
  Lock for_good{client, name, options};
  for_good.lock();
  EXPECT_EQ(redis.integer("PTTL", key), -1);
  EXPECT_EQ(for_good.expires_at(), std::chrono::steady_clock::time_point::max());
  for_good.unlock();
}

TEST_F(Fencing, FenceHasNoExpiryAndOutlivesReset) {
  Lock lock{client, name, fenced()};
  lock.lock();
  EXPECT_EQ(redis.integer("PTTL", fence), -1);
  EXPECT_TRUE(lock.reset());
  EXPECT_EQ(redis.string("GET", fence), "1");
}

TEST_F(Fencing, FenceIsNoLockForResetAll) {
  const RedisServer server;
  Redis own{server.uri()};
  Lock lock{server.uri(), name, fenced()};
  lock.lock();
  EXPECT_EQ(redis_lock::reset_all(server.uri()), 1U);
  EXPECT_EQ(own.string("GET", fence), "1");
}

TEST_F(Fencing, PrefixIsThatOfTheOptions) {
  auto options = fenced();
  options.fence_prefix = std::string{"any\0bytes:", 10};
  Lock lock{client, name, options};
  lock.lock();
  EXPECT_EQ(redis.string("GET", options.fence_prefix + name), "1");
  lock.unlock();
}

TEST_F(Fencing, FenceOfAnotherTypeFailsAndTakesNothing) {
  redis.command("LPUSH", fence, "x");
  Lock lock{client, name, fenced()};
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::server_error);
  EXPECT_FALSE(redis.exists(key));
  redis.command("DEL", fence);
  redis.command("SET", fence, "9223372036854775807");
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::server_error);
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(Fencing, FenceBelowZeroFailsAndKeepsNothing) {
  redis.command("SET", fence, "-5");
  Lock lock{client, name, fenced()};
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::protocol_error);
  EXPECT_TRUE(eventually([this] { return !redis.exists(key); }));
}

TEST_F(Fencing, WorksOverABorrowedContext) {
  const auto context = connect_hiredis(redis_lock::Endpoint::parse(test_uri()));
  Lock lock{context.get(), name, fenced()};
  lock.lock();
  EXPECT_EQ(lock.fencing_token(), 1U);
  lock.unlock();
}

TEST_F(Fencing, TokenOfTheParentIsNotTheChilds) {
  Lock lock{client, name, fenced()};
  lock.lock();
  Child child{
      [&] { return error_of([&] { return lock.fencing_token(); }) == errc::not_owned ? 0 : 1; }};
  EXPECT_EQ(child.exit_code(), 0);
}

TEST_F(Fencing, CostsOneScriptMoreThanALock) {
  const RedisServer server;
  Redis own{server.uri()};
  Lock lock{server.uri(), name, fenced()};
  lock.lock();
  lock.unlock();
  own.reset_stats();
  lock.lock();
  EXPECT_THAT(own.calls(), UnorderedElementsAre(Pair("evalsha", 1), Pair("pttl", 1),
                                                Pair("exists", 1), Pair("incr", 1), Pair("set", 1)))
      << "the last three are what the script runs";
}

TEST_F(Fencing, IsRefusedTogetherWithLocalHandoffs) {
  auto options = fenced();
  options.local_handoffs = 1;
  EXPECT_NE(message_of<std::invalid_argument>([&] {
              return Lock{client, name, options}.name();
            }).find("local_handoffs"),
            std::string::npos);
}

TEST_F(Fencing, PrefixMustNotLookLikeAnotherKey) {
  for (const auto* prefix : {"lock:", "lock:fence:", "lock-signal:"}) {
    auto options = fenced();
    options.fence_prefix = prefix;
    EXPECT_NE(message_of<std::invalid_argument>([&] {
                return Lock{client, name, options}.name();
              }).find("fence_prefix"),
              std::string::npos)
        << prefix;
    options.fencing = false;
    EXPECT_NO_THROW((Lock{client, name, options})) << "nothing is done with it";
  }
}

}  // namespace
}  // namespace redis_lock_test
