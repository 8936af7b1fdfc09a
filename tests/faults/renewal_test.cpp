// Renewal by a thread that cannot open a connection of its own.

#include <sys/resource.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "faults.hpp"

namespace redis_lock_test {
namespace {

/// No new connection can be opened once the lock is held. What is open stays open.
class RenewalWithoutAConnection : public OnOwnServer {
 protected:
  static constexpr milliseconds lease{600};

  /// It is renewed for several leases. `redis` is a connection that was open before.
  void expect_kept(const Lock& lock) {
    const auto end = steady_clock::now() + 4 * lease;
    while (steady_clock::now() < end) {
      ASSERT_TRUE(lock.owns_lock()) << "the connection that acquired it is open and good";
      std::this_thread::sleep_for(lease / 20);
    }
    EXPECT_EQ(redis.string("GET", key), lock.id());
  }

  const Client client{server.uri()};
};

TEST_F(RenewalWithoutAConnection, KeepsTheLockAtMaxClients) {
  Lock lock{client, name, renewed_for(lease)};
  lock.lock();
  const auto connected = redis.info("connected_clients");
  redis.string("CONFIG", "SET", "maxclients", std::to_string(connected));
  expect_kept(lock);
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
  lock.lock();
  expect_kept(lock);
}

TEST_F(RenewalWithoutAConnection, KeepsTheLockAfterThePasswordChanged) {
  Lock lock{client, name, renewed_for(lease)};
  lock.lock();
  redis.string("CONFIG", "SET", "requirepass", "rotated");
  expect_kept(lock);
}

TEST_F(RenewalWithoutAConnection, KeepsTheLockWithoutDescriptors) {
  Lock lock{client, name, renewed_for(lease)};
  lock.lock();
  ASSERT_TRUE(redis.exists(key));  // connects
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int lowest_free = ::dup(STDERR_FILENO);
  ::close(lowest_free);
  auto lowered = before;
  lowered.rlim_cur = static_cast<rlim_t>(lowest_free);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &lowered), 0);
  expect_kept(lock);
  ::setrlimit(RLIMIT_NOFILE, &before);
}

class EndOfOwnership : public OnOwnServer {
 protected:
  void expect_one_end(const Options& options) {
    Lock lock{server.uri(), name, options};
    lock.lock();
    server.pause();
    while (lock.owns_lock()) std::this_thread::sleep_for(1ms);
    const auto now = steady_clock::now();
    server.resume();
    EXPECT_GE(now, lock.expires_at()) << "owned until then";
    EXPECT_LT(now, lock.expires_at() + 50ms) << "and no longer than that";
    std::error_code error;
    lock.unlock(error);
  }
};

TEST_F(EndOfOwnership, MatchesExpiresAtWithRenewal) {
  Options options;
  options.expire = 600ms;
  expect_one_end(options);
}

TEST_F(EndOfOwnership, MatchesExpiresAtWithoutRenewal) { expect_one_end(leased_for(600ms)); }

}  // namespace
}  // namespace redis_lock_test
