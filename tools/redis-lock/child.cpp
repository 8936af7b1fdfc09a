#include "child.hpp"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>

namespace redis_lock_command {
namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (auto& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& variables) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    const auto name = text.substr(0, text.find('='));
    const bool replaced = std::any_of(variables.begin(), variables.end(),
                                      [&](const auto& variable) { return variable.first == name; });
    if (!replaced) all.emplace_back(text);
  }
  for (const auto& [name, value] : variables) {
    if (!value.empty()) all.push_back(name + '=' + value);
  }
  return all;
}

}  // namespace

bool is_in_foreground() {
  const int terminal = ::open("/dev/tty", O_RDWR | O_CLOEXEC);
  if (terminal < 0) return false;
  const bool in_foreground = ::tcgetpgrp(terminal) == ::getpgrp();
  ::close(terminal);
  return in_foreground;
}

Child::Child(const std::vector<std::string>& command,
             const std::vector<std::pair<std::string, std::string>>& variables,
             const Signals& signals, bool in_group)
    : own_group_(!in_group) {
  std::array<int, 2> report{};  // an errno, if the command cannot be executed
  if (::pipe2(report.data(), O_CLOEXEC) != 0) fail("pipe");
  auto arguments = command;
  auto environment = environment_with(variables);
  const auto argv = pointers_to(arguments), envp = pointers_to(environment);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) {
    const int error = errno;
    for (const int end : report) ::close(end);
    errno = error;
    fail("fork");
  }
  if (pid_ == 0) {  // only what is async-signal-safe: there were other threads
    if (own_group_) ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(SIGTERM + 128);  // it was killed before that
    signals.restore();
    ::execvpe(argv[0], argv.data(), envp.data());
    const int error = errno;
    (void)!::write(report[1], &error, sizeof error);
    ::_exit(127);
  }
  if (own_group_) ::setpgid(pid_, pid_);  // in whichever of the two comes first
  ::close(report[1]);
  int error = 0;
  ssize_t size = 0;
  do {
    size = ::read(report[0], &error, sizeof error);
  } while (size < 0 && errno == EINTR);
  ::close(report[0]);
  if (size == static_cast<ssize_t>(sizeof error)) {
    ::waitpid(pid_, nullptr, 0);
    throw ExecFailure{error};
  }
}

void Child::send(int signal) const { ::kill(own_group_ ? -pid_ : pid_, signal); }

bool Child::has_group() const { return own_group_ && ::kill(-pid_, 0) == 0; }

bool Child::has_ended() {
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return false;
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return true;
}

}  // namespace redis_lock_command
