#pragma once

#include <chrono>
#include <ctime>

namespace redis_lock::detail {

using std::chrono::milliseconds;
using Time = std::chrono::steady_clock::time_point;

/// The deadline of who waits for ever, and the end of a lease that has none.
inline constexpr Time never = Time::max();

/// Whatever is longer than this is for ever: far beyond any uptime, and small enough to add to any
/// time_point of the steady clock.
inline constexpr std::chrono::hours longest{24 * 365 * 100};

/// What the steady clock showed at the latest tick of the kernel's timer, at most coarse_error ago:
/// for hot paths, where reading the clock itself would be the greater part of the work.
[[nodiscard]] inline Time coarse_now() noexcept {
#if defined(__linux__)
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return Time{std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec}};
#else
  return Time::clock::now();
#endif
}
inline constexpr milliseconds coarse_error{20};

/// `from` + `duration`, without overflow and never early; a duration that is too long gives `never`.
/// A NaN counts as no time at all.
template <class Rep, class Period>
[[nodiscard]] Time after(Time from, const std::chrono::duration<Rep, Period>& duration) {
  // In floating point: some durations that fit cannot be converted without overflow on the way.
  const std::chrono::duration<long double, Time::period> ticks{duration};
  if (!(ticks > ticks.zero())) return from;
  if (ticks >= longest) return never;
  return from + std::chrono::ceil<Time::duration>(ticks);
}

/// How far `deadline` is on its own clock. In floating point: the difference of two extreme time_points, or
/// one in hours in the unit of its clock, does not fit an integer.
template <class Clock, class Duration>
[[nodiscard]] std::chrono::duration<long double> remaining(
    const std::chrono::time_point<Clock, Duration>& deadline) {
  using Seconds = std::chrono::duration<long double>;
  return Seconds{deadline.time_since_epoch()} - Seconds{Clock::now().time_since_epoch()};
}
template <class Clock, class Duration>
[[nodiscard]] bool has_passed(const std::chrono::time_point<Clock, Duration>& deadline) {
  const auto left = remaining(deadline);
  return !(left > left.zero());
}

/// When the steady clock will show what `Clock` shows at `deadline`, as far as can be known now.
template <class Clock, class Duration>
[[nodiscard]] Time steady(const std::chrono::time_point<Clock, Duration>& deadline) {
  return after(Time::clock::now(), remaining(deadline));
}

/// The time left until `deadline` in whole milliseconds, rounded up so that no wait is short.
[[nodiscard]] inline milliseconds left_until(Time deadline, Time now) {
  if (deadline == never) return longest;
  return deadline <= now ? milliseconds::zero() : std::chrono::ceil<milliseconds>(deadline - now);
}

}  // namespace redis_lock::detail
