#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <redis_lock/detail/base/process_local.hpp>

#include "support/child.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::detail::ProcessLocal;

/// Counts those of them that live in this process.
struct State {
  State() { ++made; }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { ++destroyed; }

  int value = 0;
  std::mutex mutex;

  static inline std::atomic<int> made{0}, destroyed{0};
};

class ProcessLocalState : public ::testing::Test {
 protected:
  ProcessLocalState() { State::made = State::destroyed = 0; }
  static std::unique_ptr<ProcessLocal<State>> make() {
    return std::make_unique<ProcessLocal<State>>([] { return std::make_unique<State>(); });
  }
};

TEST_F(ProcessLocalState, IsMadeOnceAndDestroyedWithIt) {
  {
    const auto local = make();
    (*local)->value = 7;
    EXPECT_EQ((**local).value, 7);
    EXPECT_TRUE(local->is_here());
  }
  EXPECT_EQ(State::made, 1);
  EXPECT_EQ(State::destroyed, 1);
}

TEST_F(ProcessLocalState, IsFreshInAChild) {
  const auto local = make();
  (*local)->value = 7;
  Child child{[&] {
    if (local->is_here()) return 1;
    if ((*local)->value != 0) return 2;
    if (!local->is_here()) return 3;
    (*local)->value = 8;
    if ((*local)->value != 8) return 4;
    return State::made == 2 && State::destroyed == 0 ? 0 : 5;
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_EQ((*local)->value, 7) << "the parent's is its own";
  EXPECT_TRUE(local->is_here());
}

TEST_F(ProcessLocalState, IsUnchangedByAskingWhetherItExists) {
  const auto local = make();
  Child child{[&] { return !local->is_here() && State::made == 1 ? 0 : 1; }};
  EXPECT_EQ(child.exit_code(), 0);
}

TEST_F(ProcessLocalState, OfTheParentIsNotDestroyedInChildren) {
  auto local = make();
  Child used{[&] {
    (*local)->value = 8;
    local.reset();
    return State::destroyed == 1 ? 0 : 1;  // its own
  }};
  EXPECT_EQ(used.exit_code(), 0);
  Child unused{[&] {
    local.reset();
    return State::destroyed == 0 ? 0 : 1;
  }};
  EXPECT_EQ(unused.exit_code(), 0);
}

TEST_F(ProcessLocalState, IsUsableInAChildWhateverWasLocked) {
  const auto local = make();
  const std::lock_guard guard{(*local)->mutex};
  Child child{[&] {
    const std::lock_guard guard_of_child{(*local)->mutex};
    return 0;
  }};
  EXPECT_EQ(child.exit_code(), 0);
}

TEST_F(ProcessLocalState, IsFreshInAGrandchildToo) {
  const auto local = make();
  (*local)->value = 7;
  Child child{[&] {
    (*local)->value = 8;
    Child touched{[&] { return !local->is_here() && (*local)->value == 0 ? 0 : 1; }};
    return touched.exit_code();
  }};
  EXPECT_EQ(child.exit_code(), 0);
  Child untouched{[&] {
    Child grandchild{[&] { return !local->is_here() && (*local)->value == 0 ? 0 : 1; }};
    return grandchild.exit_code();
  }};
  EXPECT_EQ(untouched.exit_code(), 0);
}

TEST_F(ProcessLocalState, IsOneForAllThreadsOfAChild) {
  const auto local = make();
  Child child{[&] {
    std::mutex mutex;
    std::set<State*> seen;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        auto* const state = &**local;
        const std::lock_guard guard{mutex};
        seen.insert(state);
      });
    }
    for (auto& thread : threads) thread.join();
    return seen.size() == 1 && State::made - State::destroyed == 2 ? 0 : 1;
  }};
  EXPECT_EQ(child.exit_code(), 0);
}

}  // namespace
}  // namespace redis_lock_test
