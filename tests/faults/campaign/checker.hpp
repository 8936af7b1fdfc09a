#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "record.hpp"
#include "timeline.hpp"

namespace redis_lock_test::campaign {

/// What must never be.
enum class Violation {
  overlap,          ///< two holds of one lock, both certain, and no data lost meanwhile
  token,            ///< a fencing token that is not greater than that of an earlier acquisition
  lost_early,       ///< a lock lost before its lease was over, and no data lost meanwhile
  lost_update,      ///< acknowledged by guarded_eval, and not in the ledger
  doubled_update,   ///< in the ledger more than once
  refused_update,   ///< refused by guarded_eval, and in the ledger
  stale_update,     ///< in the ledger behind one with a greater token
  unknown_update,   ///< in the ledger, and nobody asked for it
  lost_wakeup,      ///< a waiter left waiting while the lock was free
  hang,             ///< an operation that neither returned nor threw in time
  crash,            ///< a worker that ended by itself
  unexpected_error  ///< an error that no fault explains
};
[[nodiscard]] std::string_view name_of(Violation violation);

struct Finding {
  Violation violation;
  std::string text;
  std::string name{};  ///< of the lock, of an overlap
};

/// What the library promises, and what a busy machine may add to it.
struct Bounds {
  milliseconds command_timeout{400}, retry_for{3000};  ///< of the workers' Endpoint
  milliseconds longest_slice{3000};                    ///< a waiter asks anew at least this often
  milliseconds longest_way{0};        ///< to find the server to go to, beside asking it
  milliseconds loss_told_early{100};  ///< a loss is told this long before the lease is over
  /// How long a reply may take when nothing is wrong: a lock is held by its next holder, and its waiter
  /// does not know it yet.
  milliseconds latency{300};
  /// Undisturbed, a free lock is taken by a waiter within this time. Less than longest_slice, after
  /// which a waiter asks even without a signal.
  milliseconds idle{1000};
  milliseconds margin{5000};  ///< what a busy machine adds to an operation's time
  milliseconds lock{60'000};  ///< lock() waits for ever; but it gets its turn among so few

  /// How long a fault has consequences: a signal that was lost costs a waiter one slice.
  [[nodiscard]] milliseconds settle() const {
    return longest_slice + 2 * command_timeout + longest_way;
  }
};

struct Report {
  std::size_t acquisitions = 0, waits = 0, refusals = 0;  ///< refusals: busy, or not in time
  std::size_t readings = 0, permits = 0;                  ///< of the acquisitions
  std::map<std::string, std::size_t> errors;              ///< of operations, by "operation: error"
  std::map<std::string, std::size_t> faults;              ///< by kind
  std::size_t losses = 0, excused_overlaps = 0, excused_losses = 0;  ///< of data, by a fault
  std::size_t tokens_compared = 0, tokens_not_compared = 0;
  std::size_t updates = 0, updates_in_doubt = 0, updates_refused = 0, updates_with_data_lost = 0;
  std::map<std::string, nanoseconds> undisturbed;  ///< time in which lost wakeups were looked for
  std::vector<Finding> findings;

  [[nodiscard]] std::size_t count_of(Violation violation) const;
};

[[nodiscard]] Report check(const std::vector<Record>& records, const Bounds& bounds = {});

/// Which operation, when, in seconds since the history began.
[[nodiscard]] std::string describe(const Timeline& timeline, const Operation& operation);

// The parts of check(), a file each.
void check_exclusion(const Timeline& timeline, const Bounds& bounds, Report& report);
void check_tokens(const Timeline& timeline, Report& report);
void check_updates(const Timeline& timeline, Report& report);
void check_waits(const Timeline& timeline, const Bounds& bounds, Report& report);

}  // namespace redis_lock_test::campaign
