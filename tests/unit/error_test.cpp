#include <set>
#include <string>
#include <system_error>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/error.hpp>

namespace redis_lock_test {
namespace {

using redis_lock::category;
using redis_lock::errc;
using redis_lock::Error;

constexpr errc every_errc[] = {errc::not_owned,
                               errc::lease_lost,
                               errc::connection_failed,
                               errc::timed_out,
                               errc::authentication_failed,
                               errc::server_error,
                               errc::protocol_error,
                               errc::not_expirable,
                               errc::too_few_replicas,
                               errc::no_thread,
                               errc::not_configured,
                               errc::term_failed};

TEST(Errc, HasNoValueThatMeansSuccess) {
  for (const auto each : every_errc) EXPECT_TRUE(make_error_code(each)) << static_cast<int>(each);
  EXPECT_EQ(static_cast<int>(errc::not_owned), 1);
  EXPECT_EQ(static_cast<int>(errc::not_expirable), 8);
  EXPECT_EQ(static_cast<int>(errc::too_few_replicas), 9);
  EXPECT_EQ(static_cast<int>(errc::no_thread), 10);
  EXPECT_EQ(static_cast<int>(errc::not_configured), 11);
  EXPECT_EQ(static_cast<int>(errc::term_failed), 12);
}

TEST(Errc, ConvertsToAnErrorCodeByItself) {
  const std::error_code code = errc::lease_lost;
  EXPECT_EQ(code.category(), category());
  EXPECT_EQ(code.value(), static_cast<int>(errc::lease_lost));
  EXPECT_TRUE(code == errc::lease_lost);
  EXPECT_FALSE(code == errc::not_owned);
}

TEST(Errc, IsNoCodeOfAnotherCategory) {
  EXPECT_NE(make_error_code(errc::not_owned), std::error_code(1, std::generic_category()));
  EXPECT_NE(make_error_code(errc::not_owned), std::error_code(1, std::system_category()));
}

TEST(Errc, MatchesTheConditionsOfTheStandard) {
  EXPECT_EQ(make_error_code(errc::not_owned), std::errc::operation_not_permitted);
  EXPECT_EQ(make_error_code(errc::connection_failed), std::errc::not_connected);
  EXPECT_EQ(make_error_code(errc::timed_out), std::errc::timed_out);
  EXPECT_EQ(make_error_code(errc::authentication_failed), std::errc::permission_denied);
  EXPECT_EQ(make_error_code(errc::protocol_error), std::errc::protocol_error);
  EXPECT_EQ(make_error_code(errc::no_thread), std::errc::resource_unavailable_try_again);
  EXPECT_EQ(make_error_code(errc::not_configured), std::errc::invalid_argument);
}

TEST(Errc, IsItsOwnConditionWithoutAStandardOne) {
  for (const auto each :
       {errc::lease_lost, errc::server_error, errc::not_expirable, errc::too_few_replicas}) {
    const auto condition = make_error_code(each).default_error_condition();
    EXPECT_EQ(condition.category(), category());
    EXPECT_EQ(condition.value(), static_cast<int>(each));
  }
}

TEST(Category, IsOneAndHasAName) {
  EXPECT_EQ(&category(), &category());
  EXPECT_STREQ(category().name(), "redis_lock");
}

TEST(Category, HasADistinctMessageForEachErrc) {
  std::set<std::string> messages;
  for (const auto each : every_errc) messages.insert(make_error_code(each).message());
  messages.insert("");
  EXPECT_EQ(messages.size(), std::size(every_errc) + 1);
  EXPECT_EQ(make_error_code(errc::lease_lost).message(),
            "the lease ended or the lock changed hands");
}

TEST(Category, HasAMessageForWhatIsNoErrc) {
  EXPECT_EQ(category().message(0), "unknown redis_lock error");
  EXPECT_EQ(category().message(13), "unknown redis_lock error");
  EXPECT_EQ(category().message(-1), "unknown redis_lock error");
}

TEST(AnError, IsASystemErrorThatSaysBoth) {
  const Error error{errc::server_error, "redis_lock: lock of \"n\": OOM"};
  const std::system_error& base = error;
  EXPECT_EQ(base.code(), errc::server_error);
  EXPECT_THAT(error.what(), ::testing::StartsWith("redis_lock: lock of \"n\": OOM"));
  EXPECT_THAT(error.what(), ::testing::HasSubstr(make_error_code(errc::server_error).message()));
}

}  // namespace
}  // namespace redis_lock_test
