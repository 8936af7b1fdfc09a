#include <chrono>
#include <optional>
#include <utility>

#include <gtest/gtest.h>

#include <redis_lock/detail/net/spin.hpp>

namespace redis_lock_test {
namespace {

using redis_lock::detail::Spinner;
using redis_lock::detail::SpinOnOne;
using redis_lock::detail::Time;
using namespace std::chrono_literals;

/// A connection whose replies take so long with polling and without.
struct Replies {
  std::chrono::microseconds polled, slept;

  /// Returns for how many of the next replies it polls.
  int polls(Spinner& spinner, int replies) const {
    int count = 0;
    for (int i = 0; i < replies; ++i) {
      const bool is_due = spinner.is_due();
      spinner.learn(is_due, is_due ? polled : slept);
      if (is_due) ++count;
    }
    return count;
  }
};

constexpr Replies near{20us, 50us}, far{350us, 300us}, on_fast_machine{15us, 19us};

TEST(Spinner, TriesBothAtFirst) {
  Spinner spinner{50us, 2};
  EXPECT_EQ(near.polls(spinner, 8), 4);
}

TEST(Spinner, PollsWhereThatHalvesTheTime) {
  Spinner spinner{50us, 2};
  (void)near.polls(spinner, 8);
  EXPECT_GE(near.polls(spinner, 1000), 990);
}

TEST(Spinner, SleepsWhereThatDoesNotPay) {
  for (const auto& replies : {far, on_fast_machine}) {
    Spinner spinner{50us, 2};
    (void)replies.polls(spinner, 8);
    EXPECT_LE(replies.polls(spinner, 1000), 8);
  }
}

TEST(Spinner, FollowsAChange) {
  Spinner spinner{50us, 2};
  for (int i = 0; i < 3; ++i) {
    (void)far.polls(spinner, 20000);
    EXPECT_LE(far.polls(spinner, 1000), 8);
    (void)near.polls(spinner, 20000);
    EXPECT_GE(near.polls(spinner, 1000), 990);
  }
}

TEST(Spinner, IsNotConfusedByOneLateReply) {
  Spinner spinner{50us, 2};
  (void)near.polls(spinner, 100);
  spinner.learn(true, 10s);
  EXPECT_GE(near.polls(spinner, 1000), 980);
}

TEST(Spinner, OfNoTimeIsNeverDue) {
  EXPECT_FALSE(Spinner{}.is_due());
  EXPECT_FALSE(Spinner(0us, 8).is_due());
}

TEST(Spinner, OnOneProcessorIsNeverDue) { EXPECT_FALSE(Spinner(50us, 1).is_due()); }

TEST(Spinner, IsNotMisledByASlowFirstReply) {
  Spinner spinner{50us, 2};
  spinner.learn(spinner.is_due(), 2ms);
  (void)near.polls(spinner, 20);
  EXPECT_GE(near.polls(spinner, 1000), 980);
}

TEST(Spinner, TriesEachOfTwoCommandsBothWays) {
  Spinner spinner{50us, 2};
  const Replies quick{20us, 75us}, slow{40us, 95us};  // in turn: 30 and 85 us
  int count = 0;
  for (int i = 0; i < 200; ++i) count += (i % 2 == 0 ? quick : slow).polls(spinner, 1);
  EXPECT_GE(count, 180);
}

class Spin : public testing::Test {
 protected:
  /// Returns how often it looked before it found the reply (true) or gave up.
  std::pair<bool, int> polls(int reply_comes_at) {
    SpinOnOne spin{spinner, Time::clock::now()};
    int looks = 0;
    const bool found = spin.finds([&] { return ++looks == reply_comes_at; });
    return {found, looks};
  }

  /// Has learned that polling pays.
  [[nodiscard]] static Spinner keen(std::chrono::microseconds longest) {
    Spinner spinner{longest, 2};
    (void)near.polls(spinner, 8);
    return spinner;
  }

  Spinner spinner = keen(10s);
};

TEST_F(Spin, PollsUntilTheReplyComes) { EXPECT_EQ(polls(3), std::pair(true, 3)); }

TEST_F(Spin, EndsAtItsLimitThoughBytesKeepComing) {
  spinner = keen(100us);
  SpinOnOne spin{spinner, Time::clock::now() - 1ms};
  EXPECT_TRUE(spin.finds([] { return true; }));
  EXPECT_FALSE(spin.finds([] { return true; }));
}

TEST_F(Spin, EndsAtItsLimit) {
  spinner = keen(100us);
  const auto [found, looks] = polls(-1);
  EXPECT_FALSE(found);
  EXPECT_GT(looks, 0);
}

TEST_F(Spin, OfOneThreadTooManyDoesNotPoll) {
  const SpinOnOne other{spinner, Time::clock::now()};
  EXPECT_EQ(polls(1), std::pair(false, 0));
}

TEST_F(Spin, EndsWhenAnotherThreadWaits) {
  SpinOnOne spin{spinner, Time::clock::now()};
  std::optional<SpinOnOne> other;
  int looks = 0;
  EXPECT_FALSE(spin.finds([&] {
    if (++looks == 2) other.emplace(spinner, Time::clock::now());
    return false;
  }));
  EXPECT_EQ(looks, 2);
}

TEST_F(Spin, OfASleeperDoesNotCount) {
  Spinner sleeper;
  const SpinOnOne other{sleeper, Time::clock::now()};
  EXPECT_EQ(polls(1), std::pair(true, 1));
}

}  // namespace
}  // namespace redis_lock_test
