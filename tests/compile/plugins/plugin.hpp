#pragma once

#include <system_error>

/// What each of the two shared objects exports under the name "plugin".
struct Plugin {
  void (*fail)();                                  // throws a redis_lock::Error
  bool (*understands)(void (*fail_of_another)());  // catches it, and looks at its code
  const std::error_category& (*category)();
};
