#pragma once

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <optional>
#include <system_error>

namespace redis_lock_command {

/// The signals of this process, which its main thread takes one by one. Blocked before there are other threads, so
/// that none is lost and none interrupts anything. What was ignored when the process began stays ignored.
class Signals {
 public:
  using Clock = std::chrono::steady_clock;

  Signals() {
    ::sigfillset(&taken_);
    // What a fault of the program raises, and what stops a job that uses the terminal in the background.
    for (const int signal :
         {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU})
      ::sigdelset(&taken_, signal);
    ::signal(SIGCHLD, SIG_DFL);  // ignored, a command would leave no status
    for (int signal = 1; signal <= SIGRTMAX; ++signal) {
      struct sigaction action {};
      if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN)
        ::sigdelset(&taken_, signal);
    }
    ::pthread_sigmask(SIG_BLOCK, &taken_, &before_);
    descriptor_ = ::signalfd(-1, &taken_, SFD_CLOEXEC | SFD_NONBLOCK);
    wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (descriptor_ < 0 || wake_ < 0)
      throw std::system_error(errno, std::generic_category(), "signals cannot be taken");
  }
  ~Signals() {
    ::close(descriptor_);
    ::close(wake_);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  /// Waits for a signal, for wake_main(), until `deadline`, or until `other` can be read. Then take() says which
  /// signals have come.
  void wait(std::optional<Clock::time_point> deadline, int other = -1) const {
    pollfd watched[] = {{descriptor_, POLLIN, 0}, {wake_, POLLIN, 0}, {other, POLLIN, 0}};
    int limit = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now());
      limit = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 1'000'000'000));
    }
    ::poll(watched, 3, limit);
    std::uint64_t count = 0;
    (void)!::read(wake_, &count, sizeof count);
  }

  /// The next signal that has come, if any.
  [[nodiscard]] std::optional<signalfd_siginfo> take() const {
    signalfd_siginfo info{};
    if (::read(descriptor_, &info, sizeof info) != sizeof info) return std::nullopt;
    return info;
  }

  /// Makes wait() return; from any thread.
  void wake_main() const {
    const std::uint64_t one = 1;
    (void)!::write(wake_, &one, sizeof one);
  }

  /// As it was before, for the command. Async-signal-safe.
  void restore() const { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  int descriptor_ = -1, wake_ = -1;
  sigset_t taken_{}, before_{};
};

/// Does to this process what the signal does to a process that has no handler for it.
inline void raise_by_default(int signal) {
  sigset_t one, before;
  ::sigemptyset(&one);
  ::sigaddset(&one, signal);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
  ::pthread_sigmask(SIG_UNBLOCK, &one, &before);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

/// Dies of a signal, as a shell wants to see it: it ends a loop at ^C. No core of this process is written.
[[noreturn]] inline void die_of(int signal) {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  raise_by_default(signal);
  ::_exit(128 + signal);  // it does not end a process that is PID 1
}

}  // namespace redis_lock_command
