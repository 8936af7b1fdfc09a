#pragma once

#include <csignal>
#include <cstdlib>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "history.hpp"
#include "roles.hpp"
#include "server.hpp"
#include "shared_file.hpp"
#include "support/eventually.hpp"

namespace redis_lock_test::campaign {

/// The worker processes: one for each role that the server suits, started anew when it was killed. They run this very
/// program, and die with the thread that started them.
class Fleet {
 public:
  struct Setting {
    std::string folder;      ///< of the history and the board
    std::string preloaded;   ///< wall_clock.cpp, built
    std::string wall_clock;  ///< the file that it reads
    std::uint64_t seed = 0;
    std::string parameters;  ///< of the workers' URIs
  };

  Fleet(Setting setting, const Server& server, const HistoryFile& history, Board& board)
      : setting_(std::move(setting)),
        server_(server),
        history_(history),
        board_(board),
        pids_(roles().size()) {
    processes_.resize(pids_.size());
    for (int slot = 0; slot < size(); ++slot) {
      if (server_.has(roles()[index(slot)].kind)) start(slot);
    }
  }
  Fleet(const Fleet&) = delete;
  Fleet& operator=(const Fleet&) = delete;
  ~Fleet() {
    for (int slot = 0; slot < size(); ++slot) kill(slot, "killed");
  }

  [[nodiscard]] int size() const { return static_cast<int>(pids_.size()); }
  [[nodiscard]] bool runs(int slot) const { return pids_[index(slot)] > 0; }
  [[nodiscard]] int process(int slot) const { return processes_[index(slot)]; }

  /// Under a new number of its own.
  void start(int slot) {
    for (auto& doing : board_.doing[slot]) doing = Doing::something_else;
    const auto& role = roles()[index(slot)];
    const auto process = ++latest_process_;
    std::vector<std::string> words{
        "campaign",
        "--worker",
        std::to_string(slot),
        std::to_string(process),
        setting_.folder,
        with_parameters(server_.uri(role.link), slot),
        std::to_string(setting_.seed * 1000 + static_cast<unsigned>(process))};
    std::vector<std::string> variables;
    for (char** variable = environ; *variable != nullptr; ++variable)
      variables.emplace_back(*variable);
    if (role.moved_clock) {
      variables.push_back("LD_PRELOAD=" + setting_.preloaded);
      variables.push_back("REDIS_LOCK_WALL_CLOCK=" + setting_.wall_clock);
    }
    const auto log = setting_.folder + "/workers.log";
    const auto argv = pointers(words), envp = pointers(variables);
    const auto parent = ::getpid();
    const auto pid = ::fork();
    if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid == 0) {  // system calls only
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(0);
      const int output = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
      ::dup2(output, 1);
      ::dup2(output, 2);
      ::execve("/proc/self/exe", argv.data(), envp.data());
      ::_exit(127);
    }
    pids_[index(slot)] = pid;
    processes_[index(slot)] = process;
  }

  void kill(int slot, const std::string& why = "killed") {
    if (!runs(slot)) return;
    ::kill(pids_[index(slot)], SIGKILL);
    ::waitpid(pids_[index(slot)], nullptr, 0);
    gone(slot, why);
  }

  /// Stopped when this returns.
  void stop(int slot) const {
    ::kill(pids_[index(slot)], SIGSTOP);
    siginfo_t ignored{};
    ::waitid(P_PID, static_cast<id_t>(pids_[index(slot)]), &ignored, WSTOPPED | WEXITED | WNOWAIT);
  }
  void resume(int slot) const {
    if (runs(slot)) ::kill(pids_[index(slot)], SIGCONT);
  }

  /// Writes down who has ended by itself, and starts another one.
  void look_after() {
    for (int slot = 0; slot < size(); ++slot) {
      if (runs(slot) && reaped(slot)) start(slot);
    }
  }

  /// Tells all to come to an end, and waits for it; does `meanwhile()` all the time.
  template <class Meanwhile>
  void finish(Meanwhile&& meanwhile) {
    board_.finish = true;
    const auto all_gone = [&] {
      meanwhile();
      bool all = true;
      for (int slot = 0; slot < size(); ++slot) all = (!runs(slot) || reaped(slot)) && all;
      return all;
    };
    if (eventually(all_gone, 40s)) return;
    for (int slot = 0; slot < size(); ++slot) kill(slot, "unfinished");
  }

 private:
  [[nodiscard]] static std::size_t index(int slot) { return static_cast<std::size_t>(slot); }

  /// Each of the URIs, which have spaces between them.
  [[nodiscard]] std::string with_parameters(const std::string& uris, int slot) const {
    std::istringstream words{uris};
    std::string all, uri;
    while (words >> uri)
      all += (all.empty() ? "" : " ") + uri + '?' + setting_.parameters + "&client_name=slot-" +
             std::to_string(slot);
    return all;
  }

  [[nodiscard]] static std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> pointers;
    for (auto& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    return pointers;
  }

  [[nodiscard]] bool reaped(int slot) {
    int status = 0;
    if (::waitpid(pids_[index(slot)], &status, WNOHANG) != pids_[index(slot)]) return false;
    if (WIFSIGNALED(status)) {
      gone(slot, "signal-" + std::to_string(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0 || !board_.finish) {
      gone(slot, "exit-" + std::to_string(WEXITSTATUS(status)));
    } else {
      gone(slot, "finished");
    }
    return true;
  }

  void gone(int slot, const std::string& why) {
    pids_[index(slot)] = 0;
    Record record;
    record.event = Event::ended;
    record.process = processes_[index(slot)];
    record.outcome = why;
    record.at = std::chrono::steady_clock::now();
    history_.write(record);
  }

  Setting setting_;
  const Server& server_;
  const HistoryFile& history_;
  Board& board_;
  std::vector<pid_t> pids_;  // by slot; 0: none runs
  std::vector<int> processes_;
  int latest_process_ = 0;
};

}  // namespace redis_lock_test::campaign
