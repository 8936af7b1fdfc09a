#pragma once

#include <sys/socket.h>

#include <vector>

namespace redis_lock::detail {

/// An address of a socket, of any family.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};
using SocketAddresses = std::vector<SocketAddress>;

}  // namespace redis_lock::detail
