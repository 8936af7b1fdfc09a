#pragma once

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>

namespace redis_lock_command {

/// The signals of this process, which its main thread takes one by one: blocked before there are other
/// threads, so that none is lost or comes in the middle of something.
class Signals {
 public:
  using Clock = std::chrono::steady_clock;

  /// `stops_by_terminal`: the terminal stops this process and the command together, and needs no help.
  explicit Signals(bool stops_by_terminal) {
    ::sigemptyset(&taken_);
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH,
                             SIGCONT, SIGCHLD, wake()}) {
      ::sigaddset(&taken_, signal);
    }
    if (!stops_by_terminal) ::sigaddset(&taken_, SIGTSTP);
    ::signal(SIGCHLD, SIG_DFL);  // ignored, a command would leave no status
    ::pthread_sigmask(SIG_BLOCK, &taken_, &before_);
  }

  /// The next one, or nothing at `deadline`.
  [[nodiscard]] std::optional<siginfo_t> next(std::optional<Clock::time_point> deadline) const {
    for (;;) {
      siginfo_t info{};
      int taken = 0;
      if (deadline) {
        const auto left = std::max(*deadline - Clock::now(), Clock::duration::zero());
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
        timespec time{};
        time.tv_sec = seconds.count();
        time.tv_nsec = static_cast<long>(std::chrono::nanoseconds(left - seconds).count());
        taken = ::sigtimedwait(&taken_, &info, &time);
      } else {
        taken = ::sigwaitinfo(&taken_, &info);
      }
      if (taken > 0) return info;
      if (errno == EAGAIN) return std::nullopt;
    }
  }

  /// Makes next() of the main thread return; from any thread.
  void wake_main() const { ::pthread_kill(main_, wake()); }
  [[nodiscard]] static int wake() { return SIGRTMIN; }

  /// As it was before, for the command. Async-signal-safe.
  void restore() const { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  const pthread_t main_ = ::pthread_self();
  sigset_t taken_{}, before_{};
};

}  // namespace redis_lock_command
