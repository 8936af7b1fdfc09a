#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "eventually.hpp"
#include "redis.hpp"
#include "redis_server.hpp"
#include "socket.hpp"

/// What SentinelFleet and ClusterFleet have in common.
namespace redis_lock_test {

/// Some part of a fleet, by its number from 0.
using Index = std::size_t;

enum class Harm { kill, freeze };

/// One redis-server of several. It listens at a port that its neighbours find it at again after a restart,
/// and on a Unix socket for the test's own client.
class Member {
 public:
  explicit Member(const std::string& password, const std::vector<std::string>& arguments = {}) {
    auto words = arguments;
    words.insert(words.end(), {"--bind", "127.0.0.1", "--port", std::to_string(port_)});
    // Replication without the pauses that spare a server with much data.
    words.insert(words.end(), {"--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0",
                               "--repl-ping-replica-period", "1"});
    if (!password.empty())
      words.insert(words.end(), {"--requirepass", password, "--masterauth", password});
    server_ = std::make_unique<RedisServer>(Transport::unix_socket, std::move(words), password);
    redis_.emplace(server_->endpoint());
  }

  /// The test's own client of it, for one thread at a time. Not while it is frozen.
  [[nodiscard]] Redis& redis() { return *redis_; }
  /// Another one.
  [[nodiscard]] Redis client() const { return Redis{server_->endpoint()}; }

  [[nodiscard]] const std::string& host() const { return host_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string address() const { return host_ + ":" + std::to_string(port_); }
  [[nodiscard]] const redis_lock::Endpoint& local_endpoint() const { return server_->endpoint(); }

  [[nodiscard]] bool is_running() const { return state_ == State::running; }
  void kill() {
    server_->kill();
    state_ = State::killed;
  }
  void freeze() {
    server_->pause();
    state_ = State::frozen;
  }
  void suffer(Harm harm) { harm == Harm::kill ? kill() : freeze(); }
  /// Goes on if it was frozen, starts without its data if it was killed.
  void revive() {
    if (state_ == State::frozen) server_->resume();
    if (state_ == State::killed) server_->restart();
    state_ = State::running;
  }

  [[nodiscard]] bool is_master() { return redis_->command("ROLE").elements.at(0).text == "master"; }

  /// Cuts its replication off, until mend_replication(): what its master writes does not reach it.
  void break_replication() {
    redis_->command("CONFIG", "SET", "masterauth", "wrong");
    redis_->command("CLIENT", "KILL", "TYPE", "master");
    if (!eventually([this] { return info("master_link_status") == "down"; }))
      throw std::runtime_error("the replica is still connected");
  }
  void mend_replication(const std::string& password) {
    redis_->command("CONFIG", "SET", "masterauth", password);
  }

  /// A text out of INFO; empty if it is not there.
  [[nodiscard]] std::string info(const std::string& field) {
    const auto all = "\n" + redis_->string("INFO", "all").value_or("");
    const auto at = all.find("\n" + field + ":");
    if (at == all.npos) return {};
    const auto begin = at + field.size() + 2;
    return all.substr(begin, all.find('\r', begin) - begin);
  }

  /// Waits until this replica has all that its master has written so far.
  void catch_up_with(Member& master) {
    const auto written = std::stoll(master.info("master_repl_offset"));
    if (!eventually([&] { return std::stoll("0" + info("slave_repl_offset")) >= written; }))
      throw std::runtime_error("the replica does not catch up");
  }

  /// How many replicas get all that it is told.
  [[nodiscard]] std::size_t online_replicas() {
    std::size_t count = 0;
    const auto all = redis_->string("INFO", "replication").value_or("");
    for (auto at = all.find("state=online"); at != all.npos; at = all.find("state=online", at + 1))
      ++count;
    return count;
  }

 private:
  enum class State { running, frozen, killed };

  std::string host_ = "127.0.0.1";
  std::uint16_t port_ = lasting_port();
  std::unique_ptr<RedisServer> server_;
  std::optional<Redis> redis_;
  State state_ = State::running;
};

/// Notes when something happens that can only be seen by asking.
class Moment {
 public:
  using Time = std::chrono::steady_clock::time_point;

  /// Asks `happened()` in a thread of its own, about each millisecond; one that throws is a no.
  explicit Moment(std::function<bool()> happened)
      : thread_{[this, happened = std::move(happened)] {
          while (!stopping_) {
            try {
              if (happened()) {
                at_ = std::chrono::steady_clock::now();
                return;
              }
            } catch (const std::exception&) {
            }
            std::this_thread::sleep_for(1ms);
          }
        }} {}
  Moment(const Moment&) = delete;
  Moment& operator=(const Moment&) = delete;
  ~Moment() {
    stopping_ = true;
    thread_.join();
  }

  [[nodiscard]] bool has_come() const { return at_.load() != Time{}; }

  /// Waits for it. Throws when it does not come.
  [[nodiscard]] Time wait() const {
    if (!eventually([this] { return has_come(); }, 2 * patience))
      throw std::runtime_error("what the test waits for did not happen");
    return at_;
  }

 private:
  std::atomic<Time> at_{Time{}};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

/// Throws what `missing()` says if it says anything for so long.
template <class Missing>
void require_soon(const std::string& what, Missing&& missing) {
  std::string reason;
  const auto is_complete = [&] {
    try {
      reason = missing();
    } catch (const std::exception& error) {
      reason = error.what();
    }
    return reason.empty();
  };
  if (!eventually(is_complete, 2 * patience)) throw std::runtime_error(what + ": " + reason);
}

/// Makes something that needs a port which another process may take at the same moment.
template <class Make>
auto despite_taken_ports(Make&& make) {
  for (int attempt = 1;; ++attempt) {
    try {
      return make();
    } catch (const std::exception&) {
      if (attempt == 5) throw;
    }
  }
}

}  // namespace redis_lock_test
