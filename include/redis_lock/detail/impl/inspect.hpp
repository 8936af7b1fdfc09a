#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/config.hpp>
#include <redis_lock/detail/impl/client.hpp>
#include <redis_lock/detail/lock/client_state.hpp>
#include <redis_lock/detail/lock/keyspace.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/inspect.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock {
namespace detail {

/// Calls `each` with those of these keys that are held, under the name of the key. Returns those that are at another
/// server.
template <class Link, class Each>
[[nodiscard]] std::vector<Elsewhere> look_at(Link& link, const std::vector<std::string>& keys,
                                             const Each& each) {
  Commands commands;
  for (const auto& key : keys) commands.add({"GET", key}).add({"PTTL", key});
  const auto replies = link.exchange(commands);
  std::vector<Elsewhere> elsewhere;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto &value = replies[2 * i], &left = replies[2 * i + 1];
    if (is_elsewhere(value) || is_elsewhere(left)) {
      elsewhere.push_back({keys[i], is_elsewhere(value) ? value : left});
      continue;
    }
    if (!value.is_error("WRONGTYPE")) expect_no_error(value);
    expect_no_error(left);
    if (value.is_nil() || value.is_error()) continue;  // gone by now, or no lock
    HeldLock lock{keys[i], string_of(value, "GET").value_or(""), std::nullopt};
    const std::chrono::milliseconds time_left{integer_of(left, "PTTL")};
    if (time_left.count() == -2) continue;
    if (time_left.count() >= 0) lock.time_left = time_left;
    each(std::move(lock));
  }
  return elsewhere;
}

}  // namespace detail

REDIS_LOCK_DEFINITION std::optional<HeldLock> held_lock(Client client, const std::string& name,
                                                        const std::string& key_prefix) {
  detail::require(!name.empty(), "name must not be empty");
  auto& state = *client.state_;
  Options options;
  options.key_prefix = key_prefix;
  const auto key =
      (state.is_cluster() ? detail::keys_on_cluster(name, options) : detail::keys_of(name, options))
          .lock;
  std::optional<HeldLock> held;
  state.perform("held_lock", name, state.limits(state.slot_of(key)), [&](detail::Connection& link) {
    const auto elsewhere =
        detail::look_at(link, {key}, [&](HeldLock lock) { held = std::move(lock); });
    for (const auto& each : elsewhere) detail::expect_no_error(each.reply);
    return 0;
  });
  if (held) held->name = name;
  return held;
}

REDIS_LOCK_DEFINITION void held_locks(Client client,
                                      const std::function<void(const HeldLock&)>& each,
                                      const std::string& key_prefix,
                                      const std::string& fence_prefix) {
  detail::require(each != nullptr, "each must not be null");
  auto& state = *client.state_;
  const detail::LockKeys keys{key_prefix, {}, fence_prefix, state.is_cluster()};
  std::set<std::string> known;  // SCAN may return a key twice, and a walk may be repeated
  const auto tell = [&](HeldLock lock) {
    if (!known.insert(lock.name).second) return;
    lock.name =
        detail::name_under(lock.name.substr(key_prefix.size()), state.is_cluster(), key_prefix);
    each(lock);
  };
  detail::walk_locks(state, "held_locks", keys,
                     [&](detail::Connection& connection, const std::vector<std::string>& found) {
                       return detail::look_at(connection, found, tell);
                     });
}

REDIS_LOCK_DEFINITION std::vector<HeldLock> held_locks(Client client, const std::string& key_prefix,
                                                       const std::string& fence_prefix) {
  std::vector<HeldLock> locks;
  held_locks(
      std::move(client), [&](const HeldLock& lock) { locks.push_back(lock); }, key_prefix,
      fence_prefix);
  std::sort(locks.begin(), locks.end(),
            [](const HeldLock& one, const HeldLock& other) { return one.name < other.name; });
  return locks;
}

}  // namespace redis_lock
