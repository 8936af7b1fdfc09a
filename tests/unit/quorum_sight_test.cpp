#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <redis_lock/detail/quorum/view.hpp>

namespace redis_lock_test {
namespace {

using redis_lock::detail::QuorumView;

/// A letter for each node: the id that it names, - if the lock is free there, ? if it did not say.
QuorumView sight_of(const std::string& ids, bool is_whole = true) {
  QuorumView sight{ids.size(), is_whole};
  for (std::size_t i = 0; i < ids.size(); ++i) {
    sight.nodes[i].told = ids[i] != '?';
    if (ids[i] != '?' && ids[i] != '-') sight.nodes[i].id = std::string{ids[i]};
  }
  return sight;
}

QuorumView::PassedOver passing_over(const std::string& ids) {
  QuorumView::PassedOver passed_over(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] != '-') passed_over[i] = std::string{ids[i]};
  }
  return passed_over;
}

/// The id of the holder, with "?" behind it if it is not certain; "" if the lock is free.
std::string holder(const std::string& ids, const std::string& passed_over, bool is_whole = true) {
  const auto sight = sight_of(ids, is_whole);
  const auto found = sight.holder(passing_over(passed_over));
  return found ? std::string{found->id} + (found->is_certain ? "" : "?") : "";
}

TEST(QuorumView, NamesTheHolderOfAMajority) {
  EXPECT_EQ(holder("AAA", "---"), "A");
  EXPECT_EQ(holder("FAA", "---"), "A");
  EXPECT_EQ(holder("-AA", "---"), "A");
  EXPECT_EQ(holder("AA?", "---", false), "A");
  EXPECT_EQ(holder("FGAAA", "-----"), "A");
}

TEST(QuorumView, IsNotCertainWithoutAMajority) {
  EXPECT_EQ(holder("AB-", "---"), "A?");
  EXPECT_EQ(holder("FAB", "---"), "F?");
  EXPECT_EQ(holder("A-?", "---", false), "A?") << "the third was not asked";
  EXPECT_EQ(holder("FABBA", "-----"), "A?");
}

TEST(QuorumView, CountsAbsentNodesForTheLeadingId) {
  EXPECT_EQ(holder("A??", "---"), "A");
  EXPECT_EQ(holder("AB?", "---"), "A?");
  EXPECT_EQ(holder("FAA??", "-----"), "A");
}

TEST(QuorumView, LeavesIdsOutThatWerePassedOver) {
  EXPECT_EQ(holder("FA-", "F--"), "A?");
  EXPECT_EQ(holder("F--", "F--"), "");
  EXPECT_EQ(holder("AA-", "A--"), "A") << "not if other nodes name it";
  EXPECT_EQ(holder("---", "---"), "");
}

TEST(QuorumView, PassesOverIdsThatStayWithoutAMajority) {
  auto passed_over = passing_over("---");
  sight_of("FBB").remember(sight_of("FA?", false), passed_over);
  EXPECT_EQ(passed_over, passing_over("F--"));
  sight_of("GBB").remember(sight_of("FBB"), passed_over);
  EXPECT_EQ(passed_over, passing_over("F--")) << "another one: it may be the next holder";
}

TEST(QuorumView, NeverPassesOverAPossibleMajority) {
  auto passed_over = passing_over("---");
  sight_of("BBB").remember(sight_of("BBB"), passed_over);
  sight_of("B??").remember(sight_of("B??"), passed_over);
  sight_of("FA?", false).remember(sight_of("FA?", false), passed_over);
  EXPECT_EQ(passed_over, passing_over("---"));
}

}  // namespace
}  // namespace redis_lock_test
