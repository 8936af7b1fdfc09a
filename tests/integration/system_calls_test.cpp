// What an exchange costs in system calls. In a program of its own, which counts them.

#include <dlfcn.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "integration.hpp"

namespace {

/// The system calls of this thread on sockets.
struct Counts {
  int sends = 0, receives = 0, polls = 0;
};
thread_local Counts counts;

template <class Function>
Function* real(Function*, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

// The library and hiredis call these instead of those of the system.
extern "C" ssize_t send(int socket, const void* bytes, size_t size, int flags) {
  static auto* const real = ::real(&::send, "send");
  ++counts.sends;
  return real(socket, bytes, size, flags);
}

extern "C" ssize_t recv(int socket, void* bytes, size_t size, int flags) {
  static auto* const real = ::real(&::recv, "recv");
  ++counts.receives;
  return real(socket, bytes, size, flags);
}

/// hiredis 0.14 calls this instead of recv().
extern "C" ssize_t read(int descriptor, void* bytes, size_t size) {
  static auto* const real = ::real(&::read, "read");
  ++counts.receives;
  return real(descriptor, bytes, size);
}

extern "C" int poll(pollfd* sockets, nfds_t count, int timeout) {
  static auto* const real = ::real(&::poll, "poll");
  ++counts.polls;
  return real(sockets, count, timeout);
}

namespace redis_lock_test {
namespace {

class SystemCalls : public OnRedis {
 protected:
  SystemCalls() {
    lock.lock();
    lock.unlock();  // it is connected, and the server knows the scripts
    counts = {};
  }

  Lock lock{client, name, leased_for(std::chrono::minutes{1})};
};

TEST_F(SystemCalls, ExchangeTakesOneSendAndOneReceive) {
  lock.lock();
  EXPECT_EQ(counts.sends, 1);
  EXPECT_EQ(counts.receives, 1);
  lock.unlock();
  EXPECT_EQ(counts.sends, 2);
  EXPECT_EQ(counts.receives, 2);
  EXPECT_EQ(counts.polls, 0);
}

TEST_F(SystemCalls, DeferredReleaseTakesOneSend) {
  auto options = leased_for(std::chrono::minutes{1});
  options.deferred_unlock = true;
  Lock deferred{client, name, options};
  deferred.lock();
  const auto before = counts;
  deferred.unlock();
  EXPECT_EQ(counts.sends, before.sends + 1);
  EXPECT_EQ(counts.receives, before.receives);
  EXPECT_EQ(counts.polls, 0);
}

}  // namespace
}  // namespace redis_lock_test
