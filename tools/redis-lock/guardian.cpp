#include "guardian.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

#include "processes.hpp"

namespace redis_lock_command {
namespace {

using Clock = std::chrono::steady_clock;

/// What goes to the guardian, for `start` followed by variables for the environment, each with a NUL behind it.
struct Order {
  enum class Kind { start, send, end, finish } kind;
  int value = 0;  // a signal
  Clock::rep kill_at = 0;
};

/// What comes from it.
struct Answer {
  enum class Kind { started, failed, not_executed, status, refused, all_over, left_over } kind;
  int value = 0;
  pid_t command = -1;
};

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

bool has_terminal() {
  const int terminal = ::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (terminal < 0) return false;
  ::close(terminal);
  return true;
}

/// The environment with these in it ("NAME=value"), without those that have no value.
std::vector<char*> environment_with(const std::vector<char*>& variables) {
  const auto name_of = [](std::string_view text) { return text.substr(0, text.find('=') + 1); };
  std::vector<char*> all;
  for (char** entry = environ; *entry; ++entry) {
    const bool is_replaced =
        std::any_of(variables.begin(), variables.end(),
                    [&](const char* variable) { return name_of(variable) == name_of(*entry); });
    if (!is_replaced) all.push_back(*entry);
  }
  for (char* variable : variables) {
    if (name_of(variable) != variable) all.push_back(variable);
  }
  all.push_back(nullptr);
  return all;
}

/// The process of the guardian.
class Guard {
 public:
  Guard(const Signals& signals, const std::vector<std::string>& command, int socket,
        std::chrono::milliseconds grace, bool own_group)
      : signals_(signals),
        command_words_(command),
        socket_(socket),
        grace_(grace),
        own_group_(own_group) {}

  [[noreturn]] void run() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_BLOCK, &all, nullptr);
    sigset_t child;
    ::sigemptyset(&child);
    ::sigaddset(&child, SIGCHLD);
    const int children = ::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    for (;;) {
      pollfd watched[] = {{socket_, POLLIN, 0}, {children, POLLIN, 0}};
      ::poll(watched, 2, -1);
      signalfd_siginfo ignored{};
      while (::read(children, &ignored, sizeof ignored) > 0) {
      }
      reap();
      if (watched[0].revents != 0) obey();
    }
  }

 private:
  void obey() {
    std::string bytes(longest_order, '\0');
    const auto size = ::recv(socket_, bytes.data(), bytes.size(), 0);
    if (size < 0 && errno == EINTR) return;
    if (size < static_cast<ssize_t>(sizeof(Order))) {  // redis-lock was killed
      if (processes_) (void)processes_->end(Clock::now() + grace_, [this] { reap(); });
      ::_exit(0);
    }
    Order order{};
    std::memcpy(&order, bytes.data(), sizeof order);
    switch (order.kind) {
      case Order::Kind::start:
        bytes.resize(static_cast<std::size_t>(size));
        return start(bytes.substr(sizeof order));
      case Order::Kind::send: return send(order.value);
      case Order::Kind::end: {
        const Clock::time_point kill_at{Clock::duration{order.kill_at}};
        const bool all_over = processes_->end(kill_at, [this] { reap(); });
        return tell({all_over ? Answer::Kind::all_over : Answer::Kind::left_over});
      }
      case Order::Kind::finish: ::_exit(0);
    }
  }

  void start(std::string text) {
    std::vector<char*> argv, variables;
    for (char* word = text.data(); word < text.data() + text.size(); word += std::strlen(word) + 1)
      variables.push_back(word);
    for (auto& word : command_words_) argv.push_back(word.data());
    argv.push_back(nullptr);
    const auto envp = environment_with(variables);
    std::array<int, 2> report{};  // an errno, if the command cannot be executed
    if (::pipe2(report.data(), O_CLOEXEC) != 0) return tell({Answer::Kind::failed, errno});
    const pid_t guardian = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) return tell({Answer::Kind::failed, errno});
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != guardian) ::_exit(128 + SIGTERM);
      signals_.restore();
      ::execvpe(argv[0], argv.data(), envp.data());
      const int error = errno;
      (void)!::write(report[1], &error, sizeof error);
      ::_exit(127);
    }
    ::close(report[1]);
    int error = 0;
    const bool has_failed = ::read(report[0], &error, sizeof error) == sizeof error;
    ::close(report[0]);
    if (has_failed) {
      ::waitpid(pid, nullptr, 0);
      return tell({Answer::Kind::not_executed, error});
    }
    command_ = pid;
    processes_.emplace(guardian, pid);
    tell({Answer::Kind::started, 0, pid});
  }

  void send(int signal) {
    if (!processes_) return;
    const bool is_sent =
        own_group_ ? processes_->send(signal) : processes_->send_to_command(signal);
    if (!is_sent) tell({Answer::Kind::refused, signal});
  }

  void reap() {
    int status = 0;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      if (pid != command_) continue;
      command_ = -1;
      processes_->command_is_over();
      tell({Answer::Kind::status, status});
    }
  }

  void tell(const Answer& answer) const { ::send(socket_, &answer, sizeof answer, MSG_NOSIGNAL); }

  static constexpr std::size_t longest_order = std::size_t{1} << 20;

  const Signals& signals_;
  std::vector<std::string> command_words_;
  const int socket_;
  const std::chrono::milliseconds grace_;
  const bool own_group_;
  pid_t command_ = -1;
  std::optional<Processes> processes_;
};

}  // namespace

Guardian::Guardian(const Signals& signals, const std::vector<std::string>& command,
                   std::chrono::milliseconds grace)
    : grace_(grace) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) fail("socketpair");
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  const bool own_group = !has_terminal();
  pid_ = ::fork();
  if (pid_ < 0) {
    const int error = errno;
    for (const int end : ends) ::close(end);
    errno = error;
    fail("fork");
  }
  if (pid_ == 0) {
    ::close(ends[0]);
    if (own_group) ::setpgid(0, 0);
    Guard{signals, command, ends[1], grace, own_group}.run();
  }
  ::close(ends[1]);
  socket_ = ends[0];
}

Guardian::~Guardian() {
  if (socket_ >= 0) ::close(socket_);
  if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
}

void Guardian::start(const std::vector<std::pair<std::string, std::string>>& variables) {
  const Order order{Order::Kind::start};
  std::string bytes(reinterpret_cast<const char*>(&order), sizeof order);
  for (const auto& [name, value] : variables) bytes.append(name + '=' + value).push_back('\0');
  if (::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) {
    if (errno == EMSGSIZE) throw ExecFailure{E2BIG};
    fail("starting the command");
  }
  Answer answer{};
  ssize_t size = 0;
  do {
    size = ::recv(socket_, &answer, sizeof answer, 0);
  } while (size < 0 && errno == EINTR);
  if (size != sizeof answer) {
    errno = ECHILD;
    fail("starting the command");
  }
  if (answer.kind == Answer::Kind::not_executed) throw ExecFailure{answer.value};
  if (answer.kind == Answer::Kind::failed) {
    errno = answer.value;
    fail("fork");
  }
  command_ = answer.command;
}

void Guardian::send(int signal) {
  const Order order{Order::Kind::send, signal};
  ::send(socket_, &order, sizeof order, MSG_NOSIGNAL);
}

void Guardian::end(Clock::time_point kill_at) {
  const Order order{Order::Kind::end, 0, kill_at.time_since_epoch().count()};
  ::send(socket_, &order, sizeof order, MSG_NOSIGNAL);
}

void Guardian::finish() {
  const Order order{Order::Kind::finish};
  ::send(socket_, &order, sizeof order, MSG_NOSIGNAL);
}

std::optional<Guardian::News> Guardian::news() {
  if (socket_ < 0) return std::nullopt;
  Answer answer{};
  const auto size = ::recv(socket_, &answer, sizeof answer, MSG_DONTWAIT);
  if (size < 0) return std::nullopt;
  if (size == 0) {
    ::close(socket_);
    socket_ = -1;
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);  // its children are ours only now
    const Processes processes{::getpid(), command_};
    (void)processes.end(Clock::now() + grace_, [] { reap(); });
    return News{News::Kind::killed};
  }
  switch (answer.kind) {
    case Answer::Kind::status: return News{News::Kind::status, answer.value};
    case Answer::Kind::refused: return News{News::Kind::refused, answer.value};
    case Answer::Kind::all_over: return News{News::Kind::all_over};
    case Answer::Kind::left_over: return News{News::Kind::left_over};
    case Answer::Kind::started:
    case Answer::Kind::failed:
    case Answer::Kind::not_executed: break;  // start() has read them
  }
  return std::nullopt;
}

void Guardian::reap() {
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
}

}  // namespace redis_lock_command
