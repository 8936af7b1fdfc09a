#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/net/hiredis.hpp>
#include <redis_lock/detail/net/pipeline.hpp>
#include <redis_lock/detail/net/receive.hpp>
#include <redis_lock/reply.hpp>

#include "sleeping_thread.hpp"
#include "socket_pair.hpp"
#include "support/child.hpp"
#include "support/eventually.hpp"

namespace redis_lock_test {
namespace {

using namespace redis_lock::detail;
using redis_lock::errc;
using redis_lock::Reply;

bool is_blocked(int signal) {
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, signal) == 1;
}

bool is_pending(int signal) {
  sigset_t pending;
  ::sigpending(&pending);
  return sigismember(&pending, signal) == 1;
}

void change_mask(int how, int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  ::pthread_sigmask(how, &set, nullptr);
}

/// A write to a peer that has closed fails, and leaves its signal with the thread.
bool write_to_closed(const SocketPair& sockets) {
  return ::write(sockets.ours(), "x", 1) == -1 && errno == EPIPE;
}

void write_guarded(const SocketPair& sockets) {
  const SigpipeBlock sigpipe;
  if (!write_to_closed(sockets)) throw std::logic_error("the write should have failed");
  sigpipe.take_back();
}

/// How a child ends that SIGPIPE kills unless something keeps it from that: 0, if `function` is true.
Exit exit_of(const std::function<bool()>& function) {
  Child child{[&] {
    std::signal(SIGPIPE, SIG_DFL);
    change_mask(SIG_UNBLOCK, SIGPIPE);
    return function() ? 0 : 1;
  }};
  return child.wait().value_or(Exit{});
}

class Sigpipe : public ::testing::Test {
 protected:
  Sigpipe() { sockets.peer_closes(); }
  SocketPair sockets;
};

TEST_F(Sigpipe, KillsWhoWritesUnguarded) {
  EXPECT_EQ(exit_of([&] { return write_to_closed(sockets); }).signal, SIGPIPE);
}

TEST_F(Sigpipe, IsSuppressedInAGuardedWrite) {
  const auto exit = exit_of([&] {
    write_guarded(sockets);
    write_guarded(sockets);
    return !is_blocked(SIGPIPE) && !is_pending(SIGPIPE);
  });
  EXPECT_EQ(exit.signal, 0);
  EXPECT_EQ(exit.code, 0);
}

TEST_F(Sigpipe, NeverReachesAHandlerOfTheApplication) {
  static volatile std::sig_atomic_t handled = 0;
  const auto exit = exit_of([&] {
    const auto handler = [](int) { handled = handled + 1; };
    std::signal(SIGPIPE, handler);
    write_guarded(sockets);
    return handled == 0 && std::signal(SIGPIPE, SIG_DFL) == handler;
  });
  EXPECT_EQ(exit.code, 0);
}

TEST_F(Sigpipe, StaysIgnoredWhereItWas) {
  const auto exit = exit_of([&] {
    std::signal(SIGPIPE, SIG_IGN);
    write_guarded(sockets);
    return !is_blocked(SIGPIPE) && std::signal(SIGPIPE, SIG_DFL) == SIG_IGN;
  });
  EXPECT_EQ(exit.code, 0);
}

TEST_F(Sigpipe, StaysBlockedWithoutBecomingPending) {
  const auto exit = exit_of([&] {
    change_mask(SIG_BLOCK, SIGPIPE);
    write_guarded(sockets);
    return is_blocked(SIGPIPE) && !is_pending(SIGPIPE);
  });
  EXPECT_EQ(exit.code, 0);
}

TEST_F(Sigpipe, StaysPendingWhereItWas) {
  const auto exit = exit_of([&] {
    change_mask(SIG_BLOCK, SIGPIPE);
    ::raise(SIGPIPE);
    write_guarded(sockets);
    return is_blocked(SIGPIPE) && is_pending(SIGPIPE);
  });
  EXPECT_EQ(exit.code, 0);
}

TEST_F(Sigpipe, IsTheOnlySignalThatIsTouched) {
  const auto exit = exit_of([&] {
    change_mask(SIG_BLOCK, SIGUSR1);
    change_mask(SIG_UNBLOCK, SIGUSR2);
    ::raise(SIGUSR1);
    {
      const SigpipeBlock sigpipe;
      if (is_blocked(SIGUSR2) || !is_blocked(SIGPIPE)) return false;
      sigpipe.take_back();  // nothing to take back: must not wait
    }
    return is_blocked(SIGUSR1) && is_pending(SIGUSR1) && !is_blocked(SIGUSR2);
  });
  EXPECT_EQ(exit.code, 0);
}

TEST(Timeval, IsSecondsAndMicroseconds) {
  const auto expect = [](milliseconds time, long seconds, long microseconds) {
    EXPECT_EQ(to_timeval(time).tv_sec, seconds);
    EXPECT_EQ(to_timeval(time).tv_usec, microseconds);
  };
  expect(0ms, 0, 0);
  expect(1ms, 0, 1000);
  expect(999ms, 0, 999'000);
  expect(1000ms, 1, 0);
  expect(61'250ms, 61, 250'000);
}

TEST(Timeval, IsADayAtMost) {
  EXPECT_EQ(to_timeval(milliseconds::max()).tv_sec, 24 * 3600);
  EXPECT_EQ(to_timeval(longest).tv_usec, 0);
}

/// A hiredis context whose server is the other end of a socket pair.
class OverHiredis : public ::testing::Test {
 protected:
  [[nodiscard]] Reply received() {
    return receive(*context, incoming, Time::clock::now() + patience, true);
  }

  template <class Function>
  static Failure failure_of_run(Function&& function) {
    try {
      static_cast<void>(function());
    } catch (const Failure& failure) {
      return failure;
    }
    return {errc::not_owned, "nothing was thrown"};
  }

  void set_timeout(int option, milliseconds timeout) const {
    const auto value = to_timeval(timeout);
    ::setsockopt(context->fd, SOL_SOCKET, option, &value, sizeof value);
  }

  SocketPair sockets;
  IncomingReply incoming;
  const Context context{::redisConnectFd(sockets.give_ours_away())};
};

using Sending = OverHiredis;
using Receiving = OverHiredis;
using IdleConnection = OverHiredis;
using Poison = OverHiredis;

TEST_F(Sending, SendsTheBytesAsTheyAre) {
  const std::string bytes{"*1\r\n$2\r\n\0%\r\n", 12};
  send_owned(*context, incoming, bytes, never);
  send_through_hiredis(*context, bytes, never);
  std::string got(100, '\0');
  got.resize(static_cast<std::size_t>(::recv(sockets.peer(), got.data(), got.size(), 0)));
  EXPECT_EQ(got, bytes + bytes);
}

TEST_F(Sending, ToAClosedPeerIsATransientFailure) {
  sockets.peer_closes();
  const auto exit = exit_of([&] {
    const auto owned = failure_of_run([&] {
      send_owned(*context, incoming, "x", never);
      return 0;
    });
    const auto borrowed = failure_of_run([&] {
      send_through_hiredis(*context, "x", never);
      return 0;
    });
    return owned.code() == errc::connection_failed && owned.is_transient() &&
           borrowed.code() == errc::connection_failed && borrowed.is_transient() &&
           context->err != 0 && !is_blocked(SIGPIPE) && !is_pending(SIGPIPE);
  });
  EXPECT_EQ(exit.signal, 0);
  EXPECT_EQ(exit.code, 0);
}

TEST_F(Sending, ToAPeerThatNeverReadsTimesOut) {
  set_timeout(SO_SNDTIMEO, 10ms);
  const auto failure = failure_of_run([&] {
    send_owned(*context, incoming, std::string(1 << 24, 'x'), never);
    return 0;
  });
  EXPECT_EQ(failure.code(), errc::timed_out);
  EXPECT_TRUE(failure.is_transient());
}

TEST_F(Receiving, TellsAllKindsOfReplies) {
  sockets.peer_says("+OK\r\n");
  EXPECT_TRUE(received().is_ok());
  sockets.peer_says("$-1\r\n");
  EXPECT_TRUE(received().is_nil());
  sockets.peer_says("*-1\r\n");
  EXPECT_TRUE(received().is_nil());
  sockets.peer_says(":-42\r\n");
  auto reply = received();
  EXPECT_EQ(reply.kind, Reply::Kind::integer);
  EXPECT_EQ(reply.integer, -42);
  sockets.peer_says({"$4\r\na\0\r\n\r\n", 10});
  reply = received();
  EXPECT_EQ(reply.kind, Reply::Kind::string);
  EXPECT_EQ(reply.text, (std::string{"a\0\r\n", 4}));
  sockets.peer_says("-READONLY no\r\n");
  reply = received();
  EXPECT_TRUE(reply.is_error("READONLY"));
  EXPECT_EQ(reply.text, "READONLY no");
}

TEST_F(Receiving, TellsArraysWithinArrays) {
  sockets.peer_says("*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n:7\r\n");
  const auto reply = received();
  EXPECT_EQ(reply.kind, Reply::Kind::array);
  ASSERT_EQ(reply.elements.size(), 2U);
  EXPECT_EQ(reply.elements[0].text, "0");
  ASSERT_EQ(reply.elements[1].elements.size(), 2U);
  EXPECT_EQ(reply.elements[1].elements[0].text, "a");
  EXPECT_EQ(reply.elements[1].elements[1].integer, 7);
}

TEST_F(Receiving, TakesRepliesThatComeInPiecesOrTogether) {
  sockets.peer_says("+O");
  SleepingThread reader{[&] {
    EXPECT_TRUE(received().is_ok());
    EXPECT_EQ(received().integer, 1);
    EXPECT_EQ(received().integer, 2);
  }};
  reader.await_sleep();
  sockets.peer_says("K\r\n:1\r\n:2\r");
  reader.await_sleep();
  sockets.peer_says("\n");
  reader.join();
}

TEST_F(Receiving, FromAClosedPeerIsATransientFailure) {
  sockets.peer_says("+O");
  sockets.peer_closes();
  const auto failure = failure_of_run([&] { return received(); });
  EXPECT_EQ(failure.code(), errc::connection_failed);
  EXPECT_TRUE(failure.is_transient());
}

TEST_F(Receiving, AnotherProtocolIsAFinalFailure) {
  sockets.peer_says("HTTP/1.1 400 Bad Request\r\n\r\n");
  const auto failure = failure_of_run([&] { return received(); });
  EXPECT_EQ(failure.code(), errc::protocol_error);
  EXPECT_FALSE(failure.is_transient());
}

TEST_F(Receiving, SilenceTimesOutAtTheDeadlineNotBefore) {
  const auto deadline = Time::clock::now() + 20ms;
  const auto failure = failure_of_run([&] { return receive(*context, incoming, deadline, true); });
  EXPECT_GE(Time::clock::now(), deadline);
  EXPECT_EQ(failure.code(), errc::timed_out);
  EXPECT_TRUE(failure.is_transient());
}

TEST_F(Receiving, NothingTimesOutByTheSocketToo) {
  set_timeout(SO_RCVTIMEO, 10ms);
  const auto deadline = Time::clock::now() + patience;
  const auto failure = failure_of_run([&] { return receive(*context, incoming, deadline, false); });
  EXPECT_EQ(failure.code(), errc::timed_out);
  EXPECT_TRUE(failure.is_transient());
}

TEST_F(Receiving, SingleBytesDoNotMoveTheDeadline) {
  sockets.peer_says("+O");
  for (const bool may_wait : {true, false}) {
    const auto failure =
        failure_of_run([&] { return receive(*context, incoming, Time::clock::now(), may_wait); });
    EXPECT_EQ(failure.code(), errc::timed_out);
  }
}

TEST_F(IdleConnection, IsStaleOnceThePeerHasSaidSomething) {
  EXPECT_FALSE(is_stale(*context));
  sockets.peer_says("+");
  EXPECT_TRUE(is_stale(*context));
  EXPECT_TRUE(is_stale(*context)) << "looking must not read";
}

TEST_F(IdleConnection, IsStaleOnceThePeerHasClosedIt) {
  sockets.peer_closes();
  EXPECT_TRUE(is_stale(*context));
}

TEST_F(IdleConnection, IsBusyWithCommandsThatWereNotSent) {
  EXPECT_FALSE(is_busy(*context));
  ::redisAppendCommand(context.get(), "PING");
  EXPECT_TRUE(is_busy(*context));
}

TEST_F(IdleConnection, IsBusyWithRepliesThatWereNotRead) {
  sockets.peer_says("+OK\r\n+OK\r\n");
  EXPECT_TRUE(received().is_ok());
  EXPECT_TRUE(is_busy(*context));
  EXPECT_TRUE(received().is_ok());
  EXPECT_FALSE(is_busy(*context));
}

TEST_F(Poison, LeavesNoPartOfAReplyToTheOwner) {
  sockets.peer_says("*3\r\n:1\r\n");
  {
    IncomingReply short_lived;
    ASSERT_GT(feed(*context), 0);
    ASSERT_FALSE(take_reply(*context, short_lived));
  }
  sockets.peer_says(":2\r\n:3\r\n");
  poison(*context);
  void* late = nullptr;
  EXPECT_EQ(::redisGetReply(context.get(), &late), REDIS_ERR);
  EXPECT_EQ(late, nullptr);
}

TEST_F(Poison, MakesAConnectionUselessToItsOwner) {
  sockets.peer_says("+late\r\n");
  poison(*context);
  EXPECT_NE(context->err, 0);
  EXPECT_EQ(::redisCommand(context.get(), "PING"), nullptr);
}

TEST(FaultOfHiredis, IsClassifiedByItsError) {
  struct Row {
    int err, number;
    errc code;
    bool passing;
  };
  for (const auto& [err, number, code, passing] : {
           Row{REDIS_ERR_IO, EAGAIN, errc::timed_out, true},
           Row{REDIS_ERR_IO, EWOULDBLOCK, errc::timed_out, true},
           Row{REDIS_ERR_IO, ECONNRESET, errc::connection_failed, true},
           Row{REDIS_ERR_EOF, 0, errc::connection_failed, true},
           Row{REDIS_ERR_OTHER, 0, errc::connection_failed, true},
           Row{REDIS_ERR_PROTOCOL, 0, errc::protocol_error, false},
           Row{REDIS_ERR_OOM, 0, errc::protocol_error, false},
       }) {
    redisContext context{};
    context.err = err;
    const auto failure = failure_of(context, number);
    EXPECT_EQ(failure.code(), code) << err;
    EXPECT_EQ(failure.is_transient(), passing) << err;
  }
}

}  // namespace
}  // namespace redis_lock_test
