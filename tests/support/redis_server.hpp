#pragma once

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <redis_lock/endpoint.hpp>

#include "eventually.hpp"
#include "least_rights.hpp"
#include "redis.hpp"
#include "socket.hpp"

namespace redis_lock_test {

enum class Transport { unix_socket, tcp, tls };

/// A redis-server of the test's own, in a temporary folder; nothing is written to disk. It is up when
/// the constructor returns, and gone after the destructor.
///
/// The server dies with the *thread* that started it (PR_SET_PDEATHSIG), so that it survives no
/// killed test: start it in the main thread, or in one that lives as long.
///
/// The environment variable REDIS_LOCK_TEST_SERVER names another program than redis-server. With
/// REDIS_LOCK_TEST_ACL, endpoint() and uri() name a user of the least rights: see least_rights.hpp.
class RedisServer {
 public:
  /// `arguments` go to the server as they are, e.g. {"--requirepass", "secret"}; `password` is
  /// the one by which the server is asked whether it is up. Over TLS they must name the certificate.
  explicit RedisServer(Transport transport = Transport::unix_socket,
                       std::vector<std::string> arguments = {}, std::string password = {})
      : arguments_(std::move(arguments)), folder_(make_temporary_folder()) {
    endpoint_.password = std::move(password);
    if (as_least_user() && endpoint_.password.empty()) {
      const auto words = words_of_least_user();
      arguments_.insert(arguments_.end(), words.begin(), words.end());
      endpoint_.username = least_user;
      endpoint_.password = least_password;
    }
    if (transport == Transport::unix_socket) endpoint_.unix_socket = folder_ + "/socket";
    if (transport == Transport::tls) endpoint_.tls.emplace();
    // Another process may take the free port before the server does; then with another one.
    for (int attempt = 1;; ++attempt) {
      if (transport != Transport::unix_socket) endpoint_.port = free_port();
      try {
        start();
        return;
      } catch (const std::exception&) {
        if (transport == Transport::unix_socket || attempt == 5) {
          remove_folder();
          throw;
        }
      }
    }
  }

  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  ~RedisServer() {
    if (owner_ != ::getpid()) return;  // a forked child has a copy of this object
    kill();
    remove_folder();
  }

  [[nodiscard]] const redis_lock::Endpoint& endpoint() const { return endpoint_; }
  [[nodiscard]] pid_t pid() const { return pid_; }

  /// Where the test's own client, which knows no TLS, finds a server that speaks nothing else: it
  /// listens on a Unix socket too.
  [[nodiscard]] redis_lock::Endpoint without_tls() const {
    auto endpoint = endpoint_;
    if (std::exchange(endpoint.tls, std::nullopt)) endpoint.unix_socket = folder_ + "/socket";
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
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }

  /// Stopped (SIGSTOP), a server accepts connections and answers nothing. Stopped when this returns.
  void pause() {
    ::kill(pid_, SIGSTOP);
    ::waitpid(pid_, nullptr, WUNTRACED);
  }
  void resume() { ::kill(pid_, SIGCONT); }

  /// An empty server at the same place.
  void restart() {
    kill();
    start();
  }

 private:
  void start() {
    const char* const named = std::getenv("REDIS_LOCK_TEST_SERVER");
    const std::string program = named != nullptr ? named : "redis-server";
    const auto log = folder_ + "/log";
    const auto own = without_tls();
    const auto tcp_port = std::to_string(own.unix_socket.empty() ? endpoint_.port : 0);
    std::vector<std::string> words{program,  "--save",      "",      "--appendonly", "no",
                                   "--port", tcp_port,      "--dir", folder_,        "--logfile",
                                   log,      "--daemonize", "no"};
    if (endpoint_.tls) {
      words.insert(words.end(), {"--tls-port", std::to_string(endpoint_.port)});
    }
    if (endpoint_.unix_socket.empty()) words.insert(words.end(), {"--bind", endpoint_.host});
    if (!own.unix_socket.empty()) words.insert(words.end(), {"--unixsocket", own.unix_socket});
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    std::vector<char*> argv;
    for (auto& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);

    owner_ = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) detail::throw_errno("fork");
    if (pid_ == 0) become_server(argv);
    wait_until_up(program, log);
  }

  /// Between fork and exec, so with system calls only.
  [[noreturn]] void become_server(const std::vector<char*>& argv) const {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != owner_) ::_exit(0);
    const int nowhere = ::open("/dev/null", O_RDWR);
    for (int standard = 0; standard <= 2; ++standard) ::dup2(nowhere, standard);
    for (int inherited = 3; inherited < 4096; ++inherited) ::close(inherited);
    ::execvp(argv.front(), argv.data());
    ::_exit(127);
  }

  void wait_until_up(const std::string& program, const std::string& log) {
    const auto fail = [&](const std::string& reason) {
      std::ostringstream message;
      message << "this test needs redis-server (" << program << "): " << reason;
      if (std::ifstream file{log}) message << "; its log:\n" << file.rdbuf();
      throw std::runtime_error(message.str());
    };
    int status = 0;
    const auto answers = [&] {
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        return true;
      }
      try {
        return Redis{without_tls()}.string("PING") == "PONG";
      } catch (const std::exception&) {
        return false;
      }
    };
    const bool in_time = eventually(answers, 30s);
    if (pid_ == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127)
      fail("cannot be started; is it installed?");
    if (pid_ == 0) fail("ended at once");
    if (!in_time) {
      kill();
      fail("does not answer PING");
    }
  }

  void remove_folder() const {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::vector<std::string> arguments_;
  std::string folder_;
  redis_lock::Endpoint endpoint_;
  pid_t owner_ = ::getpid();
  pid_t pid_ = 0;
};

/// Where tests that share a server find it: REDIS_LOCK_TEST_URL, or a private server that lives as
/// long as the process. Call it in the main thread first (see RedisServer).
inline std::string test_uri() {
  if (const char* const url = std::getenv("REDIS_LOCK_TEST_URL")) return url;
  static const RedisServer server;
  return server.uri();
}

}  // namespace redis_lock_test
