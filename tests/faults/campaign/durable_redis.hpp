#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "shared_file.hpp"
#include "support/redis.hpp"
#include "support/redis_server.hpp"

namespace redis_lock_test::campaign {

/// A Redis on a Unix socket and on TCP, which keeps its data through a SIGKILL, and whose wall clock
/// can be moved. `appendfsync no` leaves the disk alone, and each write is handed to the kernel before
/// it is answered: so what was answered outlives the process.
class DurableRedis {
 public:
  DurableRedis(std::string preloaded, WallClock& wall_clock)
      : preloaded_(std::move(preloaded)), wall_clock_(wall_clock) {
    const MovedClock moved{*this};
    const auto port = std::to_string(port_);
    server_ = std::make_unique<RedisServer>(
        Transport::unix_socket,
        std::vector<std::string>{"--port", port, "--bind", "127.0.0.1", "--appendonly", "yes",
                                 "--appendfsync", "no", "--auto-aof-rewrite-min-size", "16mb"});
    redis_ = std::make_unique<Redis>(server_->endpoint());
  }

  /// For the nemesis' own commands; only while the server runs.
  [[nodiscard]] Redis& redis() { return *redis_; }

  [[nodiscard]] const redis_lock::Endpoint& endpoint() const { return server_->endpoint(); }
  [[nodiscard]] redis_lock::Endpoint tcp_endpoint() const {
    redis_lock::Endpoint endpoint;
    endpoint.port = port_;
    return endpoint;
  }
  [[nodiscard]] std::string uri() const { return server_->uri(); }
  [[nodiscard]] std::string tcp_uri() const { return "redis://127.0.0.1:" + std::to_string(port_); }

  void pause() { server_->pause(); }
  void resume() { server_->resume(); }
  void kill() { server_->kill(); }
  void restart() {
    const MovedClock moved{*this};
    server_->restart();
  }

  /// Of a server that does not run.
  void forget_data() const {
    const auto folder = std::filesystem::path{endpoint().unix_socket}.parent_path();
    std::filesystem::remove_all(folder / "appendonlydir");  // Redis 7
    std::filesystem::remove(folder / "appendonly.aof");     // before
  }

  void move_clock(std::chrono::nanoseconds by) { *wall_clock_ += by.count(); }

 private:
  /// While it lives, processes are started with the wall clock moved.
  struct MovedClock {
    explicit MovedClock(const DurableRedis& server) {
      ::setenv("LD_PRELOAD", server.preloaded_.c_str(), 1);
      ::setenv("REDIS_LOCK_WALL_CLOCK", server.wall_clock_.path().c_str(), 1);
    }
    MovedClock(const MovedClock&) = delete;
    MovedClock& operator=(const MovedClock&) = delete;
    ~MovedClock() {
      ::unsetenv("LD_PRELOAD");
      ::unsetenv("REDIS_LOCK_WALL_CLOCK");
    }
  };

  std::string preloaded_;
  WallClock& wall_clock_;
  const std::uint16_t port_ = lasting_port();
  std::unique_ptr<RedisServer> server_;
  std::unique_ptr<Redis> redis_;
};

}  // namespace redis_lock_test::campaign
