#pragma once

#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace redis_lock_test {

/// One command as a client sends it: its name and its arguments.
using Command = std::vector<std::string>;

namespace detail {

struct Line {
  long long number;
  std::size_t length;
};

/// Reads "<type><number>\r\n" at `at`; nothing when it is not there in full.
inline std::optional<Line> read_line(std::string_view bytes, std::size_t at) {
  const auto end = bytes.find("\r\n", at);
  if (end == std::string_view::npos) return std::nullopt;
  Line line{0, end + 2 - at};
  std::from_chars(bytes.data() + at + 1, bytes.data() + end, line.number);
  return line;
}

}  // namespace detail

/// Takes the first complete command off the front of `bytes`; nothing when none is there in full. Servers ignore empty
/// lines.
inline std::optional<Command> take_command(std::string& bytes) {
  while (bytes.compare(0, 2, "\r\n") == 0) bytes.erase(0, 2);
  if (bytes.empty()) return std::nullopt;
  const auto count = detail::read_line(bytes, 0);
  if (!count) return std::nullopt;
  Command command;
  auto at = count->length;
  for (long long i = 0; i < count->number; ++i) {
    const auto size = detail::read_line(bytes, at);
    if (!size) return std::nullopt;
    const auto length = static_cast<std::size_t>(size->number);
    at += size->length;
    if (bytes.size() < at + length + 2) return std::nullopt;
    command.push_back(bytes.substr(at, length));
    at += length + 2;
  }
  bytes.erase(0, at);
  return command;
}

/// The length of the reply at `at`, with all its elements; nothing when it is not there in full.
inline std::optional<std::size_t> reply_length(std::string_view bytes, std::size_t at = 0) {
  if (at >= bytes.size()) return std::nullopt;
  const auto line = detail::read_line(bytes, at);
  if (!line) return std::nullopt;
  auto length = line->length;
  if (bytes[at] == '$' && line->number >= 0) {
    length += static_cast<std::size_t>(line->number) + 2;
    if (at + length > bytes.size()) return std::nullopt;
  }
  if (bytes[at] == '*') {
    for (long long i = 0; i < line->number; ++i) {
      const auto element = reply_length(bytes, at + length);
      if (!element) return std::nullopt;
      length += *element;
    }
  }
  return length;
}

/// The bytes of a command as a client sends it.
inline std::string encode(const Command& command) {
  auto bytes = "*" + std::to_string(command.size()) + "\r\n";
  for (const auto& argument : command) {
    bytes += "$" + std::to_string(argument.size()) + "\r\n" + argument + "\r\n";
  }
  return bytes;
}

}  // namespace redis_lock_test
