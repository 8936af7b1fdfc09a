#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "signals.hpp"

namespace redis_lock_command {

/// The command was not executed.
struct ExecFailure {
  int error;  // an errno
};

/// A process between this one and the command, which starts the command and outlives a `kill -9` of this one: it then
/// ends the command and what the command has started. If the guardian itself is killed, this process does that.
///
/// In a session with a terminal the command stays in this process's group, as it does with flock(1): job control of the
/// shell then works on both. Elsewhere it has a group of its own, together with the guardian.
class Guardian {
 public:
  /// Before there are threads. `grace`: from TERM to KILL if this process is killed. Throws std::system_error.
  Guardian(const Signals& signals, const std::vector<std::string>& command,
           std::chrono::milliseconds grace);
  /// Without finish(), it ends what is left of the command.
  ~Guardian();
  Guardian(const Guardian&) = delete;
  Guardian& operator=(const Guardian&) = delete;

  /// Starts the command. It has the signal mask and the open files that this process was started with, and TERM if the
  /// guardian is killed. In its environment, `variables` replace what has their names; empty ones are removed. Throws
  /// std::system_error if there can be no process, ExecFailure if the command cannot be executed.
  void start(const std::vector<std::pair<std::string, std::string>>& variables);

  /// To the command, with its group where it has one.
  void send(int signal);
  /// TERM to all, KILL to those that are left at that time.
  void end(std::chrono::steady_clock::time_point kill_at);
  /// The command has ended, and what it has left stays.
  void finish();

  /// What has happened since start().
  struct News {
    enum class Kind {
      status,     // of the command: as waitpid() has it
      refused,    // this signal may not be sent to the command
      all_over,   // after end()
      left_over,  // after end(): something that may not be signalled, or does not end
      killed      // the guardian; what is left of the command has been ended
    } kind;
    int value = 0;
  };
  [[nodiscard]] std::optional<News> news();
  /// Readable when there are news.
  [[nodiscard]] int descriptor() const { return socket_; }
  /// Waits for what has become a child of this process, as it does for PID 1.
  static void reap();

 private:
  std::chrono::milliseconds grace_;
  int socket_ = -1;
  pid_t pid_ = -1, command_ = -1;
};

}  // namespace redis_lock_command
