#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dice.hpp"
#include "harm.hpp"
#include "ledgers.hpp"
#include "roles.hpp"
#include "spans.hpp"
#include "support/redis.hpp"

namespace redis_lock_test::campaign {

/// What the locks are on: one Redis, or several that belong together; and the harm that can come to it.
/// For the thread that made it.
class Server {
 public:
  Server() = default;
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  virtual ~Server() = default;

  /// How the workers with this link reach it: without parameters; all servers of a quorum, with a
  /// space between them.
  [[nodiscard]] virtual std::string uri(Link link) const = 0;

  /// Can it have what a role contends for?
  [[nodiscard]] virtual bool has(Kind) const { return true; }

  /// For the nemesis' own commands: the server that has this lock. While it runs.
  [[nodiscard]] virtual Redis& redis(const std::string& name) = 0;

  /// The kinds of faults that it can suffer; and those that come often, as
  /// they hit whoever holds a lock.
  [[nodiscard]] virtual std::vector<std::string> kinds() const = 0;
  [[nodiscard]] virtual std::vector<std::string> aimed_kinds() const = 0;
  /// That comes first, as a short run would prove nothing without it. Empty: none.
  [[nodiscard]] virtual std::string essential_kind() const { return {}; }

  /// What harm is to be done to.
  struct Occasion {
    const std::string& kind;
    const std::string& name;  ///< a lock that somebody holds, most likely
    Ledgers& ledgers;
    Dice& dice;
  };
  /// Nothing is done yet. No Harm: it could not bear it now.
  [[nodiscard]] virtual std::optional<Harm> harm(const Occasion& occasion) = 0;

  /// What it did of itself, or in answer to harm.
  struct Noticed {
    std::string kind, names;
    Span span;
  };
  /// Looks after it; called all the time.
  [[nodiscard]] virtual std::vector<Noticed> watch() { return {}; }

  /// Has it got over all harm?
  [[nodiscard]] virtual bool is_well() { return true; }
};

/// A harm to one connection of a worker.
[[nodiscard]] Harm client_kill(Redis& redis, Dice& dice, const std::string& names = "*");
[[nodiscard]] Harm script_flush(Redis& redis, const std::string& names = "*");

}  // namespace redis_lock_test::campaign
