#include "integration.hpp"

#include <algorithm>
#include <atomic>
#include <future>
#include <limits>
#include <ratio>
#include <thread>

namespace redis_lock_test {
namespace {

using std::chrono::duration;
using std::chrono::steady_clock;
using std::chrono::system_clock;

/// A clock of somebody else: counts minutes in doubles, from an instant in the future.
struct ForeignClock {
  using rep = double;
  using period = std::ratio<60>;
  using duration = std::chrono::duration<rep, period>;
  using time_point = std::chrono::time_point<ForeignClock>;
  [[maybe_unused]] static constexpr bool is_steady = true;
  static time_point now() {
    return time_point{duration{steady_clock::now().time_since_epoch()} - duration{1e6}};
  }
};

/// A wall clock that a test sets.
struct WallClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<WallClock>;
  [[maybe_unused]] static constexpr bool is_steady = false;
  static time_point now() {
    return time_point{steady_clock::now().time_since_epoch() + ahead.load()};
  }
  static inline std::atomic<duration> ahead{duration::zero()};
};

using LockTimed = OnRedis;

TEST_F(LockTimed, TakesAFreeNameAtOnce) {
  Lock lock{client, name};
  EXPECT_TRUE(lock.try_lock_for(1s));
  lock.unlock();
  EXPECT_TRUE(lock.try_lock_until(steady_clock::now() + 1s));
  lock.unlock();
  EXPECT_TRUE(lock.try_lock_until(system_clock::now() + 1s));
  lock.unlock();
  EXPECT_TRUE(lock.try_lock_until(ForeignClock::now() + 1s));
}

TEST_F(LockTimed, GivesUpAtTheDeadlineAndNeverBefore) {
  held_by_somebody();
  Lock lock{client, name};
  for (const auto patience_of_caller : {1ms, 30ms, 250ms}) {
    const auto before = steady_clock::now();
    EXPECT_FALSE(lock.try_lock_for(patience_of_caller));
    EXPECT_GE(steady_clock::now() - before, patience_of_caller);
    EXPECT_LT(steady_clock::now() - before, patience_of_caller + soon);
  }
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

TEST_F(LockTimed, EndsTheWaitPromptlyAtTheDeadline) {
  held_by_somebody();
  Lock lock{client, name};
  EXPECT_LT(median_lateness(lock), hardly_late);
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

/// Waits on the wall clock for an hour, which is over when somebody sets the clock.
template <class Mutex>
void expect_end_when_the_clock_is_set(Mutex& lock) {
  WallClock::ahead = 0ns;
  auto waiting =
      std::async(std::launch::async, [&] { return lock.try_lock_until(WallClock::now() + 1h); });
  EXPECT_EQ(waiting.wait_for(100ms), std::future_status::timeout);
  WallClock::ahead = 2h;
  const Stopwatch watch;
  EXPECT_FALSE(waiting.get());
  EXPECT_LT(watch.elapsed(), soon);
}

TEST_F(LockTimed, EndsSoonWhenTheClockIsSetForward) {
  held_by_somebody();
  Lock lock{client, name};
  expect_end_when_the_clock_is_set(lock);
}

TEST_F(LockTimed, EndsBehindAThreadWhenTheClockJumps) {
  Lock lock{client, name};
  lock.lock();
  expect_end_when_the_clock_is_set(lock);
  lock.unlock();
}

TEST_F(LockTimed, WaitsOnWhenTheClockIsSetBack) {
  held_by_somebody();
  Lock lock{client, name};
  WallClock::ahead = 0ns;
  auto waiting =
      std::async(std::launch::async, [&] { return lock.try_lock_until(WallClock::now() + 150ms); });
  EXPECT_EQ(waiting.wait_for(20ms), std::future_status::timeout);
  WallClock::ahead = -1h;
  EXPECT_EQ(waiting.wait_for(400ms), std::future_status::timeout);
  released_by("somebody");
  EXPECT_TRUE(waiting.get());
}

TEST_F(LockTimed, TriesOnceAfterAWallClockDeadline) {
  Lock lock{client, name};
  EXPECT_TRUE(lock.try_lock_until(WallClock::now() - 1h));
  Lock other{client, name};
  EXPECT_FALSE(other.try_lock_until(WallClock::now() - 1h));
}

template <class Clock>
void expect_deadline_kept(Lock& lock) {
  const auto deadline = Clock::now() + std::chrono::milliseconds{120};
  const Stopwatch watch;
  EXPECT_FALSE(lock.try_lock_until(deadline));
  EXPECT_GE(Clock::now(), deadline);
  EXPECT_LT(watch.elapsed(), soon);
}

TEST_F(LockTimed, KeepsTheDeadlineOfAnyClock) {
  held_by_somebody();
  Lock lock{client, name};
  expect_deadline_kept<steady_clock>(lock);
  expect_deadline_kept<system_clock>(lock);
  expect_deadline_kept<std::chrono::high_resolution_clock>(lock);
  expect_deadline_kept<ForeignClock>(lock);
}

TEST_F(LockTimed, TakesDurationsOfAnyType) {
  held_by_somebody();
  Lock lock{client, name};
  const auto before = steady_clock::now();
  EXPECT_FALSE(lock.try_lock_for(duration<double>{0.0505}));
  EXPECT_GE(steady_clock::now() - before, 50500us);
  EXPECT_FALSE(lock.try_lock_for(duration<float, std::milli>{1.5F}));
  EXPECT_FALSE(lock.try_lock_for(duration<long double, std::ratio<3600>>{1e-6L}));
  EXPECT_FALSE(lock.try_lock_for(duration<unsigned char, std::milli>{200}));
  EXPECT_FALSE(lock.try_lock_for(1ns));
  EXPECT_GE(steady_clock::now() - before, 50500us + 1500us + 3600us + 200ms);
}

TEST_F(LockTimed, ZeroNegativeAndPastTryOnce) {
  Lock lock{client, name};
  const auto tries = [&lock](auto... limits) {
    const auto take = [&lock](bool taken) {
      if (taken) lock.unlock();
      return taken;
    };
    return std::vector<bool>{take(lock.try_lock_for(limits))...};
  };
  const auto all = [&] {
    return tries(0s, -1s, std::chrono::nanoseconds::min(), std::chrono::hours::min(),
                 milliseconds::min(), duration<double>{-1e300},
                 -duration<double>{std::numeric_limits<double>::infinity()});
  };
  EXPECT_EQ(all(), std::vector<bool>(7, true)) << "free";
  for (const auto past :
       {steady_clock::now() - 1s, steady_clock::time_point{}, steady_clock::time_point::min()}) {
    EXPECT_TRUE(lock.try_lock_until(past));
    lock.unlock();
  }
  EXPECT_TRUE(lock.try_lock_until(system_clock::time_point::min()));
  lock.unlock();
  EXPECT_TRUE(lock.try_lock_until(ForeignClock::time_point::min()));
  lock.unlock();

  held_by_somebody();
  const Stopwatch watch;
  EXPECT_EQ(all(), std::vector<bool>(7, false)) << "busy";
  EXPECT_FALSE(lock.try_lock_until(steady_clock::time_point::min()));
  EXPECT_FALSE(lock.try_lock_until(system_clock::time_point::min()));
  EXPECT_LT(watch.elapsed(), soon);
}

TEST_F(LockTimed, HugeIsForEver) {
  Lock lock{client, name};
  int number = 0;
  const auto waits = [&](const auto& acquire) {
    SCOPED_TRACE(++number);
    const Stopwatch watch;
    held_by_somebody(60ms);
    EXPECT_TRUE(acquire());
    EXPECT_GE(watch.elapsed(), 60ms - clock_error);
    EXPECT_EQ(redis.string("GET", key), lock.id());
    lock.unlock();
  };
  waits([&] { return lock.try_lock_for(std::chrono::hours::max()); });
  waits([&] { return lock.try_lock_for(milliseconds::max()); });
  waits([&] { return lock.try_lock_for(std::chrono::nanoseconds::max()); });
  waits([&] { return lock.try_lock_for(duration<double>{1e300}); });
  waits(
      [&] { return lock.try_lock_for(duration<double>{std::numeric_limits<double>::infinity()}); });
  waits([&] { return lock.try_lock_for(duration<unsigned long long, std::ratio<86400>>::max()); });
  waits([&] { return lock.try_lock_until(steady_clock::time_point::max()); });
  waits([&] { return lock.try_lock_until(system_clock::time_point::max()); });
  waits([&] { return lock.try_lock_until(ForeignClock::time_point::max()); });
  waits([&] {
    return lock.try_lock_until(std::chrono::time_point<system_clock, std::chrono::hours>::max());
  });
}

TEST_F(LockTimed, IsWokenByTheRelease) {
  held_by_somebody();
  auto waiter = std::async(std::launch::async, [this] {
    Lock lock{client, name};
    return lock.try_lock_for(std::chrono::minutes{1});
  });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  const Stopwatch since_release;
  ASSERT_EQ(released_by("somebody"), 0);
  EXPECT_TRUE(waiter.get());
  EXPECT_LT(since_release.elapsed(), soon);
}

TEST_F(LockTimed, SignalsDoNotRestartTheClock) {
  held_by_somebody();
  std::atomic<bool> done{false};
  auto waker = std::async(std::launch::async, [&] {
    Redis waking{test_uri()};
    while (!done) {
      waking.command("LPUSH", signal, 1);
      std::this_thread::sleep_for(5ms);
    }
    waking.command("DEL", signal);
  });
  Lock lock{client, name};
  const Stopwatch watch;
  EXPECT_FALSE(lock.try_lock_for(300ms));
  EXPECT_GE(watch.elapsed(), 300ms);
  EXPECT_LT(watch.elapsed(), 300ms + soon);
  done = true;
}

}  // namespace
}  // namespace redis_lock_test
