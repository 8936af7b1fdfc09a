#pragma once

#include <cerrno>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace redis_lock_test {

/// A server in this process, without a thread: every connect() reaches it, and finds what it says on that
/// connection in the socket already. After that it closes its side. What it hears it does not read.
class ScriptedServer {
 public:
  /// Between what it says on one connection and on the next. On those after the last, nobody listens.
  static constexpr std::string_view next_connection = "\n--\n";

  explicit ScriptedServer(std::string_view words) : words_(words) { present = this; }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;
  ~ScriptedServer() {
    present = nullptr;
    for (const int peer : peers_) ::close(peer);
  }

  /// Whether there is a connection left.
  [[nodiscard]] bool listens() const { return words_.has_value(); }

  /// In the place of closing, it says no more.
  bool stalls = false;

  /// Makes `socket` one end of a connection; false where nobody listens.
  [[nodiscard]] bool connect(int socket) {
    if (!words_) return false;
    const auto end = words_->find(next_connection);
    const auto said = words_->substr(0, end);
    if (end == words_->npos) {
      words_.reset();
    } else {
      words_->remove_prefix(end + next_connection.size());
    }
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 ||
        ::send(ends[1], said.data(), said.size(), MSG_NOSIGNAL) !=
            static_cast<ssize_t>(said.size()) ||
        ::dup2(ends[0], socket) != socket) {
      throw std::runtime_error("the scripted server fails");
    }
    ::close(ends[0]);
    if (!stalls) ::shutdown(ends[1], SHUT_WR);
    peers_.push_back(ends[1]);
    return true;
  }

  static inline ScriptedServer* present = nullptr;

 private:
  std::optional<std::string_view> words_;
  std::vector<int> peers_;
};

}  // namespace redis_lock_test

/// In the place of the C library's, for hiredis.
extern "C" int connect(int socket, const sockaddr*, socklen_t) {
  const auto server = redis_lock_test::ScriptedServer::present;
  if (server && server->connect(socket)) return 0;
  errno = ECONNREFUSED;
  return -1;
}
