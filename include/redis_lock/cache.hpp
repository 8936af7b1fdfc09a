#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <redis_lock/client.hpp>
#include <redis_lock/lock.hpp>

namespace redis_lock {

/// Values in Redis that are expensive to make: one caller makes them, the rest wait for it. Safe to
/// share between threads. All members block for a round trip; they throw Error, as Lock does when
/// Redis is away.
class Cache {
 public:
  /// The keys are `prefix` + key, and the locks are named the same.
  explicit Cache(Client client, std::string prefix = "cache:")
      : client_(std::move(client)), prefix_(std::move(prefix)) {}

  /// The value, or nothing if there is none. An empty string is a value.
  [[nodiscard]] std::optional<std::string> get(const std::string& key) {
    const auto name = prefix_ + key;
    return detail::string_of(ask("get", name, detail::Commands{}.add({"GET", name})), "GET");
  }

  /// Stores the value for `ttl` (`no_expiry`: until it is erased).
  /// Throws std::invalid_argument if ttl is not positive.
  void set(const std::string& key, std::string_view value, std::chrono::milliseconds ttl) {
    detail::require(ttl > ttl.zero(), "ttl must be positive");
    const auto name = prefix_ + key;
    const auto expire = std::to_string(detail::limited(ttl).count());
    detail::Commands command;
    command.add({"SET", name, value});
    if (ttl != no_expiry) command.append("PX").append(expire);
    (void)ask("set", name, command);
  }

  /// Removes the value; was there one?
  bool erase(const std::string& key) {
    const auto name = prefix_ + key;
    return detail::integer_of(ask("erase", name, detail::Commands{}.add({"DEL", name})), "DEL") > 0;
  }

  /// The lock that guards this value, not locked yet. It is named prefix + key.
  [[nodiscard]] Lock lock(const std::string& key, Options options = {}) {
    return Lock{client_, prefix_ + key, std::move(options)};
  }

  /// The value; if there is none, what `create()` returns, stored for `ttl`. Of all callers that miss,
  /// in all processes, one calls create(), and the others wait for its value. What create() throws
  /// reaches its caller, and the next in line calls its own. A value that was made under a lock that
  /// was lost meanwhile is returned, but not stored: somebody else is making it by then.
  template <class Create>
  std::string get_or_create(const std::string& key, std::chrono::milliseconds ttl, Create&& create,
                            Options options = {}) {
    if (auto value = get(key)) return *std::move(value);
    auto mutex = lock(key, std::move(options));
    const std::lock_guard guard{mutex};
    if (auto value = get(key)) return *std::move(value);
    std::string value = std::invoke(std::forward<Create>(create));
    if (mutex.owns_lock()) set(key, value, ttl);
    return value;
  }

 private:
  [[nodiscard]] detail::Reply ask(const char* operation, const std::string& name,
                                  const detail::Commands& command) {
    auto& core = *client_.core_;
    return core.perform(operation, name, core.terms(core.slot_of(name)),
                        [&](detail::Connection& connection) {
                          auto reply = detail::ask(connection, command);
                          detail::expect_no_error(reply);
                          return reply;
                        });
  }

  Client client_;
  std::string prefix_;
};

}  // namespace redis_lock
