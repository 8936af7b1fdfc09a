#include "one_waiter.hpp"

namespace redis_lock_test {
namespace {

using FirstAttempt = OneWaiter;
using Waiting = OneWaiter;
using LateGrant = OneWaiter;
using Confirmation = OneWaiter;
using Deadline = OneWaiter;
using Cancelling = OneWaiter;
using Refusal = OneWaiter;

TEST_F(FirstAttempt, IsSetAndPttlInOneExchange) {
  ASSERT_TRUE(acquire(30s));
  ASSERT_EQ(redis.exchanges.size(), 1U);
  EXPECT_THAT(redis.exchanges[0].commands,
              ElementsAre(Command{"SET", "lock:n", "mine", "NX", "PX", "30000"},
                          Command{"PTTL", "lock:n"}));
  EXPECT_EQ(redis.exchanges[0].wait, 0ms);
}

TEST_F(FirstAttempt, WithoutExpiryHasNoPx) {
  EXPECT_EQ(acquire(no_expiry), never);
  EXPECT_THAT(redis.exchanges.at(0).commands,
              ElementsAre(Command{"SET", "lock:n", "mine", "NX"}, Command{"PTTL", "lock:n"}));
}

TEST_F(FirstAttempt, CountsTheLeaseFromBeforeItWasSent) {
  redis.there = 100ms;
  redis.back = 200ms;
  EXPECT_EQ(ms(acquire(30s)), 30'000);
  EXPECT_EQ(now(), 300);
}

TEST_F(FirstAttempt, SendsNamesAndIdsAsTheyAre) {
  const redis_lock::detail::Keys keys{{"a\0%s\r\n", 6}, {"b\0", 2}};
  const std::string id{"\0\xff%n", 4};
  ASSERT_TRUE((Acquisition{keys, id, 30s, "1000", never}.run(redis)));
  EXPECT_THAT(redis.exchanges.at(0).commands.at(0),
              ElementsAre("SET", keys.lock, id, "NX", "PX", "30000"));
}

TEST_F(Waiting, IsBlpopSetAndPttlInOneExchange) {
  redis.hold("somebody");
  redis.in(100ms, [&] { redis.free(); });
  ASSERT_TRUE(acquire(30s));
  // Between the two, GET has told that a lock without expiry is a lock at all.
  ASSERT_EQ(redis.exchanges.size(), 3U);
  EXPECT_THAT(redis.exchanges[2].commands,
              ElementsAre(Command{"BLPOP", "lock-signal:n", "3.000"},
                          Command{"SET", "lock:n", "mine", "NX", "PX", "30000"},
                          Command{"PTTL", "lock:n"}));
  EXPECT_EQ(redis.exchanges[2].wait, 3000ms);
}

TEST_F(Waiting, WithoutExpiryHasNoPxEither) {
  redis.hold("somebody", 10s);
  redis.in(100ms, [&] { redis.free(); });
  EXPECT_EQ(acquire(no_expiry), never);
  EXPECT_THAT(redis.exchanges.at(1).commands.at(1), ElementsAre("SET", "lock:n", "mine", "NX"));
}

TEST_F(Waiting, EndsInTheMomentOfTheRelease) {
  redis.hold("somebody", 30s);
  redis.in(2900ms, [&] { redis.free(); });
  ASSERT_TRUE(acquire(30s));
  EXPECT_EQ(now(), 2900);
  EXPECT_EQ(redis.holder(), "mine");
}

TEST_F(Waiting, CountsTheLeaseFromBeforeTheWrite) {
  redis.hold("somebody", 30s);
  redis.in(4000ms, [&] { redis.free(); });
  EXPECT_EQ(ms(acquire(30s)), 3000 + 30'000);  // the second slice began at 3 s
  EXPECT_EQ(redis.exchanges.size(), 3U);
}

TEST_F(Waiting, BehindACrashedHolderEndsWithItsLease) {
  redis.hold("crashed", 10s);
  ASSERT_TRUE(acquire(30s));
  EXPECT_GE(now(), 10'000);
  EXPECT_LE(now(), 10'010);
}

TEST_F(Waiting, NoticesALostSignalAfterASlice) {
  redis.hold("somebody");
  redis.in(1s, [&] { redis.hold("somebody", 0ms); });
  ASSERT_TRUE(acquire(30s));
  EXPECT_EQ(now(), 3000);
}

TEST_F(Waiting, GoesOnWhenSomebodyElseWasFaster) {
  redis.hold("somebody", 30s);
  redis.in(500ms, [&] {
    redis.free();
    redis.hold("faster", 2s);
  });
  ASSERT_TRUE(acquire(30s));
  EXPECT_EQ(now(), 2505);
}

TEST_F(Waiting, IsShortWhenPttlFindsNoLock) {
  redis.instead = [&](const Exchange&) -> std::optional<Replies> {
    redis.instead = nullptr;
    return Replies{nil(), integer(-2)};
  };
  ASSERT_TRUE(acquire(30s));
  EXPECT_THAT(redis.slices(), ElementsAre("0.005"));
}

TEST_F(Waiting, GoesOnWhenTheServerUnblocksIt) {
  redis.hold("somebody", 30s);
  redis.instead = [&](const Exchange& exchange) -> std::optional<Replies> {
    if (!exchange.waits()) return {};
    redis.instead = nullptr;
    return Replies{error("UNBLOCKED client unblocked via CLIENT UNBLOCK"), nil(), integer(30'000)};
  };
  redis.in(50ms, [&] { redis.free(); });
  ASSERT_TRUE(acquire(30s));
  EXPECT_EQ(now(), 50);
}

TEST_F(LateGrant, DoesNotCountOnceAnotherHoldsTheLock) {
  redis.hold("somebody", 30s);
  redis.in(100ms, [&] {
    redis.free();
    redis.delay_next_reply = 2s;
  });
  redis.in(1500ms, [&] { redis.hold("another", 1s); });  // the grant was over at 1 s
  const auto lease_end = acquire(900ms);
  EXPECT_EQ(now(), 2505);
  EXPECT_GT(ms(lease_end), now());
  EXPECT_EQ(redis.count(release_script), 1U);
  EXPECT_EQ(redis.holder(), "mine");
}

TEST_F(LateGrant, IsGivenBackByTheReleaseScript) {
  redis.there = 2s;  // so the server's lease begins when that of the waiter is long over
  redis.in(1s, [&] { redis.there = 0ms; });
  ASSERT_TRUE(acquire(900ms));
  EXPECT_THAT(redis.exchanges.at(1).commands,
              ElementsAre(Command{"EVALSHA", std::string(release_script.digest), "2", "lock:n",
                                  "lock-signal:n", "mine", "1000"}));
  EXPECT_TRUE(redis.exchanges.at(2).waits());
  EXPECT_EQ(now(), 2000) << "the signal of its own release should wake it";
}

TEST_F(LateGrant, AtTheDeadlineIsGivenBack) {
  redis.there = 2s;
  redis.in(1s, [&] { redis.there = 0ms; });
  EXPECT_FALSE(acquire(900ms, start + 1s));
  EXPECT_EQ(redis.holder(), "");
  EXPECT_TRUE(redis.has_signal());
}

TEST_F(LateGrant, ExactlyAtItsLeaseEndIsGivenBack) {
  redis.delay_next_reply = 900ms;
  EXPECT_FALSE(acquire(900ms, start + 900ms));
  EXPECT_EQ(redis.count(extend_script), 0U) << "there is nothing left to extend";
  EXPECT_EQ(redis.count(release_script), 1U);
}

TEST_F(LateGrant, IsALateConfirmationToo) {
  redis.hold("somebody", 30s);
  redis.in(700ms, [&] { redis.free(); });
  redis.instead = [&](const Exchange& exchange) -> std::optional<Replies> {
    if (exchange.calls(extend_script)) {
      redis.instead = nullptr;
      redis.delay_next_reply = 900ms;
    }
    return {};
  };
  const auto lease_end = acquire(900ms);
  EXPECT_EQ(redis.count(release_script), 1U);
  EXPECT_GT(ms(lease_end), now());
  EXPECT_GE(now(), 1600);
}

TEST_F(LateGrant, AfterTheDeadlineOfTheCallerGoesBack) {
  redis.hold("somebody", 50ms);
  redis.in(10ms, [&] { redis.delay_next_reply = 500ms; });
  EXPECT_FALSE(acquire(30s, start + 200ms));
  EXPECT_EQ(redis.holder(), "");
  EXPECT_TRUE(redis.has_signal());
}

TEST_F(LateGrant, OfTheFirstAttemptCountsDespiteTheDeadline) {
  redis.delay_next_reply = 500ms;
  EXPECT_EQ(ms(acquire(30s, start + 200ms)), 30000);
}

/// Leases that are over when the answer of the server comes.
using TooShortALease = OneWaiter;

TEST_F(TooShortALease, IsAnErrorAndLeavesNothingHeld) {
  redis.there = redis.back = 30ms;
  for (const auto deadline : {never, Time::min(), start + 10s}) {
    const auto failure = failure_of_run([&] { return acquire(45ms, deadline); });
    EXPECT_EQ(failure.code(), errc::timed_out);
    EXPECT_FALSE(failure.is_transient());
    EXPECT_THAT(failure.what(), ::testing::StartsWith(
                                    "the lease of 45 ms is over before the answer comes, after 6"));
    EXPECT_EQ(redis.holder(), "");
  }
  EXPECT_EQ(redis.exchanges.size(), 3U * 4);
}

TEST_F(TooShortALease, IsAnErrorAfterAWaitToo) {
  redis.there = redis.back = 30ms;
  redis.hold("somebody", 200ms);
  EXPECT_EQ(failure_of_run([&] { return acquire(45ms); }).code(), errc::timed_out);
  EXPECT_EQ(redis.holder(), "");
}

TEST_F(TooShortALease, IsTriedAgainAfterAPause) {
  redis.delay_next_reply = 100ms;
  EXPECT_EQ(ms(acquire(45ms, Time::min())), 100 + 45);
}

TEST_F(Confirmation, IsNotNeededWithTwoThirdsLeft) {
  redis.hold("somebody", 30s);
  redis.in(300ms, [&] { redis.free(); });
  EXPECT_EQ(ms(acquire(900ms)), 900);
  EXPECT_EQ(redis.count(extend_script), 0U);
}

TEST_F(Confirmation, IsOneExtendWithLessThanThatLeft) {
  redis.hold("somebody", 30s);
  redis.in(301ms, [&] { redis.free(); });
  EXPECT_EQ(ms(acquire(900ms)), 301 + 900);
  ASSERT_EQ(redis.exchanges.size(), 3U);
  EXPECT_THAT(redis.exchanges[2].commands,
              ElementsAre(Command{"EVALSHA", std::string(extend_script.digest), "1", "lock:n",
                                  "mine", "900"}));
}

TEST_F(Confirmation, CountsTheLeaseFromBeforeTheExtend) {
  redis.there = 10ms;
  redis.back = 20ms;
  redis.hold("somebody", 30s);
  redis.in(740ms, [&] { redis.free(); });
  const auto lease_end = acquire(900ms);
  ASSERT_TRUE(redis.exchanges.back().calls(extend_script));
  EXPECT_EQ(ms(lease_end), ms(redis.exchanges.back().sent) + 900);
  EXPECT_EQ(ms(lease_end), 760 + 900);
}

TEST_F(Confirmation, IsNotNeededWithoutExpiry) {
  redis.hold("somebody", 30s);
  redis.in(2900ms, [&] { redis.free(); });
  EXPECT_EQ(acquire(no_expiry), never);
  EXPECT_EQ(redis.count(extend_script), 0U);
}

TEST_F(Confirmation, ThatIsRefusedLetsWaitingGoOn) {
  redis.hold("somebody", 30s);
  redis.in(400ms, [&] {
    redis.free();
    redis.delay_next_reply = 300ms;
  });
  redis.in(500ms, [&] { redis.hold("thief", 1s); });
  const auto lease_end = acquire(900ms);
  EXPECT_EQ(redis.exchanges.at(2).commands.at(0).at(1), extend_script.digest);
  EXPECT_GE(now(), 1500);
  EXPECT_GT(ms(lease_end), now());
  EXPECT_EQ(redis.holder(), "mine");
}

TEST_F(Confirmation, ThatFindsNoExpiryGivesTheLockBack) {
  redis.hold("somebody", 30s);
  redis.in(400ms, [&] {
    redis.free();
    redis.delay_next_reply = 300ms;
  });
  redis.in(500ms, [&] { redis.hold("mine"); });  // PERSIST, by whomever
  ASSERT_TRUE(acquire(900ms));
  EXPECT_EQ(redis.count(release_script), 1U);
  EXPECT_EQ(now(), 700);
}

TEST_F(Deadline, OfZeroTriesOnce) {
  redis.hold("somebody", 30s);
  EXPECT_FALSE(acquire(30s, start));
  EXPECT_EQ(redis.exchanges.size(), 1U);
}

TEST_F(Deadline, InThePastTriesOnce) {
  redis.hold("somebody", 30s);
  EXPECT_FALSE(acquire(30s, Time::min()));
  EXPECT_EQ(redis.exchanges.size(), 1U);
  redis.free();
  EXPECT_TRUE(acquire(30s, Time::min()));
}

TEST_F(Deadline, IsKeptAndNeverEarly) {
  using std::chrono::nanoseconds;
  redis.hold("somebody", 1h);
  for (const nanoseconds patience : {nanoseconds{1}, nanoseconds{1ms}, nanoseconds{250ms},
                                     nanoseconds{250'000'001}, nanoseconds{10s}}) {
    const auto deadline = FakeClock::time + patience;
    EXPECT_FALSE(acquire(30s, deadline));
    EXPECT_GE(ms(FakeClock::time), ms(deadline));
    EXPECT_LT(ms(FakeClock::time), ms(deadline) + 1);
  }
}

TEST_F(Deadline, IsNotMovedBySignals) {
  redis.hold("somebody", 1h);
  signal_all_the_time();
  EXPECT_FALSE(acquire(30s, start + 505ms));
  EXPECT_EQ(now(), 505);
  EXPECT_EQ(redis.slices().size(), 51U);
}

TEST_F(Deadline, StillAllowsALockFreedExactlyThen) {
  redis.hold("somebody", 30s);
  redis.in(500ms, [&] { redis.free(); });
  EXPECT_TRUE(acquire(30s, start + 500ms));
}

TEST_F(Cancelling, EndsTheWait) {
  redis.hold("somebody", 30s);
  redis.cancelled_at = start;
  EXPECT_FALSE(acquire(30s));
  EXPECT_EQ(redis.exchanges.size(), 1U);
}

TEST_F(Cancelling, EndsTheWaitAfterTheCurrentSlice) {
  redis.hold("somebody", 30s);
  redis.cancelled_at = start + 3100ms;
  EXPECT_FALSE(acquire(30s));
  EXPECT_EQ(redis.slices().size(), 2U);
  EXPECT_EQ(redis.holder(), "somebody");
}

TEST_F(Cancelling, DoesNotThrowAGrantAway) {
  redis.cancelled_at = start;
  EXPECT_TRUE(acquire(30s));
}

TEST_F(Cancelling, OfALateGrantGivesItBack) {
  redis.there = 2s;
  redis.cancelled_at = start + 1s;
  redis.in(1s, [&] { redis.there = 0ms; });
  EXPECT_FALSE(acquire(900ms));
  EXPECT_EQ(redis.holder(), "");
}

TEST_F(Refusal, ForAWrongKeyTypeQuotesTheServer) {
  redis.put("lock:n", array({string("1")}));
  const auto failure = failure_of_run([&] { return acquire(30s); });
  EXPECT_EQ(failure.code(), errc::server_error);
  EXPECT_FALSE(failure.is_transient());
  EXPECT_STREQ(failure.what(), "WRONGTYPE Operation against a key holding the wrong kind of value");
  EXPECT_THAT(redis.slices(), IsEmpty());
}

TEST_F(Refusal, ForAWrongKeyTypeReachesTryLock) {
  redis.put("lock:n", array({string("1")}));
  EXPECT_EQ(failure_of_run([&] { return acquire(30s, start); }).code(), errc::server_error);
}

TEST_F(Refusal, IsCheckedOnceForALockWithoutExpiry) {
  redis.hold("somebody");
  EXPECT_FALSE(acquire(30s, start + 10s));
  const auto asks = std::count_if(redis.exchanges.begin(), redis.exchanges.end(),
                                  [](const Exchange& exchange) { return exchange.asks("GET"); });
  EXPECT_EQ(asks, 1);
}

TEST_F(Refusal, ForAWrongSignalTypeQuotesTheServer) {
  redis.hold("somebody", 30s);
  redis.put("lock-signal:n", string("no list"));
  const auto failure = failure_of_run([&] { return acquire(30s); });
  EXPECT_EQ(failure.code(), errc::server_error);
  EXPECT_FALSE(failure.is_transient());
  EXPECT_THAT(failure.what(), ::testing::StartsWith("WRONGTYPE"));
}

TEST_F(Refusal, OfTheWaitLeavesAGrantInDoubt) {
  redis.hold("somebody", 30s);
  redis.put("lock-signal:n", string("no list"));
  redis.there = 1s;
  redis.in(1500ms, [&] { redis.hold("somebody", 0ms); });
  auto one = acquisition(30s);
  EXPECT_EQ(failure_of_run([&] { return one.run(redis); }).code(), errc::server_error);
  ASSERT_EQ(redis.holder(), "mine");
  EXPECT_TRUE(one.in_doubt()) << "nobody would release it";
}

TEST_F(Refusal, OfSetQuotesTheServerAndIsFinal) {
  redis.instead = [](const Exchange&) { return Replies{error("ERR syntax error"), integer(-2)}; };
  const auto failure = failure_of_run([&] { return acquire(30s); });
  EXPECT_EQ(failure.code(), errc::server_error);
  EXPECT_FALSE(failure.is_transient());
  EXPECT_STREQ(failure.what(), "ERR syntax error");
}

TEST_F(Refusal, ThatPassesIsAPassingFault) {
  for (const std::string words :
       {"READONLY You can't write against a read only replica.",
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "CLUSTERDOWN The cluster is down"}) {
    redis.instead = [&](const Exchange&) { return Replies{error(words), integer(-2)}; };
    const auto of_set = failure_of_run([&] { return acquire(30s); });
    EXPECT_EQ(of_set.code(), errc::server_error);
    EXPECT_TRUE(of_set.is_transient()) << words;
    EXPECT_EQ(of_set.what(), words);

    redis.instead = [&](const Exchange& exchange) {
      return exchange.waits() ? Replies{error(words), nil(), integer(9)}
                              : Replies{nil(), integer(9)};
    };
    const auto of_blpop = failure_of_run([&] { return acquire(30s); });
    EXPECT_TRUE(of_blpop.is_transient()) << words;
    EXPECT_EQ(of_blpop.what(), words);
  }
}

TEST_F(Refusal, ByAnUnexpectedReplyIsAProtocolError) {
  struct Row {
    Replies first, waiting;
    std::string culprit;
  };
  const Replies busy{nil(), integer(9)};
  for (const auto& [first, waiting, culprit] : {
           Row{{status("QUEUED"), status("QUEUED")}, {}, "SET"},
           Row{{string("OK"), integer(-2)}, {}, "SET"},
           Row{{integer(1), integer(-2)}, {}, "SET"},
           Row{{array({}), integer(-2)}, {}, "SET"},
           Row{{nil(), status("QUEUED")}, {}, "PTTL"},
           Row{{nil(), nil()}, {}, "PTTL"},
           Row{{nil(), string("9")}, {}, "PTTL"},
           Row{busy, {status("QUEUED"), nil(), integer(9)}, "BLPOP"},
           Row{busy, {string("1"), nil(), integer(9)}, "BLPOP"},
           Row{busy, {integer(1), nil(), integer(9)}, "BLPOP"},
           Row{busy, {nil(), status("QUEUED"), integer(9)}, "SET"},
       }) {
    redis.instead = [&first = first, &waiting = waiting](const Exchange& exchange) {
      return exchange.waits() ? waiting : first;
    };
    auto one = acquisition(30s);
    const auto failure = failure_of_run([&] { return one.run(redis); });
    EXPECT_EQ(failure.code(), errc::protocol_error);
    EXPECT_FALSE(failure.is_transient());
    EXPECT_EQ(failure.what(), "unexpected reply to " + culprit);
    EXPECT_FALSE(one.in_doubt()) << "a SET that was not answered by OK has not been granted";
  }
}

TEST_F(Refusal, OfPttlLeavesAGrantInDoubt) {
  redis.instead = [](const Exchange&) { return Replies{status("OK"), status("QUEUED")}; };
  auto one = acquisition(30s);
  EXPECT_EQ(failure_of_run([&] { return one.run(redis); }).code(), errc::protocol_error);
  EXPECT_TRUE(one.in_doubt());
}

}  // namespace
}  // namespace redis_lock_test
