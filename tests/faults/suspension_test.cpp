// A machine that is suspended. In a program of its own, whose CLOCK_BOOTTIME goes forward on demand, while
// CLOCK_MONOTONIC, on which threads sleep, does not.

#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <string>
#include <thread>

#include "faults.hpp"
#include "support/quorum.hpp"

namespace {
std::atomic<std::time_t> suspended{0};  // in seconds
}

extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static const auto get =
      reinterpret_cast<decltype(&clock_gettime)>(::dlsym(RTLD_NEXT, "clock_gettime"));
  const int result = get(clock, time);
  if (result == 0 && clock == CLOCK_BOOTTIME) time->tv_sec += suspended.load();
  return result;
}

namespace redis_lock_test {
namespace {

using redis_lock::QuorumLock;
using redis_lock::detail::Clock;

void suspend_for(std::chrono::seconds time) {
  EXPECT_TRUE(eventually(all_others_sleep));  // by then they have looked at the clock
  suspended += time.count();
}

Options renewed_for(std::chrono::seconds expire, Complaints& complaints) {
  auto options = redis_lock_test::renewed_for(expire);
  options.on_lost = complaints.on_lost();
  options.on_error = complaints.on_error();
  return options;
}

/// It holds nothing any more, and says so whatever it is asked.
template <class AnyLock>
void expect_lost(AnyLock& lock) {
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_LT(lock.expires_at(), steady_clock::now());
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
}

using SuspendedMachine = OnOwnServer;

TEST_F(SuspendedMachine, ItsClockCountsTheTime) {
  const auto clock = Clock::now();
  const auto steady = steady_clock::now();
  suspend_for(1h);
  EXPECT_GE(Clock::now() - clock, 1h);
  EXPECT_LT(steady_clock::now() - steady, 1h);
}

TEST_F(SuspendedMachine, LosesALeaseThatIsNotRenewed) {
  Lock lock{server.uri(), name, leased_for(60s)};
  lock.lock();
  ASSERT_TRUE(lock.owns_lock());
  suspend_for(1h);
  expect_lost(lock);
  expect_free();
}

TEST_F(SuspendedMachine, IsToldThatARenewedLeaseIsLost) {
  Complaints complaints;
  Lock lock{server.uri(), name, renewed_for(60s, complaints)};
  lock.lock();
  ASSERT_TRUE(lock.owns_lock());
  suspend_for(1h);
  EXPECT_FALSE(lock.owns_lock());
  // The thread that renews sleeps for 20 s by the clock that stood still.
  EXPECT_TRUE(eventually([&] { return complaints.count() == 1; }, 15s));
  expect_lost(lock);
  expect_free();
}

TEST_F(SuspendedMachine, RequestsToStopWhatNeededTheLock) {
  Complaints complaints;
  Lock lock{server.uri(), name, renewed_for(60s, complaints)};
  lock.lock();
  const auto token = lock.lost_token();
  suspend_for(1h);
  EXPECT_TRUE(eventually([&] { return token.stop_requested(); }, 15s));
}

TEST_F(SuspendedMachine, KeepsALeaseThatIsLonger) {
  Lock lock{server.uri(), name, leased_for(60s)};
  lock.lock();
  const auto before = lock.expires_at();
  suspend_for(20s);
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(redis.string("GET", key), lock.id());
  const auto earlier = before - lock.expires_at();
  EXPECT_GE(earlier, 20s - 1ms);
  EXPECT_LE(earlier, 20s + 1ms);
  release(lock);
}

TEST_F(SuspendedMachine, RenewsSoonAfterItWakes) {
  Complaints complaints;
  Client client{server.uri()};
  Lock lock{client, name, renewed_for(60s, complaints)};
  lock.lock();
  suspend_for(50s);  // 10 s are left, and the thread that renews sleeps for 20 s
  EXPECT_TRUE(eventually([&] { return client.stats().renewed > 0; }));
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(complaints.count(), 0U);
  release(lock);
}

TEST_F(SuspendedMachine, GoesOnWaitingWhenItWakes) {
  held_by_somebody();
  Lock lock{server.uri(), name};
  std::thread sleeper{[this] {
    EXPECT_TRUE(are_waiting(1));
    suspend_for(1h);
    released_by_somebody();
  }};
  EXPECT_NO_THROW(lock.lock());
  sleeper.join();
  release(lock);
}

TEST(SuspendedMachineOfAQuorumLock, LosesTheLeaseAndIsToldSo) {
  QuorumServers servers{3};
  Complaints complaints;
  QuorumLock lock{servers.clients(), unique_name(), renewed_for(60s, complaints)};
  lock.lock();
  ASSERT_TRUE(lock.owns_lock());
  suspend_for(1h);
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_TRUE(eventually([&] { return complaints.count() == 1; }, 15s));
  expect_lost(lock);
}

TEST(SuspendedMachineOfAQuorumLock, KeepsALeaseThatIsLonger) {
  QuorumServers servers{3};
  auto clients = servers.clients();
  Complaints complaints;
  QuorumLock lock{clients, unique_name(), renewed_for(60s, complaints)};
  lock.lock();
  suspend_for(50s);
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_TRUE(eventually([&] { return clients.front().stats().renewed > 0; }));
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(complaints.count(), 0U);
  std::error_code error;
  lock.unlock(error);
  EXPECT_FALSE(error) << error.message();
}

}  // namespace
}  // namespace redis_lock_test
