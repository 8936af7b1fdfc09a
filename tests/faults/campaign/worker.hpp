#pragma once

#include <cstdint>
#include <string>

namespace redis_lock_test::campaign {

struct WorkerPlace {
  int slot = 0;        ///< its role, and its row of the board
  int process = 0;     ///< its number in the history
  std::string folder;  ///< of the history and the board
  std::string uris;    ///< several, with spaces between them: of a quorum
  std::uint64_t seed = 0;
};

/// What a worker process does until the board says that it is enough.
void work(const WorkerPlace& place);

}  // namespace redis_lock_test::campaign
