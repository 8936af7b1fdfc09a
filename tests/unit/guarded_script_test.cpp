#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/protocol/guarded_script.hpp>

#include "fake_redis.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::errc;
using redis_lock::detail::Failure;
using redis_lock::detail::GuardedScript;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// A connection that answers all commands alike.
struct OneAnswer {
  Replies answer;
  std::optional<Failure> failure{};
  bool is_closed = false;
  std::vector<Command> sent{};

  void make_sure() const {
    if (is_closed) throw Failure{errc::connection_failed, "closed", Failure::Kind::transient};
  }
  void reuse(Replies&&) {}
  [[nodiscard]] Replies exchange(const Commands& commands) {
    sent.emplace_back(commands.begin(0), commands.end(0));
    if (failure) throw *failure;
    return answer;
  }
};

const std::vector<std::string> two_keys{"k1", "k2"}, one_argument{"a1"};

std::string text_of(std::string_view script) {
  OneAnswer link{{nil()}};
  EXPECT_TRUE(GuardedScript(script, two_keys, one_argument, "lock:n", "mine").run_once(link));
  return link.sent.front().at(1);
}

Failure failure_of_script(OneAnswer link) {
  try {
    (void)GuardedScript{"return 1", two_keys, one_argument, "lock:n", "mine"}.run_once(link);
  } catch (const Failure& failure) {
    return failure;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {errc::not_owned, ""};
}

TEST(GuardedScript, AppendsTheLockKeyAndTheHoldersId) {
  OneAnswer link{{integer(5)}};
  const GuardedScript script{"return 5", two_keys, one_argument, "lock:n", "mine"};
  EXPECT_EQ(script.run_once(link)->integer, 5);
  ASSERT_EQ(link.sent.size(), 1U);
  auto& sent = link.sent.front();
  EXPECT_EQ(sent.front(), "EVAL");
  sent.erase(sent.begin(), sent.begin() + 2);
  EXPECT_THAT(sent, ElementsAre("3", "k1", "k2", "lock:n", "a1", "mine"));
}

TEST(GuardedScript, KeepsTheNumbersOfTheLines) {
  EXPECT_THAT(text_of("one\ntwo"), EndsWith(" end one\ntwo"));
  EXPECT_THAT(text_of("one\ntwo"), StartsWith("if redis.call('GET', "));
  EXPECT_THAT(text_of("#!lua flags=no-writes\ntwo"), StartsWith("#!lua flags=no-writes\nif "));
  EXPECT_THAT(text_of("#!lua flags=no-writes\ntwo"), EndsWith(" end two"));
  EXPECT_THAT(text_of("#!lua"), StartsWith("#!lua"));
}

TEST(GuardedScript, OfAnotherHolderHasNoAnswer) {
  OneAnswer link{{error("LEASELOST the lock is not held under this id")}};
  EXPECT_FALSE(GuardedScript("return 1", two_keys, one_argument, "lock:n", "mine").run_once(link));
}

TEST(GuardedScript, ThatFailsIsTheServersError) {
  const auto failure = failure_of_script({{error("ERR Error compiling script")}});
  EXPECT_EQ(failure.code(), errc::server_error);
  EXPECT_STREQ(failure.what(), "ERR Error compiling script");
  EXPECT_FALSE(failure.is_transient());
}

TEST(GuardedScript, ThatWasRejectedMayBeSentAgain) {
  EXPECT_TRUE(failure_of_script({{error("LOADING Redis is loading the dataset in memory")}})
                  .is_transient());
}

TEST(GuardedScript, WhoseAnswerIsLostIsNotSentAgain) {
  for (const auto code : {errc::connection_failed, errc::timed_out}) {
    const auto failure = failure_of_script({{}, Failure{code, "lost", Failure::Kind::transient}});
    EXPECT_EQ(failure.code(), code);
    EXPECT_FALSE(failure.is_transient());
    EXPECT_STREQ(failure.what(), "lost; the script may have run");
  }
}

TEST(GuardedScript, ThatWasNotSentMayBeSentElsewhere) {
  EXPECT_TRUE(failure_of_script({{nil()}, {}, true}).is_transient());
}

}  // namespace
}  // namespace redis_lock_test
