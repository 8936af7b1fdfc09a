#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdlib>
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

/// Calls `tell` with each id of a set whose lease is not over at the server's TIME.
template <class Tell>
void tell_members(const Reply& members, const Reply& time, const Tell& tell) {
  expect(time, time.elements.size() == 2, "TIME");
  const auto number = [](const Reply& reply) { return std::strtod(reply.text.c_str(), nullptr); };
  const auto now = number(time.elements[0]) * 1000 + std::floor(number(time.elements[1]) / 1000);
  for (std::size_t i = 0; i + 1 < members.elements.size(); i += 2) {
    const auto left = std::min(number(members.elements[i + 1]) - now, 1e15);
    if (left >= 0) tell(members.elements[i].text, milliseconds{static_cast<long long>(left)});
  }
}

/// Calls `each` with every holder of these keys, under the name of the key. Returns the keys that are at another server.
template <class Link, class Each>
[[nodiscard]] std::vector<Elsewhere> look_at(Link& link, const std::vector<std::string>& keys,
                                             const Each& each) {
  std::vector<Keys::Kind> kinds;
  Commands commands;
  for (const auto& key : keys) {
    const auto shared = shared_key(key);
    kinds.push_back(shared ? shared->kind : Keys::Kind::lock);
    if (Keys::is_set(kinds.back())) {
      commands.add({"ZRANGE", key, "0", "-1", "WITHSCORES"}).add({"TIME"});
    } else {
      commands.add({"GET", key}).add({"PTTL", key});
    }
  }
  const auto replies = link.exchange(commands);
  std::vector<Elsewhere> elsewhere;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const auto &value = replies[2 * i], &time = replies[2 * i + 1];
    if (is_elsewhere(value) || is_elsewhere(time)) {
      elsewhere.push_back({keys[i], is_elsewhere(value) ? value : time});
      continue;
    }
    const bool is_hidden = kinds[i] != Keys::Kind::lock && value.is_error("NOPERM");
    if (!value.is_error("WRONGTYPE") && !is_hidden) expect_no_error(value);
    if (!is_hidden) expect_no_error(time);
    if (value.is_nil() || value.is_error()) continue;  // gone by now, or no lock
    static_assert(static_cast<int>(LockKind::permit) == static_cast<int>(Keys::Kind::permit));
    const auto tell = [&](std::string owner, std::optional<milliseconds> left) {
      each(HeldLock{keys[i], std::move(owner), left, static_cast<LockKind>(kinds[i])});
    };
    if (value.kind == Reply::Kind::array) {
      tell_members(value, time, tell);
      continue;
    }
    const milliseconds left{integer_of(time, "PTTL")};
    if (left.count() == -2) continue;
    tell(string_of(value, "GET").value_or(""),
         left.count() >= 0 ? std::optional{left} : std::nullopt);
  }
  return elsewhere;
}

/// Returns the holders of what has these keys.
[[nodiscard]] inline std::vector<HeldLock> holders(ClientState& state, const char* operation,
                                                   const std::string& name, const Keys& keys) {
  std::vector<HeldLock> all;
  state.perform(operation, name, state.limits(state.slot_of(keys.lock)), [&](Connection& link) {
    all.clear();
    std::vector<std::string> looked_at{keys.lock};
    if (!keys.others.empty()) looked_at.push_back(keys.others);
    const auto elsewhere = look_at(link, looked_at, [&](HeldLock lock) {
      lock.name = name;
      all.push_back(std::move(lock));
    });
    for (const auto& each : elsewhere) expect_no_error(each.reply);
    return 0;
  });
  std::sort(all.begin(), all.end(),
            [](const HeldLock& one, const HeldLock& other) { return one.owner < other.owner; });
  return all;
}

}  // namespace detail

REDIS_LOCK_DEFINITION std::vector<HeldLock> holders(Client client, const std::string& name,
                                                    LockKind kind) {
  detail::require(!name.empty(), "name must not be empty");
  auto& state = *client.state_;
  const auto keys =
      detail::keys_at(state.is_cluster(), name, {}, static_cast<detail::Keys::Kind>(kind));
  return detail::holders(state, "holders", name, keys);
}

REDIS_LOCK_DEFINITION std::optional<HeldLock> held_lock(Client client, const std::string& name,
                                                        const std::string& key_prefix) {
  detail::require(!name.empty(), "name must not be empty");
  auto& state = *client.state_;
  Options options;
  options.key_prefix = key_prefix;
  const auto keys = detail::keys_at(state.is_cluster(), name, options);
  auto held = detail::holders(state, "held_lock", name, keys);
  return held.empty() ? std::nullopt : std::optional{std::move(held.front())};
}

REDIS_LOCK_DEFINITION void held_locks(Client client,
                                      const std::function<void(const HeldLock&)>& each,
                                      const std::string& key_prefix,
                                      const std::string& fence_prefix) {
  detail::require(each != nullptr, "each must not be null");
  auto& state = *client.state_;
  // SCAN may return a key twice, and a walk may be repeated.
  std::set<std::pair<std::string, std::string>> known;
  const auto tell = [&](HeldLock lock) {
    if (!known.insert({lock.name, lock.kind == LockKind::lock ? "" : lock.owner}).second) return;
    const auto shared = detail::shared_key(lock.name);
    const auto prefix = std::string(shared ? shared->prefix : key_prefix);
    lock.name = detail::name_under(lock.name.substr(prefix.size()), state.is_cluster(), prefix);
    each(lock);
  };
  for (const auto& keys : detail::LockKeys::all(key_prefix, {}, fence_prefix, state.is_cluster())) {
    detail::walk_locks(state, "held_locks", keys,
                       [&](detail::Connection& connection, const std::vector<std::string>& found) {
                         return detail::look_at(connection, found, tell);
                       });
  }
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
