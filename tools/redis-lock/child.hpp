#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "signals.hpp"

namespace redis_lock_command {

/// Is this process in the foreground of a terminal?
[[nodiscard]] bool is_in_foreground();

/// The command was not executed.
struct ExecFailure {
  int error;  // an errno
};

/// The command, as a child process.
///
/// In the foreground of a terminal it stays in this process's group, as other jobs of the pipeline may be in
/// it: it can read the terminal, and gets from there what this process gets. Elsewhere it has a group of its own,
/// so that all that it starts can be ended with it. It gets TERM when this process is killed, has the signal
/// mask and the open files that this process was started with; the library's connections close at exec.
class Child {
 public:
  /// Throws std::system_error if there can be no process, ExecFailure if the command cannot be executed. In the
  /// environment, `variables` replace what has their names; empty ones are removed.
  Child(const std::vector<std::string>& command,
        const std::vector<std::pair<std::string, std::string>>& variables, const Signals& signals,
        bool in_group);

  /// To the command, with its group where it has one.
  void send(int signal) const;
  /// Is anything left of its own group?
  [[nodiscard]] bool has_group() const;
  /// Has it ended? Then status() is what a shell would say of it.
  [[nodiscard]] bool has_ended();
  [[nodiscard]] int status() const { return status_; }

 private:
  const bool own_group_;
  pid_t pid_ = -1;
  int status_ = 0;
};

}  // namespace redis_lock_command
