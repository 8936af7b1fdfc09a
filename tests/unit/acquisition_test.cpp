// The algorithm step by step, without a server, a thread or a clock.

#include <redis_lock/detail/protocol/acquisition.hpp>

#include <chrono>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "fake_redis.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::errc;
using redis_lock::detail::Acquisition;
using redis_lock::detail::Failure;
using redis_lock::detail::Keys;
using redis_lock::detail::never;
using Step = Acquisition::Step;
using Action = Step::Action;

class Steps : public ::testing::Test {
 protected:
  [[nodiscard]] Acquisition make(milliseconds expire, Time deadline = never,
                                 const redis_lock::Replicas& replicas = {}) const {
    return {keys, "mine", expire, "1000", deadline, start, replicas};
  }
  [[nodiscard]] Step begin(Acquisition& acquisition, bool whole_seconds = false) const {
    return acquisition.begin(start, whole_seconds, false);
  }
  [[nodiscard]] Step answer(Acquisition& acquisition, const Replies& replies, milliseconds at = 0ms,
                            bool cancelled = false) const {
    return acquisition.answered({replies, start + at, cancelled, false});
  }
  /// The names of the present step's commands.
  [[nodiscard]] static std::string sent(const Acquisition& acquisition) {
    std::string names;
    const auto& commands = acquisition.commands();
    for (std::size_t i = 0; i < commands.size(); ++i)
      names.append(names.empty() ? "" : " ").append(*commands.begin(i));
    return names;
  }

  const Keys keys{"lock:n", "lock-signal:n"};
  const Time start = Time{} + 1000h;
};

TEST_F(Steps, BeginWithAnAttemptThatDoesNotWait) {
  auto acquisition = make(30s);
  const auto step = begin(acquisition);
  EXPECT_EQ(step.action, Action::exchange);
  EXPECT_EQ(step.time, 0ms);
  EXPECT_EQ(sent(acquisition), "SET PTTL");
}

TEST_F(Steps, EndWhenTheLockIsGranted) {
  auto acquisition = make(30s);
  (void)begin(acquisition);
  const auto step = answer(acquisition, {status("OK"), integer(30'000)}, 10ms);
  EXPECT_EQ(step.action, Action::acquired);
  EXPECT_EQ(step.lease_end, start + 30s) << "the lease counts from before the write";
  EXPECT_FALSE(acquisition.contended());
}

TEST_F(Steps, WaitForTheHoldersLeaseWhenBusy) {
  auto acquisition = make(30s);
  (void)begin(acquisition);
  const auto step = answer(acquisition, {nil(), integer(400)});
  EXPECT_EQ(step.action, Action::exchange);
  EXPECT_EQ(step.time, 405ms);
  EXPECT_EQ(sent(acquisition), "BLPOP SET PTTL");
  EXPECT_TRUE(acquisition.contended());
}

TEST_F(Steps, CheckTheTypeOfALockWithoutExpiry) {
  auto acquisition = make(30s);
  (void)begin(acquisition);
  EXPECT_EQ(answer(acquisition, {nil(), integer(-1)}).action, Action::exchange);
  EXPECT_EQ(sent(acquisition), "GET");
  EXPECT_EQ(answer(acquisition, {string("theirs")}).time, 3s);
  EXPECT_EQ(sent(acquisition), "BLPOP SET PTTL");
}

TEST_F(Steps, StopAtTheDeadline) {
  auto acquisition = make(30s, start + 1s);
  (void)begin(acquisition);
  EXPECT_EQ(answer(acquisition, {nil(), integer(9000)}).time, 1s);
  EXPECT_EQ(answer(acquisition, {nil(), nil(), integer(8000)}, 1s).action, Action::stopped);
}

TEST_F(Steps, StopAtACancellation) {
  auto acquisition = make(30s);
  (void)begin(acquisition);
  EXPECT_EQ(answer(acquisition, {nil(), integer(9000)}, 0ms, true).action, Action::stopped);
}

TEST_F(Steps, ConfirmAGrantThatCameLate) {
  auto acquisition = make(900ms);
  (void)begin(acquisition);
  EXPECT_EQ(answer(acquisition, {status("OK"), integer(900)}, 400ms).action, Action::exchange);
  EXPECT_EQ(sent(acquisition), "EVALSHA");
  const auto step = answer(acquisition, {integer(0)}, 500ms);
  EXPECT_EQ(step.action, Action::acquired);
  EXPECT_EQ(step.lease_end, start + 400ms + 900ms);
}

TEST_F(Steps, SendAnUnknownScriptAsText) {
  auto acquisition = make(900ms);
  (void)begin(acquisition);
  (void)answer(acquisition, {status("OK"), integer(900)}, 400ms);
  EXPECT_EQ(answer(acquisition, {error("NOSCRIPT No matching script.")}).action, Action::exchange);
  EXPECT_EQ(sent(acquisition), "EVAL");
  EXPECT_THROW((void)answer(acquisition, {error("NOSCRIPT again")}), Failure)
      << "not sent for ever";
}

TEST_F(Steps, GiveBackAGrantAfterTheDeadline) {
  auto acquisition = make(30s, start + 1s);
  (void)begin(acquisition);
  (void)answer(acquisition, {nil(), integer(9000)});
  EXPECT_EQ(answer(acquisition, {nil(), status("OK"), integer(30'000)}, 1001ms).action,
            Action::exchange);
  EXPECT_TRUE(acquisition.id_is_spent());
  EXPECT_EQ(answer(acquisition, {integer(0)}, 1002ms).action, Action::stopped);
  EXPECT_FALSE(acquisition.id_is_spent());
}

TEST_F(Steps, PauseWhereTheServerCountsWholeSeconds) {
  auto acquisition = make(30s, start + 1200ms);
  (void)begin(acquisition, true);
  EXPECT_EQ(answer(acquisition, {nil(), integer(9000)}).time, 3s) << "1 s and what the server adds";
  const auto step = answer(acquisition, {nil(), nil(), integer(8000)}, 1s);
  EXPECT_EQ(step.action, Action::pause);
  EXPECT_EQ(step.time, 50ms);
  EXPECT_EQ(acquisition.rested(start + 1050ms, false).action, Action::exchange);
  EXPECT_EQ(sent(acquisition), "SET PTTL");
}

TEST_F(Steps, GiveBackALateGrantAfterAPause) {
  auto acquisition = make(30s, start + 300ms);
  (void)begin(acquisition, true);
  EXPECT_EQ(answer(acquisition, {nil(), integer(9000)}, 260ms).action, Action::pause);
  (void)acquisition.rested(start + 300ms, false);
  (void)answer(acquisition, {status("OK"), integer(30'000)}, 301ms);
  EXPECT_EQ(sent(acquisition), "EVALSHA");
}

TEST_F(Steps, PauseWhileTheClusterMovesTheKeys) {
  auto acquisition = make(30s, start + 1s);
  (void)begin(acquisition);
  (void)answer(acquisition, {nil(), integer(9000)});
  const auto step = answer(acquisition, {error("ASK 1 host:1"), nil(), integer(9000)}, 900ms);
  EXPECT_EQ(step.action, Action::pause);
  EXPECT_EQ(step.time, 50ms);
  EXPECT_EQ(acquisition.rested(start + 950ms, false).time, 50ms) << "what is left then";
  EXPECT_EQ(sent(acquisition), "BLPOP SET PTTL");
}

TEST_F(Steps, StopAtADeadlineInAPause) {
  auto acquisition = make(30s, start + 1s);
  (void)begin(acquisition);
  (void)answer(acquisition, {nil(), integer(9000)});
  const Replies moving{error("ASK 1 host:1"), nil(), integer(9000)};
  EXPECT_EQ(answer(acquisition, moving, 960ms).action, Action::pause);
  EXPECT_EQ(acquisition.rested(start + 1010ms, false).action, Action::stopped);
}

TEST_F(Steps, StopAtACancellationInAPause) {
  auto acquisition = make(30s);
  (void)begin(acquisition);
  (void)answer(acquisition, {nil(), integer(9000)});
  const Replies moving{error("ASK 1 host:1"), nil(), integer(9000)};
  EXPECT_EQ(answer(acquisition, moving, 1s).action, Action::pause);
  EXPECT_EQ(acquisition.rested(start + 1s, true).action, Action::stopped);
}

TEST_F(Steps, AskForTheIdAfterALostReply) {
  auto acquisition = make(30s);
  (void)begin(acquisition);
  acquisition.failed();
  EXPECT_TRUE(acquisition.in_doubt());
  (void)begin(acquisition);
  EXPECT_EQ(sent(acquisition), "SET PTTL GET");
  EXPECT_EQ(answer(acquisition, {nil(), integer(29'000), string("mine")}).action, Action::acquired);
}

TEST_F(Steps, ReleaseWhenTooFewReplicasAcknowledge) {
  redis_lock::Replicas replicas;
  replicas.min_acks = 1;
  auto acquisition = make(30s, never, replicas);
  (void)begin(acquisition);
  (void)answer(acquisition, {status("OK"), integer(30'000)});
  EXPECT_EQ(sent(acquisition), "WAIT");
  EXPECT_EQ(answer(acquisition, {integer(0)}).action, Action::exchange);
  EXPECT_EQ(sent(acquisition), "EVALSHA");
  try {
    (void)answer(acquisition, {integer(0)});
    FAIL() << "no failure";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), errc::too_few_replicas);
  }
  EXPECT_FALSE(acquisition.in_doubt());
}

}  // namespace
}  // namespace redis_lock_test
