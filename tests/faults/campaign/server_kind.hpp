#pragma once

#include <array>
#include <stdexcept>
#include <string>
#include <string_view>

namespace redis_lock_test::campaign {

enum class ServerKind { one, sentinel, cluster, quorum };
inline constexpr std::array<std::string_view, 4> server_kind_names{"one", "sentinel", "cluster",
                                                                   "quorum"};

/// Throws std::invalid_argument if there is none of this name.
[[nodiscard]] inline ServerKind server_kind(std::string_view name) {
  for (std::size_t i = 0; i < server_kind_names.size(); ++i) {
    if (server_kind_names[i] == name) return static_cast<ServerKind>(i);
  }
  throw std::invalid_argument("there are no servers \"" + std::string(name) + '"');
}

}  // namespace redis_lock_test::campaign
