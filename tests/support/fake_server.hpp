#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <list>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <redis_lock/endpoint.hpp>

#include "redis_server.hpp"
#include "resp.hpp"
#include "socket.hpp"

namespace redis_lock_test {

/// Listens where a Redis could, and answers whatever a test wants: garbage, nothing, or what some
/// other server would say.
class FakeServer {
 public:
  /// Gets the bytes of one connection that have come and that it has not yet taken off the front of
  /// `received`. Returns what is to be sent ("" for silence), or nothing: then the connection is
  /// closed. Called in the server's thread, for one connection at a time.
  using Answer = std::function<std::optional<std::string>(std::string& received)>;

  explicit FakeServer(Answer answer, Transport transport = Transport::tcp)
      : answer_(std::move(answer)), folder_(make_temporary_folder()) {
    endpoint_.port = 0;
    if (transport == Transport::unix_socket) endpoint_.unix_socket = folder_ + "/socket";
    listener_ = listen_at(endpoint_);
    thread_ = std::thread{[this] { run(); }};
  }

  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  ~FakeServer() {
    if (owner_ != ::getpid()) {  // a forked child has the object but not its thread
      thread_.detach();
      listener_.abandon();
      for (auto& connection : connections_) connection.socket.abandon();
      return;
    }
    stopping_ = true;
    wake_up_.ring();
    thread_.join();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  /// Accepts, reads and never answers.
  static Answer silence() {
    return [](std::string& received) {
      received.clear();
      return std::optional<std::string>{""};
    };
  }

  /// Answers anything with `bytes`.
  static Answer always(std::string bytes) {
    return [bytes = std::move(bytes)](std::string& received) {
      received.clear();
      return std::optional<std::string>{bytes};
    };
  }

  /// Answers each command with the bytes that `reply` gives for it, nothing: closes.
  static Answer each_command(std::function<std::optional<std::string>(const Command&)> reply) {
    return [reply = std::move(reply)](std::string& received) -> std::optional<std::string> {
      std::string bytes;
      while (const auto command = take_command(received)) {
        const auto one = reply(*command);
        if (!one) return std::nullopt;
        bytes += *one;
      }
      return bytes;
    };
  }

  [[nodiscard]] const redis_lock::Endpoint& endpoint() const { return endpoint_; }
  [[nodiscard]] std::string uri(const std::string& parameters = {}) const {
    const auto query = parameters.empty() ? "" : "?" + parameters;
    if (!endpoint_.unix_socket.empty()) return "unix://" + endpoint_.unix_socket + query;
    return "redis://" + endpoint_.host + ":" + std::to_string(endpoint_.port) + query;
  }

  /// Connections accepted so far.
  [[nodiscard]] int accepted() const { return accepted_; }

 private:
  struct Connection {
    Socket socket;
    std::string received;
  };

  void run() {
    while (!stopping_) {
      std::vector<pollfd> watched{{wake_up_.descriptor(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      for (const auto& connection : connections_)
        watched.push_back({connection.socket.get(), POLLIN, 0});
      ::poll(watched.data(), watched.size(), -1);
      auto ready = watched.begin() + 2;
      for (auto connection = connections_.begin(); connection != connections_.end(); ++ready) {
        const bool open = ready->revents == 0 || serve(*connection);
        connection = open ? std::next(connection) : connections_.erase(connection);
      }
      if (watched[1].revents != 0) {
        connections_.push_back(
            {Socket{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)}, {}});
        ++accepted_;
      }
    }
  }

  /// False: the connection is over.
  bool serve(Connection& connection) {
    char buffer[16384];
    const auto count = ::recv(connection.socket.get(), buffer, sizeof buffer, 0);
    if (count <= 0) return false;
    connection.received.append(buffer, static_cast<std::size_t>(count));
    const auto answer = answer_(connection.received);
    if (!answer) return false;
    std::string_view rest = *answer;
    while (!rest.empty()) {
      const auto sent = ::send(connection.socket.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      rest.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  Answer answer_;
  std::string folder_;
  redis_lock::Endpoint endpoint_;
  Socket listener_;
  WakeUp wake_up_;
  std::list<Connection> connections_;
  std::atomic<int> accepted_{0};
  std::atomic<bool> stopping_{false};
  pid_t owner_ = ::getpid();
  std::thread thread_;
};

}  // namespace redis_lock_test
