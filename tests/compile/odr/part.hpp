#pragma once

#include <cstddef>
#include <string>
#include <system_error>
#include <vector>

namespace redis_lock {
class Client;
class Lock;
}  // namespace redis_lock

// What part.cpp defines, once compiled as C++17 and once as C++20.

namespace cxx17 {
long standard();
std::vector<std::size_t> sizes();
std::string name(const redis_lock::Lock& lock);
const std::error_category& category();
}  // namespace cxx17

namespace cxx20 {
long standard();
std::vector<std::size_t> sizes();
std::string name(const redis_lock::Lock& lock);
const std::error_category& category();
}  // namespace cxx20

// What without_lock.cpp defines.

namespace without_lock {
redis_lock::Client client();
std::vector<std::size_t> sizes();
const std::error_category& category();
}  // namespace without_lock
