#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <vector>

namespace redis_lock_command {

/// The command and what it has started: its descendants, but those that began a session of their own, and so have
/// daemonised. Descendants whose parents have ended are found where `reaper` is a child subreaper, by /proc. Without
/// /proc, it is the command alone.
class Processes {
 public:
  Processes(pid_t reaper, pid_t command);

  /// The command was waited for: its number may be that of another process now.
  void command_is_over() { command_ = -1; }

  [[nodiscard]] std::vector<pid_t> all() const;
  /// To each. False: one of them may not be signalled by this user.
  bool send(int signal) const;
  bool send_to_command(int signal) const;

  /// TERM at once, KILL from `kill_at` on, until nothing is left. Calls `reap` again and again. False: what is left may
  /// not be signalled, or does not end.
  [[nodiscard]] bool end(std::chrono::steady_clock::time_point kill_at,
                         const std::function<void()>& reap) const;

 private:
  pid_t reaper_, command_;
  pid_t session_;
};

}  // namespace redis_lock_command
