#include <chrono>

#include <gtest/gtest.h>

#include <redis_lock/endpoint.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock_test {
namespace {

using namespace std::chrono_literals;
using redis_lock::Endpoint;
using redis_lock::no_expiry;
using redis_lock::Options;

TEST(Options, DefaultToARenewedLeaseOfThirtySeconds) {
  const Options options;
  EXPECT_EQ(options.expire, 30s);
  EXPECT_TRUE(options.auto_renewal);
  EXPECT_EQ(options.max_hold, no_expiry);
  EXPECT_EQ(options.signal_expire, 1s);
  EXPECT_EQ(options.id, "");
  EXPECT_EQ(options.id_prefix, "");
  EXPECT_FALSE(options.fencing);
  EXPECT_EQ(options.replicas.min_acks, 0U);
  EXPECT_EQ(options.replicas.timeout, 1s);
  EXPECT_FALSE(options.on_event);
  EXPECT_FALSE(options.on_lost);
  EXPECT_FALSE(options.on_error);
}

TEST(Options, DefaultToTheKeysOfPythonRedisLock) {
  EXPECT_EQ(Options{}.key_prefix, "lock:");
  EXPECT_EQ(Options{}.signal_prefix, "lock-signal:");
  EXPECT_EQ(Options{}.fence_prefix, "lock-fence:");
}

TEST(Options, WithoutRenewalDifferInNothingElse) {
  const auto options = Options::without_renewal();
  EXPECT_FALSE(options.auto_renewal);
  EXPECT_EQ(options.expire, 30s);
  EXPECT_EQ(options.max_hold, no_expiry);
  EXPECT_EQ(options.signal_expire, 1s);
  EXPECT_EQ(options.id, "");
  EXPECT_EQ(options.key_prefix, "lock:");
  EXPECT_EQ(options.signal_prefix, "lock-signal:");
}

TEST(Endpoint, DefaultsToTheRedisOfThisMachine) {
  const Endpoint endpoint;
  EXPECT_EQ(endpoint.host, "127.0.0.1");
  EXPECT_EQ(endpoint.port, 6379);
  EXPECT_EQ(endpoint.unix_socket, "");
  EXPECT_EQ(endpoint.username, "");
  EXPECT_EQ(endpoint.password, "");
  EXPECT_EQ(endpoint.database, 0);
  EXPECT_EQ(endpoint.client_name, "");
  EXPECT_EQ(endpoint.connect_timeout, 1s);
  EXPECT_EQ(endpoint.command_timeout, 1s);
  EXPECT_EQ(endpoint.retry_for, 5s);
}

}  // namespace
}  // namespace redis_lock_test
