#include "one_waiter.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::detail::rewrite_script;

/// An acquisition that wants the acknowledgement of replicas.
class ReplicaAcks : public OneWaiter {
 protected:
  [[nodiscard]] Acquisition acked(unsigned min_acks, milliseconds expire = 30s,
                                  milliseconds timeout = 1s, Time deadline = never) const {
    return {redis.keys, "mine", expire, "1000", deadline, {min_acks, timeout}};
  }

  /// The reply to the extend comes late.
  void delay_confirmation(milliseconds delay) {
    redis.instead = [this, delay](const Exchange& exchange) -> std::optional<Replies> {
      if (exchange.calls(extend_script)) redis.delay_next_reply = delay;
      return {};
    };
  }

  /// The command names of each exchange so far.
  [[nodiscard]] std::vector<std::string> sent() const {
    std::vector<std::string> all;
    for (const auto& exchange : redis.exchanges) {
      std::string names;
      for (const auto& command : exchange.commands) names += command.front() + ' ';
      all.push_back(names);
    }
    return all;
  }
  [[nodiscard]] Command last_command() const { return redis.exchanges.back().commands.back(); }
};

TEST_F(ReplicaAcks, CostNothingWhereNoneAreAskedFor) {
  EXPECT_TRUE(acked(0).run(redis));
  EXPECT_THAT(sent(), ElementsAre("SET PTTL "));
}

TEST_F(ReplicaAcks, AreOneWaitInASeparateExchange) {
  redis.replicas = redis.acks = 2;
  redis.there = redis.back = 10ms;
  EXPECT_EQ(ms(acked(2).run(redis)), 30'000) << "the lease counts from before the SET";
  EXPECT_THAT(sent(), ElementsAre("SET PTTL ", "WAIT "));
  EXPECT_EQ(last_command(), (Command{"WAIT", "2", "1000"}));
  EXPECT_EQ(redis.exchanges.back().wait, 1s) << "the server may take that long";
}

TEST_F(ReplicaAcks, DuringASlotMigrationDoNotCount) {
  redis.replicas = redis.acks = 2;
  redis.instead = [this](const auto& exchange) -> std::optional<Replies> {
    redis.asked_elsewhere = redis.asked_elsewhere || exchange.commands.front().front() == "SET";
    return std::nullopt;
  };
  auto one = acked(1);
  EXPECT_STREQ(failure_of_run([&] { return one.run(redis); }).what(),
               "0 of 1 replicas acknowledged it within 1000 ms");
  EXPECT_EQ(redis.holder(), "");
  redis.instead = {};
  EXPECT_TRUE(acked(1).run(redis)) << "afterwards, on the same connection";
}

TEST_F(ReplicaAcks, MayBeMore) {
  redis.replicas = redis.acks = 3;
  EXPECT_TRUE(acked(2).run(redis));
}

TEST_F(ReplicaAcks, ThatAreTooFewGiveTheLockBack) {
  redis.replicas = 2;
  redis.acks = 1;
  auto one = acked(2);
  const auto failure = failure_of_run([&] { return one.run(redis); });
  EXPECT_EQ(failure.code(), errc::too_few_replicas);
  EXPECT_FALSE(failure.is_transient());
  EXPECT_STREQ(failure.what(), "1 of 2 replicas acknowledged it within 1000 ms");
  EXPECT_EQ(redis.holder(), "");
  EXPECT_TRUE(redis.has_signal()) << "others may wait";
  EXPECT_FALSE(one.in_doubt()) << "nobody need release it once more";
  EXPECT_EQ(now(), 1000);
}

TEST_F(ReplicaAcks, AreNotWaitedForOnABusyLock) {
  redis.hold("somebody", 30s);
  EXPECT_FALSE(acked(2, 30s, 1s, start).run(redis));
  EXPECT_THAT(sent(), ElementsAre("SET PTTL "));
}

TEST_F(ReplicaAcks, AreWaitedForBeyondTheDeadline) {
  redis.replicas = redis.acks = 1;
  EXPECT_TRUE(acked(1, 30s, 1s, start).run(redis));
}

TEST_F(ReplicaAcks, OfAWaiterComeBehindItsGrant) {
  redis.replicas = redis.acks = 1;
  redis.hold("somebody", 30s);
  redis.in(100ms, [&] { redis.free(); });
  EXPECT_EQ(ms(acked(1).run(redis)), 30'000);
  EXPECT_THAT(sent(), ElementsAre("SET PTTL ", "BLPOP SET PTTL ", "WAIT "));
}

TEST_F(ReplicaAcks, ComeAfterTheConfirmation) {
  redis.replicas = redis.acks = 1;
  redis.hold("somebody", 30s);
  redis.in(301ms, [&] { redis.free(); });
  EXPECT_EQ(ms(acked(1, 900ms).run(redis)), 301 + 900);
  EXPECT_THAT(sent(), ElementsAre("SET PTTL ", "BLPOP SET PTTL ", "EVALSHA ", "WAIT "));
}

TEST_F(ReplicaAcks, AreNotAwaitedInTheLeasesLastThird) {
  redis.replicas = 1;
  redis.there = redis.back = 25ms;
  const auto failure = failure_of_run([&] { return acked(1, 300ms).run(redis); });
  EXPECT_STREQ(failure.what(), "0 of 1 replicas acknowledged it within 150 ms");
}

TEST_F(ReplicaAcks, AreNeverWaitedForWithoutEnd) {
  redis.replicas = redis.acks = 1;
  redis.delay_next_reply = 400ms;
  delay_confirmation(700ms);
  EXPECT_EQ(ms(acked(1, 900ms).run(redis)), 400 + 900);
  EXPECT_EQ(last_command(), (Command{"WAIT", "1", "1"})) << "0 would be for ever";
}

TEST_F(ReplicaAcks, WithoutExpiryHaveTheirFullTimeout) {
  redis.replicas = 1;
  const auto failure = failure_of_run([&] { return acked(1, no_expiry, 60s).run(redis); });
  EXPECT_STREQ(failure.what(), "0 of 1 replicas acknowledged it within 60000 ms");
  EXPECT_EQ(redis.holder(), "");
}

TEST_F(ReplicaAcks, ThatComeAfterTheLeaseAreForNothing) {
  redis.replicas = redis.acks = 1;
  redis.instead = [&](const Exchange& exchange) -> std::optional<Replies> {
    if (exchange.asks("WAIT")) {
      redis.instead = nullptr;
      redis.delay_next_reply = 901ms;
    }
    return {};
  };
  const auto lease_end = acked(1, 900ms).run(redis);
  EXPECT_EQ(redis.count(release_script), 1U);
  EXPECT_EQ(ms(lease_end), 901 + 900);
}

TEST_F(ReplicaAcks, AreNotAskedForAfterTheLease) {
  redis.replicas = redis.acks = 1;
  redis.delay_next_reply = 400ms;
  delay_confirmation(900ms);
  EXPECT_EQ(ms(acked(1, 900ms).run(redis)), 1300 + 900);
  EXPECT_THAT(sent(),
              ElementsAre("SET PTTL ", "EVALSHA ", "EVALSHA ", "BLPOP SET PTTL GET ", "WAIT "));
}

TEST_F(ReplicaAcks, AfterAReconnectNeedAWriteFirst) {
  redis.replicas = 2;  // which is what WAIT says of a connection that has written nothing
  redis.acks = 1;
  redis.lose_next_reply = true;
  auto one = acked(2);
  EXPECT_TRUE(failure_of_run([&] { return one.run(redis); }).is_transient());
  ASSERT_EQ(redis.holder(), "mine");
  EXPECT_EQ(failure_of_run([&] { return one.run(redis); }).code(), errc::too_few_replicas);
  EXPECT_THAT(sent(), ElementsAre("SET PTTL ", "SET PTTL GET ", "EVALSHA ", "WAIT ", "EVALSHA "));
  EXPECT_TRUE(redis.exchanges[2].calls(extend_script));
  EXPECT_EQ(redis.holder(), "");
}

TEST_F(ReplicaAcks, AfterAReconnectAreForTheReportedLease) {
  redis.replicas = redis.acks = 1;
  redis.lose_next_reply = true;
  auto one = acked(1);
  failure_of_run([&] { return one.run(redis); });
  redis.pass(2s);
  EXPECT_EQ(ms(one.run(redis)), 32'000);
}

TEST_F(ReplicaAcks, WithoutExpiryNeedAWriteAfterAReconnect) {
  redis.replicas = 2;
  redis.acks = 1;
  redis.lose_next_reply = true;
  auto one = acked(2, no_expiry);
  failure_of_run([&] { return one.run(redis); });
  EXPECT_EQ(failure_of_run([&] { return one.run(redis); }).code(), errc::too_few_replicas);
  EXPECT_EQ(redis.count(rewrite_script), 1U);
  EXPECT_EQ(redis.holder(), "");
}

TEST_F(ReplicaAcks, AreNotAskedForOnceAnotherHoldsIt) {
  redis.replicas = redis.acks = 1;
  redis.lose_next_reply = true;
  auto one = acked(1, no_expiry, 1s, start);
  failure_of_run([&] { return one.run(redis); });
  redis.instead = [&](const Exchange& exchange) -> std::optional<Replies> {
    if (exchange.calls(rewrite_script)) redis.hold("somebody");
    return {};
  };
  EXPECT_FALSE(one.run(redis));
  EXPECT_EQ(redis.holder(), "somebody");
}

TEST_F(ReplicaAcks, ThatGetLostLeaveTheGrantInDoubt) {
  redis.replicas = redis.acks = 1;
  auto one = acked(1);
  redis.instead = [&](const Exchange& exchange) -> std::optional<Replies> {
    if (exchange.asks("WAIT") && redis.exchanges.size() == 2) redis.lose_next_reply = true;
    return {};
  };
  EXPECT_TRUE(failure_of_run([&] { return one.run(redis); }).is_transient());
  EXPECT_TRUE(one.in_doubt());
  EXPECT_TRUE(one.run(redis));
  EXPECT_THAT(sent(), ElementsAre("SET PTTL ", "WAIT ", "SET PTTL GET ", "EVALSHA ", "WAIT "));
}

TEST_F(ReplicaAcks, ThatAreRefusedGiveTheLockBack) {
  for (const auto& [answer, code, words] :
       {std::tuple{error("NOPERM this user has no permissions to run the 'wait' command"),
                   errc::server_error,
                   "NOPERM this user has no permissions to run the 'wait' command"},
        std::tuple{status("QUEUED"), errc::protocol_error, "unexpected reply to WAIT"}}) {
    redis.instead = [&answer = answer](const Exchange& exchange) -> std::optional<Replies> {
      if (exchange.asks("WAIT")) return Replies{answer};
      return {};
    };
    auto one = acked(1);
    const auto failure = failure_of_run([&] { return one.run(redis); });
    EXPECT_EQ(failure.code(), code);
    EXPECT_FALSE(failure.is_transient());
    EXPECT_STREQ(failure.what(), words);
    EXPECT_EQ(redis.holder(), "");
    EXPECT_FALSE(one.in_doubt());
  }
}

TEST_F(ReplicaAcks, ThatAFailoverEndsAreAskedForAgain) {
  redis.replicas = redis.acks = 1;
  redis.instead = [](const Exchange& exchange) -> std::optional<Replies> {
    if (exchange.asks("WAIT")) {
      return Replies{
          error("UNBLOCKED force unblock from blocking operation, instance state changed")};
    }
    return {};
  };
  auto one = acked(1);
  EXPECT_TRUE(failure_of_run([&] { return one.run(redis); }).is_transient());
  EXPECT_EQ(redis.holder(), "mine");
  EXPECT_TRUE(one.in_doubt());
}

TEST_F(ReplicaAcks, TooFewAreReportedThoughReleasingFails) {
  redis.replicas = 1;
  redis.instead = [&](const Exchange& exchange) -> std::optional<Replies> {
    if (exchange.calls(release_script)) redis.lose_next_reply = true;
    return {};
  };
  auto one = acked(1);
  EXPECT_EQ(failure_of_run([&] { return one.run(redis); }).code(), errc::too_few_replicas);
  EXPECT_TRUE(one.in_doubt()) << "whoever gives up makes sure";
}

TEST_F(ReplicaAcks, OnAnOldServerMayComeLate) {
  redis.replicas = redis.acks = 1;
  redis.knows_fractions = false;
  redis.hold("somebody", 30s);
  redis.in(1500ms, [&] { redis.free(); });
  EXPECT_TRUE(acked(1).run(redis));
  EXPECT_EQ(redis.exchanges.back().wait, 3s);
}

}  // namespace
}  // namespace redis_lock_test
