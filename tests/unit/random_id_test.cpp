#include <algorithm>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/base/random_id.hpp>

namespace redis_lock_test {
namespace {

using redis_lock::detail::IdSource;

bool all_differ(std::vector<std::string> ids) {
  std::sort(ids.begin(), ids.end());
  return std::adjacent_find(ids.begin(), ids.end()) == ids.end();
}

TEST(RandomId, IsThirtyTwoHexadecimalDigits) {
  IdSource source;
  for (int i = 0; i < 1000; ++i) {
    const auto id = source.next();
    ASSERT_EQ(id.size(), 32U);
    ASSERT_EQ(id.find_first_not_of("0123456789abcdef"), id.npos) << id;
  }
}

TEST(RandomId, ComesAfterItsPrefix) {
  const std::string prefix("any\0bytes:", 10);
  IdSource source{prefix};
  const auto id = source.next();
  ASSERT_EQ(id.size(), prefix.size() + 32);
  EXPECT_EQ(id.substr(0, prefix.size()), prefix);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef", prefix.size()), id.npos) << id;
  EXPECT_NE(id, source.next());
}

TEST(RandomId, IsNeverGivenTwiceByOneSource) {
  IdSource source;
  std::vector<std::string> ids, first_halves, second_halves;
  for (int i = 0; i < 100'000; ++i) {
    ids.push_back(source.next());
    first_halves.push_back(ids.back().substr(0, 16));
    second_halves.push_back(ids.back().substr(16));
  }
  EXPECT_TRUE(all_differ(ids));
  EXPECT_TRUE(all_differ(first_halves));
  EXPECT_TRUE(all_differ(second_halves));
}

TEST(RandomId, IsNeverGivenByTwoSources) {
  std::vector<std::string> ids;
  for (int i = 0; i < 200; ++i) {
    IdSource source;
    for (int j = 0; j < 100; ++j) ids.push_back(source.next());
  }
  EXPECT_TRUE(all_differ(ids));
}

TEST(RandomId, HasTwoHalvesThatDiffer) {
  for (int i = 0; i < 10; ++i) {
    const auto id = IdSource{}.next();
    EXPECT_NE(id.substr(0, 16), id.substr(16));
  }
}

TEST(RandomId, IsNeverGivenToTwoThreads) {
  IdSource source;
  std::vector<std::vector<std::string>> found(4);
  std::vector<std::thread> threads;
  for (auto& ids : found) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5000; ++i) ids.push_back(source.next());
    });
  }
  for (auto& thread : threads) thread.join();
  std::vector<std::string> all;
  for (const auto& ids : found) all.insert(all.end(), ids.begin(), ids.end());
  EXPECT_EQ(all.size(), 20'000U);
  EXPECT_TRUE(all_differ(all));
}

TEST(RandomId, UsesEveryDigitInEveryPlace) {
  IdSource source;
  std::vector<std::set<char>> digits(32);
  for (int i = 0; i < 2000; ++i) {
    const auto id = source.next();
    for (std::size_t place = 0; place < id.size(); ++place) digits.at(place).insert(id[place]);
  }
  for (const auto& seen : digits) EXPECT_EQ(seen.size(), 16U);
}

}  // namespace
}  // namespace redis_lock_test
