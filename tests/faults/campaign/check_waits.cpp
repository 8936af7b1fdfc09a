// No lock, reading or permit stays free while somebody waits for it, and every operation comes to an end.

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>

#include "checker.hpp"

namespace redis_lock_test::campaign {

namespace {

/// All about one lock.
class Waits {
 public:
  Waits(const Timeline& timeline, const std::string& name, const Bounds& bounds, Report& report)
      : timeline_(timeline),
        name_(name),
        bounds_(bounds),
        report_(report),
        disturbances_(timeline.spans_of_faults(name, bounds.settle(), any)),
        faults_(timeline.spans_of_faults(name, {}, any)),
        forgets_(timeline.spans_of_faults(name, {},
                                          [](const FaultKind& kind) { return kind.forgets; })) {
    const auto found = timeline.leases.find(name);
    if (found != timeline.leases.end()) lease_ = found->second;
  }

  void check() {
    for (const auto& operation : timeline_.operations) {
      if (operation.name == name_) operations_.push_back(&operation);
    }
    check_wakeups();
    check_hangs();
  }

 private:
  static bool any(const FaultKind&) { return true; }

  /// When it may have been held for one acquisition.
  struct Use {
    const Operation* acquisition;
    std::vector<Span> spans;
  };

  void check_wakeups() {
    report_.undisturbed[name_] =
        timeline_.whole.length() - disturbances_.shared_with(timeline_.whole);
    std::map<const Operation*, std::vector<Span>> spans;
    for (const auto& hold : timeline_.holds) {
      if (hold.acquisition->name == name_) spans[hold.acquisition].push_back(held(hold));
    }
    std::set<std::uint64_t> kinds;
    for (const auto* const operation : operations_) {
      if (!operation->acquires()) continue;
      kinds.insert(operation->permits);
      add_doubts(*operation, spans[operation]);
    }
    std::vector<Use> uses;
    for (auto& [acquisition, used] : spans)
      uses.push_back({acquisition, Spans{std::move(used)}.merged()});
    for (const auto permits : kinds) {
      for (const auto& idle : Spans{busy_for(permits, uses)}.gaps(timeline_.whole)) {
        if (idle.length() > bounds_.idle) check_idle(idle, permits);
      }
    }
  }

  /// When an acquisition with so many permits may have had to wait.
  [[nodiscard]] std::vector<Span> busy_for(std::uint64_t permits,
                                           const std::vector<Use>& uses) const {
    std::vector<Span> all;
    for (const auto& [acquisition, spans] : uses) {
      if (permits == any_number) {  // a reading: for writers, also for those that wait
        if (acquisition->permits == any_number) continue;
        all.push_back({acquisition->span.begin, acquisition->span.end + bounds_.latency});
      }
      all.insert(all.end(), spans.begin(), spans.end());
    }
    return covered(all, permits == any_number ? 1 : permits);
  }

  /// When the lock was held for an acquisition that succeeded, at most.
  [[nodiscard]] Span held(const Hold& hold) const {
    const auto& acquisition = *hold.acquisition;
    Span span{std::max(acquisition.span.begin, acquisition.span.end - bounds_.latency),
              timeline_.whole.end};
    if (!hold.unlock) {
      // Until its process was gone, and a lease longer: renewals may have been under way.
      for (const auto& record : timeline_.ended) {
        if (record.process == acquisition.process) span.end = record.at + lease_;
      }
    } else if (!hold.unlock->is_deferred() && hold.unlock->succeeded() &&
               !forgets_.meets(hold.unlock->span)) {
      span.end = hold.unlock->span.end;
    } else {
      span.end = hold.unlock->span.end + lease_;
    }
    return span;
  }

  /// When the lock may have been held for an acquisition without its knowledge, as a reply was lost.
  void add_doubts(const Operation& operation, std::vector<Span>& busy) const {
    const auto& [begin, end] = operation.span;
    if (!operation.returned) {
      busy.push_back({end - bounds_.latency, end + lease_});
    } else if (!operation.succeeded() && operation.outcome != "busy") {
      busy.push_back({begin, end + lease_});
    }
    const auto limit = operation.succeeded() ? end : end + lease_;
    disturbances_.visit_those_that_meet(operation.span, [&](const Span& disturbance) {
      busy.push_back(
          {disturbance.begin - bounds_.latency, std::min(disturbance.end + lease_, limit)});
    });
  }

  void check_idle(const Span& idle, std::uint64_t permits) const {
    for (const auto* const operation : operations_) {
      if (!operation->waits() || operation->permits != permits ||
          operation->span.shared_with(idle).length() <= bounds_.idle)
        continue;
      report_.findings.push_back(
          {Violation::lost_wakeup,
           describe(timeline_, *operation) + ": room for it for " +
               std::to_string(std::chrono::duration<double>(idle.length()).count()) + " s"});
    }
  }

  void check_hangs() const {
    for (const auto* const operation : operations_) {
      const auto& span = operation->span;
      const auto taken = span.length();
      if (taken <= bound_of(*operation) ||
          taken - faults_.shared_with(span) <= bound_of(*operation))
        continue;
      report_.findings.push_back({Violation::hang, describe(timeline_, *operation)});
    }
  }

  /// How long an operation takes, without the time of faults.
  [[nodiscard]] milliseconds bound_of(const Operation& operation) const {
    const auto timeouts = 2 * bounds_.command_timeout + bounds_.margin;
    if (operation.waits_for_ever()) return bounds_.lock;
    if (operation.has_patience()) return operation.patience + timeouts;
    return bounds_.retry_for + timeouts;
  }

  const Timeline& timeline_;
  const std::string& name_;
  const Bounds& bounds_;
  Report& report_;
  milliseconds lease_{};
  std::vector<const Operation*> operations_;
  Spans disturbances_;  // with what follows from them
  Spans faults_;
  Spans forgets_;
};

}  // namespace

void check_waits(const Timeline& timeline, const Bounds& bounds, Report& report) {
  for (const auto& lease : timeline.leases) Waits{timeline, lease.first, bounds, report}.check();
}

}  // namespace redis_lock_test::campaign
