#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace redis_lock {

/// One answer of Redis, as it came: what a script returned is converted by the table under
/// https://redis.io/docs/latest/develop/programmability/lua-api/#data-type-conversion
struct Reply {
  /// What there is to read.
  enum class Kind {
    nil,      ///< nothing: Lua's nil and false
    status,   ///< `text`, such as OK
    string,   ///< `text`, any bytes
    integer,  ///< `integer`; Lua's numbers lose their fractions, true is 1
    error,    ///< `text`, which begins with an error code
    array,    ///< `elements`
    other     ///< a kind of RESP3 (over a borrowed connection that speaks it), not read
  };

  Kind kind = Kind::nil;          ///< says which of the others is meant
  long long integer = 0;          ///< of Kind::integer
  std::string text{};             ///< of Kind::string, Kind::status and Kind::error
  std::vector<Reply> elements{};  ///< of Kind::array

  /// Is it nothing?
  [[nodiscard]] bool is_nil() const noexcept { return kind == Kind::nil; }
  /// Is it an error of any kind?
  [[nodiscard]] bool is_error() const noexcept { return kind == Kind::error; }
  /// Is it the status OK?
  [[nodiscard]] bool is_ok() const noexcept { return kind == Kind::status && text == "OK"; }
  /// Is it an error whose first word, the error code, is this?
  [[nodiscard]] bool is_error(std::string_view code) const {
    return is_error() && text.compare(0, code.size(), code) == 0 &&
           (text.size() == code.size() || text[code.size()] == ' ');
  }
};

}  // namespace redis_lock
