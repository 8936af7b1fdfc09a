#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/net/repeat_queue.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>

namespace redis_lock_test {
namespace {

using namespace redis_lock::detail;
using redis_lock::errc;
using ::testing::ElementsAre;

/// What became of the calls: "a succeeded".
using Log = std::vector<std::string>;

class Owed final : public OwedReply {
 public:
  Owed(std::string key, Log& log) : key_(std::move(key)), keys_{key_, ""}, log_(log) {}
  ~Owed() override {
    if (!is_over_) log_.push_back(key_ + " dropped");
  }
  [[nodiscard]] const std::string& key() const noexcept override { return key_; }
  [[nodiscard]] ScriptCall call() const override { return extend_call(keys_, "me", "1000"); }
  void settle(const redis_lock::Reply&) noexcept override { end("settled"); }
  void succeed() noexcept override { end("succeeded"); }
  void fail(const Failure&) noexcept override { end("failed"); }

 private:
  void end(const char* how) {
    is_over_ = true;
    log_.push_back(key_ + ' ' + how);
  }

  const std::string key_;
  const Keys keys_;
  Log& log_;
  bool is_over_ = false;
};

class Repeating : public ::testing::Test {
 protected:
  void add(RepeatQueue& to, const std::string& key, Time give_up_at = never) {
    OwedReplies one;
    one.push_back(std::make_unique<Owed>(key, log));
    to.add(std::move(one), give_up_at);
  }
  /// A run that fails for the key `failing`.
  static auto failing(const std::string& failing, Failure::Kind kind) {
    return [=](const OwedReply& owed) {
      if (owed.key() == failing) throw Failure{errc::connection_failed, "away", kind};
    };
  }

  Log log;
  RepeatQueue queue;
};

TEST_F(Repeating, ReportsEachSuccess) {
  add(queue, "a");
  add(queue, "b");
  EXPECT_FALSE(queue.is_empty());
  EXPECT_FALSE(queue.repeat([](const OwedReply&) {}));
  EXPECT_TRUE(queue.is_empty());
  EXPECT_THAT(log, ElementsAre("a succeeded", "b succeeded"));
}

TEST_F(Repeating, StopsAtATransientFailureAndKeepsTheRest) {
  for (const auto* key : {"a", "b", "c"}) add(queue, key);
  EXPECT_TRUE(queue.repeat(failing("b", Failure::Kind::transient)));
  EXPECT_THAT(log, ElementsAre("a succeeded"));
  EXPECT_FALSE(queue.repeat([](const OwedReply&) {}));
  EXPECT_THAT(log, ElementsAre("a succeeded", "c succeeded", "b succeeded"));
}

TEST_F(Repeating, GoesOnAfterAFinalFailure) {
  for (const auto* key : {"a", "b"}) add(queue, key);
  EXPECT_FALSE(queue.repeat(failing("a", Failure::Kind::final)));
  EXPECT_THAT(log, ElementsAre("a failed", "b succeeded"));
}

TEST_F(Repeating, FailsWhenItsTimeIsOver) {
  add(queue, "a", Time::min());
  EXPECT_FALSE(queue.repeat(failing("a", Failure::Kind::transient)));
  EXPECT_THAT(log, ElementsAre("a failed"));
}

TEST_F(Repeating, DropsTheOldestBeyondTheBound) {
  RepeatQueue bounded{2};
  for (const auto* key : {"a", "b", "c"}) add(bounded, key);
  EXPECT_THAT(log, ElementsAre("a dropped"));
  log.clear();
  EXPECT_EQ(bounded.take_all().size(), 2U);
  EXPECT_TRUE(bounded.is_empty());
  EXPECT_THAT(log, ElementsAre("b dropped", "c dropped"));
}

}  // namespace
}  // namespace redis_lock_test
