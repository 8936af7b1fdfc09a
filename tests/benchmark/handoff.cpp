/// Hand-off: from unlock() called to lock() returned elsewhere. Two workers pass the lock to and fro. Its
/// floors, by turns with it: a LPUSH that wakes a BLPOP, and raw hiredis with the library's commands.

#include <memory>
#include <optional>
#include <string>

#include <sys/prctl.h>

#include <redis_lock/lock.hpp>

#include "contend.hpp"
#include "floor.hpp"
#include "measure.hpp"

namespace {

using namespace redis_lock_benchmark;

constexpr int repetitions = 31;

/// The two ends of the token; whoever holds it first need not wait for it.
double wake_up(const Contention& contention, const redis_lock::Endpoint& endpoint) {
  redis_lock_test::Redis{endpoint}.command("LPUSH", "token-0", "1");
  const auto times = contend(contention, [&](int self) {
    return std::make_unique<RawWakeUp>(endpoint, "token-" + std::to_string(self),
                                       "token-" + std::to_string(1 - self));
  });
  redis_lock_test::Redis{endpoint}.command("DEL", "token-0", "token-1");
  return median(times.hand_offs);
}

double raw(const Contention& contention, const redis_lock::Endpoint& endpoint) {
  const RawTerms base{"hand-off-raw"};
  return median(contend(contention, [&](int self) {
                  auto terms = base;
                  terms.id.replace(0, 1, std::to_string(self));
                  return std::make_unique<RawWaitingLock>(endpoint, terms);
                }).hand_offs);
}

double library(const Contention& contention, const redis_lock::Endpoint& endpoint) {
  const redis_lock::Client client{endpoint};
  return median(contend(contention, [&](int) {
                  return std::make_unique<redis_lock::Lock>(client, "hand-off-lib");
                }).hand_offs);
}

void measure(Workers kind, const RedisServer& server, const std::string& where) {
  const Contention contention{kind, 2, 60, 300us};
  Samples over_wake_up, over_raw, floor_times;
  for (int i = 0; i < repetitions; ++i) {
    const double floor = wake_up(contention, server.endpoint());
    const double same_commands = raw(contention, server.endpoint());
    const double ours = library(contention, server.endpoint());
    over_wake_up.push_back(ours / floor);
    over_raw.push_back(ours / same_commands);
    floor_times.push_back(floor);
  }
  report("handoff_over_wake_up", where, over_wake_up);
  report("handoff_over_raw", where, over_raw);
  report("wake_up_us", where, floor_times);
}

}  // namespace

int main() {
  ::prctl(PR_SET_TIMERSLACK, 1000);
  for (const auto transport : transports) {
    const RedisServer server{transport};
    measure(Workers::processes, server, std::string(name_of(transport)) + ", 2 processes");
    measure(Workers::threads, server, std::string(name_of(transport)) + ", 2 threads");
  }
}
