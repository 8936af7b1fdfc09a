#pragma once

#include <stdexcept>
#include <string>

#include <redis_lock/error.hpp>

namespace redis_lock::detail {

/// An operation on Redis that failed, before it is known whose operation it was: Error adds the name
/// of the lock.
class Fault : public std::runtime_error {
 public:
  enum class Kind { final, passing };  // passing: the same on a new connection may succeed

  Fault(errc code, const std::string& text, Kind kind = Kind::final)
      : std::runtime_error(text), code_(code), kind_(kind) {}

  [[nodiscard]] errc code() const noexcept { return code_; }
  [[nodiscard]] bool passing() const noexcept { return kind_ == Kind::passing; }

 private:
  errc code_;
  Kind kind_;
};

}  // namespace redis_lock::detail
