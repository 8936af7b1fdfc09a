#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/config.hpp>
#include <redis_lock/detail/impl/basic_lock.hpp>
#include <redis_lock/detail/impl/client.hpp>
#include <redis_lock/detail/lock/client_state.hpp>
#include <redis_lock/detail/lock/keyspace.hpp>
#include <redis_lock/detail/lock/single_server.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/lock.hpp>
#include <redis_lock/options.hpp>
#include <redis_lock/reply.hpp>

namespace redis_lock {

REDIS_LOCK_DEFINITION Lock::Lock(Client client, std::string name, Options options)
    : Lock(detail::Access{client.state_}, name,
           detail::checked(name, std::move(options), client.state_->is_borrowed())) {}

REDIS_LOCK_DEFINITION Lock::Lock(const detail::Access& access, const std::string& name,
                                 Options checked)
    : BasicLock(std::make_unique<State>(access, name, std::move(checked))) {}

REDIS_LOCK_DEFINITION Lock::Lock(redisContext* borrowed, std::string name, Options options)
    : Lock(Client{detail::borrow(borrowed)}, std::move(name), std::move(options)) {}

REDIS_LOCK_DEFINITION bool Lock::reset(std::string_view holder) { return state().reset(holder); }

REDIS_LOCK_DEFINITION std::uint64_t Lock::fencing_token() const { return state().fencing_token(); }

REDIS_LOCK_DEFINITION Reply Lock::guarded_eval(std::string_view script,
                                               const std::vector<std::string>& keys,
                                               const std::vector<std::string>& arguments) {
  return state().evaluate("guarded_eval", script, keys, arguments);
}

REDIS_LOCK_DEFINITION void Lock::guarded_set(const std::string& key, std::string_view value) {
  state().evaluate("guarded_set", "redis.call('SET', KEYS[1], ARGV[1])", {key},
                   {std::string(value)});
}

REDIS_LOCK_DEFINITION void Lock::guarded_set(const std::string& key, std::string_view value,
                                             std::chrono::milliseconds ttl) {
  detail::require(ttl > ttl.zero(), "ttl must be positive");
  if (ttl == no_expiry) return guarded_set(key, value);
  state().evaluate("guarded_set", "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])", {key},
                   {std::string(value), std::to_string(detail::limited(ttl).count())});
}

REDIS_LOCK_DEFINITION std::size_t reset_all(Client client, const std::string& key_prefix,
                                            const std::string& signal_prefix,
                                            const std::string& fence_prefix) {
  auto& state = *client.state_;
  const auto signal_expire = std::to_string(Options{}.signal_expire.count());
  std::size_t held = 0;
  const auto reset = [&](detail::Connection& connection, const std::vector<std::string>& found) {
    std::vector<detail::Keys> all;
    for (const auto& key : found) {
      const auto shared = detail::shared_key(key);
      auto keys = shared ? detail::keys_of(key.substr(shared->prefix.size()), {}, shared->kind)
                         : detail::Keys{key, signal_prefix + key.substr(key_prefix.size())};
      if (state.slot_of(keys.signal) == state.slot_of(key))
        all.push_back(std::move(keys));  // a lock of ours
    }
    std::vector<detail::Elsewhere> elsewhere;
    if (all.empty()) return elsewhere;
    const auto replies = detail::reset_each(connection, all, signal_expire);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (detail::is_elsewhere(replies[i])) {
        elsewhere.push_back({all[i].lock, replies[i]});
      } else if (all[i].kind == detail::Keys::Kind::lock || !replies[i].is_error("NOPERM")) {
        held += detail::was_held(replies[i]) ? 1U : 0U;
      }
    }
    return elsewhere;
  };
  for (const auto& locks :
       detail::LockKeys::all(key_prefix, signal_prefix, fence_prefix, state.is_cluster())) {
    detail::walk_locks(state, "reset_all", locks, reset);
  }
  return held;
}

}  // namespace redis_lock
