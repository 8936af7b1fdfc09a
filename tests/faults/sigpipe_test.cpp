// Writing to a connection that the server has closed raises SIGPIPE. The library must survive that,
// whatever the application does with the signal, and leave no trace of it.

#include <pthread.h>
#include <sys/socket.h>
#include <csignal>

#include <memory>
#include <ostream>
#include <string>

#include "faults.hpp"

namespace redis_lock_test {
namespace {

using ::testing::Values;

enum class Disposition { by_default, ignored, handled, blocked, blocked_and_pending };

std::string name_of(Disposition disposition) {
  switch (disposition) {
    case Disposition::by_default: return "ByDefault";
    case Disposition::ignored: return "Ignored";
    case Disposition::handled: return "Handled";
    case Disposition::blocked: return "Blocked";
    case Disposition::blocked_and_pending: return "BlockedAndPending";
  }
  return {};
}

void PrintTo(Disposition disposition, std::ostream* stream) { *stream << name_of(disposition); }

std::atomic<int> handler_calls{0};
extern "C" void count_call(int) { ++handler_calls; }

/// What a thread and its process do with SIGPIPE.
struct SignalState {
  static SignalState now() {
    SignalState state;
    struct sigaction action {};
    ::sigaction(SIGPIPE, nullptr, &action);
    state.handler = action.sa_handler;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &state.mask);
    sigset_t pending;
    ::sigpending(&pending);
    state.pending = ::sigismember(&pending, SIGPIPE) == 1;
    return state;
  }

  [[nodiscard]] bool operator==(const SignalState& other) const {
    if (handler != other.handler || pending != other.pending) return false;
    for (int signal = 1; signal < SIGRTMAX; ++signal) {
      if (::sigismember(&mask, signal) != ::sigismember(&other.mask, signal)) return false;
    }
    return true;
  }

  void (*handler)(int) = nullptr;
  sigset_t mask{};
  bool pending = false;
};

void arrange(Disposition disposition) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  if (disposition == Disposition::ignored) action.sa_handler = SIG_IGN;
  if (disposition == Disposition::handled) action.sa_handler = count_call;
  ::sigaction(SIGPIPE, &action, nullptr);
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGPIPE);
  const bool blocked =
      disposition == Disposition::blocked || disposition == Disposition::blocked_and_pending;
  ::pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, nullptr);
  if (disposition == Disposition::blocked_and_pending) ::pthread_kill(::pthread_self(), SIGPIPE);
}

struct Stages {
  std::atomic<bool> ready{false}, server_is_dead{false};
};

class Sigpipe : public OnOwnServer, public ::testing::WithParamInterface<Disposition> {
 protected:
  /// A child in which SIGPIPE is arranged as the case says and that does `work`, which returns 0;
  /// afterwards everything must be as before.
  template <class Work>
  Child child_that(Work work) {
    return Child{[work, disposition = GetParam()] {
      arrange(disposition);
      const auto before = SignalState::now();
      if (const int failed = work()) return failed;
      if (!(SignalState::now() == before)) return 50;
      return handler_calls == 0 ? 0 : 51;
    }};
  }

  /// Lets the child go on once the server is dead.
  void kill_server_under(Child& child) {
    ASSERT_TRUE(eventually([&] { return progress->ready || !child.running(); }));
    server.kill();
    progress->server_is_dead = true;
  }

  /// To be called by the child.
  [[nodiscard]] bool server_dies() {
    progress->ready = true;
    return eventually([&] { return progress->server_is_dead.load(); });
  }

  Shared<Stages> progress;
};
INSTANTIATE_TEST_SUITE_P(, Sigpipe,
                         Values(Disposition::by_default, Disposition::ignored, Disposition::handled,
                                Disposition::blocked, Disposition::blocked_and_pending),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(Sigpipe, IsNeverSeenWithAClient) {
  auto child = child_that([this] {
    const Client client{server.uri("retry_for=0")};
    Lock lock{client, name}, other{client, "other"};
    lock.lock();
    if (!server_dies()) return 2;
    std::error_code error;
    lock.unlock(error);
    if (error != errc::connection_failed) return 3;
    lock.lock(error);
    if (error != errc::connection_failed) return 4;
    if (other.try_lock(error) || error != errc::connection_failed) return 5;
    return 0;
  });
  kill_server_under(child);
  EXPECT_EQ(end_of(child), exit_with(0));
}

TEST_P(Sigpipe, IsNeverSeenWithABorrowedContext) {
  auto child = child_that([this] {
    const auto context = connect_hiredis(server.endpoint());
    const auto unused = connect_hiredis(server.endpoint());
    Lock lock{context.get(), name}, other{unused.get(), "other"};
    lock.lock();
    if (!server_dies()) return 2;
    std::error_code error;
    lock.unlock(error);
    if (error != errc::connection_failed) return 3;
    lock.lock(error);
    if (error != errc::connection_failed) return 4;
    if (other.try_lock(error) || error != errc::connection_failed) return 5;
    if (other.try_lock(error) || error != errc::connection_failed) return 6;
    return 0;
  });
  kill_server_under(child);
  EXPECT_EQ(end_of(child), exit_with(0));
}

/// The pool tells that an idle connection is closed; it cannot tell in the middle of an operation.
TEST_P(Sigpipe, IsNeverSeenDuringAnOperation) {
  auto endpoint = server.endpoint();
  endpoint.unix_socket += ".fake";
  const auto listener = listen_at(endpoint);
  endpoint.retry_for = 0ms;
  endpoint.command_timeout = 20s;
  auto child = child_that([endpoint] {
    Lock lock{endpoint, "name", leased_for(60s)};
    std::error_code error;
    lock.lock(error);
    return error == errc::connection_failed ? 0 : 3;
  });
  auto client = std::make_unique<Socket>(::accept(listener.get(), nullptr, nullptr));
  std::string commands;
  while (commands.find("PTTL") == std::string::npos) {
    char buffer[4096];
    const auto count = ::recv(client->get(), buffer, sizeof buffer, 0);
    ASSERT_GT(count, 0);
    commands.append(buffer, static_cast<std::size_t>(count));
  }
  child.pause();  // so that it finds the answer and the end of the connection at once
  const std::string busy = "$-1\r\n:60000\r\n";
  ASSERT_EQ(::send(client->get(), busy.data(), busy.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(busy.size()));
  client.reset();
  child.resume();
  EXPECT_EQ(end_of(child), exit_with(0));
}

}  // namespace
}  // namespace redis_lock_test
