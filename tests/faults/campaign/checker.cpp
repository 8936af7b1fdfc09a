#include "checker.hpp"

#include <algorithm>

namespace redis_lock_test::campaign {

std::string_view name_of(Violation violation) {
  switch (violation) {
    case Violation::overlap: return "overlap";
    case Violation::token: return "token not increasing";
    case Violation::lost_early: return "lost early";
    case Violation::lost_update: return "lost update";
    case Violation::doubled_update: return "doubled update";
    case Violation::refused_update: return "refused update applied";
    case Violation::stale_update: return "stale update";
    case Violation::unknown_update: return "unknown update";
    case Violation::lost_wakeup: return "lost wakeup";
    case Violation::hang: return "hang";
    case Violation::crash: return "crash";
    case Violation::unexpected_error: return "unexpected error";
  }
  return {};
}

std::size_t Report::count_of(Violation violation) const {
  return static_cast<std::size_t>(
      std::count_if(findings.begin(), findings.end(),
                    [&](const Finding& finding) { return finding.violation == violation; }));
}

namespace {

/// Errors that a fault explains; the others mean that something was mixed up.
bool is_explained(const std::string& error) {
  return error == "connection_failed" || error == "timed_out" || error == "lease_lost" ||
         error == "loading";
}

void count_operations(const Timeline& timeline, const Bounds& bounds, Report& report) {
  std::map<std::string, Spans> disturbances;
  for (const auto& lease : timeline.leases) {
    disturbances.emplace(lease.first,
                         Spans{timeline.spans_of_faults(lease.first, bounds.settle(),
                                                        [](const FaultKind&) { return true; })});
  }
  for (const auto& operation : timeline.operations) {
    if (!operation.returned) continue;
    if (operation.acquires() && operation.succeeded()) {
      ++report.acquisitions;
      if (operation.permits == any_number) {
        ++report.readings;
      } else if (operation.permits > 1) {
        ++report.permits;
      }
    }
    if (operation.waits()) ++report.waits;
    if (operation.outcome == "busy") ++report.refusals;
    if (operation.outcome == "ok" || operation.outcome == "busy") continue;
    ++report.errors[operation.what + ": " + operation.outcome];
    // That there is no master is believed near a fault only.
    const bool explained =
        is_explained(operation.outcome) ||
        (operation.outcome == "no-master" && disturbances.at(operation.name).meets(operation.span));
    if (!explained) {
      report.findings.push_back({Violation::unexpected_error,
                                 describe(timeline, operation) + " failed: " + operation.outcome});
    }
  }
}

void check_ends(const Timeline& timeline, Report& report) {
  for (const auto& record : timeline.ended) {
    if (record.outcome == "finished" || record.outcome == "killed") continue;
    const bool hung = record.outcome == "unfinished";
    report.findings.push_back(
        {hung ? Violation::hang : Violation::crash,
         "process " + std::to_string(record.process) + ": " + record.outcome});
  }
}

}  // namespace

std::string describe(const Timeline& timeline, const Operation& operation) {
  const auto seconds = [&](Time time) {
    return std::to_string(std::chrono::duration<double>(time - timeline.whole.begin).count());
  };
  return operation.what + ' ' + std::to_string(operation.process) + '.' +
         std::to_string(operation.number) + " of \"" + operation.name + "\" (" +
         seconds(operation.span.begin) + " to " + seconds(operation.span.end) + " s)";
}

Report check(const std::vector<Record>& records, const Bounds& bounds) {
  const Timeline timeline{records};
  Report report;
  for (const auto& fault : timeline.faults) {
    ++report.faults[std::string{fault.kind->name}];
    if (fault.kind->frees) ++report.losses;
  }
  count_operations(timeline, bounds, report);
  check_ends(timeline, report);
  check_exclusion(timeline, bounds, report);
  check_tokens(timeline, report);
  check_updates(timeline, report);
  check_waits(timeline, bounds, report);
  return report;
}

}  // namespace redis_lock_test::campaign
