#include "one_waiter.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::detail::acquire_script;

/// An acquisition with a fence.
class Fencing : public OneWaiter {
 protected:
  [[nodiscard]] Acquisition fenced(milliseconds expire = 30s, Time deadline = never) const {
    return {keys, "mine", expire, "1000", deadline};
  }
  /// Somebody else acquired it so often, and it is free again.
  void acquired_by_others(int times) { redis.put(keys.fence, string(std::to_string(times))); }

  const redis_lock::detail::Keys keys{redis.keys.lock, redis.keys.signal, "lock-fence:n"};
};

TEST_F(Fencing, IsOneScriptInThePlaceOfSet) {
  acquired_by_others(41);
  auto one = fenced();
  EXPECT_EQ(ms(one.run(redis)), 30'000);
  EXPECT_EQ(one.fencing_token(), 42U);
  ASSERT_EQ(redis.exchanges.size(), 1U);
  EXPECT_THAT(redis.exchanges.front().commands,
              ElementsAre(Command{"EVALSHA", std::string(acquire_script.digest), "2", "lock:n",
                                  "lock-fence:n", "mine", "30000"},
                          Command{"PTTL", "lock:n"}));
}

TEST_F(Fencing, OfALockWithoutExpiryNamesNone) {
  auto one = fenced(no_expiry);
  EXPECT_EQ(one.run(redis), never);
  EXPECT_EQ(redis.exchanges.front().commands.front().back(), "");
  EXPECT_EQ(one.fencing_token(), 1U);
}

TEST_F(Fencing, OfAWaiterGoesBehindItsBlpop) {
  redis.hold("somebody", 30s);
  redis.in(100ms, [&] { redis.free(); });
  auto one = fenced();
  EXPECT_TRUE(one.run(redis));
  EXPECT_EQ(one.fencing_token(), 1U) << "a busy attempt does not count";
  ASSERT_EQ(redis.exchanges.size(), 2U);
  const auto& commands = redis.exchanges.back().commands;
  ASSERT_EQ(commands.size(), 3U);
  EXPECT_EQ(commands[0].front(), "BLPOP");
  EXPECT_EQ(commands[1].front(), "EVALSHA");
  EXPECT_EQ(commands[2].front(), "PTTL");
}

TEST_F(Fencing, SendsTheTextOfAnUnknownScript) {
  redis.knows_scripts = false;
  auto one = fenced();
  EXPECT_EQ(ms(one.run(redis)), 30'000);
  ASSERT_EQ(redis.exchanges.size(), 2U);
  EXPECT_EQ(redis.exchanges.back().commands.front().at(1), acquire_script.text);
  EXPECT_EQ(one.fencing_token(), 1U);
}

TEST_F(Fencing, SurvivesAScriptFlushWhileItWaits) {
  redis.hold("somebody", 30s);
  redis.in(100ms, [&] {
    redis.knows_scripts = false;
    redis.free();
  });
  auto one = fenced();
  EXPECT_EQ(ms(one.run(redis)), 30'100) << "it tries again at once, not after another wait";
  EXPECT_EQ(redis.exchanges.size(), 3U);
}

TEST_F(Fencing, IsAnErrorIfTheScriptStaysUnknown) {
  redis.instead = [](const Exchange&) {
    return Replies{error("NOSCRIPT No matching script."), integer(-2)};
  };
  auto one = fenced();
  EXPECT_EQ(failure_of_run([&] { return one.run(redis); }).code(), errc::server_error);
}

TEST_F(Fencing, FindsItsTokenAfterALostReply) {
  acquired_by_others(6);
  redis.lose_next_reply = true;
  auto one = fenced();
  failure_of_run([&] { return one.run(redis); });
  ASSERT_EQ(redis.holder(), "mine");
  EXPECT_EQ(ms(one.run(redis)), 30'000);
  EXPECT_EQ(one.fencing_token(), 7U);
  EXPECT_THAT(redis.exchanges.back().commands.at(2), ElementsAre("GET", "lock-fence:n"))
      << "before the holder is asked for: after it, the fence could be somebody else's";
  EXPECT_THAT(redis.exchanges.back().commands.at(3), ElementsAre("GET", "lock:n"));
}

TEST_F(Fencing, OfALostCommandCountsOnce) {
  redis.lose_next_command = true;
  auto one = fenced();
  failure_of_run([&] { return one.run(redis); });
  EXPECT_TRUE(one.run(redis));
  EXPECT_EQ(one.fencing_token(), 1U);
}

TEST_F(Fencing, OfANegativeFenceFailsAndLeavesDoubt) {
  for (const auto* fence : {"-7", "-1"}) {
    redis.put(keys.fence, string(fence));
    redis.instead = [&](const Exchange&) {
      return Replies{integer(std::stoll(fence) + 1), integer(-2)};
    };
    auto one = fenced();
    EXPECT_EQ(failure_of_run([&] { return one.run(redis); }).code(), errc::protocol_error);
    EXPECT_TRUE(one.in_doubt()) << "the lock was taken, and has to be given back";
  }
}

TEST_F(Fencing, OfAMissingFenceFailsAndLeavesDoubt) {
  redis.lose_next_reply = true;
  auto one = fenced();
  failure_of_run([&] { return one.run(redis); });
  redis.put(keys.fence, string(""));
  EXPECT_EQ(failure_of_run([&] { return one.run(redis); }).code(), errc::protocol_error);
  EXPECT_TRUE(one.in_doubt());
}

TEST_F(Fencing, OfARefusedScriptIsNoGrant) {
  redis.instead = [](const Exchange&) {
    return Replies{error("ERR value is not an integer or out of range"), integer(-2)};
  };
  auto one = fenced();
  EXPECT_EQ(failure_of_run([&] { return one.run(redis); }).code(), errc::server_error);
  EXPECT_FALSE(one.in_doubt());
}

TEST_F(Fencing, TakesNoStatusForAToken) {
  redis.instead = [](const Exchange&) { return Replies{status("OK"), integer(-2)}; };
  auto one = fenced();
  EXPECT_EQ(failure_of_run([&] { return one.run(redis); }).code(), errc::protocol_error);
}

TEST_F(Fencing, IsNotThereUnlessAskedFor) {
  auto one = acquisition(30s);
  EXPECT_TRUE(one.run(redis));
  EXPECT_EQ(one.fencing_token(), 0U);
}

}  // namespace
}  // namespace redis_lock_test
