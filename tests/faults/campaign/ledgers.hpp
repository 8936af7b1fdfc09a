#pragma once

#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "history.hpp"
#include "roles.hpp"
#include "support/redis.hpp"

namespace redis_lock_test::campaign {

/// The lists in Redis to which guarded updates are appended: read into the history before they go.
class Ledgers {
 public:
  Ledgers(Redis& redis, const HistoryFile& history)
      : redis_(redis), history_(history), names_(lock_names()) {}

  /// Reads all. If the server keeps them, the next reading has a new number nevertheless.
  void read() { read_and({}); }

  /// Reads all and runs FLUSHALL, in one step.
  void read_and_flush() { read_and({{"FLUSHALL"}}); }

 private:
  void read_and(const std::vector<std::vector<std::string>>& commands) {
    redis_.command("MULTI");
    for (const auto& name : names_) redis_.command("LRANGE", ledger_of(name), 0, -1);
    for (const auto& command : commands) redis_.send(command);
    const auto replies = redis_.command("EXEC");
    if (replies.elements.size() != names_.size() + commands.size())
      throw std::runtime_error("the ledgers could not be read: " + replies.text);
    ++number_;
    for (std::size_t i = 0; i < names_.size(); ++i) {
      for (const auto& entry : replies.elements[i].elements) write(names_[i], entry.text);
    }
  }

  /// An entry is "<process> <operation> <token>".
  void write(const std::string& name, const std::string& entry) const {
    Record record;
    record.event = Event::applied;
    record.name = name;
    record.hold = number_;
    std::istringstream words{entry};
    if (!(words >> record.process >> record.operation >> record.token))
      throw std::runtime_error("not an entry of a ledger: " + entry);
    history_.write(record);
  }

  Redis& redis_;
  const HistoryFile& history_;
  const std::vector<std::string> names_;
  std::uint64_t number_ = 0;
};

}  // namespace redis_lock_test::campaign
