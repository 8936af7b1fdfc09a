#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "spans.hpp"
#include "support/fleet.hpp"

namespace redis_lock_test::campaign {

/// Notices when a replica becomes a master, and what may be lost by it: what was done since the instant
/// up to which the replica had everything. The nemesis may kill or freeze any of the members; look() asks
/// those that run.
class Replication {
 public:
  /// All of them run, and the replicas are connected to their masters.
  explicit Replication(std::vector<Member*> members);

  /// Until the old master has become a replica, it may go on by itself.
  struct Promotion {
    Index old_master = 0, new_master = 0;
    Span span{};
  };
  /// Asks all that run; the promotions that are over since the last time.
  [[nodiscard]] std::vector<Promotion> look();

  /// No promotion under way, and all that is written arrives at all replicas.
  [[nodiscard]] bool is_well() const;

  [[nodiscard]] bool is_master(Index index) const { return states_.at(index).is_master; }
  /// Who has been promoted in the place of this one, which may not know it yet.
  [[nodiscard]] std::optional<Index> successor_of(Index master) const;
  /// The members that follow this one.
  [[nodiscard]] std::vector<Index> replicas_of(Index master) const;

 private:
  /// What a member said last.
  struct State {
    bool is_master = false;
    Index master = 0;      ///< of a replica
    long long offset = 0;  ///< how much it has of all that was ever written
    Time asked{};          ///< when it said so
    Time complete{};       ///< it has all that was written until then
  };

  void ask(Index index);
  [[nodiscard]] Index member_at(const std::string& port) const;

  std::vector<Member*> members_;
  std::vector<State> states_;
  std::vector<Promotion> open_;
  Time latest_look_{};
};

}  // namespace redis_lock_test::campaign
