#include "run.hpp"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stop_token>
#include <system_error>
#include <thread>

#include <redis_lock/host_and_pid.hpp>
#include <redis_lock/lock.hpp>

#include "child.hpp"
#include "signals.hpp"

namespace redis_lock_command {
namespace {

using Clock = Signals::Clock;
using redis_lock::Lock;

/// Gets the lock on a thread of its own, so that signals can end the wait.
class Wait {
 public:
  Wait(Lock& lock, const Signals& signals, bool tries_once)
      : thread_{[&, tries_once](const std::stop_token& token) {
          try {
            acquired_ = tries_once ? lock.try_lock() : lock.lock(token);
          } catch (...) {
            error_ = std::current_exception();
          }
          is_over_ = true;
          signals.wake_main();
        }} {}

  [[nodiscard]] bool is_over() const { return is_over_; }
  /// Ends it: then nothing of it is left in Redis, unless it has got the lock by now. Throws what it threw.
  [[nodiscard]] bool stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
    if (error_) std::rethrow_exception(error_);
    return acquired_;
  }

 private:
  std::atomic<bool> is_over_{false};
  bool acquired_ = false;
  std::exception_ptr error_;
  std::jthread thread_;
};

/// Not ours: the process stops as it would have without us.
void stop_like_anybody() { ::raise(SIGSTOP); }

int conflict(const Run& run) {
  // With a status that is no failure, it is none to complain of either: cron would send a mail.
  if (run.conflict_status != Status::done)
    std::fprintf(stderr, "redis-lock: \"%s\" is held by someone else\n", run.name.c_str());
  return run.conflict_status;
}

/// Waits for the lock. Nothing: it is acquired; otherwise the exit status.
std::optional<int> acquire(Lock& lock, const Run& run, const Signals& signals) {
  const bool tries_once = run.wait && run.wait->count() == 0;
  std::optional<Clock::time_point> deadline;
  if (run.wait && !tries_once) deadline = Clock::now() + *run.wait;
  Wait wait{lock, signals, tries_once};
  while (!wait.is_over()) {
    const auto signal = signals.next(deadline);
    if (!signal) {
      // Was it the holder or Redis that kept us waiting? One more attempt tells.
      if (wait.stop() || lock.try_lock()) return std::nullopt;
      return conflict(run);
    }
    const int number = signal->si_signo;
    if (number == SIGTSTP) stop_like_anybody();
    if (number == Signals::wake() || number == SIGCHLD || number == SIGWINCH || number == SIGCONT ||
        number == SIGTSTP) {
      continue;
    }
    if (wait.stop()) lock.unlock();
    return Status::by_signal + number;
  }
  if (wait.stop()) return std::nullopt;
  return conflict(run);
}

/// Ends the command, as the lock is lost: nobody keeps others from doing the same now.
class Ending {
 public:
  Ending(const Child& child, std::chrono::milliseconds grace)
      : child_(child), kill_at_(Clock::now() + grace) {
    child_.send(SIGTERM);
    child_.send(SIGCONT);  // a stopped one, too
  }
  [[nodiscard]] Clock::time_point kill_at() const { return kill_at_; }
  void kill() const { child_.send(SIGKILL); }
  /// What the command has started, and left.
  void end_group() const {
    while (child_.has_group() && Clock::now() < kill_at_)
      std::this_thread::sleep_for(std::chrono::milliseconds{20});
    if (child_.has_group()) kill();
  }

 private:
  const Child& child_;
  const Clock::time_point kill_at_;
};

/// Until the command has ended: passes signals on to it, and ends it if the lock is lost.
void attend(Child& child, const Signals& signals, const std::atomic<bool>& lost, const Run& run) {
  std::optional<Ending> ending;
  bool killed = false;
  while (!child.has_ended()) {
    if (lost && !ending) {
      std::fprintf(stderr, "redis-lock: the lock \"%s\" was lost: ending the command\n",
                   run.name.c_str());
      ending.emplace(child, run.grace);
    }
    const auto signal =
        signals.next(ending && !killed ? std::optional{ending->kill_at()} : std::nullopt);
    if (!signal) {
      ending->kill();
      killed = true;
      continue;
    }
    const int number = signal->si_signo;
    // What the terminal sent it has sent to the command, too.
    const bool from_terminal = signal->si_code == SI_KERNEL;
    if (number == SIGCHLD || number == Signals::wake() || from_terminal) continue;
    child.send(number);
    if (number == SIGTSTP) stop_like_anybody();
  }
  if (ending) ending->end_group();
}

}  // namespace

int run(const Place& place, const Run& run) {
  const bool in_foreground = is_in_foreground();
  const Signals signals{in_foreground};
  std::atomic<bool> lost{false};
  redis_lock::Options options;
  options.expire = run.expire;
  options.fencing = run.fencing;
  options.id_prefix = redis_lock::host_and_pid();
  options.key_prefix = place.key_prefix;
  options.signal_prefix = place.signal_prefix;
  options.on_lost = [&](std::error_code) {
    lost = true;
    signals.wake_main();
  };
  Lock lock{place.uri, run.name, options};
  if (const auto status = acquire(lock, run, signals)) return *status;

  int result = Status::done;
  try {
    Child child{run.command,
                {{"REDIS_LOCK_NAME", run.name},
                 {"REDIS_LOCK_ID", lock.id()},
                 {"REDIS_LOCK_FENCE", run.fencing ? std::to_string(lock.fencing_token()) : ""}},
                signals,
                in_foreground};
    attend(child, signals, lost, run);
    result = child.status();
  } catch (const ExecFailure& failure) {
    std::fprintf(stderr, "redis-lock: %s: %s\n", run.command.front().c_str(),
                 std::strerror(failure.error));
    result = failure.error == ENOENT ? Status::not_found : Status::not_executable;
  }
  std::error_code error;
  lock.unlock(error);
  if (lost || error == redis_lock::errc::lease_lost) {
    std::fprintf(stderr, "redis-lock: the lock \"%s\" was lost before the command had ended\n",
                 run.name.c_str());
    return Status::lost;
  }
  // What the command did, it did while it was locked: its status stands.
  if (error) {
    std::fprintf(stderr, "redis-lock: \"%s\" could not be freed, its lease will end: %s\n",
                 run.name.c_str(), error.message().c_str());
  }
  return result;
}

}  // namespace redis_lock_command
