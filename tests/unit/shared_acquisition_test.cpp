// The algorithm of SharedLock and Semaphore step by step, without a server, a thread or a clock.

#include <redis_lock/detail/protocol/acquisition.hpp>
#include <redis_lock/detail/protocol/checked.hpp>

#include <chrono>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_redis.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::errc;
using redis_lock::Options;
using redis_lock::detail::Acquisition;
using redis_lock::detail::Failure;
using redis_lock::detail::Keys;
using redis_lock::detail::keys_of;
using redis_lock::detail::never;
using redis_lock::detail::Script;
using ::testing::ElementsAre;
using Step = Acquisition::Step;
using Action = Step::Action;
namespace scripts = redis_lock::detail;

Options with_fencing() {
  Options options;
  options.fencing = true;
  return options;
}

/// The reply of an acquire script.
Reply says(long long grant, long long time) { return array({integer(grant), integer(time)}); }
Reply says(long long grant, long long time, long long token) {
  return array({integer(grant), integer(time), integer(token)});
}

class FamilySteps : public ::testing::Test {
 protected:
  explicit FamilySteps(Keys of) : keys(std::move(of)) {}

  [[nodiscard]] Acquisition make(milliseconds expire = 30s, Time deadline = never) const {
    return {keys, "mine", expire, "1000", deadline, start};
  }
  [[nodiscard]] Step begin(Acquisition& acquisition) const {
    return acquisition.begin(start, false, false);
  }
  [[nodiscard]] Step answer(Acquisition& acquisition, const Replies& replies, milliseconds at = 0ms,
                            bool cancelled = false) const {
    return acquisition.answered({replies, start + at, cancelled, false});
  }
  /// The words of a command of the present step.
  [[nodiscard]] static Command sent(const Acquisition& acquisition, std::size_t command = 0) {
    const auto& commands = acquisition.commands();
    if (command >= commands.size()) return {};
    return {commands.begin(command), commands.end(command)};
  }
  [[nodiscard]] static std::size_t commands(const Acquisition& acquisition) {
    return acquisition.commands().size();
  }
  [[nodiscard]] static std::string digest_of(const Script& script) {
    return std::string(script.digest);
  }
  void expect_failure(const Reply& reply, errc code) {
    auto acquisition = make();
    (void)begin(acquisition);
    try {
      (void)answer(acquisition, {reply});
      ADD_FAILURE() << "no failure";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), code);
    }
    EXPECT_FALSE(acquisition.fencing_token() != 0);
  }

  const Keys keys;
  const Time start = Time{} + 1000h;
};

const std::vector<Reply> wrong_shapes{status("OK"),
                                      nil(),
                                      integer(1),
                                      string("1"),
                                      array({}),
                                      array({integer(1)}),
                                      array({string("1"), integer(1)}),
                                      array({integer(3), integer(1)}),
                                      array({integer(-1), integer(1)}),
                                      array({integer(1), string("x")}),
                                      array({integer(0), nil()})};

// ---------------------------------------------------------------------------------------------------
// A writer.

class WriterSteps : public FamilySteps {
 protected:
  WriterSteps() : FamilySteps(keys_of("n", Options{}, Keys::Kind::writing)) {}

  /// Returns the argument that tells whether the writer tries once.
  [[nodiscard]] static std::string once(const Acquisition& acquisition) {
    const auto words = sent(acquisition);
    return words.at(words.size() - 2);
  }
  /// Makes the writer wait behind its gate, for readers whose leases end after `last`.
  [[nodiscard]] Step enter(Acquisition& acquisition, long long last = 9000) const {
    (void)begin(acquisition);
    return answer(acquisition, {says(2, last)});
  }
};

TEST_F(WriterSteps, BeginWithTheScriptAlone) {
  auto acquisition = make();
  EXPECT_EQ(begin(acquisition).time, 0ms);
  EXPECT_EQ(commands(acquisition), 1U);
  EXPECT_THAT(sent(acquisition), ElementsAre("EVALSHA", digest_of(scripts::close_gate_script), "3",
                                             "shared-lock:n", "shared-lock-readers:n",
                                             "shared-lock-signal:n", "mine", "30000", "", ""));
}

TEST_F(WriterSteps, EndWhenNoReaderIsLeft) {
  auto acquisition = make();
  (void)begin(acquisition);
  const auto step = answer(acquisition, {says(1, 30'000, 0)}, 10ms);
  EXPECT_EQ(step.action, Action::acquired);
  EXPECT_EQ(step.lease_end, start + 30s) << "the lease counts from before the write";
  EXPECT_FALSE(acquisition.contended());
}

TEST_F(WriterSteps, WaitInLineForAnotherWriter) {
  auto acquisition = make();
  (void)begin(acquisition);
  const auto step = answer(acquisition, {says(0, 400)});
  EXPECT_EQ(step.time, 405ms);
  EXPECT_THAT(sent(acquisition), ElementsAre("BLPOP", "shared-lock-signal:n", "0.405"));
  EXPECT_EQ(sent(acquisition, 1).front(), "EVALSHA");
  EXPECT_TRUE(acquisition.contended());
}

TEST_F(WriterSteps, WaitForReadersBehindTheGate) {
  auto acquisition = make();
  EXPECT_EQ(enter(acquisition).time, 3s);
  EXPECT_THAT(sent(acquisition), ElementsAre("BLPOP", "shared-lock-drained:n", "3.000"));
  EXPECT_EQ(sent(acquisition, 1).front(), "EVALSHA");
  EXPECT_TRUE(acquisition.contended());
  EXPECT_TRUE(acquisition.in_doubt()) << "the gate must be opened if this fails";
}

TEST_F(WriterSteps, WaitAThirdOfTheLeaseAtMost) {
  for (const auto expire : {300ms, 900ms, 3000ms, 8999ms}) {
    auto acquisition = make(expire);
    EXPECT_EQ(enter(acquisition).time, expire / 3) << "the next attempt keeps the gate closed";
    EXPECT_EQ(answer(acquisition, {nil(), says(2, 8000)}, expire / 3).time, expire / 3);
  }
}

TEST_F(WriterSteps, WaitForTheLastReadersLease) {
  auto acquisition = make();
  EXPECT_EQ(enter(acquisition, 250).time, 255ms);
}

TEST_F(WriterSteps, EndWhenTheReadersHaveLeft) {
  auto acquisition = make(900ms);
  (void)enter(acquisition);
  const auto step =
      answer(acquisition, {array({string("k"), string("1")}), says(1, 900, 0)}, 200ms);
  EXPECT_EQ(step.action, Action::acquired);
  EXPECT_EQ(step.lease_end, start + 900ms) << "counted from before the wait";
}

TEST_F(WriterSteps, ConfirmAGrantLateInTheLease) {
  auto acquisition = make(900ms);
  (void)enter(acquisition);
  (void)answer(acquisition, {nil(), says(1, 900, 0)}, 400ms);
  EXPECT_THAT(sent(acquisition), ElementsAre("EVALSHA", digest_of(scripts::extend_script), "1",
                                             "shared-lock:n", "mine", "900"));
}

TEST_F(WriterSteps, OpenTheGateAtTheDeadline) {
  auto acquisition = make(30s, start + 1s);
  EXPECT_EQ(enter(acquisition).time, 1s);
  EXPECT_EQ(answer(acquisition, {nil(), says(2, 8000)}, 1s).action, Action::exchange);
  EXPECT_THAT(sent(acquisition),
              ElementsAre("EVALSHA", digest_of(scripts::release_script), "2", "shared-lock:n",
                          "shared-lock-signal:n", "mine", "1000"));
  EXPECT_TRUE(acquisition.id_is_spent());
  EXPECT_EQ(answer(acquisition, {integer(0)}, 1s).action, Action::stopped);
  EXPECT_FALSE(acquisition.id_is_spent());
}

TEST_F(WriterSteps, OpenTheGateAtACancellation) {
  auto acquisition = make();
  (void)enter(acquisition);
  EXPECT_EQ(answer(acquisition, {nil(), says(2, 8000)}, 10ms, true).action, Action::exchange);
  EXPECT_EQ(sent(acquisition).at(1), digest_of(scripts::release_script));
  EXPECT_EQ(answer(acquisition, {integer(0)}, 10ms, true).action, Action::stopped);
}

TEST_F(WriterSteps, OpenTheGateAtADeadlineInAPause) {
  auto acquisition = make(30s, start + 1s);
  (void)enter(acquisition);
  EXPECT_EQ(answer(acquisition, {error("ASK 1 host:1"), says(2, 8000)}, 960ms).action,
            Action::pause);
  EXPECT_EQ(acquisition.rested(start + 1010ms, false).action, Action::exchange);
  EXPECT_EQ(sent(acquisition).at(1), digest_of(scripts::release_script));
}

TEST_F(WriterSteps, OpenTheGateByTextIfUnknown) {
  auto acquisition = make(30s, start + 1s);
  (void)enter(acquisition);
  (void)answer(acquisition, {nil(), says(2, 8000)}, 1s);
  EXPECT_EQ(answer(acquisition, {error("NOSCRIPT No matching script.")}, 1s).action,
            Action::exchange);
  EXPECT_EQ(sent(acquisition).front(), "EVAL");
}

TEST_F(WriterSteps, StopInLineWithoutARelease) {
  auto acquisition = make(30s, start + 1s);
  (void)begin(acquisition);
  (void)answer(acquisition, {says(0, 9000)});
  EXPECT_EQ(answer(acquisition, {nil(), says(0, 8000)}, 1s).action, Action::stopped);
}

TEST_F(WriterSteps, LoseTheirPlaceWithTheirGate) {
  auto acquisition = make();
  (void)enter(acquisition);
  EXPECT_EQ(answer(acquisition, {nil(), says(0, 500)}, 3s).time, 505ms) << "another has the gate";
  EXPECT_EQ(sent(acquisition).at(1), "shared-lock-signal:n") << "back in line";
}

TEST_F(WriterSteps, KeepTheirPlaceIfTheScriptIsUnknown) {
  auto acquisition = make();
  (void)enter(acquisition);
  (void)answer(acquisition, {nil(), error("NOSCRIPT No matching script.")}, 3s);
  EXPECT_EQ(commands(acquisition), 1U) << "it has waited";
  EXPECT_EQ(sent(acquisition).front(), "EVAL");
  (void)answer(acquisition, {says(2, 5000)}, 3s);
  EXPECT_EQ(sent(acquisition).at(1), "shared-lock-drained:n");
}

TEST_F(WriterSteps, AskAgainAfterAFailureBehindTheGate) {
  auto acquisition = make();
  (void)enter(acquisition);
  acquisition.failed();
  EXPECT_TRUE(acquisition.in_doubt());
  EXPECT_EQ(begin(acquisition).time, 0ms) << "nothing tells whether it has the gate";
  EXPECT_EQ(sent(acquisition).front(), "EVALSHA");
  EXPECT_EQ(answer(acquisition, {says(2, 4000)}).time, 3s);
  EXPECT_EQ(sent(acquisition).at(1), "shared-lock-drained:n");
}

TEST_F(WriterSteps, TryOnceWithoutEntering) {
  for (const auto deadline : {Time::min(), start}) {
    auto acquisition = make(30s, deadline);
    (void)begin(acquisition);
    EXPECT_EQ(once(acquisition), "once");
    EXPECT_EQ(answer(acquisition, {says(0, 9000)}).action, Action::stopped);
  }
  auto acquisition = make(30s, start + 1ms);
  (void)begin(acquisition);
  EXPECT_EQ(once(acquisition), "") << "it may wait";
}

TEST_F(WriterSteps, GoInTurnBehindARelease) {
  for (const auto deadline : {never, Time::min()}) {
    auto acquisition = make(30s, deadline);
    acquisition.go_in_turn();
    (void)begin(acquisition);
    EXPECT_EQ(sent(acquisition).back(), "turn");
    EXPECT_EQ(once(acquisition), deadline == never ? "" : "once");
    const auto step = answer(acquisition, {says(0, -2)});
    EXPECT_EQ(step.action, Action::exchange) << "no holder, and no waiter that was woken";
    EXPECT_EQ(sent(acquisition).back(), "");
    EXPECT_EQ(answer(acquisition, {says(1, 30'000, 0)}).action, Action::acquired);
  }
}

TEST_F(WriterSteps, FailAtWrongReplies) {
  for (const auto& reply : wrong_shapes) expect_failure(reply, errc::protocol_error);
  expect_failure(error("ERR whatever"), errc::server_error);
}

TEST_F(WriterSteps, SayThatAServerIsTooOld) {
  auto acquisition = make();
  (void)begin(acquisition);
  try {
    (void)answer(acquisition, {error("ERR Error running script: Write commands not allowed after "
                                     "non deterministic commands")});
    FAIL() << "no failure";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), errc::server_error);
    EXPECT_THAT(failure.what(), ::testing::HasSubstr("Redis 5"));
  }
}

class FencedWriterSteps : public FamilySteps {
 protected:
  FencedWriterSteps() : FamilySteps(keys_of("n", with_fencing(), Keys::Kind::writing)) {}
};

TEST_F(FencedWriterSteps, GetATokenWithTheGrant) {
  auto acquisition = make();
  (void)begin(acquisition);
  EXPECT_THAT(sent(acquisition),
              ElementsAre("EVALSHA", digest_of(scripts::close_gate_fenced_script), "4",
                          "shared-lock:n", "shared-lock-readers:n", "shared-lock-signal:n",
                          "shared-lock-fence:n", "mine", "30000", "", ""));
  (void)answer(acquisition, {says(2, 500)});
  EXPECT_EQ(acquisition.fencing_token(), 0U) << "it does not write yet";
  EXPECT_EQ(answer(acquisition, {nil(), says(1, 30'000, 17)}, 400ms).action, Action::acquired);
  EXPECT_EQ(acquisition.fencing_token(), 17U);
}

TEST_F(FencedWriterSteps, FailWithoutAGoodToken) {
  expect_failure(says(1, 30'000, 0), errc::protocol_error);
  expect_failure(says(1, 30'000, -1), errc::protocol_error);
  expect_failure(says(1, 30'000), errc::protocol_error);
  expect_failure(array({integer(1), integer(30'000), string("x")}), errc::protocol_error);
}

// ---------------------------------------------------------------------------------------------------
// A reader.

class ReaderSteps : public FamilySteps {
 protected:
  ReaderSteps() : FamilySteps(keys_of("n", with_fencing(), Keys::Kind::reading)) {}

  /// What the script is told of earlier waits.
  [[nodiscard]] static std::string how(const Acquisition& acquisition, std::size_t command = 0) {
    return sent(acquisition, command).at(9);
  }
};

TEST_F(ReaderSteps, BeginWithTheScriptAlone) {
  auto acquisition = make();
  EXPECT_EQ(begin(acquisition).time, 0ms);
  EXPECT_EQ(commands(acquisition), 1U);
  EXPECT_THAT(sent(acquisition),
              ElementsAre("EVALSHA", digest_of(scripts::start_reading_script), "3",
                          "shared-lock-readers:n", "shared-lock-signal:n", "shared-lock:n", "mine",
                          "30000", "9007199254740992", "", "1000"));
}

TEST_F(ReaderSteps, EndWhenTheyAreAmongTheReaders) {
  auto acquisition = make();
  (void)begin(acquisition);
  const auto step = answer(acquisition, {says(1, 30'000)}, 10ms);
  EXPECT_EQ(step.action, Action::acquired);
  EXPECT_EQ(step.lease_end, start + 30s);
  EXPECT_EQ(acquisition.fencing_token(), 0U) << "readers have none";
}

TEST_F(ReaderSteps, WaitInLineForAWriter) {
  auto acquisition = make();
  (void)begin(acquisition);
  EXPECT_EQ(answer(acquisition, {says(0, 400)}).time, 405ms);
  EXPECT_THAT(sent(acquisition), ElementsAre("BLPOP", "shared-lock-signal:n", "0.405"));
  EXPECT_EQ(how(acquisition, 1), "waited") << "so that it wakes the next";
}

TEST_F(ReaderSteps, WakeTheNextAlsoBehindUnknownScripts) {
  auto acquisition = make();
  (void)begin(acquisition);
  (void)answer(acquisition, {says(0, 400)});
  (void)answer(acquisition, {array({string("k"), string("1")}), error("NOSCRIPT No script.")}, 5ms);
  EXPECT_EQ(sent(acquisition).front(), "EVAL");
  EXPECT_EQ(how(acquisition), "waited") << "it has taken the signal";
  EXPECT_EQ(answer(acquisition, {says(1, 30'000)}, 5ms).action, Action::acquired);
}

TEST_F(ReaderSteps, WakeTheNextAlsoAfterAFailure) {
  auto acquisition = make();
  (void)begin(acquisition);
  (void)answer(acquisition, {says(0, 400)});
  acquisition.failed();
  (void)begin(acquisition);
  EXPECT_EQ(commands(acquisition), 1U);
  EXPECT_EQ(how(acquisition), "waited") << "it may have taken the signal";
}

TEST_F(ReaderSteps, AskWithoutWaitingAfterALostReply) {
  auto acquisition = make();
  (void)begin(acquisition);
  acquisition.failed();
  EXPECT_TRUE(acquisition.in_doubt());
  (void)begin(acquisition);
  EXPECT_EQ(commands(acquisition), 1U) << "the script finds its own id";
  EXPECT_EQ(sent(acquisition).at(6), "mine");
  EXPECT_EQ(how(acquisition), "");
}

TEST_F(ReaderSteps, LeaveWhenTheGrantIsTooLate) {
  auto acquisition = make(30s, start + 1s);
  (void)begin(acquisition);
  (void)answer(acquisition, {says(0, 9000)});
  EXPECT_EQ(answer(acquisition, {nil(), says(1, 30'000)}, 1001ms).action, Action::exchange);
  EXPECT_THAT(sent(acquisition), ElementsAre("EVALSHA", digest_of(scripts::stop_reading_script),
                                             "3", "shared-lock-readers:n", "shared-lock-drained:n",
                                             "shared-lock:n", "mine", "1000", ""));
  EXPECT_EQ(answer(acquisition, {integer(0)}, 1002ms).action, Action::stopped);
}

TEST_F(ReaderSteps, ConfirmAGrantThatCameLate) {
  auto acquisition = make(900ms);
  (void)begin(acquisition);
  (void)answer(acquisition, {says(1, 900)}, 400ms);
  EXPECT_THAT(sent(acquisition), ElementsAre("EVALSHA", digest_of(scripts::stay_script), "1",
                                             "shared-lock-readers:n", "mine", "900"));
  const auto step = answer(acquisition, {integer(0)}, 500ms);
  EXPECT_EQ(step.action, Action::acquired);
  EXPECT_EQ(step.lease_end, start + 400ms + 900ms);
}

TEST_F(ReaderSteps, FailAtWrongReplies) {
  for (const auto& reply : wrong_shapes) expect_failure(reply, errc::protocol_error);
}

// ---------------------------------------------------------------------------------------------------
// A permit.

class PermitSteps : public FamilySteps {
 protected:
  PermitSteps() : FamilySteps(keys_of("n", Options{}, Keys::Kind::permit, 4)) {}
};

TEST_F(PermitSteps, BeginWithTheScriptAlone) {
  auto acquisition = make();
  (void)begin(acquisition);
  EXPECT_EQ(commands(acquisition), 1U);
  EXPECT_THAT(sent(acquisition),
              ElementsAre("EVALSHA", digest_of(scripts::take_permit_script), "2", "semaphore:n",
                          "semaphore-signal:n", "mine", "30000", "4", "", "1000"));
  EXPECT_EQ(answer(acquisition, {says(1, 30'000)}).action, Action::acquired);
}

TEST_F(PermitSteps, WaitForTheEarliestLease) {
  auto acquisition = make();
  (void)begin(acquisition);
  EXPECT_EQ(answer(acquisition, {says(0, 700)}).time, 705ms);
  EXPECT_THAT(sent(acquisition), ElementsAre("BLPOP", "semaphore-signal:n", "0.705"));
  EXPECT_EQ(sent(acquisition, 1).at(8), "waited");
}

TEST_F(PermitSteps, GoInTurnBehindARelease) {
  auto acquisition = make(30s, Time::min());
  acquisition.go_in_turn();
  (void)begin(acquisition);
  EXPECT_EQ(sent(acquisition).at(8), "turn");
  EXPECT_EQ(answer(acquisition, {says(0, 300)}).action, Action::stopped) << "a waiter has it";
}

TEST_F(PermitSteps, TryAgainIfTheTurnHasNoHolder) {
  auto acquisition = make(30s, Time::min());
  acquisition.go_in_turn();
  (void)begin(acquisition);
  EXPECT_EQ(answer(acquisition, {says(0, -2)}).action, Action::exchange);
  EXPECT_EQ(sent(acquisition).at(8), "");
}

TEST_F(PermitSteps, ReturnThePermitWhenTooLate) {
  auto acquisition = make(200ms);
  (void)begin(acquisition);
  (void)answer(acquisition, {says(1, 200)}, 250ms);
  EXPECT_THAT(sent(acquisition),
              ElementsAre("EVALSHA", digest_of(scripts::return_permit_script), "2", "semaphore:n",
                          "semaphore-signal:n", "mine", "1000", ""));
  EXPECT_TRUE(acquisition.id_is_spent());
  (void)answer(acquisition, {integer(0)}, 250ms);
  (void)answer(acquisition, {nil(), says(1, 200)}, 500ms);
  EXPECT_THROW((void)answer(acquisition, {integer(0)}, 500ms), Failure) << "expire is too short";
}

TEST_F(PermitSteps, FailAtWrongReplies) {
  for (const auto& reply : wrong_shapes) expect_failure(reply, errc::protocol_error);
}

}  // namespace
}  // namespace redis_lock_test
