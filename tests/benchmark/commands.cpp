/// The server's commands for each contended acquisition, by the number of waiters.

#include <algorithm>
#include <cstdio>
#include <string>

#include "commands.hpp"
#include "measure.hpp"

int main() {
  using namespace redis_lock_benchmark;
  const RedisServer server;
  for (const int waiters : {2, 8, 32, 256, 1000}) {
    Samples totals;
    for (int repetition = 0; repetition < 5; ++repetition) {
      const auto calls = commands_per_acquisition(server, waiters, std::max(1000, 2 * waiters));
      totals.push_back(sum(calls));
      if (repetition > 0) continue;
      for (const auto& [command, each] : calls)
        std::fprintf(stderr, "%d waiters: %s %.2f\n", waiters, command.c_str(), each);
    }
    report("commands", std::to_string(waiters) + " waiters", totals);
  }
}
