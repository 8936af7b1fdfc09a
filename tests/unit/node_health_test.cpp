#include <string>

#include <gtest/gtest.h>

#include <redis_lock/detail/net/node_health.hpp>

namespace redis_lock_test {
namespace {

using redis_lock::errc;
using redis_lock::detail::Failure;
using redis_lock::detail::is_refusal;
using redis_lock::detail::NodeHealth;
using redis_lock::detail::Request;

TEST(NodeHealth, KeepsAFailuresStartAndItsLatestText) {
  NodeHealth health;
  EXPECT_FALSE(health.failure());
  health.failed(Request::release, Failure{errc::server_error, "NOPERM one"});
  const auto first = health.failure();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->text, "releasing: NOPERM one");
  health.failed(Request::release, Failure{errc::timed_out, "two"});
  const auto second = health.failure();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->text, "releasing: two");
  EXPECT_EQ(second->code, errc::timed_out);
  EXPECT_EQ(second->since, first->since);
}

TEST(NodeHealth, ForgetsAFailureOnlyWhenThatRequestWorks) {
  NodeHealth health;
  health.failed(Request::release, Failure{errc::server_error, "NOPERM"});
  health.worked(Request::vote);
  EXPECT_TRUE(health.fails(Request::release));
  EXPECT_FALSE(health.fails(Request::vote));
  health.worked(Request::release);
  EXPECT_FALSE(health.failure());
}

TEST(NodeHealth, TellsFirstThatANodeCannotBeReached) {
  NodeHealth health;
  health.failed(Request::vote, Failure{errc::connection_failed, "closed"});
  const auto since = health.failure()->since;
  health.failed(Request::connect, Failure{errc::connection_failed, "refused"});
  const auto failure = health.failure();
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->text, "connecting: refused");
  EXPECT_EQ(failure->since, since) << "of the earliest";
}

TEST(NodeHealth, CountsNoErrorsThatTheProtocolExpects) {
  const auto error = [](const char* text) {
    redis_lock::Reply reply;
    reply.kind = redis_lock::Reply::Kind::error;
    reply.text = text;
    return reply;
  };
  for (const auto* text : {"NOSCRIPT none", "UNBLOCKED by CLIENT UNBLOCK",
                           "ERR timeout is not an integer or out of range"})
    EXPECT_FALSE(is_refusal(error(text))) << text;
  for (const auto* text : {"NOPERM no", "LOADING now", "ERR other"})
    EXPECT_TRUE(is_refusal(error(text))) << text;
}

}  // namespace
}  // namespace redis_lock_test
