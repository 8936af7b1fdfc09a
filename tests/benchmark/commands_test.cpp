#include <gtest/gtest.h>

#include "commands.hpp"

namespace {

using redis_lock_benchmark::commands_per_acquisition;
using redis_lock_benchmark::sum;

/// First attempt: SET, PTTL. Wait: BLPOP, SET, PTTL. Release: EVALSHA, and GET, DEL, LPUSH, PEXPIRE, DEL in it.
/// That is 11; a machine so slow that waits are cut into slices adds three for each slice.
TEST(CommandsPerAcquisition, DoNotGrowWithTheWaiters) {
  const redis_lock_test::RedisServer server;
  for (const int waiters : {2, 8, 64, 256}) {
    const auto calls = commands_per_acquisition(server, waiters, 1000);
    EXPECT_LE(sum(calls), 13) << waiters << " waiters";
    EXPECT_GE(sum(calls), 10) << waiters << " waiters: they did not contend, or were not counted";
  }
}

}  // namespace
