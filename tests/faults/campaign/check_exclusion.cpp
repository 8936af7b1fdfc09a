// Nobody acquires a lock that another one certainly holds: readers may hold it together, and a semaphore has as many
// holders as permits. And nobody loses a hold before its lease is over.

#include <algorithm>
#include <set>

#include "checker.hpp"

namespace redis_lock_test::campaign {

namespace {

class Exclusion {
 public:
  Exclusion(const Timeline& timeline, const Bounds& bounds, Report& report)
      : timeline_(timeline), bounds_(bounds), report_(report) {
    for (const auto& fault : timeline.faults) {
      if (fault.kind->frees) losses_.push_back(&fault);
    }
  }

  void check_overlaps() {
    std::map<std::string, std::vector<const Hold*>> active;
    for (const auto& hold : timeline_.holds) {
      const auto certain = hold.certain();
      if (certain.end <= certain.begin) continue;  // over before anybody knew of it
      auto& others = active[hold.acquisition->name];
      const auto is_over = [&](const Hold* other) { return other->certain().end <= certain.begin; };
      others.erase(std::remove_if(others.begin(), others.end(), is_over), others.end());
      judge_overlap(others, hold);
      others.push_back(&hold);
    }
    report_.excused_losses = excuses_.size();
  }

  void check_early_losses() {
    std::map<std::pair<int, std::uint64_t>, const Hold*> hold_of;
    for (const auto& hold : timeline_.holds)
      hold_of[{hold.acquisition->process, hold.acquisition->number}] = &hold;
    for (const auto& operation : timeline_.operations) {
      if (operation.outcome != "lease_lost") continue;
      const auto found = hold_of.find({operation.process, operation.hold});
      if (found == hold_of.end()) continue;
      const auto& hold = *found->second;
      const auto told = operation.span.end;
      if (told >= hold.claimed_until - bounds_.loss_told_early) continue;
      const auto any = [](const Fault&) { return true; };
      if (loss_between(operation.name, {hold.vouched_from, told}, any)) continue;
      report_.findings.push_back(
          {Violation::lost_early, describe(timeline_, operation) + " found the lock lost, that " +
                                      describe(timeline_, *hold.acquisition) + " had for longer"});
    }
  }

 private:
  using Holds = std::vector<const Hold*>;

  /// Are `hold` and the others, all of which are certain in the instant in which it was acquired, too many?
  void judge_overlap(const Holds& others, const Hold& hold) {
    if (!are_too_many(others, hold)) return;
    Holds sure;  // no loss of data has freed one of the two
    std::set<const Fault*> losses;
    for (const auto* const other : others) {
      if (const auto* const loss = excuse_for(*other, hold)) {
        losses.insert(loss);
      } else {
        sure.push_back(other);
      }
    }
    if (!are_too_many(sure, hold)) {
      ++report_.excused_overlaps;
      excuses_.insert(losses.begin(), losses.end());
      return;
    }
    std::string all;
    for (const auto* const other : sure) all += describe(timeline_, *other->acquisition) + " and ";
    report_.findings.push_back({Violation::overlap,
                                all + describe(timeline_, *hold.acquisition) + " held it at once",
                                hold.acquisition->name});
  }

  /// Each hold says how many there may be beside it, with itself.
  [[nodiscard]] static bool are_too_many(const Holds& others, const Hold& hold) {
    auto most = hold.acquisition->permits;
    for (const auto* const other : others) most = std::min(most, other->acquisition->permits);
    return others.size() + 1 > most;
  }

  /// A loss of data that may have freed one of the two; nullptr if there was none.
  [[nodiscard]] const Fault* excuse_for(const Hold& one, const Hold& other) const {
    // Each was there, in Redis, at its own instant: between the two, or before the second was told.
    const Span meanwhile{
        std::min(one.vouched_from, other.vouched_from),
        std::max({one.vouched_from, other.vouched_from, other.acquisition->span.end})};
    return loss_between(one.acquisition->name, meanwhile, [&](const Fault& loss) {
      return !loss.kind->forgets || is_of(loss, one) || is_of(loss, other);
    });
  }

  /// May Redis have said the last time that it has the hold during `loss`? What it said before was kept;
  /// and what it says afterwards, counts.
  [[nodiscard]] bool is_of(const Fault& loss, const Hold& hold) const {
    return loss.span.meets(
        {hold.vouched_from,
         std::max(hold.vouched_by, hold.vouched_from + bounds_.command_timeout)});
  }

  /// The first fault that may have freed the lock, and that `explains` it.
  template <class Explains>
  [[nodiscard]] const Fault* loss_between(const std::string& name, const Span& span,
                                          Explains&& explains) const {
    for (const auto* const loss : losses_) {
      if (loss->concerns(name) && loss->span.meets(span) && explains(*loss)) return loss;
    }
    return nullptr;
  }

  const Timeline& timeline_;
  const Bounds& bounds_;
  Report& report_;
  std::vector<const Fault*> losses_;
  std::set<const Fault*> excuses_;
};

}  // namespace

void check_exclusion(const Timeline& timeline, const Bounds& bounds, Report& report) {
  Exclusion exclusion{timeline, bounds, report};
  exclusion.check_overlaps();
  exclusion.check_early_losses();
}

}  // namespace redis_lock_test::campaign
