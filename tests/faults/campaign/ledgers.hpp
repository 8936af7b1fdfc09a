#pragma once

#include <cstdint>
#include <functional>
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
  /// `redis` says which server has the ledger of a lock.
  Ledgers(std::function<Redis&(const std::string& name)> redis, const HistoryFile& history)
      : redis_(std::move(redis)), history_(history), names_(lock_names()) {}

  /// Reads all. If the server keeps them, the next reading has a new number nevertheless.
  void read() {
    ++number_;
    for (const auto& name : names_)
      write(name, redis_(name).command("LRANGE", ledger_of(name), 0, -1));
  }

  /// Reads all and runs FLUSHALL, in one step. Where there is one server.
  void read_and_flush() {
    auto& redis = redis_(names_.front());
    redis.command("MULTI");
    for (const auto& name : names_) redis.command("LRANGE", ledger_of(name), 0, -1);
    redis.command("FLUSHALL");
    const auto replies = redis.command("EXEC");
    if (replies.elements.size() != names_.size() + 1) refuse(replies);
    ++number_;
    for (std::size_t i = 0; i < names_.size(); ++i) write(names_[i], replies.elements[i]);
  }

 private:
  [[noreturn]] static void refuse(const Reply& reply) {
    throw std::runtime_error("the ledgers could not be read: " + reply.text);
  }

  void write(const std::string& name, const Reply& ledger) const {
    if (ledger.is_error()) refuse(ledger);
    for (const auto& entry : ledger.elements) write_entry(name, entry.text);
  }

  /// An entry is "<process> <operation> <token>".
  void write_entry(const std::string& name, const std::string& entry) const {
    Record record;
    record.event = Event::applied;
    record.name = name;
    record.hold = number_;
    std::istringstream words{entry};
    if (!(words >> record.process >> record.operation >> record.token))
      throw std::runtime_error("not an entry of a ledger: " + entry);
    history_.write(record);
  }

  const std::function<Redis&(const std::string& name)> redis_;
  const HistoryFile& history_;
  const std::vector<std::string> names_;
  std::uint64_t number_ = 0;
};

}  // namespace redis_lock_test::campaign
