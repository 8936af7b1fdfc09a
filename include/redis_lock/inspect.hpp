#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/client.hpp>
#include <redis_lock/detail/checked.hpp>
#include <redis_lock/detail/connection.hpp>
#include <redis_lock/detail/keyspace.hpp>
#include <redis_lock/detail/message.hpp>
#include <redis_lock/detail/protocol.hpp>
#include <redis_lock/detail/slot_map.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock {

/// A lock that somebody holds, as Redis knows it.
struct HeldLock {
  std::string name;   ///< without the prefix of its key
  std::string owner;  ///< the holder's id, any bytes: see Options::id_prefix
  /// What is left of the lease, on the server's clock. None: it has no expiry.
  std::optional<std::chrono::milliseconds> time_left;
};

/// All locks that are held and whose key begins with `key_prefix`, sorted by name. Finds them by SCAN (Redis 2.8
/// and later), and leaves keys out that are not strings. Blocks for as long as it takes to walk the keyspace, of
/// all masters of a cluster, without blocking the servers; not a snapshot of one instant. Throws Error, as Lock
/// does when Redis is away; std::invalid_argument if key_prefix is empty, as every string would be listed.
[[nodiscard]] std::vector<HeldLock> held_locks(Client client,
                                               const std::string& key_prefix = "lock:");

/// One lock, at one round trip: nothing if nobody holds it. Throws Error; std::invalid_argument if name is empty.
[[nodiscard]] std::optional<HeldLock> held_lock(Client client, const std::string& name,
                                                const std::string& key_prefix = "lock:");

namespace detail {

/// The name under a key without its prefix: on a cluster it may have been made a hash tag (keys_on_cluster()).
[[nodiscard]] inline std::string name_under(std::string key, bool is_cluster) {
  const bool is_tag =
      is_cluster && key.size() > 2 && key.front() == '{' && key.find('}') == key.size() - 1;
  return is_tag ? key.substr(1, key.size() - 2) : key;
}

/// Adds what is held of these keys, which are on one server, by their names.
template <class Link>
void look_at(Link& link, const std::vector<std::string>& keys,
             std::map<std::string, HeldLock>& held) {
  Commands commands;
  for (const auto& key : keys) commands.add({"GET", key}).add({"PTTL", key});
  const auto replies = link.exchange(commands);
  for (const auto& reply : replies) {
    if (!reply.is_error("WRONGTYPE")) expect_no_error(reply);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto& value = replies[2 * i];
    if (value.is_nil() || value.is_error()) continue;  // gone by now, or no lock
    HeldLock lock{keys[i], string_of(value, "GET").value_or(""), std::nullopt};
    const std::chrono::milliseconds left{integer_of(replies[2 * i + 1], "PTTL")};
    if (left.count() == -2) continue;
    if (left.count() >= 0) lock.time_left = left;
    held.insert_or_assign(keys[i], std::move(lock));
  }
}

}  // namespace detail

inline std::optional<HeldLock> held_lock(Client client, const std::string& name,
                                         const std::string& key_prefix) {
  detail::require(!name.empty(), "name must not be empty");
  auto& core = *client.core_;
  Options options;
  options.key_prefix = key_prefix;
  const auto key =
      (core.is_cluster() ? detail::keys_on_cluster(name, options) : detail::keys_of(name, options))
          .lock;
  std::map<std::string, HeldLock> held;
  core.perform("held_lock", name, core.terms(core.slot_of(key)), [&](detail::Connection& link) {
    detail::look_at(link, {key}, held);
    return 0;
  });
  if (held.empty()) return std::nullopt;
  held.begin()->second.name = name;
  return held.begin()->second;
}

inline std::vector<HeldLock> held_locks(Client client, const std::string& key_prefix) {
  detail::require(!key_prefix.empty(), "key_prefix must not be empty");
  auto& core = *client.core_;
  std::map<std::string, HeldLock> held;  // by the key, which SCAN may tell more than once
  detail::for_each_key(core, "held_locks", key_prefix, [&](const std::vector<std::string>& found) {
    std::map<detail::Slot, std::vector<std::string>> keys;
    for (const auto& key : found) keys[core.slot_of(key)].push_back(key);
    for (const auto& in_slot : keys) {
      const auto terms = core.terms(in_slot.first);
      core.perform("held_locks", key_prefix, terms, [&](detail::Connection& connection) {
        detail::look_at(connection, in_slot.second, held);
        return 0;
      });
    }
  });
  std::vector<HeldLock> locks;
  for (auto& [key, lock] : held) {
    lock.name = detail::name_under(key.substr(key_prefix.size()), core.is_cluster());
    locks.push_back(std::move(lock));
  }
  return locks;
}

}  // namespace redis_lock
