#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <redis_lock/endpoint.hpp>
#include <redis_lock/stats.hpp>

namespace redis_lock::detail {
class ClientState;
}

namespace redis_lock {

struct HeldLock;
enum class LockKind : unsigned char;

/// Handle for one Redis: a server, a master behind Sentinel, or a cluster. Copies are cheap, and
/// share its idle connections and the thread that renews leases. Safe to use from several threads.
/// A forked child may use it, too, and opens connections of its own.
///
/// Connections are opened when an operation needs one, one for each operation in flight. They are
/// kept for later operations (Endpoint::max_idle). They are closed when the last copy is destroyed;
/// each Lock has a copy.
class Client {
 public:
  /// Checks the endpoint. No I/O: the first operation connects. Throws std::invalid_argument, which
  /// names the member.
  Client(Endpoint endpoint = {});
  /// Makes the Client{Endpoint::parse(uri)}. No I/O. Throws what parse() throws.
  Client(const char* uri);
  /// Makes the Client{Endpoint::parse(uri)}, for a std::string or what converts to one. It is a
  /// template so that `Client{{.host = "h"}}` can only mean an Endpoint.
  template <class Text, class = std::enable_if_t<std::is_convertible_v<const Text&, std::string> &&
                                                 !std::is_convertible_v<const Text&, const char*>>>
  Client(const Text& uri) : Client(Endpoint::parse(std::string(uri))) {}

  /// Returns what the locks of this Client and its copies have done in this process. A forked child
  /// starts at zero. No I/O, and cheap: counting is always on. Each number is right by itself. But
  /// they are not read in one instant, so another thread's step may show in some of them only.
  [[nodiscard]] Stats stats() const;

 private:
  friend class Lock;
  friend class QuorumLock;
  friend class SharedLock;
  friend class Semaphore;
  friend class Cache;
  friend std::size_t reset_all(Client, const std::string&, const std::string&, const std::string&);
  friend void held_locks(Client, const std::function<void(const HeldLock&)>&, const std::string&,
                         const std::string&);
  friend std::optional<HeldLock> held_lock(Client, const std::string&, const std::string&);
  friend std::vector<HeldLock> holders(Client, const std::string&, LockKind);

  explicit Client(std::shared_ptr<detail::ClientState> state) : state_(std::move(state)) {}

  std::shared_ptr<detail::ClientState> state_;
};

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/impl/client.hpp>
#endif
