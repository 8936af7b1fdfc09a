#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <optional>
#include <ratio>
#include <string_view>
#include <utility>

#include <redis_lock/detail/base/deadline.hpp>

namespace redis_lock::detail {

/// The greatest Endpoint::spin: more would be a busy wait.
inline constexpr std::chrono::microseconds longest_spin{1000};

/// The forms that duration_of() accepts, for an error about a text that it refuses.
inline constexpr const char* duration_forms =
    "a duration of 100 years at most, such as 500ms, 5s, 1m30s or 1d";

/// Reads a duration: numbers, each with a unit `us`, `ms`, `s`, `m`, `h` or `d`. A single number without a unit has
/// `default_unit`. Numbers may have a fraction; the sum is rounded up to a whole `Tick`. Returns nothing if `text` has
/// another form, or is more than 100 years.
template <class Tick = milliseconds>
[[nodiscard]] std::optional<Tick> duration_of(std::string_view text,
                                              std::string_view default_unit) {
  using Microseconds = std::chrono::duration<double, std::micro>;
  constexpr std::array<std::pair<std::string_view, double>, 6> units{
      {{"us", 1}, {"ms", 1e3}, {"s", 1e6}, {"m", 60e6}, {"h", 3600e6}, {"d", 86400e6}}};
  constexpr const char* number_letters = "0123456789.";
  const bool is_bare = text.find_first_not_of(number_letters) == text.npos;
  double time = 0;
  do {
    const auto number = text.substr(0, text.find_first_not_of(number_letters));
    text.remove_prefix(number.size());
    const auto unit = text.substr(0, text.find_first_of(number_letters));
    text.remove_prefix(unit.size());
    const auto known = std::find_if(units.begin(), units.end(), [&](const auto& each) {
      return each.first == (is_bare ? default_unit : unit);
    });
    // One division makes 4.35s exactly 4350 ms, instead of a little more that is rounded up.
    double digits = 0, divisor = 1;
    std::size_t points = 0;
    for (const char c : number) {
      if (c == '.') {
        ++points;
        continue;
      }
      digits = digits * 10 + (c - '0');
      if (points > 0) divisor *= 10;
    }
    if (known == units.end() || points > 1 || points == number.size()) return std::nullopt;
    time += digits * known->second / divisor;
  } while (!text.empty());
  // Endless digits give infinity or a NaN.
  if (!(time <= Microseconds{longest}.count())) return std::nullopt;
  return std::chrono::ceil<Tick>(Microseconds{time});
}

}  // namespace redis_lock::detail
