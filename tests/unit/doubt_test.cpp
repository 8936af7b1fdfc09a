#include "one_waiter.hpp"

namespace redis_lock_test {
namespace {

/// An acquisition whose connection was lost: has its SET run, or not?
using Doubt = OneWaiter;

TEST_F(Doubt, IsNotThereAtFirst) { EXPECT_FALSE(acquisition(30s).in_doubt()); }

TEST_F(Doubt, IsNotThereAfterABusyAnswer) {
  redis.hold("somebody", 30s);
  auto one = acquisition(30s, start + 100ms);
  EXPECT_FALSE(one.run(redis));
  EXPECT_FALSE(one.in_doubt());
}

TEST_F(Doubt, ComesWithALostConnection) {
  redis.lose_next_command = true;
  auto one = acquisition(30s);
  EXPECT_TRUE(failure_of_run([&] { return one.run(redis); }).is_transient());
  EXPECT_TRUE(one.in_doubt());
}

TEST_F(Doubt, MakesTheNextAttemptAskForTheHolder) {
  redis.hold("somebody", 30s);
  redis.in(100ms, [&] { redis.lose_next_reply = true; });
  auto one = acquisition(30s, start + 5s);
  failure_of_run([&] { return one.run(redis); });
  ASSERT_EQ(redis.exchanges.size(), 2U);
  EXPECT_FALSE(one.run(redis));
  EXPECT_THAT(redis.exchanges.at(2).commands,
              ElementsAre(Command{"SET", "lock:n", "mine", "NX", "PX", "30000"},
                          Command{"PTTL", "lock:n"}, Command{"GET", "lock:n"}));
  EXPECT_EQ(redis.exchanges.at(2).wait, 0ms);
}

TEST_F(Doubt, EndsWithOurIdAndTheRemainingLease) {
  redis.lose_next_reply = true;
  auto one = acquisition(30s);
  failure_of_run([&] { return one.run(redis); });
  ASSERT_EQ(redis.holder(), "mine");
  redis.pass(2s);
  redis.there = 100ms;
  redis.back = 100ms;
  EXPECT_EQ(ms(one.run(redis)), 2000 + (30'000 - 2100));  // on the safe side by the way there
  EXPECT_EQ(redis.exchanges.size(), 2U);
  EXPECT_EQ(redis.count(extend_script), 0U);
}

TEST_F(Doubt, EndsWithAConfirmationIfLittleLeaseRemains) {
  redis.lose_next_reply = true;
  auto one = acquisition(30s);
  failure_of_run([&] { return one.run(redis); });
  redis.pass(10'001ms);
  EXPECT_EQ(ms(one.run(redis)), 10'001 + 30'000);
  EXPECT_EQ(redis.count(extend_script), 1U);
}

TEST_F(Doubt, EndsWithOurIdWithoutExpiryToo) {
  redis.lose_next_reply = true;
  auto one = acquisition(no_expiry);
  failure_of_run([&] { return one.run(redis); });
  EXPECT_EQ(one.run(redis), never);
  EXPECT_EQ(redis.exchanges.size(), 2U);
}

TEST_F(Doubt, WithoutExpiryAcceptsALeaseSetByOthers) {
  redis.lose_next_reply = true;
  auto one = acquisition(no_expiry);
  failure_of_run([&] { return one.run(redis); });
  redis.hold("mine", 500ms);
  EXPECT_EQ(ms(one.run(redis)), 500);
  EXPECT_EQ(redis.count(extend_script), 0U) << "there is no lease to ask for";
}

TEST_F(Doubt, EndsWithAGrantAfterALostCommand) {
  redis.lose_next_command = true;
  auto one = acquisition(30s);
  failure_of_run([&] { return one.run(redis); });
  redis.pass(2s);
  EXPECT_EQ(ms(one.run(redis)), 32'000);
}

TEST_F(Doubt, TakesNobodyElsesIdForItsOwn) {
  redis.hold("somebody", 10s);
  redis.lose_next_command = true;
  auto one = acquisition(30s);
  failure_of_run([&] { return one.run(redis); });
  const auto lease_end = one.run(redis);
  EXPECT_GE(now(), 10'000);
  EXPECT_EQ(redis.holder(), "mine");
  EXPECT_GT(ms(lease_end), now());
}

TEST_F(Doubt, StaysWhileAnotherHoldsTheLock) {
  redis.hold("somebody", 30s);
  redis.lose_next_command = true;
  auto one = acquisition(30s, start + 4s);
  failure_of_run([&] { return one.run(redis); });
  EXPECT_FALSE(one.run(redis));
  EXPECT_TRUE(one.in_doubt()) << "what is lost may still come through";
  for (std::size_t i = 1; i < redis.exchanges.size(); ++i) {
    EXPECT_TRUE(redis.exchanges[i].asks("GET"));
  }
}

TEST_F(Doubt, EndsWithOurIdFromADelayedCommand) {
  redis.hold("somebody", 30s);
  redis.lose_next_command = true;
  auto one = acquisition(30s);
  failure_of_run([&] { return one.run(redis); });
  redis.in(1s, [&] {
    redis.hold("mine", 30s);  // the lost SET
    redis.signal();
  });
  EXPECT_TRUE(one.run(redis));
  EXPECT_EQ(now(), 1000);
}

TEST_F(Doubt, RemainsAfterAnAnswerOfAnotherKind) {
  redis.lose_next_command = true;
  auto one = acquisition(30s);
  failure_of_run([&] { return one.run(redis); });
  redis.instead = [](const Exchange&) { return Replies{nil(), integer(9), integer(9)}; };
  const auto failure = failure_of_run([&] { return one.run(redis); });
  EXPECT_EQ(failure.code(), errc::protocol_error);
  EXPECT_STREQ(failure.what(), "unexpected reply to GET");
  EXPECT_TRUE(one.in_doubt());
}

TEST_F(Doubt, IsThereWhenTheConfirmationIsLost) {
  redis.hold("somebody", 30s);
  redis.in(700ms, [&] { redis.free(); });
  redis.instead = [&](const Exchange& exchange) -> std::optional<Replies> {
    redis.lose_next_reply = exchange.calls(extend_script);
    return {};
  };
  auto one = acquisition(900ms);
  failure_of_run([&] { return one.run(redis); });
  EXPECT_TRUE(one.in_doubt());
  ASSERT_EQ(redis.holder(), "mine");
  redis.instead = nullptr;
  EXPECT_EQ(ms(one.run(redis)), 700 + 900);
  EXPECT_TRUE(one.extension_in_doubt()) << "Redis may come upon the lost one after longer ones";
}

TEST_F(Doubt, IsThereWhenGivingBackIsLost) {
  redis.delay_next_reply = 1s;
  redis.instead = [&](const Exchange& exchange) -> std::optional<Replies> {
    redis.lose_next_reply = exchange.calls(release_script);
    return {};
  };
  auto one = acquisition(900ms);
  failure_of_run([&] { return one.run(redis); });
  EXPECT_TRUE(one.in_doubt());
  EXPECT_TRUE(one.id_is_spent()) << "Redis may come upon the release later";
}

TEST_F(Doubt, OfGivingBackEndsWithAFreshId) {
  redis.delay_next_reply = 1s;
  redis.instead = [&](const Exchange& exchange) -> std::optional<Replies> {
    redis.lose_next_command = exchange.tries();  // the one behind it, which gives back
    return {};
  };
  auto one = acquisition(900ms);
  failure_of_run([&] { return one.run(redis); });
  redis.instead = nullptr;
  one.go_on_as("fresh");
  EXPECT_FALSE(one.in_doubt());
  EXPECT_TRUE(one.run(redis));
  EXPECT_EQ(redis.holder(), "fresh");
  EXPECT_FALSE(one.id_is_spent());
}

TEST_F(Doubt, GivesBackALeaseThatHasEnded) {
  redis.lose_next_reply = true;
  auto one = acquisition(900ms, start + 1s);
  failure_of_run([&] { return one.run(redis); });
  redis.pass(300ms);
  redis.back = 700ms;
  EXPECT_FALSE(one.run(redis));
  EXPECT_EQ(redis.count(release_script), 1U);
}

}  // namespace
}  // namespace redis_lock_test
