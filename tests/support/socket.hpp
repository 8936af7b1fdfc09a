#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <redis_lock/endpoint.hpp>

namespace redis_lock_test {

/// A file descriptor that closes itself. Sockets are shut down first: a forked child may hold a copy,
/// and the peer shall see the end nevertheless.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { close(); }

  [[nodiscard]] int get() const { return descriptor_; }

  /// Closes without telling the peer: for a copy that a fork made.
  void abandon() {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
  }

  void close() {
    if (descriptor_ >= 0) ::shutdown(descriptor_, SHUT_RDWR);
    abandon();
  }

 private:
  int descriptor_ = -1;
};

namespace detail {

[[noreturn]] inline void throw_errno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

union SocketAddress {
  sockaddr any;
  sockaddr_in tcp;
  sockaddr_un local;
};

/// Fills `address` from an endpoint with an IPv4 host or a Unix socket, and tells its length.
inline socklen_t fill(SocketAddress& address, const redis_lock::Endpoint& endpoint) {
  std::memset(&address, 0, sizeof address);
  if (!endpoint.unix_socket.empty()) {
    address.local.sun_family = AF_UNIX;
    endpoint.unix_socket.copy(address.local.sun_path, sizeof address.local.sun_path - 1);
    return sizeof address.local;
  }
  address.tcp.sin_family = AF_INET;
  address.tcp.sin_port = htons(endpoint.port);
  if (::inet_pton(AF_INET, endpoint.host.c_str(), &address.tcp.sin_addr) != 1)
    throw_errno("inet_pton");
  return sizeof address.tcp;
}

inline Socket open_socket(const redis_lock::Endpoint& endpoint) {
  Socket socket{
      ::socket(endpoint.unix_socket.empty() ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (socket.get() < 0) throw_errno("socket");
  return socket;
}

}  // namespace detail

/// A blocking connection to `endpoint`; not open (get() < 0) when nobody listens there.
inline Socket connect_to(const redis_lock::Endpoint& endpoint) {
  detail::SocketAddress address;
  const auto length = detail::fill(address, endpoint);
  auto socket = detail::open_socket(endpoint);
  if (::connect(socket.get(), &address.any, length) != 0) return {};
  if (endpoint.unix_socket.empty()) {
    const int on = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  return socket;
}

/// Listens at `endpoint`, with so long a queue. Port 0 is replaced by the port that the kernel chose.
inline Socket listen_at(redis_lock::Endpoint& endpoint, int backlog = 512) {
  detail::SocketAddress address;
  auto length = detail::fill(address, endpoint);
  auto socket = detail::open_socket(endpoint);
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), &address.any, length) != 0) detail::throw_errno("bind");
  if (::listen(socket.get(), backlog) != 0) detail::throw_errno("listen");
  if (endpoint.unix_socket.empty()) {
    if (::getsockname(socket.get(), &address.any, &length) != 0) detail::throw_errno("getsockname");
    endpoint.port = ntohs(address.tcp.sin_port);
  }
  return socket;
}

/// A loopback port that nobody used a moment ago.
inline std::uint16_t free_port() {
  redis_lock::Endpoint endpoint;
  endpoint.port = 0;
  const auto socket = listen_at(endpoint);
  return endpoint.port;
}

/// A free loopback port below those that the kernel takes for outgoing connections, and with a free one
/// 10000 above it, for the bus of a Redis Cluster: one that is still free when its server comes back.
inline std::uint16_t lasting_port() {
  std::random_device random;
  for (;;) {
    redis_lock::Endpoint service, bus;
    service.port = std::uniform_int_distribution<std::uint16_t>{10000, 22000}(random);
    bus.port = static_cast<std::uint16_t>(service.port + 10000);
    try {
      const auto first = listen_at(service), second = listen_at(bus);
      return service.port;
    } catch (const std::system_error&) {  // somebody has one of them
    }
  }
}

/// A new empty folder, with a path short enough for a Unix socket in it.
inline std::string make_temporary_folder() {
  const char* parent = ::getenv("TMPDIR");
  std::string path = parent != nullptr && std::strlen(parent) < 64 ? parent : "/tmp";
  path += "/redis-lock-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) detail::throw_errno("mkdtemp " + path);
  return path;
}

/// The two ends of a pipe that wakes a thread out of poll().
class WakeUp {
 public:
  WakeUp() {
    if (::pipe2(ends_, O_CLOEXEC | O_NONBLOCK) != 0) detail::throw_errno("pipe2");
  }
  WakeUp(const WakeUp&) = delete;
  WakeUp& operator=(const WakeUp&) = delete;
  ~WakeUp() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }

  void ring() {
    // A full pipe is as good as one more byte.
    [[maybe_unused]] const auto written = ::write(ends_[1], "!", 1);
  }
  void quiet() {
    char bytes[64];
    while (::read(ends_[0], bytes, sizeof bytes) > 0) {
    }
  }
  [[nodiscard]] int descriptor() const { return ends_[0]; }

 private:
  int ends_[2];
};

}  // namespace redis_lock_test
