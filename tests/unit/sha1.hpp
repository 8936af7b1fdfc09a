#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace redis_lock_test {

/// SHA-1 (RFC 3174) in hexadecimal: the name by which a server knows a script.
inline std::string sha1(std::string_view text) {
  const auto rotate = [](std::uint32_t value, unsigned by) {
    return value << by | value >> (32 - by);
  };
  std::string padded{text};
  padded += '\x80';
  while (padded.size() % 64 != 56) padded += '\0';
  for (int shift = 56; shift >= 0; shift -= 8) {
    padded += static_cast<char>((std::uint64_t{text.size()} * 8) >> shift & 0xff);
  }

  std::array<std::uint32_t, 5> hash{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  for (std::size_t block = 0; block < padded.size(); block += 64) {
    std::array<std::uint32_t, 80> word{};
    for (std::size_t i = 0; i < 64; ++i) {
      word.at(i / 4) = word.at(i / 4) << 8 | static_cast<unsigned char>(padded[block + i]);
    }
    for (std::size_t i = 16; i < 80; ++i) {
      word.at(i) = rotate(word.at(i - 3) ^ word.at(i - 8) ^ word.at(i - 14) ^ word.at(i - 16), 1);
    }
    auto [a, b, c, d, e] = hash;
    for (std::size_t i = 0; i < 80; ++i) {
      const auto mixed = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
                         : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
                         : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
                                  : (b ^ c ^ d) + 0xca62c1d6;
      const auto next = rotate(a, 5) + mixed + e + word.at(i);
      e = d;
      d = c;
      c = rotate(b, 30);
      b = a;
      a = next;
    }
    hash = {hash[0] + a, hash[1] + b, hash[2] + c, hash[3] + d, hash[4] + e};
  }

  std::string text_of_hash;
  for (const auto part : hash) {
    for (int shift = 28; shift >= 0; shift -= 4)
      text_of_hash += "0123456789abcdef"[part >> shift & 15];
  }
  return text_of_hash;
}

}  // namespace redis_lock_test
