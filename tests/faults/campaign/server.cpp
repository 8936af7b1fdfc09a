#include "server.hpp"

namespace redis_lock_test::campaign {

/// One connection of a worker.
Harm client_kill(Redis& redis, Dice& dice, const std::string& names) {
  return {the_servers, names, [&redis, &dice] {
            const auto list = redis.string("CLIENT", "LIST").value_or("");
            std::vector<std::string> ids;
            for (std::size_t line = 0; line < list.size(); line = list.find('\n', line) + 1) {
              const auto text = list.substr(line, list.find('\n', line) - line);
              if (text.find(" name=slot-") == text.npos || text.rfind("id=", 0) != 0) continue;
              ids.push_back(text.substr(3, text.find(' ') - 3));
            }
            if (!ids.empty()) (void)redis.command("CLIENT", "KILL", "ID", dice.one_of(ids));
          }};
}

Harm script_flush(Redis& redis, const std::string& names) {
  return {the_servers, names, [&redis] { (void)redis.command("SCRIPT", "FLUSH"); }};
}

}  // namespace redis_lock_test::campaign
