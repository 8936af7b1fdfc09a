#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include <redis_lock/client.hpp>
#include <redis_lock/options.hpp>

#include "measure.hpp"
#include "support/no_lock_analysis.hpp"
#include "support/redis.hpp"

namespace redis_lock_benchmark {

/// Many locks of one Client, all held; and what the process and the server have for them.
template <class Locking>
class Renewed {
 public:
  /// `name_of(i)` is the name of one of them.
  template <class NameOf>
  Renewed(const RedisServer& server, int count, const redis_lock::Options& options, NameOf name_of)
      : redis_(server.endpoint()), client_(server.endpoint()) {
    connections_before_ = redis_.info("connected_clients");
    threads_before_ = number_in("/proc/self/status", "Threads:");
    for (int i = 0; i < count; ++i) {
      locks_.push_back(std::make_unique<Locking>(client_, name_of(i), options));
      locks_.back()->lock();
    }
  }

  [[nodiscard]] double threads() const {
    return number_in("/proc/self/status", "Threads:") - threads_before_;
  }
  [[nodiscard]] double connections() const {
    return static_cast<double>(redis_.info("connected_clients") - connections_before_);
  }
  [[nodiscard]] bool all_owned() const {
    return std::all_of(locks_.begin(), locks_.end(),
                       [](const auto& lock) { return lock->owns_lock(); });
  }

 private:
  mutable redis_lock_test::Redis redis_;
  const redis_lock::Client client_;
  std::vector<std::unique_ptr<Locking>> locks_;
  long long connections_before_ = 0;
  double threads_before_ = 0;
};

}  // namespace redis_lock_benchmark
