// Whoever acquires after another one has acquired gets a greater fencing token: as long as Redis has
// not lost the fence.

#include <algorithm>
#include <set>

#include "checker.hpp"

namespace redis_lock_test::campaign {

namespace {

using Operations = std::vector<const Operation*>;

/// Those of one lock and one life of its fence, by the time at which they began.
void check_one_fence(const Timeline& timeline, const Operations& begun, Report& report) {
  auto returned = begun;
  std::sort(returned.begin(), returned.end(),
            [](const auto* a, const auto* b) { return a->span.end < b->span.end; });
  const auto complain = [&](const Operation& operation, const Operation& earlier) {
    report.findings.push_back({Violation::token, describe(timeline, operation) + " has token " +
                                                     std::to_string(operation.token) + ", and " +
                                                     describe(timeline, earlier) + " had " +
                                                     std::to_string(earlier.token)});
  };
  std::map<std::uint64_t, const Operation*> seen;
  const Operation* greatest = nullptr;
  auto next = returned.begin();
  for (const auto* const operation : begun) {
    for (; (*next)->span.end < operation->span.begin; ++next) {
      if (!greatest || (*next)->token > greatest->token) greatest = *next;
    }
    const auto [same, is_new] = seen.emplace(operation->token, operation);
    if (!is_new) {
      complain(*operation, *same->second);
    } else if (greatest && operation->token <= greatest->token) {
      complain(*operation, *greatest);
    }
  }
  report.tokens_compared += begun.size();
}

}  // namespace

void check_tokens(const Timeline& timeline, Report& report) {
  std::map<std::string, Operations> acquisitions;
  for (const auto& operation : timeline.operations) {
    if (operation.acquires() && operation.succeeded() && operation.token != 0)
      acquisitions[operation.name].push_back(&operation);
  }
  for (const auto& [name, operations] : acquisitions) {
    const Spans wipes{
        timeline.spans_of_faults(name, {}, [](const FaultKind& kind) { return kind.wipes; })};
    const Spans forgets{
        timeline.spans_of_faults(name, {}, [](const FaultKind& kind) { return kind.forgets; })};
    std::map<Time, Operations> lives;  // by when the fence was wiped before
    for (const auto* const operation : operations) {
      if (wipes.meets(operation->span) || forgets.meets(operation->span)) {
        ++report.tokens_not_compared;  // before or after, or forgotten: nobody knows
        continue;
      }
      lives[wipes.last_end_before(operation->span.begin)].push_back(operation);
    }
    for (const auto& life : lives) check_one_fence(timeline, life.second, report);
  }
}

}  // namespace redis_lock_test::campaign
