#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fault_kinds.hpp"
#include "record.hpp"
#include "spans.hpp"

namespace redis_lock_test::campaign {

/// A call into the library by a worker.
struct Operation {
  int process = 0;
  std::uint64_t number = 0;
  std::string what, name, outcome;
  std::uint64_t hold = 0;  ///< number of the acquisition that it belongs to
  std::uint64_t token = 0;
  milliseconds patience{};    ///< of a try_lock_for
  std::uint64_t permits = 1;  ///< how many may hold the lock at once, beside a hold of this kind
  Span span{};                ///< if it did not return: until its process was gone
  bool returned = false;

  [[nodiscard]] bool waits_for_ever() const { return what == "lock" || what == "lock_shared"; }
  [[nodiscard]] bool has_patience() const {
    return what == "try_lock_for" || what == "try_lock_shared_for";
  }
  [[nodiscard]] bool waits() const { return waits_for_ever() || has_patience(); }
  [[nodiscard]] bool acquires() const {
    return waits() || what == "try_lock" || what == "try_lock_shared";
  }
  [[nodiscard]] bool is_deferred() const { return what.rfind("deferred_", 0) == 0; }
  [[nodiscard]] bool unlocks() const {
    return is_deferred() || what == "unlock" || what == "unlock_shared";
  }
  [[nodiscard]] bool succeeded() const { return returned && outcome == "ok"; }
};

/// A lock, a reading or a permit that was acquired, until it was unlocked or its process was gone.
struct Hold {
  const Operation* acquisition = nullptr;
  const Operation* unlock = nullptr;  ///< nullptr: it never was
  Time claimed_until{};  ///< ours until then, says the library; by expires_at() and owns_lock()
  Time vouched_from{};   ///< it was ours in Redis at some instant after this
  Time vouched_by{};     ///< and before this, or soon after, when the library had said so

  /// From when the library returned to when unlock was called, as far as the library claimed it.
  [[nodiscard]] Span certain() const {
    const auto begin = acquisition->span.end;
    return {begin, unlock ? std::min(claimed_until, unlock->span.begin) : claimed_until};
  }
};

struct Fault {
  const FaultKind* kind = nullptr;
  std::string names;  ///< "a,b", or "*"
  Span span{};

  [[nodiscard]] bool concerns(const std::string& name) const;
};

/// An entry of a ledger, in the ledger's order.
struct Applied {
  std::string name;
  std::uint64_t ledger = 0;
  int process = 0;
  std::uint64_t update = 0, token = 0;
};

/// What a history tells, put together. It refers to itself: not to be copied.
class Timeline {
 public:
  /// Throws std::runtime_error where the records contradict each other.
  explicit Timeline(const std::vector<Record>& records);
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  Span whole{};
  std::vector<Operation> operations;  ///< by the time at which they began
  std::vector<Hold> holds;            ///< by the time at which they were acquired
  std::vector<Fault> faults;          ///< by the time at which they began
  std::vector<Applied> applied;
  std::vector<Record> ended;                   ///< processes
  std::map<std::string, milliseconds> leases;  ///< the longest lease of each lock

  /// Of the faults that concern `name`, and fulfil `wanted`; each prolonged by `settle`.
  template <class Wanted>
  [[nodiscard]] std::vector<Span> spans_of_faults(const std::string& name, nanoseconds settle,
                                                  Wanted&& wanted) const {
    std::vector<Span> spans;
    for (const auto& fault : faults) {
      if (fault.concerns(name) && wanted(*fault.kind))
        spans.push_back({fault.span.begin, fault.span.end + settle});
    }
    return spans;
  }

 private:
  using Key = std::pair<int, std::uint64_t>;  // process, number
  void read_operations(const std::vector<Record>& records);
  void read_faults(const std::vector<Record>& records);
  void find_holds(const std::vector<Record>& records);
};

}  // namespace redis_lock_test::campaign
