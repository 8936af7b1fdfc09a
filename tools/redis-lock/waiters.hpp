#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "place.hpp"

namespace redis_lock_command {

/// How many clients wait for each lock, by its name; those that are not in it: nobody. Nothing if it cannot be
/// known, and then `why` says so.
///
/// Redis does not tell on which key a client is blocked. If CLIENT LIST shows that none is blocked in BLPOP, nobody
/// waits. Otherwise this watches the server by MONITOR, which costs it throughput, until all that are blocked
/// have been seen to ask: waiters of this library do so at least every three seconds. Who blocks for longer
/// without asking anew, as some Python waiters do, is not seen; then nothing is known.
using Waiters = std::map<std::string, std::size_t>;
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
