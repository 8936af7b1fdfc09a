#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include <redis_lock/cache.hpp>
#include <redis_lock/detail/base/config.hpp>
#include <redis_lock/detail/impl/lock.hpp>
#include <redis_lock/detail/lock/client_state.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock {

REDIS_LOCK_DEFINITION std::optional<std::string> Cache::get(const std::string& key) {
  const auto name = prefix_ + key;
  return detail::string_of(ask("get", name, detail::Commands{}.add({"GET", name})), "GET");
}

REDIS_LOCK_DEFINITION void Cache::set(const std::string& key, std::string_view value,
                                      std::chrono::milliseconds ttl) {
  detail::require(ttl > ttl.zero(), "ttl must be positive");
  const auto name = prefix_ + key;
  const auto expire = std::to_string(detail::limited(ttl).count());
  detail::Commands command;
  command.add({"SET", name, value});
  if (ttl != no_expiry) command.append("PX").append(expire);
  (void)ask("set", name, command);
}

REDIS_LOCK_DEFINITION bool Cache::erase(const std::string& key) {
  const auto name = prefix_ + key;
  return detail::integer_of(ask("erase", name, detail::Commands{}.add({"DEL", name})), "DEL") > 0;
}

REDIS_LOCK_DEFINITION bool Cache::is_beside_its_lock(const std::string& key,
                                                     const Options& options) const {
  const auto& state = *client_.state_;
  if (!state.is_cluster()) return true;
  const auto name = prefix_ + key;
  return state.slot_of(name) == state.slot_of(detail::keys_on_cluster(name, options).lock);
}

REDIS_LOCK_DEFINITION Reply Cache::ask(const char* operation, const std::string& name,
                                       const detail::Commands& command) {
  auto& state = *client_.state_;
  return state.perform(operation, name, state.limits(state.slot_of(name)),
                       [&](detail::Connection& connection) {
                         auto reply = detail::ask(connection, command);
                         detail::expect_no_error(reply);
                         return reply;
                       });
}

}  // namespace redis_lock
