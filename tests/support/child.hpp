#pragma once

#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eventually.hpp"

namespace redis_lock_test {

/// How a process ended.
struct Exit {
  int code = -1;   ///< -1: not by itself
  int signal = 0;  ///< 0: not by a signal
};

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REDIS_LOCK_TEST_WITH_ASAN
#endif
#endif

/// Do all other threads of this process sleep?
[[nodiscard]] inline bool all_others_sleep() {
  for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task"}) {
    if (task.path().filename() == std::to_string(::gettid())) continue;
    std::string line;
    std::getline(std::ifstream{task.path() / "stat"}, line);
    if (line.find(") S ") == line.npos) return false;
  }
  return true;
}

/// AddressSanitizer of clang 14 does not mind its allocator at a fork: if another thread is in it then, the
/// child waits for ever. So with it, lets the other threads come to rest first.
inline void let_threads_rest() {
#ifdef REDIS_LOCK_TEST_WITH_ASAN
  static_cast<void>(eventually(all_others_sleep, std::chrono::seconds{1}));
#endif
}

/// A forked process that runs a function and leaves by _exit with what it returned: no destructor
/// of the test runs twice. An exception is exit code 111. Killed, if it still runs, by the destructor
/// and with the thread that forked it.
class Child {
 public:
  template <class Function>
  explicit Child(Function&& function) {
    const auto parent = ::getpid();
    std::fflush(nullptr);
    let_threads_rest();
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(112);
    try {
      ::_exit(std::forward<Function>(function)());
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child %d: %s\n", static_cast<int>(::getpid()), error.what());
    }
    ::_exit(111);
  }

  Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, 0)), exit_(other.exit_) {}
  Child& operator=(Child&&) = delete;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  ~Child() {
    if (pid_ <= 0 || exit_) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  [[nodiscard]] pid_t pid() const { return pid_; }

  void kill(int signal = SIGKILL) const {
    if (!exit_) ::kill(pid_, signal);
  }

  /// Stops it as a debugger or a suspended machine would; it is stopped when this returns.
  void pause() const {
    ::kill(pid_, SIGSTOP);
    ::waitpid(pid_, nullptr, WUNTRACED);
  }
  void resume() const { kill(SIGCONT); }

  [[nodiscard]] bool running() { return !poll(); }

  /// Waits until it ends; nothing when it has not by `timeout`.
  [[nodiscard]] std::optional<Exit> wait(std::chrono::milliseconds timeout = 3 * patience) {
    static_cast<void>(eventually([this] { return poll().has_value(); }, timeout));
    return exit_;
  }

  /// Waits until it ends and tells its exit code; -1 when it was killed or has not ended.
  [[nodiscard]] int exit_code(std::chrono::milliseconds timeout = 3 * patience) {
    return wait(timeout).value_or(Exit{}).code;
  }

 private:
  std::optional<Exit> poll() {
    int status = 0;
    if (!exit_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
      exit_ = WIFEXITED(status) ? Exit{WEXITSTATUS(status), 0} : Exit{-1, WTERMSIG(status)};
    }
    return exit_;
  }

  pid_t pid_ = 0;
  std::optional<Exit> exit_;
};

}  // namespace redis_lock_test
