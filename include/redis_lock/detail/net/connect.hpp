#pragma once

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/net/hiredis.hpp>
#include <redis_lock/detail/net/socket_address.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/error.hpp>

namespace redis_lock::detail {

/// A socket that the library owns, and that exec() closes from its creation on.
class Socket : Pinned {
 public:
  explicit Socket(int family) : descriptor_(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (descriptor_ < 0) fail(errno);
  }
  ~Socket() {
    const CancellationPause no_cancellation;
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  /// Connects, and blocks meanwhile. Throws Failure if that fails, or is not done before `deadline`.
  void connect(const SocketAddress& to, Time deadline) const {
    const int flags = ::fcntl(descriptor_, F_GETFL);
    ::fcntl(descriptor_, F_SETFL, flags | O_NONBLOCK);
    if (::connect(descriptor_, reinterpret_cast<const sockaddr*>(&to.storage), to.length) != 0) {
      // A connect() that a signal interrupts goes on by itself.
      if (errno != EINPROGRESS && errno != EINTR) fail(errno);
      if (!is_ready(descriptor_, POLLOUT, deadline)) fail(ETIMEDOUT);
      int error = 0;
      socklen_t size = sizeof error;
      ::getsockopt(descriptor_, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) fail(error);
    }
    ::fcntl(descriptor_, F_SETFL, flags);
  }

  /// Hands the socket over to hiredis.
  [[nodiscard]] Context release(const Endpoint& endpoint) {
    const auto timeout = to_timeval(endpoint.command_timeout);
    ::setsockopt(descriptor_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    ::setsockopt(descriptor_, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    const int on = 1;
    const bool is_tcp = endpoint.unix_socket.empty();
    if (is_tcp) ::setsockopt(descriptor_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    Context context{::redisConnectFd(descriptor_)};
    if (!context) throw std::bad_alloc{};
    descriptor_ = -1;
    if (is_tcp) ::redisEnableKeepAlive(context.get());
    if (context->err)
      throw Failure{errc::connection_failed, context->errstr, Failure::Kind::transient};
    return context;
  }

 private:
  [[noreturn]] static void fail(int error) { throw failure_of_socket(error); }

  int descriptor_;
};

[[nodiscard]] inline SocketAddress address_of_unix_socket(const std::string& path) {
  SocketAddress address;
  auto& name = reinterpret_cast<sockaddr_un&>(address.storage);
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, sizeof name.sun_path - 1);
  address.length = sizeof(sockaddr_un);
  return address;
}

/// Opens a connection over TCP or a Unix socket, to the first address that accepts it. Blocks until
/// `deadline` at most. An address that does not answer does not use up the time of the others. Throws Failure.
[[nodiscard]] inline Context open_context(const Endpoint& endpoint,
                                          const SocketAddresses& addresses, Time deadline) {
  auto left = static_cast<Time::rep>(addresses.size());
  for (const auto& address : addresses) {
    const auto now = Time::clock::now();
    try {
      Socket socket{address.storage.ss_family};
      socket.connect(address, now + (std::max(deadline, now) - now) / left--);
      return socket.release(endpoint);
    } catch (const Failure&) {
      if (left == 0) throw;
    }
  }
  throw Failure{errc::connection_failed, "the host has no address", Failure::Kind::transient};
}

}  // namespace redis_lock::detail
