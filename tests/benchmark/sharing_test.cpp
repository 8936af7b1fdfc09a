#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "commands.hpp"
#include "renewed.hpp"
#include "sharing.hpp"

namespace {

using namespace redis_lock_benchmark;
using redis_lock::Client;
using redis_lock::Semaphore;
using redis_lock::SharedLock;
using redis_lock_test::eventually;
using ::testing::ContainerEq;

/// Two round trips: two scripts, and what they run.
TEST(CommandsPerCycle, OfAReadingAreTwoScripts) {
  const RedisServer server;
  ReaderLock lock{Client{server.endpoint()}, "cycle"};
  const Calls expected{
      {"evalsha", 2}, {"time", 2}, {"zremrangebyscore", 2}, {"zcard", 1}, {"zscore", 1},
      {"exists", 2},  {"zadd", 1}, {"zrange", 1},           {"zrem", 1},  {"pexpireat", 1}};
  EXPECT_THAT(commands_per_cycle(server, lock), ContainerEq(expected));
}

TEST(CommandsPerCycle, OfAWriterAreTwoScripts) {
  const RedisServer server;
  SharedLock lock{Client{server.endpoint()}, "cycle"};
  const Calls expected{{"evalsha", 2}, {"time", 1},    {"zremrangebyscore", 1},
                       {"zrange", 1},  {"set", 1},     {"get", 2},
                       {"lpush", 1},   {"pexpire", 1}, {"del", 2}};
  EXPECT_THAT(commands_per_cycle(server, lock), ContainerEq(expected));
}

TEST(CommandsPerCycle, OfAPermitAreTwoScripts) {
  const RedisServer server;
  Semaphore lock{Client{server.endpoint()}, "cycle", 4};
  const Calls expected{{"evalsha", 2},   {"time", 2},   {"zremrangebyscore", 2},
                       {"zcard", 1},     {"zscore", 1}, {"zadd", 1},
                       {"zrange", 1},    {"zrem", 1},   {"del", 1},
                       {"pexpireat", 1}, {"lpush", 1},  {"pexpire", 1}};
  EXPECT_THAT(commands_per_cycle(server, lock), ContainerEq(expected));
}

/// At most `most` with any number of waiters; and not so few that they cannot have contended. A machine so slow that
/// waits are cut into slices adds one wait and one script for each slice.
template <class Count>
void expect_constant(Count count, double least, double most) {
  for (const int waiters : {2, 8, 64, 256}) {
    const auto each = sum(count(waiters));
    EXPECT_LE(each, most) << waiters << " waiters";
    EXPECT_GE(each, least) << waiters << " waiters: they did not contend, or were not counted";
  }
}

TEST(CommandsPerSharedAcquisition, DoNotGrowWithWaitingWriters) {
  const RedisServer server;
  expect_constant(
      [&](int waiters) { return commands_per_shared_acquisition(server, 0, waiters, 1000); }, 15,
      20);
}

TEST(CommandsPerSharedAcquisition, DoNotGrowWithWaitingReaders) {
  const RedisServer server;
  expect_constant(
      [&](int waiters) { return commands_per_shared_acquisition(server, 90, waiters, 1000); }, 15,
      36);
}

TEST(CommandsPerPermit, DoNotGrowWithTheWaiters) {
  const RedisServer server;
  expect_constant([&](int waiters) { return commands_per_permit(server, 4, waiters, 1000); }, 20,
                  36);
}

/// A third of the lease of 1.5 s is a period of renewal.
TEST(RenewalOfReadings, TakesOneThreadAndTwoConnections) {
  const RedisServer server;
  redis_lock_test::Redis redis{server.endpoint()};
  redis.reset_stats();  // connects
  redis_lock::Options options;
  options.expire = 1500ms;
  const Renewed<ReaderLock> readings{server, 200, options, [](int) { return "renewed"; }};
  const auto renewals_before = redis.calls_of("evalsha");
  EXPECT_TRUE(eventually([&] { return redis.calls_of("evalsha") - renewals_before >= 2 * 200; }));
  EXPECT_EQ(readings.threads(), 1);
  EXPECT_EQ(readings.connections(), 2);
  EXPECT_TRUE(readings.all_owned());
}

}  // namespace
