/// The server's commands for each contended acquisition, by the number of waiters: of a Lock, of a SharedLock and of a
/// Semaphore.

#include <algorithm>
#include <cstdio>
#include <string>

#include "commands.hpp"
#include "measure.hpp"

namespace {

using namespace redis_lock_benchmark;

/// `count(waiters, acquisitions)` gives the calls of one repetition.
template <class Count>
void measure(const std::string& figure, const std::string& what,
             std::initializer_list<int> numbers_of_waiters, Count count) {
  for (const int waiters : numbers_of_waiters) {
    const auto where = what + std::to_string(waiters) + " waiters";
    Samples totals;
    for (int repetition = 0; repetition < 5; ++repetition) {
      const Calls calls = count(waiters, std::max(1000, 2 * waiters));
      totals.push_back(sum(calls));
      if (repetition > 0) continue;
      for (const auto& [command, each] : calls)
        std::fprintf(stderr, "%s: %s %.2f\n", where.c_str(), command.c_str(), each);
    }
    report(figure, where, totals);
  }
}

}  // namespace

int main() {
  const RedisServer server;
  measure("commands", "", {2, 8, 32, 256, 1000}, [&](int waiters, int acquisitions) {
    return commands_per_acquisition(server, waiters, acquisitions);
  });
  // Half of them read, so that nearly all must wait.
  for (const auto& [what, percent_readers] :
       {std::pair{"writers, ", 0}, {"readers and writers, ", 50}}) {
    measure("commands_shared", what, {2, 8, 32, 256}, [&](int waiters, int acquisitions) {
      return commands_per_shared_acquisition(server, percent_readers, waiters, acquisitions);
    });
  }
  measure("commands_permit", "4 permits, ", {2, 8, 32, 256}, [&](int waiters, int acquisitions) {
    return commands_per_permit(server, 4, waiters, acquisitions);
  });
}
