#include <array>
#include <chrono>
#include <thread>

#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <redis_lock/detail/base/cancellation.hpp>

#include "sleeping_thread.hpp"
#include "socket_pair.hpp"
#include "support/eventually.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::detail::Cancellation;
using redis_lock::detail::Time;

TEST(Cancellation, IsNotRequestedAtFirst) {
  Cancellation cancellation;
  EXPECT_FALSE(cancellation.requested());
  cancellation.request();
  EXPECT_TRUE(cancellation.requested());
  cancellation.request();
  EXPECT_TRUE(cancellation.requested());
}

TEST(Cancellation, LetsASleepEndAtItsTime) {
  Cancellation cancellation;
  const auto time = Time::clock::now() + 20ms;
  cancellation.sleep_until(time);
  EXPECT_GE(Time::clock::now(), time);
  cancellation.sleep_until(Time::min());
}

TEST(Cancellation, EndsASleep) {
  Cancellation cancellation;
  SleepingThread sleeper{[&] { cancellation.sleep_until(Time::clock::now() + 1h); }};
  sleeper.await_sleep();
  cancellation.request();
  sleeper.join();
}

TEST(Cancellation, EndsASleepBeforeItBegins) {
  Cancellation cancellation;
  cancellation.request();
  const Stopwatch watch;
  cancellation.sleep_until(Time::clock::now() + 1h);
  EXPECT_LT(watch.elapsed(), 10s);
}

TEST(Cancellation, EndsARead) {
  SocketPair sockets;
  Cancellation cancellation;
  cancellation.watch(sockets.ours());
  SleepingThread reader{[&] {
    char byte = 0;
    EXPECT_EQ(::recv(sockets.ours(), &byte, 1, 0), 0);
  }};
  reader.await_sleep();
  cancellation.request();
  reader.join();
}

TEST(Cancellation, EndsAReadFromASocketWatchedLater) {
  SocketPair sockets;
  Cancellation cancellation;
  cancellation.request();
  cancellation.watch(sockets.ours());
  char byte = 0;
  EXPECT_EQ(::recv(sockets.ours(), &byte, 1, 0), 0);
}

TEST(Cancellation, LeavesASocketAloneThatWasTakenBack) {
  SocketPair sockets;
  Cancellation cancellation;
  cancellation.watch(sockets.ours());
  cancellation.watch(-1);
  cancellation.request();
  char byte = 0;
  EXPECT_EQ(::recv(sockets.ours(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_TRUE(errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace
}  // namespace redis_lock_test
