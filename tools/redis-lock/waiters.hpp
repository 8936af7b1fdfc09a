#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/inspect.hpp>

#include "place.hpp"

namespace redis_lock_command {

/// Number of clients that wait, by kind and name of the lock. For those that are not in it, none waits. Nothing if it
/// cannot be known, and then `why` says so.
///
/// Redis does not tell on which key a client is blocked. If CLIENT LIST shows that none is blocked in BLPOP, nobody
/// waits. Otherwise this watches the server by MONITOR, which costs it throughput, until all that are blocked
/// have been seen to ask: waiters of this library do so at least every three seconds. Who blocks for longer
/// without asking anew, as some Python waiters do, is not seen; then nothing is known.
/// LockKind::reading stands for both sides of a SharedLock: they wait in one line.
using WaitedFor = std::pair<redis_lock::LockKind, std::string>;
using Waiters = std::map<WaitedFor, std::size_t>;
[[nodiscard]] std::optional<Waiters> count_waiters(const Place& place, std::string& why);

/// One line of MONITOR: `1700000000.123456 [0 127.0.0.1:4711] "BLPOP" "key" "3"`.
struct Monitored {
  int database = 0;
  std::string address;
  std::vector<std::string> words;
};
[[nodiscard]] std::optional<Monitored> monitored(std::string_view line);

/// The addresses of the clients that CLIENT LIST shows blocked in BLPOP.
[[nodiscard]] std::vector<std::string> blocked_clients(const std::string& client_list,
                                                       int database);

}  // namespace redis_lock_command
