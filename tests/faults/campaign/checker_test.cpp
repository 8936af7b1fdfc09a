// The checker finds what was planted for it to find, and nothing else.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checker.hpp"
#include "history.hpp"

namespace redis_lock_test::campaign {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::ThrowsMessage;

/// A history that a test writes down. Times are milliseconds since its beginning.
class Story {
 public:
  Story() { ended(99, 0ms, "finished"); }

  /// Somebody waits from `from` for the lock and gets it at `to`; the number of the operation.
  std::uint64_t acquire(int process, milliseconds from, milliseconds to, std::uint64_t token = 0,
                        milliseconds lease = 1000ms, std::uint64_t permits = 1) {
    const std::string what = permits == any_number ? "lock_shared" : "lock";
    const auto number = invoke(process, what, from, 0, 0ms, permits);
    auto& result = end(process, number, what, to, "ok");
    result.token = token;
    result.expires_at = at(to) + lease;
    result.duration = lease;
    result.permits = permits;
    return number;
  }

  /// Reads, or holds one of so many permits.
  std::uint64_t share(int process, milliseconds from, milliseconds to,
                      std::uint64_t permits = any_number) {
    const auto number = acquire(process, from, from + 1ms, 0, 1000ms, permits);
    unlock(process, number, to - 1ms, to, "ok", permits == any_number ? "unlock_shared" : "unlock");
    return number;
  }

  void unlock(int process, std::uint64_t hold, milliseconds from, milliseconds to,
              const std::string& outcome = "ok", const std::string& what = "unlock") {
    const auto number = invoke(process, what, from, hold);
    end(process, number, what, to, outcome, hold);
  }

  /// Acquires, works and unlocks.
  std::uint64_t hold(int process, milliseconds from, milliseconds to, std::uint64_t token = 0) {
    const auto number = acquire(process, from, from + 1ms, token);
    unlock(process, number, to - 1ms, to);
    return number;
  }

  std::uint64_t update(int process, std::uint64_t hold, milliseconds from, milliseconds to,
                       const std::string& outcome = "ok") {
    const auto number = invoke(process, "guarded_eval", from, hold);
    end(process, number, "guarded_eval", to, outcome, hold);
    return number;
  }

  void applied(int process, std::uint64_t update, std::uint64_t token, std::uint64_t ledger = 1) {
    auto& entry = record(Event::applied, 0ms, process, update);
    entry.hold = ledger;
    entry.token = token;
  }

  void claim(int process, std::uint64_t hold, milliseconds when, milliseconds expires_at,
             milliseconds lease = 1000ms) {
    auto& claim = record(Event::claim, when, process);
    claim.hold = hold;
    claim.expires_at = at(expires_at);
    claim.duration = lease;
  }

  std::uint64_t invoke(int process, const std::string& what, milliseconds when,
                       std::uint64_t hold = 0, milliseconds patience = 0ms,
                       std::uint64_t permits = 1) {
    auto& invoke = record(Event::invoke, when, process, ++number_);
    invoke.permits = permits;
    invoke.what = what;
    invoke.hold = hold;
    invoke.duration = patience;
    return number_;
  }

  Record& end(int process, std::uint64_t number, const std::string& what, milliseconds when,
              const std::string& outcome, std::uint64_t hold = 0) {
    auto& result = record(Event::result, when, process, number);
    result.what = what;
    result.outcome = outcome;
    result.hold = hold;
    return result;
  }

  void fault(const std::string& what, milliseconds from, milliseconds to,
             const std::string& names = "*") {
    const auto number = ++number_;
    for (const auto event : {Event::fault_begin, Event::fault_end}) {
      auto& fault = record(event, event == Event::fault_begin ? from : to, 0, number);
      fault.what = what;
      fault.name = names;
    }
  }

  void ended(int process, milliseconds when, const std::string& why) {
    record(Event::ended, when, process).outcome = why;
  }

  [[nodiscard]] Report report(const Bounds& bounds = {}) const { return check(records_, bounds); }

  /// The names of what was found.
  [[nodiscard]] std::vector<std::string> found(const Bounds& bounds = {}) const {
    std::vector<std::string> names;
    for (const auto& finding : report(bounds).findings)
      names.emplace_back(name_of(finding.violation));
    return names;
  }

 private:
  [[nodiscard]] static Time at(milliseconds time) { return Time{} + 1h + time; }

  Record& record(Event event, milliseconds when, int process, std::uint64_t operation = 0) {
    auto& record = records_.emplace_back();
    record.event = event;
    record.at = at(when);
    record.process = process;
    record.operation = operation;
    record.name = "a";
    return record;
  }

  std::uint64_t number_ = 0;
  std::vector<Record> records_;
};

TEST(Checker, FindsNothingWhereAllIsWell) {
  Story story;
  for (int i = 0; i < 10; ++i) {
    const auto from = i * 100ms;
    const auto token = static_cast<std::uint64_t>(i + 1);
    const auto hold = story.acquire(i % 3, from, from + 10ms, token);
    story.applied(i % 3, story.update(i % 3, hold, from + 20ms, from + 30ms), token);
    story.unlock(i % 3, hold, from + 40ms, from + 50ms);
  }
  const auto report = story.report();
  EXPECT_THAT(story.found(), IsEmpty());
  EXPECT_EQ(report.acquisitions, 10U);
  EXPECT_EQ(report.waits, 10U);
  EXPECT_EQ(report.updates, 10U);
  EXPECT_EQ(report.tokens_compared, 10U);
  EXPECT_EQ(report.undisturbed.at("a"), 950ms);
}

TEST(Checker, FindsNothingInAnEmptyHistory) { EXPECT_THAT(check({}).findings, IsEmpty()); }

TEST(Overlap, OfTwoCertainHoldsIsFound) {
  Story story;
  story.hold(1, 0ms, 100ms);
  story.hold(2, 50ms, 150ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(Overlap, IsFoundBehindAHoldThatEndedMeanwhile) {
  Story story;
  const auto longest = story.acquire(1, 0ms, 1ms);
  story.unlock(1, longest, 500ms, 501ms);
  story.hold(2, 600ms, 700ms);
  story.hold(3, 650ms, 690ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(Overlap, IsNoneAfterUnlockWasCalled) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);
  story.unlock(1, hold, 100ms, 300ms);
  story.hold(2, 99ms, 200ms);  // returns in the instant in which the other is called
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(Overlap, WithALeaseKnownTooLateIsNone) {
  Story story;
  story.hold(1, 0ms, 900ms);
  story.acquire(2, 10ms, 50ms, 0, -10ms);
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(Overlap, IsNoneAfterTheLease) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);  // until 1010
  story.unlock(1, hold, 3000ms, 3001ms, "lease_lost");
  story.hold(2, 1011ms, 1500ms);
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(Overlap, WithAHoldNeverUnlockedIsFound) {
  Story story;
  story.acquire(1, 0ms, 10ms);
  story.fault("holder-kill", 20ms, 30ms);
  story.ended(1, 25ms, "killed");
  story.hold(2, 900ms, 950ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(Overlap, LastsAsLongAsOwnershipIsClaimed) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);
  story.claim(1, hold, 2000ms, 1010ms);  // owns_lock() behind the lease's end
  story.hold(2, 1500ms, 1600ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(Overlap, GoesOnWithARenewal) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);
  story.claim(1, hold, 400ms, 1300ms);
  story.claim(1, hold, 390ms, 1010ms);  // read by another thread
  story.hold(2, 1200ms, 1250ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(Overlap, OfTwoLocksIsNone) {
  Story story;
  story.hold(1, 0ms, 100ms);
  Story other;
  auto& begun = other.end(2, other.invoke(2, "lock", 50ms), "lock", 60ms, "ok");
  begun.name = "b";
  EXPECT_THAT(other.found(), IsEmpty());
}

TEST(Overlap, IsExcusedAndCountedAfterDataLoss) {
  for (const auto* const fault : {"flush-all", "server-empty", "server-forward", "reset"}) {
    Story story;
    story.hold(1, 0ms, 100ms);
    story.fault(fault, 20ms, 30ms);
    story.hold(2, 50ms, 150ms);
    const auto report = story.report();
    EXPECT_THAT(report.findings, IsEmpty()) << fault;
    EXPECT_EQ(report.excused_overlaps, 1U);
    EXPECT_EQ(report.losses, 1U);
    EXPECT_EQ(report.excused_losses, 1U);
  }
}

TEST(Overlap, IsNotExcusedByOtherFaults) {
  for (const auto* const fault : {"server-kill", "server-back", "client-clock", "script-flush",
                                  "master-kill", "migration", "handover"}) {
    Story story;
    story.hold(1, 0ms, 100ms);
    story.fault(fault, 20ms, 30ms);
    story.hold(2, 50ms, 150ms);
    EXPECT_THAT(story.found(), ElementsAre("overlap")) << fault;
  }
}

TEST(Overlap, IsNotExcusedByAnotherLocksLoss) {
  Story story;
  story.hold(1, 0ms, 100ms);
  story.fault("reset", 20ms, 30ms, "aa,b");
  story.hold(2, 50ms, 150ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(Overlap, IsNotExcusedByLossesBeforeOrAfter) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);
  story.fault("flush-all", 20ms, 30ms);
  story.claim(1, hold, 420ms, 1400ms);  // so it was ours at 400
  story.hold(2, 450ms, 500ms);
  story.fault("flush-all", 510ms, 520ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(Overlap, IsExcusedIfAPromotionForgotTheHold) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);
  story.unlock(1, hold, 200ms, 210ms);
  story.fault("promotion", 5ms, 50ms);
  story.hold(2, 100ms, 150ms);
  const auto report = story.report();
  EXPECT_THAT(report.findings, IsEmpty());
  EXPECT_EQ(report.excused_overlaps, 1U);
  EXPECT_EQ(report.losses, 1U);
}

TEST(Overlap, IsExcusedIfAPromotionForgotARenewal) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);  // until 1010
  story.claim(1, hold, 400ms, 1400ms);            // renewed at 400
  story.fault("promotion", 390ms, 800ms);
  story.hold(2, 1100ms, 1200ms);
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(Overlap, IsExcusedByAPromotionDuringARenewal) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);  // until 1010
  story.claim(1, hold, 700ms, 1490ms);            // sent at 490, answered by 700
  story.fault("promotion", 500ms, 600ms);
  story.hold(2, 1100ms, 1200ms);
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(Overlap, IsExcusedIfTheOldMasterStillGranted) {
  Story story;
  story.acquire(1, 0ms, 10ms);
  story.fault("promotion", 500ms, 700ms);
  story.hold(2, 550ms, 650ms);
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(Overlap, IsNotExcusedByAPromotionInBetween) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);
  story.claim(1, hold, 20ms, 1010ms);      // nothing but the grant
  story.fault("promotion", 500ms, 600ms);  // so it had the first one
  story.hold(2, 700ms, 750ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(Overlap, IsNotExcusedByPromotionsBeforeARenewal) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);
  story.fault("promotion", 5ms, 50ms);
  story.claim(1, hold, 420ms, 1400ms);  // by the new master
  story.hold(2, 450ms, 500ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(Overlap, IsNotExcusedByAnotherLocksPromotion) {
  Story story;
  story.acquire(1, 0ms, 10ms);
  story.fault("promotion", 5ms, 50ms, "b,c");
  story.hold(2, 100ms, 150ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(SharedOverlap, OfReadersIsNone) {
  Story story;
  for (int process = 1; process <= 9; ++process) story.share(process, process * 1ms, 500ms);
  EXPECT_THAT(story.found(), IsEmpty());
  EXPECT_EQ(story.report().readings, 9U);
}

TEST(SharedOverlap, OfReaderAndWriterIsFound) {
  Story reader_first;
  reader_first.share(1, 0ms, 100ms);
  reader_first.hold(2, 50ms, 150ms);
  EXPECT_THAT(reader_first.found(), ElementsAre("overlap"));
  Story writer_first;
  writer_first.hold(1, 0ms, 100ms);
  writer_first.share(2, 50ms, 150ms);
  EXPECT_THAT(writer_first.found(), ElementsAre("overlap"));
}

TEST(SharedOverlap, IsFoundBehindManyReaders) {
  Story story;
  for (int process = 1; process <= 9; ++process) story.share(process, process * 1ms, 100ms);
  story.share(10, 20ms, 600ms);
  story.hold(11, 500ms, 550ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(SharedOverlap, IsNoneOnceTheReadersLeft) {
  Story story;
  story.share(1, 0ms, 100ms);
  story.unlock(2, story.acquire(2, 10ms, 99ms), 300ms, 301ms);
  story.unlock(3, story.acquire(3, 20ms, 300ms, 0, 1000ms, any_number), 400ms, 401ms, "ok",
               "unlock_shared");
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(SharedOverlap, WithAKilledReaderIsFoundInItsLease) {
  Story story;
  story.acquire(1, 0ms, 10ms, 0, 1000ms, any_number);
  story.fault("holder-kill", 20ms, 30ms);
  story.ended(1, 25ms, "killed");
  story.hold(2, 1011ms, 1020ms);
  EXPECT_THAT(story.found(), IsEmpty());
  story.hold(3, 900ms, 950ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(SharedOverlap, IsExcusedIfALossFreedTheReading) {
  Story story;
  story.share(1, 0ms, 100ms);
  story.fault("reset", 20ms, 30ms);
  story.hold(2, 50ms, 60ms);
  EXPECT_THAT(story.found(), IsEmpty());
  EXPECT_EQ(story.report().excused_overlaps, 1U);
}

TEST(SharedOverlap, IsNotExcusedIfAReaderCameAfterTheLoss) {
  Story story;
  story.share(1, 0ms, 100ms);
  story.fault("reset", 20ms, 30ms);
  story.share(2, 35ms, 90ms);
  story.hold(3, 50ms, 60ms);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(PermitOverlap, IsNoneUpToTheirNumber) {
  Story story;
  for (int process = 1; process <= 3; ++process) story.share(process, 0ms, 100ms, 3);
  story.share(4, 99ms, 200ms, 3);
  EXPECT_THAT(story.found(), IsEmpty());
  EXPECT_EQ(story.report().permits, 4U);
}

TEST(PermitOverlap, OfOneMoreIsFound) {
  Story story;
  for (int process = 1; process <= 4; ++process) story.share(process, process * 10ms, 100ms, 3);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(PermitOverlap, IsNoneAfterTheLeaseOfOne) {
  Story story;
  story.acquire(1, 0ms, 10ms, 0, 500ms, 2);  // until 510
  story.acquire(2, 0ms, 11ms, 0, 900ms, 2);
  story.share(3, 520ms, 600ms, 2);
  EXPECT_THAT(story.found(), IsEmpty());
  story.share(4, 500ms, 505ms, 2);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(PermitOverlap, IsExcusedForAsManyAsALossFreed) {
  Story story;
  story.share(1, 0ms, 900ms, 2);
  story.share(2, 0ms, 900ms, 2);
  story.fault("reset", 20ms, 30ms);
  story.share(3, 50ms, 800ms, 2);
  story.share(4, 60ms, 800ms, 2);
  EXPECT_THAT(story.found(), IsEmpty());
  EXPECT_EQ(story.report().excused_overlaps, 2U);
  story.share(5, 70ms, 800ms, 2);
  EXPECT_THAT(story.found(), ElementsAre("overlap"));
}

TEST(Token, ThatIsNotGreaterIsFound) {
  for (const std::uint64_t token : {4U, 5U}) {
    Story story;
    story.hold(1, 0ms, 100ms, 3);
    story.hold(2, 200ms, 300ms, 5);
    story.hold(3, 400ms, 500ms, token);
    EXPECT_THAT(story.found(), ElementsAre("token not increasing"));
  }
}

TEST(Token, OfConcurrentAcquisitionsNeedOnlyBeUnique) {
  Story story;
  story.unlock(1, story.acquire(1, 0ms, 300ms, 6), 301ms, 302ms);
  story.unlock(2, story.acquire(2, 10ms, 200ms, 5), 201ms, 202ms);
  EXPECT_THAT(story.found(), IsEmpty());
  story.unlock(3, story.acquire(3, 20ms, 100ms, 5), 101ms, 102ms);
  EXPECT_THAT(story.found(), ElementsAre("token not increasing"));
}

TEST(Token, MustBeGreaterThanAllBefore) {
  Story story;
  story.unlock(1, story.acquire(1, 0ms, 10ms, 7), 11ms, 12ms);
  story.unlock(2, story.acquire(2, 5ms, 20ms, 5), 21ms, 22ms);
  story.hold(3, 30ms, 40ms, 6);
  EXPECT_THAT(story.found(), ElementsAre("token not increasing"));
}

TEST(Token, BeginsAnewWhenTheFenceIsLost) {
  for (const auto* const fault : {"flush-all", "server-empty"}) {
    Story story;
    story.hold(1, 0ms, 100ms, 7);
    story.fault(fault, 200ms, 300ms);
    story.hold(2, 400ms, 500ms, 1);
    story.hold(3, 600ms, 700ms, 2);
    EXPECT_THAT(story.found(), IsEmpty());
    story.hold(4, 800ms, 900ms, 2);
    EXPECT_THAT(story.found(), ElementsAre("token not increasing"));
  }
}

TEST(Token, OutlivesAResetAndARestartWithData) {
  for (const auto* const fault : {"reset", "server-kill", "server-forward"}) {
    Story story;
    story.hold(1, 0ms, 100ms, 7);
    story.fault(fault, 200ms, 300ms);
    story.hold(2, 400ms, 500ms, 1);
    EXPECT_THAT(story.found(), ElementsAre("token not increasing")) << fault;
  }
}

TEST(Token, IsNotComparedAcrossAPossibleLoss) {
  Story story;
  story.hold(1, 0ms, 100ms, 7);
  story.fault("flush-all", 200ms, 300ms);
  story.unlock(2, story.acquire(2, 150ms, 310ms, 1), 320ms, 330ms);
  const auto report = story.report();
  EXPECT_THAT(report.findings, IsEmpty());
  EXPECT_EQ(report.tokens_not_compared, 1U);
}

TEST(Token, IsNotComparedIfPromotionMayForgetIt) {
  Story story;
  story.hold(1, 0ms, 100ms, 6);
  story.hold(2, 150ms, 250ms, 7);
  story.fault("promotion", 140ms, 300ms);
  story.hold(3, 400ms, 500ms, 7);
  EXPECT_THAT(story.found(), IsEmpty());
  EXPECT_EQ(story.report().tokens_not_compared, 1U);
}

TEST(Token, OfBeforeAPromotionIsNotForgotten) {
  for (const auto* const fault : {"promotion", "handover", "migration"}) {
    Story story;
    story.hold(1, 0ms, 100ms, 7);
    story.fault(fault, 200ms, 300ms);
    story.hold(2, 400ms, 500ms, 7);
    EXPECT_THAT(story.found(), ElementsAre("token not increasing")) << fault;
  }
}

TEST(LostEarly, IsFoundWhereNoDataWereLost) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);  // until 1010
  story.unlock(1, hold, 500ms, 510ms, "lease_lost");
  EXPECT_THAT(story.found(), ElementsAre("lost early"));
  story.fault("flush-all", 100ms, 110ms);
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(LostEarly, IsExcusedByNoFleetFaultButPromotion) {
  for (const auto* const fault : {"promotion", "handover", "migration", "master-stop"}) {
    Story story;
    const auto hold = story.acquire(1, 0ms, 10ms);
    story.fault(fault, 100ms, 110ms);
    story.unlock(1, hold, 500ms, 510ms, "lease_lost");
    const bool excused = fault == std::string{"promotion"};
    EXPECT_EQ(story.report().count_of(Violation::lost_early), excused ? 0U : 1U) << fault;
  }
}

TEST(LostEarly, IsNoneJustBeforeTheLeaseEnds) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms);
  story.unlock(1, hold, 900ms, 920ms, "lease_lost");
  EXPECT_THAT(story.found(), IsEmpty());
}

/// A hold with one update, which ended so, and was applied so many times.
std::vector<std::string> found_for(const std::string& outcome, int times) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms, 1);
  const auto update = story.invoke(1, "guarded_eval", 20ms, hold);
  if (!outcome.empty()) story.end(1, update, "guarded_eval", 30ms, outcome, hold);
  for (int i = 0; i < times; ++i) story.applied(1, update, 1);
  story.unlock(1, hold, 1020ms, 1030ms);
  return story.found();
}

TEST(Update, ThatWasAcknowledgedIsThereOnce) {
  EXPECT_THAT(found_for("ok", 0), ElementsAre("lost update"));
  EXPECT_THAT(found_for("ok", 1), IsEmpty());
  EXPECT_THAT(found_for("ok", 2), ElementsAre("doubled update"));
}

TEST(Update, ThatIsInDoubtAppearsAtMostOnce) {
  for (const auto* const outcome : {"connection_failed", "timed_out", ""}) {
    EXPECT_THAT(found_for(outcome, 0), IsEmpty());
    EXPECT_THAT(found_for(outcome, 1), IsEmpty());
    EXPECT_THAT(found_for(outcome, 2), ElementsAre("doubled update"));
  }
}

TEST(Update, ThatWasRefusedIsNotThere) {
  for (const auto* const refusal : {"lease_lost", "loading", "no-master"}) {
    Story story;
    story.fault("master-kill", 1000ms, 1010ms);
    const auto hold = story.acquire(1, 0ms, 10ms, 1);
    const auto update = story.update(1, hold, 1020ms, 1030ms, refusal);
    EXPECT_THAT(story.found(), IsEmpty());
    EXPECT_EQ(story.report().updates_refused, 1U);
    story.applied(1, update, 1);
    EXPECT_THAT(story.found(), ElementsAre("refused update applied"));
  }
}

TEST(Update, BehindOneOfALaterHolderIsFound) {
  Story story;
  const auto first = story.acquire(1, 0ms, 10ms, 1);
  const auto second = story.acquire(2, 1020ms, 1030ms, 2);
  const auto timely = story.update(2, second, 1040ms, 1050ms);
  const auto late = story.update(1, first, 1045ms, 1060ms);
  story.applied(2, timely, 2);
  story.applied(1, late, 1);
  EXPECT_THAT(story.found(), ElementsAre("stale update"));
}

TEST(Update, OfAnotherLedgerHasItsOwnToken) {
  Story story;
  story.applied(1, story.update(1, 1, 10ms, 20ms), 5, 1);
  story.fault("flush-all", 30ms, 40ms);
  story.applied(1, story.update(1, 1, 50ms, 60ms), 1, 2);
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(Update, InTwoLedgersIsDoubled) {
  Story story;
  const auto update = story.update(1, 1, 10ms, 50ms);
  story.applied(1, update, 1, 1);
  story.applied(1, update, 1, 2);
  EXPECT_THAT(story.found(), ElementsAre("doubled update"));
}

TEST(Update, ThatNobodyAskedForIsFound) {
  Story story;
  story.hold(1, 0ms, 10ms);
  story.applied(1, 77, 1);
  EXPECT_THAT(story.found(), ElementsAre("unknown update"));
}

TEST(Update, MayBeLostWithAnUnreadLedger) {
  Story story;
  story.update(1, 1, 10ms, 50ms);
  story.fault("server-empty", 40ms, 60ms);
  EXPECT_THAT(story.found(), IsEmpty());
  EXPECT_EQ(story.report().updates_with_data_lost, 1U);
  story.update(1, 1, 70ms, 80ms);
  EXPECT_THAT(story.found(), ElementsAre("lost update"));
}

TEST(Update, MayBeForgottenByAPromotion) {
  Story story;
  story.fault("promotion", 40ms, 60ms);
  story.update(1, 1, 10ms, 50ms);
  EXPECT_THAT(story.found(), IsEmpty());
  EXPECT_EQ(story.report().updates_with_data_lost, 1U);
  story.update(1, 1, 10ms, 39ms);  // the new master had it
  EXPECT_THAT(story.found(), ElementsAre("lost update"));
}

TEST(Update, IsNotForgottenByOtherFleetFaults) {
  for (const auto* const fault : {"handover", "migration", "master-kill"}) {
    Story story;
    story.fault(fault, 40ms, 60ms);
    story.update(1, 1, 10ms, 50ms);
    EXPECT_THAT(story.found(), ElementsAre("lost update")) << fault;
  }
}

TEST(Update, MustSurviveOnceItsLedgerWasRead) {
  Story story;
  story.update(1, 1, 10ms, 50ms);
  story.fault("flush-all", 40ms, 60ms);
  EXPECT_THAT(story.found(), ElementsAre("lost update"));
}

TEST(LostWakeup, IsAFreeLockAndAWaiter) {
  Story story;
  story.hold(1, 0ms, 100ms);
  story.unlock(2, story.acquire(2, 50ms, 2900ms), 2910ms, 2920ms);
  EXPECT_THAT(story.found(), ElementsAre("lost wakeup"));
}

TEST(LostWakeup, IsFoundIfAWaiterNeverAcquires) {
  for (const bool gave_up : {true, false}) {
    Story story;
    story.hold(1, 0ms, 100ms);
    const auto wait = story.invoke(2, "try_lock_for", 50ms, 0, 3000ms);
    if (gave_up) story.end(2, wait, "try_lock_for", 3050ms, "busy");
    story.ended(2, 4000ms, "finished");
    EXPECT_THAT(story.found(), ElementsAre("lost wakeup"));
  }
}

TEST(LostWakeup, IsNoneIfNobodyWaitsForLong) {
  Story story;
  story.hold(1, 0ms, 100ms);
  story.hold(2, 3000ms, 3010ms);
  story.unlock(2, story.acquire(2, 3005ms, 4300ms), 4310ms, 4320ms);
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(LostWakeup, IsNoneWhileTheLockMayBeHeld) {
  for (const auto* const outcome : {"ok", "timed_out"}) {
    Story story;
    const auto hold = story.acquire(1, 0ms, 10ms, 0, 4000ms);
    if (outcome == std::string{"ok"}) {
      story.unlock(1, hold, 3900ms, 3901ms);
    } else {
      story.unlock(1, hold, 20ms, 30ms, outcome);  // until its lease is over
    }
    story.unlock(2, story.acquire(2, 50ms, 4100ms), 4110ms, 4120ms);
    EXPECT_THAT(story.found(), IsEmpty()) << outcome;
  }
}

TEST(LostWakeup, IsNoneUntilTheReleaseHasSurelyRun) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms, 0, 4000ms);
  story.unlock(1, hold, 20ms, 30ms, "ok", "deferred_unlock");
  story.unlock(2, story.acquire(2, 50ms, 4100ms), 4110ms, 4120ms);
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(LostWakeup, IsFoundAfterADeadHoldersLease) {
  Story story;
  story.acquire(1, 0ms, 10ms);
  story.fault("holder-kill", 20ms, 30ms, "b");
  story.ended(1, 20ms, "killed");
  story.unlock(2, story.acquire(2, 50ms, 2300ms), 2310ms, 2320ms);  // free since 1020
  EXPECT_THAT(story.found(), IsEmpty());
  story.unlock(3, story.acquire(3, 2315ms, 3700ms), 3710ms, 3720ms);
  EXPECT_THAT(story.found(), ElementsAre("lost wakeup"));
}

TEST(LostWakeup, IsNoneInTheWakeOfAFault) {
  Story story;
  story.hold(1, 0ms, 100ms);
  story.fault("link-stall", 90ms, 200ms);
  // Disturbed until 4000, and then it may hold the lock, without its knowledge, for a lease.
  story.unlock(2, story.acquire(2, 50ms, 6250ms), 6260ms, 6270ms);
  EXPECT_THAT(story.found(), IsEmpty());
  EXPECT_EQ(story.report().undisturbed.at("a"), 6270ms - 3910ms);
  story.hold(1, 6270ms, 6280ms);
  story.unlock(3, story.acquire(3, 6275ms, 8900ms), 8910ms, 8920ms);
  EXPECT_THAT(story.found(), ElementsAre("lost wakeup"));
}

TEST(LostWakeup, IsFoundLongAfterAFault) {
  Story story;
  story.hold(1, 0ms, 100ms);
  story.fault("link-stall", 90ms, 200ms);
  story.unlock(2, story.acquire(2, 50ms, 7000ms), 7010ms, 7020ms);
  EXPECT_THAT(story.found(), ElementsAre("lost wakeup"));
}

TEST(LostWakeup, IsNoneDuringTheSearchForAServer) {
  Story story;
  story.hold(1, 0ms, 100ms);
  story.fault("master-kill", 90ms, 200ms);
  story.unlock(2, story.acquire(2, 50ms, 7000ms), 7010ms, 7020ms);
  Bounds bounds;
  bounds.longest_way = 800ms;
  EXPECT_THAT(story.found(), ElementsAre("lost wakeup"));
  EXPECT_THAT(story.found(bounds), IsEmpty());
}

TEST(LostWakeup, IsFoundBetweenTwoFaults) {
  Story story;
  story.hold(1, 0ms, 100ms);
  story.fault("link-stall", 90ms, 200ms);
  story.fault("link-stall", 6500ms, 6600ms);
  story.unlock(2, story.acquire(2, 50ms, 6550ms), 6560ms, 6570ms);
  EXPECT_THAT(story.found(), ElementsAre("lost wakeup"));
}

TEST(LostWakeup, IsNoneWhileFormerWaitersMayHoldIt) {
  Story story;
  story.hold(1, 0ms, 100ms);
  story.fault("link-stall", 90ms, 200ms);  // disturbed until 4000
  story.end(3, story.invoke(3, "try_lock_for", 120ms, 0, 3800ms), "try_lock_for", 3920ms, "busy");
  story.unlock(2, story.acquire(2, 4010ms, 6100ms), 6110ms, 6120ms);
  EXPECT_THAT(story.found(), IsEmpty());
}

/// Somebody waits for a lock that was released while `fault`, long enough ago for the fault to be forgotten.
std::vector<std::string> found_after_release_in(const std::string& fault) {
  Story story;
  const auto hold = story.acquire(1, 0ms, 10ms, 0, 8000ms);
  story.fault(fault, 80ms, 200ms);  // disturbed until 4000
  story.unlock(1, hold, 90ms, 100ms);
  story.unlock(2, story.acquire(2, 4100ms, 7900ms), 7910ms, 7920ms);
  return story.found();
}

TEST(LostWakeup, IsNoneIfPromotionMayForgetTheRelease) {
  EXPECT_THAT(found_after_release_in("promotion"), IsEmpty());
  EXPECT_THAT(found_after_release_in("master-stop"), ElementsAre("lost wakeup"));
}

TEST(LostWakeup, IsNoneForTheWholeOfAFault) {
  Story story;
  story.hold(1, 0ms, 100ms);
  story.fault("server-stop", 150ms, 9000ms);
  story.unlock(2, story.acquire(2, 110ms, 9100ms), 9110ms, 9120ms);
  story.end(3, story.invoke(3, "try_lock_for", 120ms, 0, 100ms), "try_lock_for", 9000ms,
            "timed_out");
  EXPECT_THAT(story.found(), IsEmpty());
}

/// A waiter for a hold with so many permits, while `others` hold for long.
std::vector<std::string> found_while(const std::vector<std::uint64_t>& others,
                                     std::uint64_t permits) {
  Story story;
  int process = 0;
  for (const auto other : others) {
    const auto hold = story.acquire(++process, 0ms, 1ms, 0, 4000ms, other);
    story.unlock(process, hold, 3000ms, 3001ms);
  }
  const auto waiter = story.acquire(9, 10ms, 2900ms, 0, -3000ms, permits);
  story.unlock(9, waiter, 2910ms, 2920ms);
  return story.found();
}

TEST(LostWakeup, OfAReaderBehindReadersIsFound) {
  EXPECT_THAT(found_while({any_number, any_number}, any_number), ElementsAre("lost wakeup"));
  EXPECT_THAT(found_while({any_number, any_number}, 1), IsEmpty());
  EXPECT_THAT(found_while({1}, any_number), IsEmpty());
}

TEST(LostWakeup, OfAReaderBehindAWaitingWriterIsNone) {
  Story story;
  story.unlock(1, story.acquire(1, 0ms, 1ms, 0, 4000ms, any_number), 2800ms, 2801ms, "ok",
               "unlock_shared");
  story.unlock(2, story.acquire(2, 5ms, 2810ms), 2820ms, 2821ms);
  story.share(3, 10ms, 2900ms);
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(LostWakeup, IsAPermitLeftAndAWaiter) {
  EXPECT_THAT(found_while({3, 3}, 3), ElementsAre("lost wakeup"));
  EXPECT_THAT(found_while({3, 3, 3}, 3), IsEmpty());
}

/// An operation that took so long.
std::vector<std::string> found_after(const std::string& what, milliseconds time,
                                     milliseconds stopped = 0ms) {
  Story story;
  const auto number = story.invoke(1, what, 1ms, 0, 1000ms);
  story.end(1, number, what, 1ms + time, "timed_out");
  if (stopped != 0ms) story.fault("waiter-stop", 5ms, 5ms + stopped);
  return story.found();
}

TEST(Hang, IsAnOperationThatTakesTooLong) {
  EXPECT_THAT(found_after("try_lock", 8800ms), IsEmpty());
  EXPECT_THAT(found_after("try_lock", 8801ms), ElementsAre("hang"));
  EXPECT_THAT(found_after("unlock", 8801ms), ElementsAre("hang"));
  EXPECT_THAT(found_after("guarded_eval", 8801ms), ElementsAre("hang"));
  EXPECT_THAT(found_after("try_lock_for", 6800ms), IsEmpty());
  EXPECT_THAT(found_after("try_lock_for", 6801ms), ElementsAre("hang"));
  EXPECT_THAT(found_after("lock", 60s), IsEmpty());
  EXPECT_THAT(found_after("lock", 60001ms), ElementsAre("hang"));
}

TEST(Hang, IsNotTheTimeOfAFault) {
  EXPECT_THAT(found_after("try_lock", 9800ms, 1000ms), IsEmpty());
  EXPECT_THAT(found_after("try_lock", 9801ms, 1000ms), ElementsAre("hang"));
}

TEST(Hang, IsNotExcusedByAnEarlierFault) {
  Story story;
  story.fault("server-stop", 0ms, 5000ms);
  story.end(1, story.invoke(1, "extend", 4000ms), "extend", 13'801ms, "timed_out");
  EXPECT_THAT(story.found(), ElementsAre("hang"));
}

TEST(Hang, IsFoundWhereAnOperationNeverReturns) {
  Story story;
  story.invoke(1, "extend", 1ms);
  story.ended(1, 9000ms, "killed");
  EXPECT_THAT(story.found(), ElementsAre("hang"));
}

TEST(Hang, IsNoneWhereTheProcessWasKilledBefore) {
  Story story;
  story.invoke(1, "extend", 1ms);
  story.ended(1, 100ms, "killed");
  story.ended(2, 20s, "finished");
  EXPECT_THAT(story.found(), IsEmpty());
}

TEST(Process, ThatDoesNotFinishIsAHang) {
  Story story;
  story.ended(1, 100ms, "unfinished");
  EXPECT_THAT(story.found(), ElementsAre("hang"));
}

TEST(Process, ThatEndsByItselfIsACrash) {
  Story story;
  story.ended(1, 100ms, "signal-13");
  story.ended(2, 100ms, "exit-1");
  EXPECT_THAT(story.found(), ElementsAre("crash", "crash"));
}

TEST(Error, ThatNoFaultExplainsIsFound) {
  for (const auto* const error : {"server_error", "protocol_error", "not_owned", "exception"}) {
    Story story;
    story.unlock(1, 7, 0ms, 10ms, error);
    EXPECT_THAT(story.found(), ElementsAre("unexpected error")) << error;
    EXPECT_EQ(story.report().errors.at(std::string{"unlock: "} + error), 1U);
  }
}

TEST(Error, AboutAMissingMasterNeedsAFault) {
  Story story;
  story.unlock(1, 7, 0ms, 10ms, "no-master");
  EXPECT_THAT(story.found(), ElementsAre("unexpected error"));
  story.fault("master-stop", 5ms, 20ms, "b");
  EXPECT_THAT(story.found(), ElementsAre("unexpected error"));
  story.fault("master-stop", 5ms, 20ms);
  EXPECT_THAT(story.found(), IsEmpty());
}

Record all_fields() {
  Record record;
  record.event = Event::claim;
  record.at = Time{123ns};
  record.process = 1;
  record.thread = 2;
  record.operation = 3;
  record.what = "lock";
  record.name = "a";
  record.hold = 4;
  record.outcome = "ok";
  record.token = 18446744073709551615U;
  record.expires_at = Time{-5ns};
  record.duration = 6ms;
  record.permits = 7;
  return record;
}

TEST(History, ReadsWhatItWrote) {
  const auto record = all_fields();
  const auto line = to_line(record);
  EXPECT_EQ(line, "claim 123 1 2 3 lock a 4 ok 18446744073709551615 -5 6 7\n");
  History history;
  read_lines(line + to_line({}) + line, history);
  EXPECT_EQ(history.records, (std::vector<Record>{record, Record{}, record}));
  EXPECT_EQ(history.cut_lines, 0U);
}

TEST(History, LeavesOutALastLineThatWasCut) {
  const auto line = to_line(all_fields());
  for (std::size_t length = 1; length < line.size(); ++length) {
    History history;
    read_lines(line + line.substr(0, length), history);
    EXPECT_EQ(history.records.size(), 1U);
    EXPECT_EQ(history.cut_lines, 1U);
  }
}

TEST(History, RefusesWhatIsNoRecord) {
  for (const auto* const line :
       {"\n", "garbage\n", "claim 123 1 2 3 lock a 4 ok 1 -5\n",
        "claim 123 1 2 3 lock a 4 ok 1 -5 6\n", "claim 123 1 2 3 lock a 4 ok 1 -5 6 7 8\n",
        "claims 123 1 2 3 lock a 4 ok 1 -5 6 7\n", "claim 12x 1 2 3 lock a 4 ok 1 -5 6 7\n",
        "claim 123 1 2 3  a 4 ok 1 -5 6 7\n", "claim 123 1 2 3 lock a -4 ok 1 -5 6 7\n"}) {
    History history;
    EXPECT_THAT([&] { read_lines(line, history); },
                ThrowsMessage<std::runtime_error>(HasSubstr("no record")))
        << line;
  }
}

TEST(History, ThatContradictsItselfIsRefused) {
  const auto contradictory = ThrowsMessage<std::runtime_error>(HasSubstr("contradicts itself"));
  Story unasked;
  unasked.end(1, 5, "lock", 1ms, "ok");
  EXPECT_THAT([&] { (void)unasked.report(); }, contradictory);
  Story returned_twice;
  const auto number = returned_twice.invoke(1, "lock", 1ms);
  returned_twice.end(1, number, "lock", 2ms, "busy");
  returned_twice.end(1, number, "lock", 3ms, "busy");
  EXPECT_THAT([&] { (void)returned_twice.report(); }, contradictory);
  Story claimed;
  claimed.claim(1, 5, 1ms, 2ms);
  EXPECT_THAT([&] { (void)claimed.report(); }, contradictory);
  Story unknown;
  unknown.fault("earthquake", 1ms, 2ms);
  EXPECT_THAT([&] { (void)unknown.report(); },
              ThrowsMessage<std::runtime_error>(HasSubstr("earthquake")));
}

}  // namespace
}  // namespace redis_lock_test::campaign
