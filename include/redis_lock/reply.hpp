#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace redis_lock {

/// Reply of Redis, as it came. Redis converts what a script returns by the table under
/// https://redis.io/docs/latest/develop/programmability/lua-api/#data-type-conversion
struct Reply {
  /// Kinds of replies, and the member that has the value.
  enum class Kind {
    nil,      ///< no value: Lua's nil and false
    status,   ///< `text`, such as OK
    string,   ///< `text`, any bytes
    integer,  ///< `integer`; Lua's numbers lose their fractions, true is 1
    error,    ///< `text`, which begins with an error code
    array,    ///< `elements`
    other     ///< a kind of RESP3 that is not read (over a borrowed connection that speaks it)
  };

  Kind kind = Kind::nil;          ///< which of the members below has the value
  long long integer = 0;          ///< value of Kind::integer
  std::string text{};             ///< value of Kind::string, Kind::status and Kind::error
  std::vector<Reply> elements{};  ///< value of Kind::array

  /// Returns whether there is no value.
  [[nodiscard]] bool is_nil() const noexcept { return kind == Kind::nil; }
  /// Returns whether it is an error.
  [[nodiscard]] bool is_error() const noexcept { return kind == Kind::error; }
  /// Returns whether it is the status OK.
  [[nodiscard]] bool is_ok() const noexcept { return kind == Kind::status && text == "OK"; }
  /// Returns whether it is an error that begins with the word `code`.
  [[nodiscard]] bool is_error(std::string_view code) const {
    return is_error() && text.compare(0, code.size(), code) == 0 &&
           (text.size() == code.size() || text[code.size()] == ' ');
  }
};

}  // namespace redis_lock
