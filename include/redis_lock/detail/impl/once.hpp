#pragma once

#include <chrono>
#include <string>
#include <utility>

#include <redis_lock/cache.hpp>
#include <redis_lock/detail/base/config.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/once.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

inline constexpr const char* once_prefix = "once:";

REDIS_LOCK_DEFINITION Once::Once(Client client, const std::string& name,
                                 std::chrono::milliseconds period, Options options)
    : client_(std::move(client)),
      name_(name),
      period_(period),
      lock_(Cache(client_, once_prefix).lock(name, options)) {
  require(!name.empty(), "name must not be empty");
  require(period > period.zero(), "period must be positive");
  // A caller that finds the marker would keep the others in line waiting.
  require(options.min_hold == options.min_hold.zero(),
          "min_hold must be 0: the period keeps others out");
  require(
      Cache(client_, once_prefix).is_beside_its_lock(name, options),
      "name: on a cluster it must not contain '}', unless it has a hash tag, and key_prefix must "
      "have none");
}

REDIS_LOCK_DEFINITION bool Once::is_done() {
  return Cache(client_, once_prefix).get(name_).has_value();
}

REDIS_LOCK_DEFINITION void Once::mark() {
  lock_.guarded_set(once_prefix + name_, lock_.id(), period_);
}

}  // namespace redis_lock::detail
