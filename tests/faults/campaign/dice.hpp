#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace redis_lock_test::campaign {

/// What is left to chance, as the seed says.
class Dice {
 public:
  using milliseconds = std::chrono::milliseconds;

  explicit Dice(std::uint64_t seed) : random_(seed) {}

  /// A number from `least` to `most`.
  [[nodiscard]] std::size_t draw(std::size_t least, std::size_t most) {
    return std::uniform_int_distribution<std::size_t>{least, most}(random_);
  }
  [[nodiscard]] milliseconds draw_time(milliseconds least, milliseconds most) {
    return milliseconds{
        draw(static_cast<std::size_t>(least.count()), static_cast<std::size_t>(most.count()))};
  }
  /// One of them; there must be any.
  template <class Some>
  [[nodiscard]] const auto& one_of(const Some& some) {
    return some[draw(0, some.size() - 1)];
  }

 private:
  std::mt19937_64 random_;
};

}  // namespace redis_lock_test::campaign
