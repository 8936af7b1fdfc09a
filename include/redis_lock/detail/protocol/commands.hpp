#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <redis_lock/detail/base/small_vector.hpp>
#include <redis_lock/reply.hpp>

namespace redis_lock::detail {

/// Commands for one write. Refers to its arguments, which must outlive it.
class Commands {
 public:
  Commands& add(std::initializer_list<std::string_view> arguments) {
    for (const auto argument : arguments) arguments_.push_back(argument);
    ends_.push_back(arguments_.size());
    return *this;
  }

  void clear() noexcept {
    arguments_.clear();
    ends_.clear();
  }

  /// Adds an argument to the latest command.
  Commands& append(std::string_view argument) {
    arguments_.push_back(argument);
    ++ends_.back();
    return *this;
  }

  /// Returns the bytes on the wire. https://redis.io/docs/latest/develop/reference/protocol-spec/
  /// Replaces the formatting of hiredis, which was measured at half of all instructions of lock and unlock.
  [[nodiscard]] std::string encode() const {
    std::string bytes;
    encode_to(bytes);
    return bytes;
  }
  /// Replaces `bytes`, and needs no allocation if they have room.
  void encode_to(std::string& bytes) const {
    std::size_t most = size() * longest_header;
    for (const auto& argument : arguments_) most += argument.size() + longest_header + 2;
    bytes.resize(most);
    char* at = bytes.data();
    for (std::size_t command = 0; command < size(); ++command) {
      at = write_header(at, '*', static_cast<std::size_t>(end(command) - begin(command)));
      for (auto argument = begin(command); argument != end(command); ++argument) {
        at = write_header(at, '$', argument->size());
        at = std::copy(argument->begin(), argument->end(), at);
        *at++ = '\r';
        *at++ = '\n';
      }
    }
    bytes.resize(static_cast<std::size_t>(at - bytes.data()));
  }

  [[nodiscard]] std::size_t size() const noexcept { return ends_.size(); }
  [[nodiscard]] bool empty() const noexcept { return ends_.empty(); }
  [[nodiscard]] const std::string_view* begin(std::size_t command) const {
    return arguments_.begin() + (command == 0 ? 0 : ends_[command - 1]);
  }
  [[nodiscard]] const std::string_view* end(std::size_t command) const {
    return arguments_.begin() + ends_[command];
  }

 private:
  static constexpr std::size_t longest_header = 1 + 20 + 2;

  static char* write_header(char* at, char type, std::size_t count) {
    *at++ = type;
    if (count < 10) {
      *at++ = static_cast<char>('0' + count);
    } else {
      at = std::to_chars(at, at + 20, count).ptr;
    }
    *at++ = '\r';
    *at++ = '\n';
    return at;
  }

  SmallVector<std::string_view, 16> arguments_;
  SmallVector<std::size_t, 4> ends_;
};

using redis_lock::Reply;
using Replies = std::vector<Reply>;

}  // namespace redis_lock::detail
