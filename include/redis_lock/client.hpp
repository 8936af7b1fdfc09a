#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <redis_lock/detail/core.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock {

/// One Redis, as locks and caches see it: the idle connections to it and the thread that renews
/// leases. A cheap handle: copies share both. Safe to use from several threads, and in a forked
/// child, which opens connections of its own.
///
/// Connections are opened when an operation needs one, one for each operation in flight, and kept for
/// the next. The last copy, of Locks too, closes them.
class Client {
 public:
  /// Checks the endpoint, without I/O. Throws std::invalid_argument, naming the member.
  Client(Endpoint endpoint = {})
      : core_(std::make_shared<detail::Core>(checked(std::move(endpoint)))) {}
  /// As Client{Endpoint::parse(uri)}.
  Client(const char* uri) : Client(Endpoint::parse(not_null(uri))) {}
  Client(const std::string& uri) : Client(Endpoint::parse(uri)) {}

 private:
  friend class Lock;
  friend class Cache;
  friend std::size_t reset_all(Client, const std::string&, const std::string&);

  explicit Client(std::shared_ptr<detail::Core> core) : core_(std::move(core)) {}

  static void require(bool good, const char* complaint) {
    if (!good) throw std::invalid_argument(std::string("redis_lock: ") + complaint);
  }
  static const char* not_null(const char* uri) {
    require(uri != nullptr, "uri must not be null");
    return uri;
  }

  static Endpoint checked(Endpoint endpoint) {
    const auto has_nul = [](const std::string& text) { return text.find('\0') != text.npos; };
    if (endpoint.unix_socket.empty()) {
      require(!endpoint.host.empty() && !has_nul(endpoint.host),
              "host must not be empty or contain NUL");
      require(endpoint.port != 0, "port must not be 0");
    } else {
      require(!has_nul(endpoint.unix_socket) &&
                  endpoint.unix_socket.size() < sizeof(sockaddr_un::sun_path),
              "unix_socket is longer than the system allows, or contains NUL");
    }
    require(endpoint.database >= 0, "database must not be negative");
    require(endpoint.connect_timeout > endpoint.connect_timeout.zero(),
            "connect_timeout must be positive");
    require(endpoint.command_timeout > endpoint.command_timeout.zero(),
            "command_timeout must be positive");
    require(endpoint.retry_for >= endpoint.retry_for.zero(), "retry_for must not be negative");
    for (const char c : endpoint.client_name) {
      require(c > ' ' && c <= '~', "client_name must not contain spaces or special characters");
    }
    // So that adding them to a time never overflows.
    for (const auto time :
         {&Endpoint::connect_timeout, &Endpoint::command_timeout, &Endpoint::retry_for}) {
      endpoint.*time = std::min<std::chrono::milliseconds>(endpoint.*time, detail::longest);
    }
    return endpoint;
  }

  std::shared_ptr<detail::Core> core_;
};

}  // namespace redis_lock
