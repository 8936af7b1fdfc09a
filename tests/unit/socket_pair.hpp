#pragma once

#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

namespace redis_lock_test {

/// Two sockets that are connected to each other: ours, and that of the peer.
class SocketPair {
 public:
  SocketPair() {
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets_.data()) != 0) {
      throw std::system_error(errno, std::generic_category(), "socketpair");
    }
  }
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;
  ~SocketPair() {
    for (auto& socket : sockets_) close(socket);
  }

  [[nodiscard]] int ours() const { return sockets_[0]; }
  /// Somebody else closes ours from now on.
  [[nodiscard]] int give_ours_away() { return std::exchange(sockets_[0], -1); }

  [[nodiscard]] int peer() const { return sockets_[1]; }
  void peer_says(std::string_view bytes) const {
    if (::send(peer(), bytes.data(), bytes.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(bytes.size())) {
      throw std::system_error(errno, std::generic_category(), "send");
    }
  }
  void peer_closes() { close(sockets_[1]); }

 private:
  static void close(int& socket) {
    if (socket >= 0) ::close(std::exchange(socket, -1));
  }

  std::array<int, 2> sockets_{-1, -1};
};

}  // namespace redis_lock_test
