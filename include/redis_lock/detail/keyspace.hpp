#pragma once

#include <string>
#include <vector>

#include <redis_lock/detail/connection.hpp>
#include <redis_lock/detail/core.hpp>
#include <redis_lock/detail/protocol.hpp>
#include <redis_lock/detail/slot_map.hpp>

namespace redis_lock::detail {

/// Walks the keyspace of all masters by SCAN, and has `visit(const std::vector<std::string>&)` look at the keys
/// that begin with `prefix`, some at a time; one may come more than once. Throws Error, which names the operation.
template <class Visit>
void for_each_key(Core& core, const char* operation, const std::string& prefix,
                  const Visit& visit) {
  for (const auto server : core.one_slot_of_each(operation, prefix)) {
    std::string cursor = "0";
    do {
      const auto found =
          core.perform(operation, prefix, core.terms(server),
                       [&](Connection& connection) { return scan(connection, prefix, cursor); });
      visit(found.keys);
      cursor = found.next;
    } while (cursor != "0");
  }
}

}  // namespace redis_lock::detail
