#pragma once

#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

namespace redis_lock::detail {

/// Applies the finalizer of splitmix64: one to one, and each bit of the result depends on all of `z`.
[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

/// A source of ids that no other source gives, in this process or any other: 128 random bits, stepped for each id.
/// Safe to share between threads; must not be shared with a forked child.
class IdSource {
 public:
  /// `prefix` begins each id; 32 hexadecimal digits follow it.
  explicit IdSource(std::string prefix = {}) : prefix_(std::move(prefix)) {}

  [[nodiscard]] std::string next() {
    const auto step = step_.fetch_add(1, std::memory_order_relaxed);
    const auto digits = prefix_.size();
    std::string id(digits + 32, '0');
    prefix_.copy(id.data(), digits);
    write_hexadecimal(&id[digits], mix(high_ + step * odd));
    write_hexadecimal(&id[digits + 16], mix(low_ + step * odd));
    return id;
  }

 private:
  static constexpr std::uint64_t odd = 0x9e3779b97f4a7c15;  // 2^64 over the golden ratio

  /// Returns bits from the kernel. <random> would take as long to compile as all else that Lock includes.
  [[nodiscard]] static std::uint64_t random() {
    std::uint64_t bits = 0;
    if (::getentropy(&bits, sizeof bits) != 0) {
      throw std::system_error(errno, std::generic_category(), "getentropy");
    }
    return bits;
  }

  /// Writes 16 digits, two at a time.
  static void write_hexadecimal(char* text, std::uint64_t value) {
    static constexpr auto pairs = [] {
      std::array<std::array<char, 2>, 256> all{};
      for (std::size_t byte = 0; byte < all.size(); ++byte)
        all[byte] = {"0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]};
      return all;
    }();
    for (int shift = 56; shift >= 0; shift -= 8) {
      const auto& pair = pairs[(value >> shift) & 255];
      *text++ = pair[0];
      *text++ = pair[1];
    }
  }

  const std::string prefix_;
  std::uint64_t high_ = random();
  std::uint64_t low_ = random();
  std::atomic<std::uint64_t> step_{0};
};

}  // namespace redis_lock::detail
