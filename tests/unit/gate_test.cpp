#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/gate.hpp>

#include "sleeping_thread.hpp"
#include "support/eventually.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::detail::Cancellation;
using redis_lock::detail::Gate;
using redis_lock::detail::never;
using redis_lock::detail::Time;

Time in(std::chrono::milliseconds time) { return Time::clock::now() + time; }

TEST(Gate, LetsOneIn) {
  Gate gate;
  EXPECT_TRUE(gate.try_enter());
  EXPECT_FALSE(gate.try_enter());
  gate.leave();
  EXPECT_TRUE(gate.enter(never));
  EXPECT_FALSE(gate.try_enter());
  gate.leave();
  EXPECT_TRUE(gate.try_enter());
}

TEST(Gate, IsEnteredIfOpenWhateverTheDeadline) {
  Gate gate;
  EXPECT_TRUE(gate.enter(Time::min()));
  gate.leave();
  Cancellation cancellation;
  cancellation.request();
  EXPECT_TRUE(gate.enter(never, &cancellation));
}

TEST(Gate, RefusesAtTheDeadlineAndNotBefore) {
  Gate gate;
  ASSERT_TRUE(gate.try_enter());
  const auto deadline = in(30ms);
  EXPECT_FALSE(gate.enter(deadline));
  EXPECT_GE(Time::clock::now(), deadline);
  const Stopwatch watch;
  EXPECT_FALSE(gate.enter(Time::min()));
  EXPECT_FALSE(gate.enter(Time::clock::now()));
  EXPECT_LT(watch.elapsed(), 10s);
}

TEST(Gate, ForgetsWhoGaveUp) {
  Gate gate;
  ASSERT_TRUE(gate.try_enter());
  EXPECT_FALSE(gate.enter(in(1ms)));
  gate.leave();
  EXPECT_TRUE(gate.try_enter()) << "it was handed to a waiter that is gone";
}

TEST(Gate, IsLeftByAnyThread) {
  Gate gate;
  ASSERT_TRUE(gate.try_enter());
  std::thread{[&] { gate.leave(); }}.join();
  EXPECT_TRUE(gate.try_enter());
}

TEST(Gate, IsHandedOverWithoutComingOpenInBetween) {
  Gate gate;
  ASSERT_TRUE(gate.try_enter());
  SleepingThread waiter{[&] { ASSERT_TRUE(gate.enter(never)); }};
  waiter.await_sleep();
  gate.leave();
  EXPECT_FALSE(gate.try_enter());
  waiter.join();
  EXPECT_FALSE(gate.try_enter());
  gate.leave();
  EXPECT_TRUE(gate.try_enter());
}

TEST(Gate, LetsThemInInOrderOfArrival) {
  Gate gate;
  std::vector<int> order;  // guarded by the gate
  ASSERT_TRUE(gate.try_enter());
  std::vector<std::unique_ptr<SleepingThread>> waiters;
  for (int i = 0; i < 8; ++i) {
    waiters.push_back(std::make_unique<SleepingThread>([&gate, &order, i] {
      ASSERT_TRUE(gate.enter(never));
      order.push_back(i);
      gate.leave();
    }));
    waiters.back()->await_sleep();
  }
  gate.leave();
  for (auto& waiter : waiters) waiter->join();
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST(Gate, KeepsTheOrderWhenOneGivesUp) {
  Gate gate;
  std::vector<int> order;
  Cancellation cancellation;
  ASSERT_TRUE(gate.try_enter());
  std::vector<std::unique_ptr<SleepingThread>> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.push_back(std::make_unique<SleepingThread>([&, i] {
      const bool entered = gate.enter(never, i == 1 ? &cancellation : nullptr);
      EXPECT_EQ(entered, i != 1);
      if (!entered) return;
      order.push_back(i);
      gate.leave();
    }));
    waiters.back()->await_sleep();
  }
  cancellation.request();
  gate.interrupt();
  waiters.at(1)->join();
  gate.leave();
  waiters.at(0)->join();
  waiters.at(2)->join();
  EXPECT_THAT(order, ::testing::ElementsAre(0, 2));
}

TEST(Gate, RefusesACallCancelledBeforehand) {
  Gate gate;
  Cancellation cancellation;
  ASSERT_TRUE(gate.try_enter());
  cancellation.request();
  EXPECT_FALSE(gate.enter(never, &cancellation));
  EXPECT_FALSE(gate.enter(in(1h), &cancellation));
}

TEST(Gate, EndsATimedWaitThatIsCancelled) {
  Gate gate;
  Cancellation cancellation;
  ASSERT_TRUE(gate.try_enter());
  SleepingThread waiter{[&] { EXPECT_FALSE(gate.enter(in(1h), &cancellation)); }};
  waiter.await_sleep();
  cancellation.request();
  gate.interrupt();
  waiter.join();
}

TEST(Gate, IsNotLeftByAnInterruptionWithoutCancellation) {
  Gate gate;
  Cancellation cancellation;
  ASSERT_TRUE(gate.try_enter());
  std::atomic<bool> entered{false};
  SleepingThread waiter{[&] {
    EXPECT_TRUE(gate.enter(never, &cancellation));
    entered = true;
  }};
  waiter.await_sleep();
  for (int i = 0; i < 100; ++i) gate.interrupt();
  EXPECT_FALSE(entered);
  gate.leave();
  waiter.join();
  EXPECT_TRUE(entered);
}

TEST(Gate, MakesWhatWasDoneBeforeLeavingVisible) {
  Gate gate;
  long counter = 0;  // guarded by the gate: ThreadSanitizer looks on
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        ASSERT_TRUE(i % 2 == 0 ? gate.enter(never) : gate.enter(in(1h)));
        ++counter;
        gate.leave();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(counter, 8000);
}

TEST(Gate, LosesNobodyWhereDeadlinesAndLeavingCross) {
  Gate gate;
  long refused = 0, entered = 0;  // both guarded by the gate
  ASSERT_TRUE(gate.try_enter());
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      long refused_here = 0;
      for (int i = 0; i < 1000; ++i) {
        if (!gate.enter(Time::clock::now() + std::chrono::microseconds{i % 50})) {
          ++refused_here;
          continue;
        }
        ++entered;
        std::this_thread::yield();
        gate.leave();
      }
      ASSERT_TRUE(gate.enter(never));
      refused += refused_here;
      gate.leave();
    });
  }
  std::this_thread::sleep_for(2ms);
  gate.leave();
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(entered + refused, 4000);
  EXPECT_TRUE(gate.try_enter()) << "it was left to somebody who is gone";
}

}  // namespace
}  // namespace redis_lock_test
