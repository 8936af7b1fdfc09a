#include <array>
#include <atomic>
#include <cstddef>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include <gtest/gtest.h>

#include <redis_lock/detail/lock/callbacks.hpp>

#include "support/eventually.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::detail::Callbacks;
using Urgency = Callbacks::Urgency;

/// Runs callbacks, and is stopped before what they refer to is gone.
class CallbackThreads : public ::testing::Test {
 protected:
  ~CallbackThreads() override { callbacks->stop(); }

  std::array<char, 80> locks{};  // their addresses stand for lock objects
  std::promise<void> promise;
  const std::shared_future<void> opened = promise.get_future().share();
  std::atomic<int> blocked{0}, called{0};
  const std::shared_ptr<Callbacks> callbacks = std::make_shared<Callbacks>();

  void post_blocking(std::size_t lock, Urgency urgency) {
    callbacks->post(
        &locks.at(lock),
        [this] {
          ++blocked;
          opened.wait();
        },
        urgency);
  }
};

TEST_F(CallbackThreads, RunTheTasksOfEachLockInOrder) {
  constexpr int tasks = 4000, of = 20;
  std::array<std::atomic<int>, of> next{}, inside{};
  std::atomic<int> wrong{0};
  for (int i = 0; i < tasks; ++i) {
    const auto lock = static_cast<std::size_t>(i * 7 % of);
    const int number = i / of;
    const bool is_slow = i % 131 == 0;
    const auto task = [&, lock, number, is_slow] {
      if (++inside.at(lock) != 1 || next.at(lock)++ != number) ++wrong;
      if (is_slow) std::this_thread::sleep_for(15ms);
      --inside.at(lock);
    };
    callbacks->post(&locks.at(lock), task, i % 3 == 0 ? Urgency::urgent : Urgency::routine);
  }
  callbacks->stop();
  EXPECT_EQ(wrong, 0);
  for (const auto& count : next) EXPECT_EQ(count, tasks / of);
}

TEST_F(CallbackThreads, KeepSomeForWhatIsUrgent) {
  for (std::size_t i = 0; i < 70; ++i) post_blocking(i, Urgency::routine);
  ASSERT_TRUE(eventually([&] { return blocked == 32; }));
  for (std::size_t i = 70; i < 80; ++i) post_blocking(i, Urgency::urgent);
  EXPECT_TRUE(eventually([&] { return blocked == 42; }));
  promise.set_value();
  EXPECT_TRUE(eventually([&] { return blocked == 80; }));
}

TEST_F(CallbackThreads, DropOptionalTasksWhenTooManyWait) {
  post_blocking(0, Urgency::routine);
  ASSERT_TRUE(eventually([&] { return blocked == 1; }));
  for (int i = 0; i < 100; ++i)
    callbacks->post(
        &locks.at(0), [this] { ++called; }, Urgency::optional);
  for (int i = 0; i < 100; ++i)
    callbacks->post(
        &locks.at(0), [this] { ++called; }, Urgency::routine);
  promise.set_value();
  callbacks->stop();
  EXPECT_EQ(called, 64 + 100);
}

TEST_F(CallbackThreads, AwaitARunningTaskButNotFromInside) {
  std::atomic<bool> left{false}, is_inside{false};
  callbacks->post(
      &locks.at(0),
      [&] {
        callbacks->await(&locks.at(0));
        is_inside = true;
        std::this_thread::sleep_for(100ms);
        left = true;
      },
      Urgency::routine);
  ASSERT_TRUE(eventually([&] { return is_inside.load(); }));
  callbacks->await(&locks.at(1));
  EXPECT_FALSE(left) << "that is another lock";
  callbacks->await(&locks.at(0));
  EXPECT_TRUE(left);
}

TEST_F(CallbackThreads, EndWhenATaskDropsTheirLastOwner) {
  auto own = std::make_shared<Callbacks>();
  std::weak_ptr<Callbacks> observed = own;
  own->post(
      &locks.at(0),
      [&] {
        opened.wait();
        const auto last = std::move(own);
        last->stop();
        ++called;
      },
      Urgency::urgent);
  promise.set_value();
  EXPECT_TRUE(eventually([&] { return called == 1 && observed.expired(); }));
}

}  // namespace
}  // namespace redis_lock_test
