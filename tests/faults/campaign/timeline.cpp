#include "timeline.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace redis_lock_test::campaign {

namespace {

[[noreturn]] void contradict(const std::string& complaint, const Record& record) {
  throw std::runtime_error("the history contradicts itself: " + complaint + ": " + to_line(record));
}

}  // namespace

bool Fault::concerns(const std::string& name) const {
  return names == "*" || (',' + names + ',').find(',' + name + ',') != std::string::npos;
}

Timeline::Timeline(const std::vector<Record>& records) {
  if (records.empty()) return;
  whole = {records.front().at, records.front().at};
  for (const auto& record : records) {
    if (record.event == Event::applied) {
      applied.push_back({record.name, record.hold, record.process, record.operation, record.token});
      continue;
    }
    whole.begin = std::min(whole.begin, record.at);
    whole.end = std::max(whole.end, record.at);
    if (record.event == Event::ended) ended.push_back(record);
    const bool tells_lease = record.event == Event::result || record.event == Event::claim;
    if (tells_lease || record.event == Event::invoke) {
      auto& lease = leases[record.name];
      if (tells_lease) lease = std::max(lease, record.duration);
    }
  }
  read_operations(records);
  read_faults(records);
  find_holds(records);
}

void Timeline::read_operations(const std::vector<Record>& records) {
  std::map<int, Time> gone;
  for (const auto& record : ended) gone[record.process] = record.at;
  std::map<Key, std::size_t> open;
  for (const auto& record : records) {
    const Key key{record.process, record.operation};
    if (record.event == Event::invoke) {
      if (!open.emplace(key, operations.size()).second) contradict("invoked twice", record);
      auto& operation = operations.emplace_back();
      operation.process = record.process;
      operation.number = record.operation;
      operation.what = record.what;
      operation.name = record.name;
      operation.hold = record.hold;
      operation.patience = record.duration;
      operation.permits = record.permits;
      const auto end = gone.find(record.process);
      operation.span = {record.at, end == gone.end() ? whole.end : end->second};
    } else if (record.event == Event::result) {
      const auto found = open.find(key);
      if (found == open.end()) contradict("a result of nothing", record);
      auto& operation = operations[found->second];
      if (operation.returned) contradict("returned twice", record);
      operation.returned = true;
      operation.outcome = record.outcome;
      operation.token = record.token;
      operation.span.end = record.at;
    }
  }
  std::sort(operations.begin(), operations.end(),
            [](const Operation& a, const Operation& b) { return a.span.begin < b.span.begin; });
}

void Timeline::read_faults(const std::vector<Record>& records) {
  std::map<std::uint64_t, std::size_t> open;
  for (const auto& record : records) {
    if (record.event == Event::fault_begin) {
      if (!open.emplace(record.operation, faults.size()).second) contradict("begun twice", record);
      faults.push_back({&fault_kind(record.what), record.name, {record.at, whole.end}});
    } else if (record.event == Event::fault_end) {
      const auto found = open.find(record.operation);
      if (found == open.end()) contradict("the end of no fault", record);
      faults[found->second].span.end = record.at;
    }
  }
  std::sort(faults.begin(), faults.end(),
            [](const Fault& a, const Fault& b) { return a.span.begin < b.span.begin; });
}

void Timeline::find_holds(const std::vector<Record>& records) {
  std::map<Key, std::size_t> of_acquisition;
  for (const auto& operation : operations) {
    if (!operation.acquires() || !operation.succeeded()) continue;
    of_acquisition[{operation.process, operation.number}] = holds.size();
    holds.push_back({&operation, nullptr, Time::min(), Time::min(), Time::min()});
  }
  const auto hold_of = [&](int process, std::uint64_t number) -> Hold* {
    const auto found = of_acquisition.find({process, number});
    return found == of_acquisition.end() ? nullptr : &holds[found->second];
  };
  for (const auto& operation : operations) {
    if (!operation.unlocks()) continue;
    if (auto* const hold = hold_of(operation.process, operation.hold)) hold->unlock = &operation;
  }
  for (const auto& record : records) {
    const bool claims = record.event == Event::claim || record.event == Event::result;
    if (!claims || record.expires_at == Time{}) continue;
    const auto number = record.hold != 0 ? record.hold : record.operation;
    auto* const hold = hold_of(record.process, number);
    if (!hold) contradict("a claim without a hold", record);
    hold->claimed_until = std::max(hold->claimed_until, record.expires_at);
    if (const auto from = record.expires_at - record.duration; from > hold->vouched_from) {
      hold->vouched_from = from;
      hold->vouched_by = std::max(record.at, from);
    }
    if (record.event == Event::claim)
      hold->claimed_until = std::max(hold->claimed_until, record.at);
  }
  std::sort(holds.begin(), holds.end(), [](const Hold& a, const Hold& b) {
    return a.acquisition->span.end < b.acquisition->span.end;
  });
}

}  // namespace redis_lock_test::campaign
