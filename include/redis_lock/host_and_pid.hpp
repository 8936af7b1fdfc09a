#pragma once

#include <unistd.h>

#include <array>
#include <string>

namespace redis_lock {

/// "<host>:<pid>:" of this process, for Options::id_prefix: a person who reads an id then knows whom to look
/// for. The name of the host is what gethostname() says, cut to 255 bytes. No I/O, never fails. A forked child
/// that wants its own pid in its ids needs options of its own.
[[nodiscard]] inline std::string host_and_pid() {
  std::array<char, 256> host{};
  (void)::gethostname(host.data(), host.size() - 1);
  return std::string(host.data()) + ':' + std::to_string(::getpid()) + ':';
}

}  // namespace redis_lock
