// What guarded_eval acknowledged has happened once, what it refused has not, and what was left in doubt
// has happened at most once; and no update came behind one of a later holder.

#include <map>

#include "checker.hpp"

namespace redis_lock_test::campaign {

namespace {

using Update = std::pair<int, std::uint64_t>;  // process, number

std::string named(const Applied& applied) {
  return "update " + std::to_string(applied.process) + '.' + std::to_string(applied.update) +
         " of \"" + applied.name + "\" with token " + std::to_string(applied.token);
}

/// In each ledger tokens never decrease; 0 is none.
void check_order(const Timeline& timeline, Report& report) {
  std::map<std::pair<std::string, std::uint64_t>, const Applied*> latest;
  for (const auto& applied : timeline.applied) {
    if (applied.token == 0) continue;
    auto& before = latest[{applied.name, applied.ledger}];
    if (before && applied.token < before->token) {
      report.findings.push_back(
          {Violation::stale_update, named(applied) + " is behind " + named(*before)});
    } else {
      before = &applied;
    }
  }
}

}  // namespace

void check_updates(const Timeline& timeline, Report& report) {
  check_order(timeline, report);
  std::map<Update, std::size_t> times;
  for (const auto& applied : timeline.applied) ++times[{applied.process, applied.update}];

  std::map<std::string, Spans>
      unread_losses;  // of ledgers, or parts, that nobody could read before
  for (const auto& lease : timeline.leases) {
    unread_losses.emplace(
        lease.first, Spans{timeline.spans_of_faults(lease.first, {}, [](const FaultKind& kind) {
          return (kind.wipes && !kind.keeps_ledger) || kind.forgets;
        })});
  }
  for (const auto& operation : timeline.operations) {
    if (operation.what != "guarded_eval") continue;
    ++report.updates;
    const auto found = times.find({operation.process, operation.number});
    const auto count = found == times.end() ? 0 : found->second;
    if (found != times.end()) times.erase(found);
    const auto complain = [&](Violation violation) {
      report.findings.push_back({violation, describe(timeline, operation)});
    };
    if (count > 1) complain(Violation::doubled_update);
    if (operation.succeeded()) {
      const auto losses = unread_losses.find(operation.name);
      const bool may_be_lost =
          losses != unread_losses.end() && losses->second.meets(operation.span);
      if (may_be_lost) ++report.updates_with_data_lost;
      if (count == 0 && !may_be_lost) complain(Violation::lost_update);
    } else if (operation.outcome == "lease_lost" || operation.outcome == "loading" ||
               operation.outcome == "no-master") {
      ++report.updates_refused;
      if (count != 0) complain(Violation::refused_update);
    } else {
      ++report.updates_in_doubt;
    }
  }
  for (const auto& applied : timeline.applied) {
    if (times.count({applied.process, applied.update}) != 0)
      report.findings.push_back({Violation::unknown_update, named(applied)});
  }
}

}  // namespace redis_lock_test::campaign
