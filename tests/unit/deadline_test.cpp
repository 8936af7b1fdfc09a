#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <mutex>
#include <ratio>

#include <gtest/gtest.h>

#include <redis_lock/detail/base/deadline.hpp>

namespace redis_lock_test {
namespace {

using namespace std::chrono_literals;
using redis_lock::detail::after;
using redis_lock::detail::has_passed;
using redis_lock::detail::left_until;
using redis_lock::detail::longest;
using redis_lock::detail::never;
using redis_lock::detail::steady;
using redis_lock::detail::Time;
using std::chrono::duration;
using std::chrono::nanoseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;
using std::chrono::time_point;

constexpr Time start = Time{} + 1000h;
constexpr std::chrono::hours year{24 * 365};

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();
template <class T>
constexpr T nan = std::numeric_limits<T>::quiet_NaN();

TEST(After, AddsWhatFits) {
  EXPECT_EQ(after(start, nanoseconds{1}) - start, nanoseconds{1});
  EXPECT_EQ(after(start, 30s) - start, 30s);
  EXPECT_EQ(after(start, 2h) - start, 2h);
  EXPECT_EQ(after(start, duration<std::uint8_t>{255}) - start, 255s);
  EXPECT_EQ(after(start, 99 * year) - start, 99 * year);
}

TEST(After, IsNeverEarly) {
  using Picoseconds = duration<std::int64_t, std::pico>;
  EXPECT_EQ(after(start, Picoseconds{1}) - start, nanoseconds{1});
  EXPECT_EQ(after(start, Picoseconds{1001}) - start, nanoseconds{2});
  EXPECT_EQ(after(start, duration<double>{1e-12}) - start, nanoseconds{1});
  EXPECT_GE(after(start, duration<double>{0.1}) - start, 100ms);
  EXPECT_GE(after(start, duration<float, std::milli>{0.3F}) - start, 300us);
  EXPECT_GE(after(start, duration<std::int64_t, std::ratio<1, 3>>{1}) - start,
            nanoseconds{333'333'334});
}

TEST(After, OfNoTimeOrLessIsAtOnce) {
  EXPECT_EQ(after(start, 0s), start);
  EXPECT_EQ(after(start, -1ms), start);
  EXPECT_EQ(after(start, nanoseconds::min()), start);
  EXPECT_EQ(after(start, std::chrono::hours::min()), start);
  EXPECT_EQ(after(start, duration<double>{-infinity<double>}), start);
  EXPECT_EQ(after(start, duration<double>::min()), start);
}

TEST(After, OfNanIsAtOnce) {
  EXPECT_EQ(after(start, duration<double>{nan<double>}), start);
  EXPECT_EQ(after(start, duration<float, std::ratio<3600>>{nan<float>}), start);
}

TEST(After, OfTooMuchIsNever) {
  EXPECT_EQ(after(start, nanoseconds::max()), never);
  EXPECT_EQ(after(start, std::chrono::milliseconds::max()), never);
  EXPECT_EQ(after(start, std::chrono::seconds::max()), never);
  EXPECT_EQ(after(start, std::chrono::hours::max()), never);
  EXPECT_EQ(after(start, duration<std::int64_t, std::ratio<31'556'952>>::max()), never);
  EXPECT_EQ(after(start, duration<std::uint64_t>::max()), never);
  EXPECT_EQ(after(start, duration<double>{infinity<double>}), never);
  EXPECT_EQ(after(start, duration<double>::max()), never);
  EXPECT_EQ(after(start, duration<long double, std::ratio<3600>>::max()), never);
  EXPECT_EQ(after(start, longest), never);
  EXPECT_LT(after(start, longest - 1h), never);
}

TEST(After, NeverIsNever) {
  for (const auto from : {never, never - 1ns, never - 20ms, never - year}) {
    EXPECT_EQ(after(from, 20ms), never);
    EXPECT_EQ(after(from, 99 * year), never);
  }
  EXPECT_EQ(after(Time::min(), 20ms), Time::min() + 20ms);
}

TEST(After, TakesPeriodsThatDoNotDivideANanosecond) {
  using Samples = duration<std::int64_t, std::ratio<1, 44'100>>;
  EXPECT_EQ(after(start, Samples{44'100}) - start, 1s);
  EXPECT_EQ(after(start, Samples{44'100LL * 3600 * 24 * 365}) - start, year);
  EXPECT_EQ(after(start, Samples::max()), never);
}

/// What a deadline on another clock comes to, from now.
template <class Clock, class Duration>
nanoseconds left(time_point<Clock, Duration> deadline) {
  const auto before = redis_lock::detail::Time::clock::now();
  const auto at = steady(deadline);
  return at == never ? nanoseconds::max() : nanoseconds{at - before};
}

/// Counts minutes in doubles, from an instant in the future.
struct ForeignClock {
  using rep = double;
  using period = std::ratio<60>;
  using duration = std::chrono::duration<rep, period>;
  using time_point = std::chrono::time_point<ForeignClock>;
  static time_point now() {
    return time_point{duration{steady_clock::now().time_since_epoch()} - duration{1e6}};
  }
};

/// Counts few ticks, and stands still.
struct CoarseClock {
  using rep = std::int16_t;
  using period = std::ratio<1>;
  using duration = std::chrono::duration<rep, period>;
  using time_point = std::chrono::time_point<CoarseClock>;
  static time_point now() { return time_point{duration{-100}}; }
};

TEST(Steady, KeepsADeadlineOfTheSteadyClock) {
  EXPECT_GE(left(steady_clock::now() + 1h), 1h - 10s);
  EXPECT_LE(left(steady_clock::now() + 1h), 1h + 10s);
}

TEST(Steady, TakesADeadlineOfAnyClock) {
  EXPECT_GE(left(system_clock::now() + 1h), 1h - 10s);
  EXPECT_LE(left(system_clock::now() + 1h), 1h + 10s);
  EXPECT_GE(left(ForeignClock::now() + 1h), 1h - 10s);
  EXPECT_LE(left(ForeignClock::now() + 1h), 1h + 10s);
  EXPECT_GE(left(CoarseClock::now() + 200s), 200s);
  EXPECT_LE(left(CoarseClock::now() + 200s), 210s);
  EXPECT_GE(left(time_point<CoarseClock, nanoseconds>{CoarseClock::now()} + nanoseconds{1}),
            nanoseconds{1});
}

TEST(Steady, OfThePastIsNow) {
  EXPECT_LE(left(steady_clock::now() - 1h), 10s);
  EXPECT_LE(left(system_clock::now() - 1h), 10s);
  EXPECT_LE(left(system_clock::time_point{}), 10s);
  EXPECT_LE(left(ForeignClock::now() - 1h), 10s);
}

TEST(Steady, OfTheSmallestTimeIsNow) {
  EXPECT_LE(left(steady_clock::time_point::min()), 10s);
  EXPECT_LE(left(system_clock::time_point::min()), 10s);
  EXPECT_LE(left(ForeignClock::time_point::min()), 10s);
  EXPECT_LE(left(time_point<ForeignClock>{duration<double, std::ratio<60>>{-infinity<double>}}),
            10s);
  EXPECT_LE(left(CoarseClock::time_point::min()), 10s);
}

TEST(Steady, OfTheSmallestCoarseTimeIsNow) {
  EXPECT_LE(left(time_point<steady_clock, std::chrono::hours>::min()), 10s);
  EXPECT_LE(left(time_point<system_clock, std::chrono::seconds>::min()), 10s);
  EXPECT_LE(left(time_point<system_clock, std::chrono::milliseconds>::min()), 10s);
}

TEST(Steady, OfTheLargestTimeIsNever) {
  EXPECT_EQ(left(steady_clock::time_point::max()), nanoseconds::max());
  EXPECT_EQ(left(system_clock::time_point::max()), nanoseconds::max());
  EXPECT_EQ(left(ForeignClock::time_point::max()), nanoseconds::max());
  EXPECT_EQ(left(time_point<ForeignClock>{duration<double, std::ratio<60>>{infinity<double>}}),
            nanoseconds::max());
  EXPECT_EQ(left(time_point<steady_clock, duration<double>>{duration<double>{infinity<double>}}),
            nanoseconds::max());
}

TEST(Steady, OfTheLargestCoarseTimeIsNever) {
  EXPECT_EQ(left(time_point<steady_clock, std::chrono::hours>::max()), nanoseconds::max());
  EXPECT_EQ(left(time_point<system_clock, std::chrono::hours>::max()), nanoseconds::max());
  EXPECT_EQ(left(time_point<system_clock, std::chrono::seconds>::max()), nanoseconds::max());
  EXPECT_EQ(left(time_point<system_clock, std::chrono::milliseconds>::max()), nanoseconds::max());
  EXPECT_EQ(
      left(time_point<steady_clock, std::chrono::seconds>{std::chrono::seconds{20'000'000'000}}),
      nanoseconds::max());
}

TEST(Steady, OfNanIsNow) {
  EXPECT_LE(left(time_point<steady_clock, duration<double>>{duration<double>{nan<double>}}), 10s);
  EXPECT_LE(left(time_point<ForeignClock>{duration<double, std::ratio<60>>{nan<double>}}), 10s);
}

TEST(Waitable, CanBeWaitedForAtTheExtremes) {
  std::mutex mutex;
  std::condition_variable wake;
  std::unique_lock guard{mutex};
  for (const auto past :
       {Time::min(), Time{}, Time::clock::now()}) {  // UndefinedBehaviorSanitizer watches
    EXPECT_EQ(wake.wait_until(guard, redis_lock::detail::waitable(past)), std::cv_status::timeout);
  }
  EXPECT_GT(redis_lock::detail::waitable(never), Time::clock::now() + longest);
  EXPECT_LT(redis_lock::detail::waitable(never), Time::max() - 50 * year)
      << "room to add the clock";
  const auto soon = Time::clock::now() + std::chrono::hours{1};
  EXPECT_EQ(redis_lock::detail::waitable(soon), soon);
}

TEST(HasPassed, IsToldByTheClockOfTheDeadline) {
  EXPECT_TRUE(has_passed(steady_clock::now()));
  EXPECT_TRUE(has_passed(CoarseClock::now()));
  EXPECT_TRUE(has_passed(system_clock::now() - 1h));
  EXPECT_FALSE(has_passed(system_clock::now() + 1h));
  EXPECT_TRUE(has_passed(ForeignClock::now() - 1h));
  EXPECT_FALSE(has_passed(ForeignClock::now() + 1h));
  EXPECT_FALSE(has_passed(CoarseClock::now() + 1s));
}

TEST(HasPassed, IsRightAtTheExtremes) {
  EXPECT_FALSE(has_passed(time_point<system_clock, std::chrono::hours>::max()));
  EXPECT_TRUE(has_passed(time_point<system_clock, std::chrono::hours>::min()));
  EXPECT_FALSE(has_passed(ForeignClock::time_point::max()));
  EXPECT_TRUE(has_passed(time_point<steady_clock, duration<double>>{
      duration<double>{nan<double>}}));  // or try_lock_until would go on for ever
}

TEST(LeftUntil, IsRoundedUpToWholeMilliseconds) {
  EXPECT_EQ(left_until(start + 5ms, start), 5ms);
  EXPECT_EQ(left_until(start + 5ms + nanoseconds{1}, start), 6ms);
  EXPECT_EQ(left_until(start + nanoseconds{1}, start), 1ms);
}

TEST(LeftUntil, IsZeroAtTheDeadlineAndBehindIt) {
  EXPECT_EQ(left_until(start, start), 0ms);
  EXPECT_EQ(left_until(start, start + 1h), 0ms);
  EXPECT_EQ(left_until(Time::min(), start), 0ms);
}

TEST(LeftUntil, NeverIsLongAndCanBeAdded) {
  EXPECT_EQ(left_until(never, start), longest);
  EXPECT_EQ(left_until(never, Time::min()), longest);
  EXPECT_LT(start + left_until(never, start), never);
}

}  // namespace
}  // namespace redis_lock_test
