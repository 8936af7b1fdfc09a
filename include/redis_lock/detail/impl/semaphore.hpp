#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <redis_lock/detail/base/config.hpp>
#include <redis_lock/detail/impl/basic_lock.hpp>
#include <redis_lock/detail/impl/client.hpp>
#include <redis_lock/detail/lock/single_server.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/options.hpp>
#include <redis_lock/semaphore.hpp>

namespace redis_lock {
namespace detail {

/// Throws std::invalid_argument unless these are good for a Semaphore.
[[nodiscard]] inline Options checked_for_permits(const std::string& name, std::size_t permits,
                                                 Options options) {
  require(permits >= 1 && permits <= (std::size_t{1} << 31U), "permits must be from 1 to 2^31");
  require(!options.fencing, "fencing is not possible with permits, which several hold at once");
  return checked_to_share(name, std::move(options));
}

}  // namespace detail

REDIS_LOCK_DEFINITION Semaphore::Semaphore(Client client, std::string name, std::size_t permits,
                                           Options options)
    : BasicLock(std::make_unique<State>(
          detail::Access{client.state_, detail::Keys::Kind::permit, permits}, name,
          detail::checked_for_permits(name, permits, std::move(options)))),
      permits_(permits) {}

REDIS_LOCK_DEFINITION std::size_t Semaphore::available() {
  const auto taken = static_cast<std::size_t>(state().taken("available"));
  return permits_ - std::min(permits_, taken);
}

REDIS_LOCK_DEFINITION bool Semaphore::reset(std::string_view holder) {
  return state().reset(holder);
}

}  // namespace redis_lock
