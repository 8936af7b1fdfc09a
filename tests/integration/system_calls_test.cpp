// What an exchange costs in system calls. In a program of its own, which counts them.

#include <algorithm>
#include <chrono>
#include <numeric>
#include <optional>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "integration.hpp"
#include "support/one_processor.hpp"
#include "support/quorum.hpp"

namespace {

/// The system calls of this thread on sockets.
struct Counts {
  int sends = 0, receives = 0, polls = 0;
  std::vector<int> looks{
      0};  // receives and polls that do not wait, before the first send and behind each
};
thread_local Counts counts;

/// On a machine where waking up takes long, each system call that slept takes so much longer.
thread_local std::chrono::milliseconds wake_up{0};
void wake_slowly() {
  if (wake_up.count() > 0) std::this_thread::sleep_for(wake_up);
}

template <class Function>
Function* real(Function*, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

// The library and hiredis call these instead of those of the system.
extern "C" ssize_t send(int socket, const void* bytes, size_t size, int flags) {
  static auto* const real = ::real(&::send, "send");
  ++counts.sends;
  counts.looks.push_back(0);
  return real(socket, bytes, size, flags);
}

extern "C" ssize_t recv(int socket, void* bytes, size_t size, int flags) {
  static auto* const real = ::real(&::recv, "recv");
  ++counts.receives;
  const auto count = real(socket, bytes, size, flags);
  if ((flags & MSG_DONTWAIT) != 0) {
    ++counts.looks.back();
  } else {
    wake_slowly();
  }
  return count;
}

/// hiredis 0.14 calls this instead of recv().
extern "C" ssize_t read(int descriptor, void* bytes, size_t size) {
  static auto* const real = ::real(&::read, "read");
  ++counts.receives;
  const auto count = real(descriptor, bytes, size);
  wake_slowly();
  return count;
}

extern "C" int poll(pollfd* sockets, nfds_t count, int timeout) {
  static auto* const real = ::real(&::poll, "poll");
  ++counts.polls;
  const int ready = real(sockets, count, timeout);
  if (timeout == 0) {
    ++counts.looks.back();
  } else {
    wake_slowly();
  }
  return ready;
}

namespace redis_lock_test {
namespace {

template <class AnyLock>
void cycle(AnyLock& lock, int times) {
  for (int i = 0; i < times; ++i) {
    lock.lock();
    lock.unlock();
  }
}

class WithSpin : public OnRedis {
 protected:
  explicit WithSpin(std::chrono::microseconds spin = milliseconds{1}) {
    endpoint.spin = spin;
    lock.emplace(Client{endpoint}, name, leased_for(std::chrono::minutes{1}));
    cycle(*lock, 1);  // it is connected, and the server knows the scripts
    counts = {};
  }
  ~WithSpin() override { wake_up = {}; }

  /// Returns for how many of the replies to 100 exchanges it looked, after some for learning.
  int looked_for() {
    cycle(*lock, 20);
    counts = {};
    cycle(*lock, 50);
    return static_cast<int>(std::count_if(counts.looks.begin(), counts.looks.end(),
                                          [](int looks) { return looks > 0; }));
  }

  redis_lock::Endpoint endpoint = redis_lock::Endpoint::parse(test_uri());
  std::optional<Lock> lock;
};

class SystemCalls : public WithSpin {
 protected:
  SystemCalls() : WithSpin(std::chrono::microseconds::zero()) {}
};

TEST_F(SystemCalls, ExchangeTakesOneSendAndOneReceive) {
  lock->lock();
  EXPECT_EQ(counts.sends, 1);
  EXPECT_EQ(counts.receives, 1);
  lock->unlock();
  EXPECT_EQ(counts.sends, 2);
  EXPECT_EQ(counts.receives, 2);
  EXPECT_EQ(counts.polls, 0);
}

TEST_F(SystemCalls, DeferredReleaseTakesOneSend) {
  auto options = leased_for(std::chrono::minutes{1});
  options.deferred_unlock = true;
  Lock deferred{Client{endpoint}, name, options};
  deferred.lock();
  const auto before = counts;
  deferred.unlock();
  EXPECT_EQ(counts.sends, before.sends + 1);
  EXPECT_EQ(counts.receives, before.receives);
  EXPECT_EQ(counts.polls, 0);
}

TEST_F(WithSpin, RepliesAreLookedForWhereWakingUpTakesLong) {
  wake_up = milliseconds{3};
  EXPECT_TRUE(eventually([&] { return looked_for() >= 90; })) << "unless the machine is busy";
}

TEST_F(WithSpin, RepliesThatTakeLongAreSleptFor) {
  Proxy far{endpoint};
  far.delay_replies(milliseconds{3});
  endpoint = far.endpoint();
  endpoint.spin = milliseconds{1};
  lock.emplace(Client{endpoint}, name, leased_for(std::chrono::minutes{1}));
  EXPECT_LE(looked_for(), 10);
}

TEST_F(WithSpin, AWaiterSleeps) {
  wake_up = milliseconds{3};
  ASSERT_TRUE(eventually([&] { return looked_for() >= 90; }));
  held_by_somebody();
  counts = {};
  EXPECT_FALSE(lock->try_lock_for(milliseconds{300}));
  ASSERT_GE(counts.looks.size(), 3U);
  EXPECT_GT(counts.looks[1], 0) << "for the reply to the first attempt";
  EXPECT_EQ(counts.looks[2], 0) << "for that to BLPOP";
}

TEST_F(WithSpin, OnOneProcessorRepliesAreSleptFor) {
  wake_up = milliseconds{3};
  const OneProcessor only_one;
  lock.emplace(Client{endpoint}, name, leased_for(std::chrono::minutes{1}));
  EXPECT_EQ(looked_for(), 0);
}

TEST(QuorumLockWithSpin, RepliesAreLookedForWhereWakingUpTakesLong) {
  QuorumServers servers{3};
  const auto with_spin = [](redis_lock::Endpoint& endpoint) { endpoint.spin = milliseconds{1}; };
  redis_lock::QuorumLock lock{servers.clients(with_spin), "name",
                              leased_for(std::chrono::minutes{1})};
  wake_up = milliseconds{3};
  EXPECT_TRUE(eventually([&] {
    cycle(lock, 20);
    counts = {};
    cycle(lock, 50);
    const auto looks = std::accumulate(counts.looks.begin(), counts.looks.end(), 0);
    return counts.polls - looks <= 20;  // that slept, for 100 exchanges
  }));
  wake_up = {};
}

}  // namespace
}  // namespace redis_lock_test
