#include "run.hpp"

#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <stop_token>
#include <system_error>
#include <thread>

#include <redis_lock/host_and_pid.hpp>
#include <redis_lock/inspect.hpp>
#include <redis_lock/lock.hpp>
#include <redis_lock/once.hpp>
#include <redis_lock/semaphore.hpp>

#include "guardian.hpp"
#include "message.hpp"
#include "signals.hpp"

namespace redis_lock_command {
namespace {

using Clock = Signals::Clock;
using redis_lock::errc;
using redis_lock::Error;
using redis_lock::Lock;
using redis_lock::Semaphore;
using redis_lock::detail::Once;
using std::chrono::milliseconds;

/// How long what was to be cut short has left to come to an end.
constexpr milliseconds last_moment{250};

[[nodiscard]] bool is_passing(const Error& error) {
  return error.code() == errc::connection_failed || error.code() == errc::timed_out;
}

/// The lock or permit to wait for.
struct Turn {
  std::shared_ptr<Lock> lock;         // null with a permit
  std::shared_ptr<Once> once;         // that the lock is a part of; null for `run`
  std::shared_ptr<Semaphore> permit;  // null without --slots

  /// Calls `use` with the lock or the permit.
  template <class Use>
  auto with(const Use& use) const {
    return permit ? use(*permit) : use(*lock);
  }
  [[nodiscard]] bool is_owned() const {
    return with([](const auto& each) { return each.owns_lock(); });
  }
  [[nodiscard]] Clock::time_point expires_at() const {
    return with([](const auto& each) { return each.expires_at(); });
  }
  [[nodiscard]] std::string id() const {
    return with([](const auto& each) { return each.id(); });
  }
};

/// Gets the lock on a thread of its own, so that signals and the end of --wait can end the wait, whatever Redis does.
class Wait {
 public:
  /// Until `deadline` Redis may be away, without one not at all.
  Wait(Turn turn, const Signals& signals, bool tries_once,
       const std::optional<Clock::time_point>& deadline)
      : state_(std::make_shared<State>()) {
    // It is left alone if it takes too long to end, and `signals` with it, until this process is over.
    std::thread{[state = state_, turn = std::move(turn), &signals, tries_once, deadline] {
      state->get(turn, tries_once, deadline);
      const std::lock_guard guard{state->mutex};
      state->is_over = true;
      state->changed.notify_all();
      signals.wake_main();
    }}.detach();
  }

  [[nodiscard]] bool is_over() const {
    const std::lock_guard guard{state_->mutex};
    return state_->is_over;
  }
  /// Ends it. False: it has not ended yet.
  [[nodiscard]] bool stop() {
    state_->stop.request_stop();
    std::unique_lock guard{state_->mutex};
    return state_->changed.wait_for(guard, last_moment, [this] { return state_->is_over; });
  }
  /// Of one that is over. Throws what it threw.
  [[nodiscard]] bool acquired() const {
    if (state_->error) std::rethrow_exception(state_->error);
    return state_->acquired;
  }
  /// Returns whether a wait that is over found that the command has run in this period.
  [[nodiscard]] bool found_done() const { return !state_->acquired && !state_->is_busy; }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::stop_source stop;
    bool is_over = false, acquired = false, is_busy = false;
    std::exception_ptr error;

    void get(const Turn& turn, bool tries_once, const std::optional<Clock::time_point>& deadline) {
      const auto take = [&](auto& lock) {
        is_busy = !(tries_once ? lock.try_lock() : lock.lock(stop.get_token()));
        return !is_busy;
      };
      const auto acquire = [&](Lock& lock) {
        return take(lock) ? std::unique_lock{lock, std::adopt_lock} : std::unique_lock<Lock>{};
      };
      for (;;) {
        try {
          if (turn.once) {
            auto guard = turn.once->take_turn(acquire);
            acquired = guard.owns_lock();
            (void)guard.release();
          } else {
            acquired = turn.with(take);
          }
          error = nullptr;
          return;
        } catch (const Error& failure) {
          error = std::current_exception();
          if (!deadline || !is_passing(failure)) return;
        } catch (...) {
          error = std::current_exception();
          return;
        }
        std::unique_lock guard{mutex};
        constexpr milliseconds pause{500};
        const auto until = std::min(*deadline, Clock::now() + pause);
        (void)changed.wait_until(guard, stop.get_token(), until, [] { return false; });
        if (stop.stop_requested() || Clock::now() >= *deadline) return;
      }
    }
  };

  std::shared_ptr<State> state_;
};

/// Text for "…, which X holds".
std::string holder_text(const redis_lock::HeldLock& held) {
  auto text = "held by " + printable(held.owner);
  if (held.time_left) {
    const auto tenths = (held.time_left->count() + 99) / 100;
    text += ", whose lease has " + std::to_string(tenths / 10) + '.' + std::to_string(tenths % 10) +
            " s left";
  }
  return text;
}

/// Someone else held the lock for all the time that there was to wait, or Redis does not answer: then throws Error.
End conflict(const Place& place, const Run& run) {
  auto endpoint = redis_lock::Endpoint::parse(place.uri);
  endpoint.connect_timeout = std::min(endpoint.connect_timeout, last_moment);
  endpoint.command_timeout = std::min(endpoint.command_timeout, last_moment);
  endpoint.retry_for = milliseconds::zero();
  const redis_lock::Client client{endpoint};
  auto text = '"' + printable(run.name) + '"';
  if (run.slots > 0) {
    const auto held = redis_lock::holders(client, run.name, redis_lock::LockKind::permit).size();
    text += " has no slot left: " + std::to_string(held) + " are taken";
  } else {
    const auto held =
        redis_lock::held_lock(client, (run.once_in ? "once:" : "") + run.name, place.key_prefix);
    text += " is " + (held ? holder_text(*held) : "held by someone else, or was until now");
  }
  // With a status that is no failure, it is none to complain of either: cron would send a mail.
  if (run.conflict_status != Status::done) say(text);
  return {run.conflict_status};
}

/// Does it end a wait? Those that mean no end are dealt with.
bool ends_wait(const signalfd_siginfo& signal) {
  switch (static_cast<int>(signal.ssi_signo)) {
    case SIGTSTP: raise_by_default(SIGTSTP); return false;
    case SIGCHLD: Guardian::reap(); return false;
    case SIGWINCH:
    case SIGCONT:
    case SIGURG: return false;
    default: return true;
  }
}

/// The signal that ends the wait, if one has come.
std::optional<int> end_by_signal(const Signals& signals) {
  while (const auto signal = signals.take()) {
    if (ends_wait(*signal)) return static_cast<int>(signal->ssi_signo);
  }
  return std::nullopt;
}

/// Frees the lock. Where no command has run, --at-least is of no effect.
std::error_code unlock(const Turn& turn, const Run& run, bool has_run) {
  return turn.with([&](auto& lock) {
    std::error_code error;
    lock.unlock(error);
    if (has_run || run.at_least.count() == 0) return error;
    try {
      (void)lock.reset(lock.id());
    } catch (const Error&) {  // it stays for that time
    }
    return error;
  });
}

/// Waits for the lock. Nothing: it is acquired.
std::optional<End> acquire(const Turn& turn, const Place& place, const Run& run,
                           const Signals& signals) {
  const auto free = [&](int signal) {
    (void)unlock(turn, run, false);
    return End{0, signal};
  };
  const bool tries_once = run.wait && run.wait->count() == 0;
  std::optional<Clock::time_point> deadline;
  if (run.wait && !tries_once) deadline = Clock::now() + *run.wait;
  Wait wait{turn, signals, tries_once, deadline};
  while (!wait.is_over()) {
    if (const auto signal = end_by_signal(signals)) {
      // What is still under way then ends with its lease, if Redis comes to it at all.
      if (wait.stop() && wait.acquired()) return free(*signal);
      return End{0, *signal};
    }
    if (deadline && Clock::now() >= *deadline) {
      if (!wait.stop()) return conflict(place, run);
      break;
    }
    signals.wait(deadline);
  }
  if (!wait.acquired()) return wait.found_done() ? End{} : conflict(place, run);
  if (const auto signal = end_by_signal(signals)) return free(*signal);
  return std::nullopt;
}

/// Stores that the command of `once` has run. Returns why it could not.
std::optional<Error> mark(Once& once) try {
  once.mark();
  return std::nullopt;
} catch (const Error& error) {
  return error;
}

/// What the terminal sends to all of the foreground group.
bool is_of_terminal(const signalfd_siginfo& signal) {
  if (signal.ssi_code != SI_KERNEL) return false;
  switch (static_cast<int>(signal.ssi_signo)) {
    case SIGINT:
    case SIGQUIT:
    case SIGTSTP:
    case SIGHUP:
    case SIGCONT:
    case SIGWINCH: return true;
    default: return false;
  }
}

/// The command, from its start to its end.
class Attendance {
 public:
  Attendance(Guardian& guardian, const Signals& signals, const Turn& turn,
             const std::atomic<bool>& lost, const Run& run)
      : guardian_(guardian), signals_(signals), turn_(turn), lost_(lost), run_(run) {}

  /// Until the command has ended: passes signals on to it, and ends it if the lock is lost, or about to be.
  [[nodiscard]] End attend() {
    for (;;) {
      if (!ending_) end_if_lost();
      while (const auto news = guardian_.news()) {
        if (const auto end = hear(*news)) return *end;
      }
      while (const auto signal = signals_.take()) pass_on(*signal);
      signals_.wait(ending_ ? std::nullopt : std::optional{ending_at()}, guardian_.descriptor());
    }
  }
  /// Was the command ended, as the lock could not be kept?
  [[nodiscard]] bool is_ended_early() const { return ending_; }

 private:
  /// The command is to be gone when the lease is. But renewals have the first two thirds of it.
  [[nodiscard]] Clock::time_point ending_at() const {
    const auto end = turn_.expires_at();
    return end - std::min<Clock::duration>(run_.grace, run_.expire / 3);
  }

  void end_if_lost() {
    const bool is_lost = lost_ || !turn_.is_owned();
    if (!is_lost && Clock::now() < ending_at()) return;
    ending_ = true;
    guardian_.end(is_lost ? Clock::now() + run_.grace : turn_.expires_at());
    say("the lock \"" + printable(run_.name) + "\" " +
        (is_lost ? "was lost: ending the command" : "cannot be renewed: ending the command"));
  }

  void pass_on(const signalfd_siginfo& signal) {
    const int number = static_cast<int>(signal.ssi_signo);
    if (number == SIGCHLD) return Guardian::reap();
    if (!is_of_terminal(signal)) guardian_.send(number);
    if (number == SIGTSTP) raise_by_default(SIGTSTP);
  }

  [[nodiscard]] std::optional<End> hear(const Guardian::News& news) {
    using Kind = Guardian::News::Kind;
    switch (news.kind) {
      case Kind::status:
        if (WIFSIGNALED(news.value)) {
          end_.signal = WTERMSIG(news.value);
        } else {
          end_.status = WEXITSTATUS(news.value);
        }
        return ending_ ? std::nullopt : std::optional{end_};
      case Kind::refused:
        say("the command runs as another user: signal " + std::to_string(news.value) +
            " may not be sent to it");
        return std::nullopt;
      case Kind::all_over: return end_;
      case Kind::left_over:
        say("the command could not be ended: it runs as another user, or does not end");
        return End{Status::not_ended};
      case Kind::killed:
        say("the guardian of the command was killed: the command was ended");
        return End{Status::system_failed};
    }
    return std::nullopt;
  }

  Guardian& guardian_;
  const Signals& signals_;
  const Turn& turn_;
  const std::atomic<bool>& lost_;
  const Run& run_;
  bool ending_ = false;
  End end_;
};

}  // namespace

End run(const Place& place, const Run& run) {
  // Both live on until the process ends, as a wait that was cut short may still use them.
  static auto& signals = *new Signals;
  static std::atomic<bool> lost{false};
  // The lease has at least as long, unless renewals have failed before.
  Guardian guardian{signals, run.command, std::min(run.grace, run.expire / 3)};
  redis_lock::Options options;
  options.expire = run.expire;
  options.min_hold = run.at_least;
  options.fencing = run.fencing;
  options.fence_prefix = run.fence_prefix;
  options.id_prefix = redis_lock::host_and_pid();
  options.key_prefix = place.key_prefix;
  options.signal_prefix = place.signal_prefix;
  options.on_lost = [](std::error_code) {
    lost = true;
    signals.wake_main();
  };
  Turn turn;
  if (run.once_in) {
    turn.once = std::make_shared<Once>(place.uri, run.name, *run.once_in, options);
    turn.lock = {turn.once, &turn.once->lock()};
  } else if (run.slots > 0) {
    turn.permit = std::make_shared<Semaphore>(place.uri, run.name, run.slots, options);
  } else {
    turn.lock = std::make_shared<Lock>(place.uri, run.name, options);
  }
  if (const auto end = acquire(turn, place, run, signals)) {
    guardian.finish();
    return *end;
  }

  End end;
  bool has_run = false, is_ended_early = false;
  try {
    if (!lost && turn.is_owned()) {
      const char* const url = run.passes_url ? std::getenv("REDIS_URL") : nullptr;
      guardian.start(
          {{"REDIS_URL", url ? url : ""},
           {"REDIS_LOCK_NAME", run.name},
           {"REDIS_LOCK_ID", turn.id()},
           {"REDIS_LOCK_FENCE", run.fencing ? std::to_string(turn.lock->fencing_token()) : ""}});
      has_run = true;
      Attendance attendance{guardian, signals, turn, lost, run};
      end = attendance.attend();
      is_ended_early = attendance.is_ended_early();
    }
  } catch (const ExecFailure& failure) {
    say(printable(run.command.front()) + ": " + std::strerror(failure.error));
    end.status = failure.error == ENOENT ? Status::not_found : Status::not_executable;
  } catch (...) {
    (void)unlock(turn, run, has_run);
    throw;
  }
  guardian.finish();
  std::optional<Error> not_marked;
  const bool succeeded = has_run && end.status == Status::done && end.signal == 0;
  if (turn.once && succeeded && !is_ended_early) not_marked = mark(*turn.once);
  const auto error = unlock(turn, run, has_run);
  if (end.status == Status::not_ended) return end;
  if (lost || is_ended_early || error == errc::lease_lost) {
    if (!is_ended_early)
      say("the lock \"" + printable(run.name) + "\" was lost before the command had ended");
    return {Status::lost};
  }
  // What the command did, it did while it was locked: its status stands.
  if (error) {
    say('"' + printable(run.name) +
        "\" could not be freed, its lease will end: " + printable(error.message()));
  }
  if (not_marked) {
    say('"' + printable(run.name) + "\" has run, but may run again in this period");
    throw *not_marked;
  }
  return end;
}

}  // namespace redis_lock_command
