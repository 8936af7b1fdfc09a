#pragma once

#include <string>

#include <redis_lock/inspect.hpp>

#include "place.hpp"

namespace redis_lock_command {

/// How list and show tell what they find.
struct Listing {
  bool json = false;
  bool waiters = false;  // costs the server throughput where somebody waits: see waiters.hpp
};

/// What `redis-lock list`, `show` and `reset` do: each returns its exit status. Throw redis_lock::Error.
[[nodiscard]] int list(const Place& place, const Listing& listing);
/// `kind`: reading and writing stand for a SharedLock, permit for a Semaphore.
[[nodiscard]] int show(const Place& place, const std::string& name, const Listing& listing,
                       redis_lock::LockKind kind);
/// Asks on the terminal first, unless `yes`.
[[nodiscard]] int reset(const Place& place, const std::string& name, bool yes,
                        redis_lock::LockKind kind);
[[nodiscard]] int reset_all(const Place& place, bool yes);

}  // namespace redis_lock_command
