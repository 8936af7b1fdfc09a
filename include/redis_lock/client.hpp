#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <redis_lock/endpoint.hpp>
#include <redis_lock/stats.hpp>

namespace redis_lock::detail {
class ClientState;
}

namespace redis_lock {

struct HeldLock;

/// One Redis (a server, a master behind Sentinel, or a cluster), as locks and caches see it: the idle
/// connections to it and the thread that renews leases. A cheap handle: copies share both. Safe to use
/// from several threads, and in a forked child, which opens connections of its own.
///
/// Connections are opened when an operation needs one, one for each operation in flight, and kept for
/// the next. The last copy, of Locks too, closes them.
class Client {
 public:
  /// Checks the endpoint, without I/O. Throws std::invalid_argument, naming the member.
  Client(Endpoint endpoint = {});
  /// As Client{Endpoint::parse(uri)}.
  Client(const char* uri);
  /// As Client{Endpoint::parse(uri)}, of a std::string, or what becomes one. A template, so that
  /// `Client{{.host = "h"}}` can only mean an Endpoint.
  template <class Text, class = std::enable_if_t<std::is_convertible_v<const Text&, std::string> &&
                                                 !std::is_convertible_v<const Text&, const char*>>>
  Client(const Text& uri) : Client(Endpoint::parse(std::string(uri))) {}

  /// What the locks of this Client and its copies have done in this process; it starts at nothing in a forked
  /// child. A snapshot: each number is right by itself, but those that belong together may come from
  /// before and after a step of another thread. Cheap, and no I/O: the counting is always on.
  [[nodiscard]] Stats stats() const;

 private:
  friend class Lock;
  friend class QuorumLock;
  friend class Cache;
  friend std::size_t reset_all(Client, const std::string&, const std::string&, const std::string&);
  friend void held_locks(Client, const std::function<void(const HeldLock&)>&, const std::string&,
                         const std::string&);
  friend std::optional<HeldLock> held_lock(Client, const std::string&, const std::string&);

  explicit Client(std::shared_ptr<detail::ClientState> state) : state_(std::move(state)) {}

  std::shared_ptr<detail::ClientState> state_;
};

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/impl/client.hpp>
#endif
