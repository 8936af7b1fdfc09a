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

/// Two round trips with a script in each, and none of the commands that waiters need.
template <class Locking>
void expect_two_scripts(const RedisServer& server, Locking&& lock) {
  const auto cycle = cycle_on_server(server, lock);
  EXPECT_EQ(cycle.requests, 2);
  EXPECT_EQ(cycle.calls.at("evalsha"), 2);
  EXPECT_LE(sum(cycle.calls), 18);
  for (const auto* const other : {"eval", "blpop", "pttl", "script|load"})
    EXPECT_EQ(cycle.calls.count(other), 0U) << other;
}

TEST(CommandsPerCycle, OfAReadingAreTwoScripts) {
  const RedisServer server;
  expect_two_scripts(server, ReaderLock{Client{server.endpoint()}, "cycle"});
}

TEST(CommandsPerCycle, OfAWriterAreTwoScripts) {
  const RedisServer server;
  expect_two_scripts(server, SharedLock{Client{server.endpoint()}, "cycle"});
}

TEST(CommandsPerCycle, OfAPermitAreTwoScripts) {
  const RedisServer server;
  expect_two_scripts(server, Semaphore{Client{server.endpoint()}, "cycle", 4});
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
