#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <redis_lock/client.hpp>
#include <redis_lock/endpoint.hpp>

#include "proxy.hpp"
#include "redis.hpp"
#include "redis_server.hpp"

namespace redis_lock_test {

/// The independent servers of a QuorumLock, with a plain client that looks at each.
class QuorumServers {
 public:
  explicit QuorumServers(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      servers_.push_back(std::make_unique<RedisServer>());
      plain_.push_back(std::make_unique<Redis>(servers_.back()->endpoint()));
    }
  }

  [[nodiscard]] std::size_t size() const { return servers_.size(); }
  [[nodiscard]] RedisServer& server(std::size_t i) { return *servers_[i]; }
  [[nodiscard]] Redis& redis(std::size_t i) { return *plain_[i]; }

  /// Clients with connections of their own; `change` sees each endpoint before.
  [[nodiscard]] std::vector<redis_lock::Client> clients(
      const std::function<void(redis_lock::Endpoint&)>& change = {}) const {
    std::vector<redis_lock::Client> clients;
    for (const auto& server : servers_) {
      auto endpoint = server->endpoint();
      if (change) change(endpoint);
      clients.emplace_back(endpoint);
    }
    return clients;
  }

  /// What each holds under this key; "" where there is nothing.
  [[nodiscard]] std::vector<std::string> values(const std::string& key) {
    std::vector<std::string> values;
    for (const auto& redis : plain_) values.push_back(redis->string("GET", key).value_or(""));
    return values;
  }

  /// Somebody else takes the lock on these, and never comes back.
  void hold(const std::string& key, const std::vector<std::size_t>& which, long long lease = 60'000,
            const std::string& id = "somebody") {
    for (const auto i : which) redis(i).string("SET", key, id, "NX", "PX", lease);
  }

  /// The sum over all servers of a number out of INFO.
  [[nodiscard]] long long sum(const std::string& field) {
    long long sum = 0;
    for (const auto& redis : plain_) sum += redis->info(field);
    return sum;
  }

 private:
  std::vector<std::unique_ptr<RedisServer>> servers_;
  std::vector<std::unique_ptr<Redis>> plain_;
};

}  // namespace redis_lock_test
