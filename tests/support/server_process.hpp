#pragma once

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eventually.hpp"
#include "socket.hpp"

namespace redis_lock_test {

/// An empty folder that goes with the object. In a forked child the object is a copy, and leaves it alone.
class TemporaryFolder {
 public:
  TemporaryFolder() = default;
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    if (owner_ != ::getpid()) return;
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_ = make_temporary_folder();
  pid_t owner_ = ::getpid();
};

/// The program that serves in all tests: redis-server, or what REDIS_LOCK_TEST_SERVER names.
inline std::string server_program() {
  const char* const named = std::getenv("REDIS_LOCK_TEST_SERVER");
  return named != nullptr ? named : "redis-server";
}

/// A process that runs a server's program. It is killed by the destructor, but not by that of a copy in
/// a forked child; and it dies with the *thread* that started it (PR_SET_PDEATHSIG), so that it
/// survives no killed test: start it in the main thread, or in one that lives as long.
class ServerProcess {
 public:
  ServerProcess() = default;
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  ~ServerProcess() {
    if (owner_ == ::getpid()) kill();
  }

  /// Starts the server's program with these arguments, and waits until `answers()`: does it serve?
  /// Otherwise throws std::runtime_error with what stands in the file `log`.
  template <class Answers>
  void start(std::vector<std::string> arguments, const std::string& log, Answers&& answers) {
    arguments.insert(arguments.begin(), server_program());
    std::vector<char*> argv;
    for (auto& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    owner_ = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) detail::throw_errno("fork");
    if (pid_ == 0) become_server(argv);
    wait_until_up(log, answers);
  }

  [[nodiscard]] pid_t pid() const { return pid_; }

  /// SIGKILL.
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }

  /// SIGSTOP; stopped when this returns.
  void pause() const {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGSTOP);
    ::waitpid(pid_, nullptr, WUNTRACED);
  }
  void resume() const {
    if (pid_ > 0) ::kill(pid_, SIGCONT);
  }

 private:
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

  template <class Answers>
  void wait_until_up(const std::string& log, Answers&& answers) {
    const auto fail = [&](const std::string& reason) {
      std::ostringstream message;
      message << "this test needs redis-server (" << server_program() << "): " << reason;
      if (std::ifstream file{log}) message << "; its log:\n" << file.rdbuf();
      throw std::runtime_error(message.str());
    };
    int status = 0;
    const auto ended_or_answers = [&] {
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        return true;
      }
      try {
        return static_cast<bool>(answers());
      } catch (const std::exception&) {
        return false;
      }
    };
    const bool in_time = eventually(ended_or_answers, 30s);
    if (pid_ == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127)
      fail("cannot be started; is it installed?");
    if (pid_ == 0) fail("ended at once");
    if (!in_time) {
      kill();
      fail("does not answer PING");
    }
  }

  pid_t owner_ = ::getpid();
  pid_t pid_ = 0;
};

}  // namespace redis_lock_test
