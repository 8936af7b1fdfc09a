#include "one_waiter.hpp"

namespace redis_lock_test {
namespace {

/// How long a waiter lets the server block it.
class Slice : public OneWaiter {
 protected:
  using nanoseconds = std::chrono::nanoseconds;

  /// The first slice, as text, of a lock with this expiry, behind a holder with this lease, of a
  /// caller with this patience.
  [[nodiscard]] std::string first(milliseconds expire,
                                  std::optional<milliseconds> lease_of_holder = {},
                                  nanoseconds patience = nanoseconds::max()) {
    FakeRedis fresh;
    fresh.notices_cancellation_late = notices_cancellation_late;
    fresh.cancelled_at = FakeClock::time + nanoseconds{1};
    fresh.hold("somebody", lease_of_holder);
    const auto deadline = patience == patience.max() ? never : FakeClock::time + patience;
    static_cast<void>(acquisition(expire, deadline).run(fresh));
    const auto slices = fresh.slices();
    return slices.size() == 1 ? slices.front() : "not one slice";
  }

  bool notices_cancellation_late = false;
};

TEST_F(Slice, IsThreeSecondsAtMost) {
  EXPECT_EQ(first(30s), "3.000");
  EXPECT_EQ(first(no_expiry), "3.000");
  EXPECT_EQ(first(30s, 1h), "3.000");
  EXPECT_EQ(first(30s, 1h, 1h), "3.000");
}

TEST_F(Slice, IsSlightlyLongerThanTheHoldersLease) {
  EXPECT_EQ(first(30s, 400ms), "0.405");
  EXPECT_EQ(first(30s, 2994ms), "2.999");
  EXPECT_EQ(first(30s, 2996ms), "3.000");
  EXPECT_EQ(first(300ms, 20ms), "0.025");
}

TEST_F(Slice, IsTheTimeToTheDeadlineRoundedUp) {
  EXPECT_EQ(first(30s, {}, 250ms), "0.250");
  EXPECT_EQ(first(30s, {}, 250ms + nanoseconds{1}), "0.251");
  EXPECT_EQ(first(30s, 30s, 2999ms), "2.999");
  EXPECT_EQ(first(300ms, {}, 999ms), "0.999");
  EXPECT_EQ(first(30s, 10ms, 400ms), "0.015");
}

TEST_F(Slice, IsAThirdOfTheLease) {
  EXPECT_EQ(first(9s), "3.000");
  EXPECT_EQ(first(6s), "2.000");
  EXPECT_EQ(first(3003ms), "1.001");
}

TEST_F(Slice, IsASecondWhereTheLeaseIsShort) {
  EXPECT_EQ(first(3s), "1.000");
  EXPECT_EQ(first(2997ms), "1.000");
  EXPECT_EQ(first(300ms), "1.000");
  EXPECT_EQ(first(1ms), "1.000");
}

TEST_F(Slice, IsASecondWhereCancellationIsNoticedLate) {
  notices_cancellation_late = true;
  EXPECT_EQ(first(30s), "1.000");
  EXPECT_EQ(first(30s, 400ms), "0.405");
}

TEST_F(Slice, IsNeverZeroWhichMeansForEver) {
  EXPECT_EQ(first(30s, {}, nanoseconds{1}), "0.001");
  EXPECT_EQ(first(30s, 30s, nanoseconds{1}), "0.001");
  redis.instead = [](const Exchange& exchange) {  // a lease in its last millisecond
    return exchange.waits() ? Replies{nil(), status("OK"), integer(0)} : Replies{nil(), integer(0)};
  };
  ASSERT_TRUE(acquire(30s));
  EXPECT_THAT(redis.slices(), ElementsAre("0.005"));
}

TEST_F(Slice, OfAHugeLeaseDoesNotOverflow) {
  redis.instead = [](const Exchange& exchange) {
    if (exchange.waits()) return Replies{nil(), status("OK"), integer(0)};
    return Replies{nil(), integer(std::numeric_limits<long long>::max() - 1)};
  };
  ASSERT_TRUE(acquire(30s));
  EXPECT_THAT(redis.slices(), ElementsAre("3.000"));
}

TEST_F(Slice, NeverExceedsAnyOfItsBounds) {
  for (const milliseconds expire : {1ms, 200ms, 2999ms, 3001ms, 4000ms, 8999ms, 30'000ms}) {
    for (const milliseconds lease : {1ms, 30ms, 995ms, 1001ms, 2996ms, 60'000ms}) {
      for (const milliseconds patience : {1ms, 20ms, 999ms, 1001ms, 2000ms, 60'000ms}) {
        const milliseconds slice{std::llround(std::stod(first(expire, lease, patience)) * 1000)};
        EXPECT_GT(slice, 0ms);
        EXPECT_LE(slice, 3000ms);
        EXPECT_LE(slice, std::max<milliseconds>(1000ms, expire / 3));
        EXPECT_LE(slice, lease + 5ms);
        EXPECT_LE(slice, patience);
      }
    }
  }
}

TEST_F(Slice, IsWhatTheConnectionIsToldToWait) {
  redis.hold("somebody", 10s);
  EXPECT_FALSE(acquire(30s, start + 7300ms));
  EXPECT_THAT(redis.slices(), ElementsAre("3.000", "3.000", "1.300"));
  ASSERT_EQ(redis.exchanges.size(), 4U);
  EXPECT_EQ(redis.exchanges[1].wait, 3000ms);
  EXPECT_EQ(redis.exchanges[3].wait, 1300ms);
}

TEST(Seconds, AreWrittenWithThreeDecimals) {
  using redis_lock::detail::in_seconds;
  EXPECT_EQ(in_seconds(1ms, false), "0.001");
  EXPECT_EQ(in_seconds(20ms, false), "0.020");
  EXPECT_EQ(in_seconds(300ms, false), "0.300");
  EXPECT_EQ(in_seconds(12'345ms, false), "12.345");
  EXPECT_EQ(in_seconds(3000ms, true), "3");
}

/// A server before Redis 6.0 blocks for whole seconds only.
class WholeSeconds : public OneWaiter {
 protected:
  WholeSeconds() { redis.knows_fractions = false; }

  [[nodiscard]] std::vector<milliseconds> waits() const {
    std::vector<milliseconds> all;
    for (const auto& exchange : redis.exchanges) {
      if (exchange.waits()) all.push_back(exchange.wait);
    }
    return all;
  }
};

TEST_F(WholeSeconds, AreUsedOnceTheServerRefusedAFraction) {
  redis.hold("somebody", 1h);
  EXPECT_FALSE(acquire(30s, start + 5s));
  EXPECT_THAT(redis.slices(), ElementsAre("3.000", "3", "2"));
  EXPECT_TRUE(redis.whole_seconds);
  EXPECT_EQ(now(), 5000);
}

TEST_F(WholeSeconds, LoseNoGrantToTheRefusedFraction) {
  redis.hold("somebody", 30s);
  redis.there = 100ms;
  redis.in(150ms, [&] { redis.free(); });  // while the BLPOP that will be refused is under way
  EXPECT_TRUE(acquire(30s));
  EXPECT_THAT(redis.slices(), ElementsAre("3.000"));
}

TEST_F(WholeSeconds, AreRoundedDownAndTheRestIsPauses) {
  redis.hold("somebody", 1h);
  EXPECT_FALSE(acquire(30s, start + 2320ms));
  EXPECT_THAT(redis.slices(), ElementsAre("2.320", "2"));
  EXPECT_THAT(redis.pauses, ElementsAre(50ms, 50ms, 50ms, 50ms, 50ms, 50ms, 20ms));
  EXPECT_EQ(now(), 2320);
}

TEST_F(WholeSeconds, AreTriedForAfterEachPauseWithoutBlocking) {
  redis.hold("somebody", 1h);
  EXPECT_FALSE(acquire(30s, start + 100ms));
  ASSERT_EQ(redis.exchanges.size(), 4U);
  EXPECT_THAT(redis.exchanges[3].commands,
              ElementsAre(Command{"SET", "lock:n", "mine", "NX", "PX", "30000"},
                          Command{"PTTL", "lock:n"}));
  EXPECT_EQ(redis.exchanges[3].wait, 0ms);
}

TEST_F(WholeSeconds, AreNeverZero) {
  redis.hold("somebody", 1h);
  EXPECT_FALSE(acquire(30s, start + 999ms));
  EXPECT_THAT(redis.slices(), ElementsAre("0.999"));
  EXPECT_EQ(now(), 999);
}

TEST_F(WholeSeconds, LeaveTheServerTwoSecondsMore) {
  redis.hold("somebody", 1h);
  EXPECT_FALSE(acquire(30s, start + 5s));
  EXPECT_THAT(waits(), ElementsAre(3000ms, 5000ms, 4000ms));
}

TEST_F(WholeSeconds, OverrunADeadlineNoLongerThanTheServer) {
  redis.hold("somebody", 1h);
  redis.blocks_longer = 500ms;
  EXPECT_FALSE(acquire(30s, start + 4s));
  EXPECT_THAT(redis.slices(), ElementsAre("3.000", "3"));
  EXPECT_EQ(now(), 4000);
  EXPECT_FALSE(acquire(30s, FakeClock::time + 1s));
  EXPECT_EQ(now(), 5500);
}

TEST_F(WholeSeconds, AddAPauseBehindACrashedHolder) {
  redis.hold("crashed", 1420ms);
  ASSERT_TRUE(acquire(30s));
  EXPECT_GE(now(), 1420);
  EXPECT_LE(now(), 1480);
}

TEST_F(WholeSeconds, ThatAreRefusedTooAreAFault) {
  redis.hold("somebody", 30s);
  redis.whole_seconds = true;
  redis.instead = [](const Exchange& exchange) -> std::optional<Replies> {
    if (!exchange.waits()) return {};
    return Replies{error("ERR timeout is not an integer or out of range"), nil(), integer(9)};
  };
  const auto failure = failure_of_run([&] { return acquire(30s); });
  EXPECT_EQ(failure.code(), errc::server_error);
  EXPECT_STREQ(failure.what(), "ERR timeout is not an integer or out of range");
}

}  // namespace
}  // namespace redis_lock_test
