#pragma once

#include <stdexcept>
#include <string>

namespace redis_lock {
enum class errc;
}

namespace redis_lock::detail {

/// A failed operation on Redis whose lock is not known yet: Error adds the lock's name.
class Failure : public std::runtime_error {
 public:
  enum class Kind { final, transient };  // transient: may succeed on a new connection

  Failure(errc code, const std::string& text, Kind kind = Kind::final)
      : std::runtime_error(text), code_(code), kind_(kind) {}

  [[nodiscard]] errc code() const noexcept { return code_; }
  /// Returns this failure with another text.
  [[nodiscard]] Failure with(const std::string& text) const { return {code_, text, kind_}; }
  [[nodiscard]] bool is_transient() const noexcept { return kind_ == Kind::transient; }

 private:
  errc code_;
  Kind kind_;
};

}  // namespace redis_lock::detail
