#include "processes.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

namespace redis_lock_command {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Process {
  pid_t pid, parent, session;
};

/// The processes that /proc shows and that have not ended.
std::vector<Process> living() {
  std::vector<Process> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder{::opendir("/proc"), ::closedir};
  while (const dirent* entry = folder ? ::readdir(folder.get()) : nullptr) {
    const auto pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid <= 0) continue;
    const int file =
        ::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    std::array<char, 512> text{};
    const auto size = ::read(file, text.data(), text.size() - 1);
    ::close(file);
    // "pid (any name) state parent group session …": the name may hold anything.
    const char* const behind_name = size > 0 ? std::strrchr(text.data(), ')') : nullptr;
    char state = 0;
    Process process{pid, 0, 0};
    if (!behind_name || std::sscanf(behind_name + 1, " %c %d %*d %d", &state, &process.parent,
                                    &process.session) != 3) {
      continue;
    }
    if (state != 'Z' && state != 'X') found.push_back(process);
  }
  return found;
}

}  // namespace

Processes::Processes(pid_t reaper, pid_t command)
    : reaper_(reaper), command_(command), session_(::getsid(0)) {}

std::vector<pid_t> Processes::all() const {
  const auto processes = living();
  auto own_session = session_;
  for (const auto& process : processes) {
    if (process.pid == command_) own_session = process.session;
  }
  std::vector<pid_t> family{reaper_}, members;
  if (command_ > 0 && processes.empty()) return {command_};
  for (std::size_t i = 0; i < family.size(); ++i) {
    for (const auto& process : processes) {
      if (process.parent != family[i] || process.pid == ::getpid()) continue;
      family.push_back(process.pid);
      const bool is_member =
          process.pid == command_ || process.session == session_ || process.session == own_session;
      if (is_member) members.push_back(process.pid);
    }
  }
  return members;
}

bool Processes::send(int signal) const {
  bool is_allowed = true;
  for (const auto pid : all()) {
    if (::kill(pid, signal) != 0 && errno == EPERM) is_allowed = false;
  }
  return is_allowed;
}

bool Processes::send_to_command(int signal) const {
  return command_ <= 0 || ::kill(command_, signal) == 0 || errno != EPERM;
}

bool Processes::end(Clock::time_point kill_at, const std::function<void()>& reap) const {
  (void)send(SIGTERM);
  (void)send(SIGCONT);  // to those that are stopped
  constexpr milliseconds pause{10};
  const auto last = std::max(kill_at, Clock::now()) + std::chrono::seconds{2};
  for (;;) {
    reap();
    if (all().empty() && all().empty())
      return true;  // one may change its parent while /proc is read
    const auto now = Clock::now();
    if (now >= last) return false;
    if (now >= kill_at) {
      if (!send(SIGKILL) && now >= kill_at + milliseconds{200}) return false;
    }
    std::this_thread::sleep_for(
        std::min<Clock::duration>(pause, now < kill_at ? kill_at - now : Clock::duration{pause}));
  }
}

}  // namespace redis_lock_command
