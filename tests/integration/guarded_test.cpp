#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "integration.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::Reply;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Guarded : public OnRedis {
 protected:
  /// The lease ends early, as by a jump of the server's clock, and somebody else takes the lock.
  void taken_by_somebody() { redis.command("SET", key, "somebody", "PX", 60'000); }

  const std::string data = "data:" + name;
  Lock lock{client, name, leased_for(60s)};
};

TEST_F(Guarded, ScriptSeesItsKeysAndArgumentsOnly) {
  lock.lock();
  const auto reply =
      lock.guarded_eval("return {#KEYS, #ARGV, KEYS[1], KEYS[2], ARGV[1]}", {"k1", "k2"}, {"a1"});
  ASSERT_EQ(reply.kind, Reply::Kind::array);
  ASSERT_EQ(reply.elements.size(), 5U);
  EXPECT_EQ(reply.elements[0].integer, 2);
  EXPECT_EQ(reply.elements[1].integer, 1);
  EXPECT_EQ(reply.elements[2].text, "k1");
  EXPECT_EQ(reply.elements[3].text, "k2");
  EXPECT_EQ(reply.elements[4].text, "a1");
  EXPECT_EQ(lock.guarded_eval("return #KEYS + #ARGV").integer, 0);
}

TEST_F(Guarded, AnswersAreOfAllKinds) {
  lock.lock();
  EXPECT_TRUE(lock.guarded_eval("return nil").is_nil());
  EXPECT_TRUE(lock.guarded_eval("return false").is_nil());
  EXPECT_TRUE(lock.guarded_eval("").is_nil());
  EXPECT_EQ(lock.guarded_eval("return true").integer, 1);
  EXPECT_EQ(lock.guarded_eval("return -3.9").integer, -3);
  EXPECT_TRUE(lock.guarded_eval("return redis.status_reply('OK')").is_ok());
  EXPECT_EQ(lock.guarded_eval("return 'text'").text, "text");
  const auto nested = lock.guarded_eval("return {1, {'two', {}}}");
  EXPECT_EQ(nested.elements.at(1).elements.at(0).text, "two");
  EXPECT_EQ(nested.elements.at(1).elements.at(1).kind, Reply::Kind::array);
}

TEST_F(Guarded, TakesAnyBytes) {
  const std::string bytes{"\0\r\n\xff%s $5 ]]", 13};
  lock.lock();
  EXPECT_EQ(lock.guarded_eval("return ARGV[1]", {}, {bytes}).text, bytes);
  lock.guarded_set(data + bytes, bytes);
  EXPECT_EQ(redis.string("GET", data + bytes), bytes);
  lock.guarded_set(data, "");
  EXPECT_EQ(redis.string("GET", data), "");
  const std::string big(1 << 20, 'x');
  lock.guarded_set(data, big);
  EXPECT_EQ(redis.string("GET", data), big);
}

TEST_F(Guarded, SetKeepsForGoodOrForATime) {
  lock.lock();
  lock.guarded_set(data, "value", 50s);
  EXPECT_GT(redis.integer("PTTL", data), 0);
  EXPECT_LE(redis.integer("PTTL", data), 50'000);
  lock.guarded_set(data, "value");
  EXPECT_EQ(redis.integer("PTTL", data), -1);
  lock.guarded_set(data, "value", 50s);
  lock.guarded_set(data, "value", redis_lock::no_expiry);
  EXPECT_EQ(redis.integer("PTTL", data), -1);
  lock.guarded_set(data, "value", redis_lock::no_expiry - 1ms);
  EXPECT_GT(redis.integer("PTTL", data), 0) << "a century at most, as elsewhere";
}

TEST_F(Guarded, SetRefusesATimeThatIsNone) {
  lock.lock();
  EXPECT_THROW(lock.guarded_set(data, "value", 0ms), std::invalid_argument);
  EXPECT_THROW(lock.guarded_set(data, "value", -1ms), std::invalid_argument);
  EXPECT_FALSE(redis.exists(data));
}

TEST_F(Guarded, ThatIsNotHeldIsNotOwned) {
  EXPECT_EQ(error_of([&] { lock.guarded_set(data, "value"); }), errc::not_owned);
  lock.lock();
  lock.unlock();
  EXPECT_EQ(error_of([&] { return lock.guarded_eval("return 1"); }), errc::not_owned);
  EXPECT_FALSE(redis.exists(data));
}

TEST_F(Guarded, BySomebodyElseIsLostAndWritesNothing) {
  lock.lock();
  taken_by_somebody();
  ASSERT_TRUE(lock.owns_lock()) << "it does not know yet";
  EXPECT_EQ(error_of([&] { lock.guarded_set(data, "value"); }), errc::lease_lost);
  EXPECT_FALSE(redis.exists(data));
  EXPECT_FALSE(lock.owns_lock()) << "now it does";
  EXPECT_EQ(error_of([&] { return lock.guarded_eval("return 1"); }), errc::lease_lost);
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

TEST_F(Guarded, ByNobodyIsLostAndWritesNothing) {
  lock.lock();
  redis.command("DEL", key);
  EXPECT_EQ(error_of([&] { lock.guarded_set(data, "value", 50s); }), errc::lease_lost);
  EXPECT_FALSE(redis.exists(data));
}

TEST_F(Guarded, AfterTheLeaseIsLostWithoutAskingRedis) {
  Lock brief{client, name, leased_for(20ms)};
  brief.lock();
  redis.command("PERSIST", key);  // so that only the holder's own clock can tell
  EXPECT_TRUE(eventually([&] { return !brief.owns_lock(); }));
  EXPECT_EQ(error_of([&] { brief.guarded_set(data, "value"); }), errc::lease_lost);
  EXPECT_FALSE(redis.exists(data));
}

TEST_F(Guarded, TellsTheLossItFindsOnce) {
  std::atomic<int> told{0};
  Options options;
  options.on_lost = [&](std::error_code code) { told += code == errc::lease_lost ? 1 : 100; };
  Lock watched{client, name, options};
  watched.lock();
  redis.command("DEL", key);
  EXPECT_EQ(error_of([&] { watched.guarded_set(data, "value"); }), errc::lease_lost);
  EXPECT_TRUE(eventually([&] { return told == 1; }, 5s)) << "long before the next renewal";
  EXPECT_EQ(error_of([&] { watched.guarded_set(data, "value"); }), errc::lease_lost);
  watched.unlock();
  EXPECT_EQ(told, 1);
}

TEST_F(Guarded, OverABorrowedContextTellsTheLossItself) {
  const auto context = connect_hiredis(redis_lock::Endpoint::parse(test_uri()));
  int told = 0;
  auto options = leased_for(60s);
  options.on_lost = [&](std::error_code) { ++told; };
  Lock borrowed{context.get(), name, options};
  borrowed.lock();
  borrowed.guarded_set(data, "value");
  EXPECT_EQ(redis.string("GET", data), "value");
  redis.command("DEL", key);
  EXPECT_EQ(error_of([&] { borrowed.guarded_set(data, "late"); }), errc::lease_lost);
  EXPECT_EQ(redis.string("GET", data), "value");
  EXPECT_EQ(told, 1);
}

TEST_F(Guarded, ScriptErrorIsReportedAndLosesNothing) {
  lock.lock();
  const auto message = message_of([&] { return lock.guarded_eval("\n\nreturn bad syntax"); });
  EXPECT_THAT(message, HasSubstr("guarded_eval of \"" + name + "\""));
  EXPECT_THAT(message, HasSubstr("user_script:3:")) << "the line is that of the caller's script";
  EXPECT_EQ(error_of([&] { return lock.guarded_eval("return {err = 'MINE not good'}"); }),
            errc::server_error);
  EXPECT_EQ(
      error_of([&] { return lock.guarded_eval("return redis.call('LPUSH', KEYS[1], 1)", {key}); }),
      errc::server_error);
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(lock.guarded_eval("return 1").integer, 1);
}

TEST_F(Guarded, RunsWithAFixedIdToo) {
  auto options = leased_for(60s);
  options.id = "fixed";
  Lock fixed{client, name, options};
  fixed.lock();
  EXPECT_EQ(fixed.guarded_eval("return 7").integer, 7);
}

TEST_F(Guarded, IsOneRoundTripOfOneCommand) {
  const RedisServer server;
  Redis own{server.uri()};
  Lock mine{server.uri(), name, leased_for(60s)};
  mine.lock();
  mine.guarded_set(data, "value");
  own.reset_stats();
  mine.guarded_set(data, "value");
  EXPECT_EQ(own.calls_of("eval"), 1);
  EXPECT_EQ(own.calls_of("get"), 1);
  EXPECT_EQ(own.calls_of("set"), 1);
  EXPECT_EQ(own.calls().size(), 3U);
}

TEST_F(Guarded, UpdatesOfManyThreadsAreAllThereOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      Lock own{client, name, leased_for(60s)};
      for (int n = 0; n < 50; ++n) {
        own.lock();
        // Not atomic by itself: only the lock makes it so.
        const auto before = own.guarded_eval("return redis.call('GET', KEYS[1])", {data}).text;
        own.guarded_set(data, std::to_string(before.empty() ? 1 : std::stoi(before) + 1));
        own.unlock();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(redis.string("GET", data), "200");
}

}  // namespace
}  // namespace redis_lock_test
