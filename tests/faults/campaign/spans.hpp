#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>
#include <vector>

#include "record.hpp"

namespace redis_lock_test::campaign {

/// From `begin` to `end`, with both.
struct Span {
  Time begin, end;

  [[nodiscard]] bool meets(const Span& other) const {
    return begin <= other.end && other.begin <= end;
  }
  [[nodiscard]] nanoseconds length() const {
    return std::max(nanoseconds{end - begin}, nanoseconds{});
  }
  [[nodiscard]] Span shared_with(const Span& other) const {
    return {std::max(begin, other.begin), std::min(end, other.end)};
  }
};

/// Where at least `depth` of the spans meet, none of which ends before it begins; in order.
[[nodiscard]] inline std::vector<Span> covered(const std::vector<Span>& spans, std::size_t depth) {
  std::vector<std::pair<Time, int>> edges;
  for (const auto& span : spans) {
    edges.emplace_back(span.begin, -1);  // before an end at the same time
    edges.emplace_back(span.end, 1);
  }
  std::sort(edges.begin(), edges.end());
  std::vector<Span> found;
  std::size_t open = 0;
  for (const auto& [time, kind] : edges) {
    if (kind < 0 && ++open == depth) found.push_back({time, time});
    if (kind > 0 && open-- == depth) found.back().end = time;
  }
  return found;
}

/// The union of spans, none of which ends before it begins.
class Spans {
 public:
  explicit Spans(std::vector<Span> spans = {}) {
    std::sort(spans.begin(), spans.end(),
              [](const Span& a, const Span& b) { return a.begin < b.begin; });
    for (const auto& span : spans) {
      if (merged_.empty() || merged_.back().end < span.begin) {
        merged_.push_back(span);
      } else {
        merged_.back().end = std::max(merged_.back().end, span.end);
      }
    }
  }

  [[nodiscard]] const std::vector<Span>& merged() const { return merged_; }

  [[nodiscard]] bool meets(const Span& span) const {
    const auto first = first_that_ends_after(span.begin);
    return first != merged_.end() && first->meets(span);
  }

  /// Calls `visit` with each that meets `span`; in order.
  template <class Visit>
  void visit_those_that_meet(const Span& span, Visit&& visit) const {
    for (auto at = first_that_ends_after(span.begin); at != merged_.end() && at->begin <= span.end;
         ++at) {
      visit(*at);
    }
  }

  /// How much of `span` is in the union.
  [[nodiscard]] nanoseconds shared_with(const Span& span) const {
    nanoseconds sum{};
    visit_those_that_meet(span, [&](const Span& one) { sum += one.shared_with(span).length(); });
    return sum;
  }

  /// The end of the last span that is over at `time`; the smallest Time if there is none.
  [[nodiscard]] Time last_end_before(Time time) const {
    const auto next = first_that_ends_after(time);
    return next == merged_.begin() ? Time::min() : std::prev(next)->end;
  }

  /// What of `whole` is not in the union; in order.
  [[nodiscard]] std::vector<Span> gaps(const Span& whole) const {
    std::vector<Span> gaps;
    auto from = whole.begin;
    for (const auto& span : merged_) {
      if (const Span gap{from, std::min(span.begin, whole.end)}; gap.begin < gap.end)
        gaps.push_back(gap);
      from = span.end;
    }
    if (from < whole.end) gaps.push_back({from, whole.end});
    return gaps;
  }

 private:
  [[nodiscard]] std::vector<Span>::const_iterator first_that_ends_after(Time time) const {
    return std::lower_bound(merged_.begin(), merged_.end(), time,
                            [](const Span& span, Time from) { return span.end < from; });
  }

  std::vector<Span> merged_;
};

}  // namespace redis_lock_test::campaign
