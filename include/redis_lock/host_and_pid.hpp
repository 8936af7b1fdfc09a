#pragma once

#include <unistd.h>

#include <array>
#include <string>

namespace redis_lock {

/// Returns "<host>:<pid>:" of this process, for Options::id_prefix. A person who reads an id then
/// knows which process holds the lock. The host is what gethostname() returns, cut to 255 bytes. No
/// I/O, never fails. If the ids of a forked child are to have its own pid, give it options of its
/// own.
[[nodiscard]] inline std::string host_and_pid() {
  std::array<char, 256> host{};
  (void)::gethostname(host.data(), host.size() - 1);
  return std::string(host.data()) + ':' + std::to_string(::getpid()) + ':';
}

}  // namespace redis_lock
