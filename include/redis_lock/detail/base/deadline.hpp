#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
#include <functional>

namespace redis_lock::detail {

using std::chrono::milliseconds;

/// Steady clock of leases and deadlines. It goes on while the machine is suspended, because Redis does. On Linux it
/// is CLOCK_BOOTTIME (clock_gettime(2)): std::chrono::steady_clock stands still during suspension.
struct Clock {
  using duration = std::chrono::steady_clock::duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<Clock>;
  static constexpr bool is_steady = true;

  [[nodiscard]] static time_point now() noexcept {
#if defined(__linux__)
    timespec now{};
    if (::clock_gettime(CLOCK_BOOTTIME, &now) != 0) ::clock_gettime(CLOCK_MONOTONIC, &now);
    return time_point{std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec}};
#else
    return time_point{std::chrono::steady_clock::now().time_since_epoch()};
#endif
  }
};
using Time = Clock::time_point;

/// Deadline of a caller that waits for ever; end of a lease without expiry.
inline constexpr Time never = Time::max();

/// A limit far beyond any uptime, and small enough to add to any Time. A longer duration counts as for ever.
inline constexpr std::chrono::hours longest{24 * 365 * 100};

/// A cheap reading of Clock, at most `error` behind it. For hot paths in which Clock itself would cost too much. A
/// suspension of the machine shows within 128 readings. For one thread at a time.
class CoarseClock {
 public:
  static constexpr milliseconds error{20};

  [[nodiscard]] Time now() noexcept {
#if defined(__linux__)
    timespec tick{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &tick);
    const Time latest{std::chrono::seconds{tick.tv_sec} + std::chrono::nanoseconds{tick.tv_nsec}};
    if (readings_++ % 128 == 0) suspended_ = Clock::now() - latest;
    return latest + suspended_;
#else
    return Clock::now();
#endif
  }

 private:
  unsigned readings_ = 0;
  Clock::duration suspended_{};
};

/// Returns what std::chrono::steady_clock shows at `time`, if the machine is not suspended before. The same `time`
/// gives the same result, unless the machine was suspended in between.
[[nodiscard]] inline std::chrono::steady_clock::time_point to_steady(Time time) noexcept {
  using Steady = std::chrono::steady_clock;
  if (time == Time::max()) return Steady::time_point::max();
  if (time == Time::min()) return Steady::time_point::min();
  static std::atomic<Clock::rep> suspended{0};
  // The clocks cannot be read at one instant: keep the known difference while it may be the right one.
  const auto before = Steady::now().time_since_epoch();
  const auto now = Clock::now().time_since_epoch();
  const auto behind = Steady::now().time_since_epoch();
  Clock::duration difference{suspended.load(std::memory_order_relaxed)};
  if (difference < now - behind || difference > now - before) {
    difference = now - before;
    suspended.store(difference.count(), std::memory_order_relaxed);
  }
  return Steady::time_point{time.time_since_epoch() - difference};
}

/// Returns `from` + `duration`, without overflow and never early. A duration that is too long gives `never`. A NaN or
/// a negative duration counts as zero.
template <class Rep, class Period>
[[nodiscard]] Time after(Time from, const std::chrono::duration<Rep, Period>& duration) {
  // Floating point, because some durations that fit would overflow on the way of an integer conversion.
  const std::chrono::duration<long double, Time::period> ticks{duration};
  if (!(ticks > ticks.zero())) return from;
  if (ticks >= longest || from > never - longest) return never;
  return from + std::chrono::ceil<Time::duration>(ticks);
}

/// Clamps `time` to what std::condition_variable can take: it subtracts the present of one clock and adds that of
/// another. The two ends of Time would overflow.
[[nodiscard]] inline Time waitable(Time time) {
  return std::clamp(time, Time{}, Time{2 * longest});
}

/// Returns how far `deadline` is on its own clock. In floating point: an integer cannot hold the difference of two
/// extreme time_points. Nor can it hold a time_point in hours in the unit of its clock.
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

/// Returns when the library's clock will show what `Clock` shows at `deadline`, as far as can be known now.
template <class Clock, class Duration>
[[nodiscard]] Time steady(const std::chrono::time_point<Clock, Duration>& deadline) {
  return after(Time::clock::now(), remaining(deadline));
}

/// Returns steady(deadline), or Time::min() if the deadline has passed. The result changes if `Clock` is set.
template <class Clock, class Duration>
[[nodiscard]] Time steady_now(const std::chrono::time_point<Clock, Duration>& deadline) {
  return has_passed(deadline) ? Time::min() : steady(deadline);
}

/// End of a wait. If it is on a clock that can be set, it is looked up again periodically.
class Deadline {
 public:
  /// How long a deadline that may move is trusted to stay.
  static constexpr milliseconds longest_trust{1000};

  Deadline(Time time) : time_(time) {}
  /// `look` returns when the deadline will be, as far as can be known now. It must outlive the Deadline.
  explicit Deadline(const std::function<Time()>& look) : look_(&look) {}

  [[nodiscard]] bool may_move() const noexcept { return look_ != nullptr; }
  [[nodiscard]] Time at() const { return look_ ? (*look_)() : time_; }
  /// Returns when a wait must ask again. The deadline does not count as over before then.
  [[nodiscard]] Time next_look() const {
    return look_ ? std::min((*look_)(), Clock::now() + longest_trust) : time_;
  }

 private:
  Time time_{};
  const std::function<Time()>* look_ = nullptr;
};

/// Calls `acquire_until(Deadline)` for a deadline on any clock. Returns what it returns: false is never early.
template <class Clock, class Duration, class Acquire>
[[nodiscard]] bool try_until(const std::chrono::time_point<Clock, Duration>& deadline,
                             const Acquire& acquire_until) {
  if constexpr (!Clock::is_steady) {
    const std::function<Time()> look = [&] { return steady_now(deadline); };
    return acquire_until(Deadline{look});
  }
  while (!acquire_until(Deadline{steady(deadline)})) {
    if (has_passed(deadline)) return false;  // otherwise that clock was set back meanwhile
  }
  return true;
}

/// Returns the time left until `deadline` in whole milliseconds, rounded up so that no wait is too short.
[[nodiscard]] inline milliseconds left_until(Time deadline, Time now) {
  if (deadline == never) return longest;
  return deadline <= now ? milliseconds::zero() : std::chrono::ceil<milliseconds>(deadline - now);
}

}  // namespace redis_lock::detail
