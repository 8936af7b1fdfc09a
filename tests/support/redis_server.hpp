#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/endpoint.hpp>

#include "least_rights.hpp"
#include "redis.hpp"
#include "server_process.hpp"
#include "socket.hpp"

namespace redis_lock_test {

enum class Transport { unix_socket, tcp, tls };

/// A redis-server of the test's own, in a temporary folder; nothing is written to disk. It is up when
/// the constructor returns, and gone after the destructor. Start it in the main thread, or in one that
/// lives as long: see ServerProcess.
///
/// The environment variable REDIS_LOCK_TEST_SERVER names another program than redis-server. With
/// REDIS_LOCK_TEST_ACL, endpoint() and uri() name a user of the least rights: see least_rights.hpp.
class RedisServer {
 public:
  /// `arguments` go to the server as they are, e.g. {"--requirepass", "secret"}; `password` is
  /// the one by which the server is asked whether it is up. Over TLS they must name the certificate.
  explicit RedisServer(Transport transport = Transport::unix_socket,
                       std::vector<std::string> arguments = {}, std::string password = {})
      : arguments_(std::move(arguments)) {
    endpoint_.password = std::move(password);
    if (as_least_user() && endpoint_.password.empty()) {
      const auto words = words_of_least_user();
      arguments_.insert(arguments_.end(), words.begin(), words.end());
      endpoint_.username = least_user;
      endpoint_.password = least_password;
    }
    if (transport == Transport::unix_socket) endpoint_.unix_socket = folder_.path() + "/socket";
    if (transport == Transport::tls) endpoint_.tls.emplace();
    // Another process may take the free port before the server does; then with another one.
    for (int attempt = 1;; ++attempt) {
      if (transport != Transport::unix_socket) endpoint_.port = free_port();
      try {
        start();
        return;
      } catch (const std::exception&) {
        if (transport == Transport::unix_socket || attempt == 5) throw;
      }
    }
  }

  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  [[nodiscard]] const redis_lock::Endpoint& endpoint() const { return endpoint_; }
  [[nodiscard]] pid_t pid() const { return process_.pid(); }

  /// Where the test's own client, which knows no TLS, finds a server that speaks nothing else: it
  /// listens on a Unix socket too.
  [[nodiscard]] redis_lock::Endpoint without_tls() const {
    auto endpoint = endpoint_;
    if (std::exchange(endpoint.tls, std::nullopt))
      endpoint.unix_socket = folder_.path() + "/socket";
    return endpoint;
  }

  /// Such as unix:///path or redis://:password@127.0.0.1:port, with `parameters` ("db=1&…") behind.
  [[nodiscard]] std::string uri(const std::string& parameters = {}) const {
    const auto user =
        endpoint_.password.empty() ? "" : endpoint_.username + ":" + endpoint_.password + "@";
    const auto query = parameters.empty() ? "" : "?" + parameters;
    if (!endpoint_.unix_socket.empty()) return "unix://" + user + endpoint_.unix_socket + query;
    const auto scheme = std::string(endpoint_.tls ? "rediss" : "redis") + "://";
    return scheme + user + endpoint_.host + ":" + std::to_string(endpoint_.port) + query;
  }

  /// A crash: SIGKILL. All data are lost.
  void kill() { process_.kill(); }

  /// Stopped (SIGSTOP), a server accepts connections and answers nothing. Stopped when this returns.
  void pause() { process_.pause(); }
  void resume() { process_.resume(); }

  /// An empty server at the same place.
  void restart() {
    kill();
    start();
  }

 private:
  void start() {
    const auto log = folder_.path() + "/log";
    const auto own = without_tls();
    const auto tcp_port = std::to_string(own.unix_socket.empty() ? endpoint_.port : 0);
    std::vector<std::string> words{"--save",    "",       "--appendonly", "no",
                                   "--port",    tcp_port, "--dir",        folder_.path(),
                                   "--logfile", log,      "--daemonize",  "no"};
    if (endpoint_.tls) {
      words.insert(words.end(), {"--tls-port", std::to_string(endpoint_.port)});
    }
    if (endpoint_.unix_socket.empty()) words.insert(words.end(), {"--bind", endpoint_.host});
    if (!own.unix_socket.empty()) words.insert(words.end(), {"--unixsocket", own.unix_socket});
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    process_.start(words, log, [&own] { return Redis{own}.string("PING") == "PONG"; });
  }

  std::vector<std::string> arguments_;
  TemporaryFolder folder_;
  redis_lock::Endpoint endpoint_;
  ServerProcess process_;
};

/// Where tests that share a server find it: REDIS_LOCK_TEST_URL, or a private server that lives as
/// long as the process. Call it in the main thread first (see RedisServer).
inline std::string test_uri() {
  if (const char* const url = std::getenv("REDIS_LOCK_TEST_URL")) return url;
  static const RedisServer server;
  return server.uri();
}

}  // namespace redis_lock_test
