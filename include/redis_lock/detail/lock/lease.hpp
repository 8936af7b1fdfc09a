#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/lock/observer.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>

namespace redis_lock::detail {

/// A failure of a lock's renewals: why, and since when all of them have failed.
struct RenewalFailure {
  Time since;
  errc code;
  std::string text;

  void add_to(Event& event) const noexcept {
    event.error = make_error_code(code);
    event.failing_since = to_steady(since);
  }
};

/// One acquisition while it lasts, shared by its Lock and the renewal thread.
struct Lease {
  std::shared_ptr<const Keys> keys;
  std::string id;
  Slot slot = 0;          // of the key
  milliseconds expire{};  // milliseconds::max(): no expiry
  std::string expire_text;
  milliseconds advance{};            // renewed so much before a third of its lease is over
  Time renewed_until = Time::min();  // min(): not renewed at all
  std::shared_ptr<const Observer> observer;

  std::uint64_t fencing_token = 0;  // 0: none
  std::string kept_for;             // milliseconds that the key stays at the release; empty: none

  std::atomic<Time> expires_at{Time::min()};
  std::atomic<Time> since{Time::min()};  // when the present holder got it; min(): not yet
  std::atomic<bool> ended{false};        // released, lost or abandoned, and counted as such
  std::atomic<bool> watched{false};      // by a renewal thread, which reports the loss
  std::atomic<bool> lost{false};
  std::atomic<bool> refused{false};                   // the server said that the key is not ours
  std::atomic<LossReason> lost_by{LossReason::none};  // set once: it is lost then
  std::atomic<bool> renewals_fail{false};             // `failure` is set
  /// The shortest lease of an extension in doubt; max(): none. Redis may still run such an extension, however much
  /// later, so that no longer lease is certain.
  std::atomic<milliseconds> shortest_in_doubt{milliseconds::max()};

  std::mutex mutex;  // guards the three fields below
  /// The stop source behind lost_token(); null if no caller has asked for a token.
  std::shared_ptr<void> token_source;
  void (*request_stop)(void* token_source) noexcept = nullptr;
  std::shared_ptr<const RenewalFailure> failure;  // of the latest renewal; null: it worked

  /// Held during an extension by the caller: one at a time.
  std::mutex extending;

  /// Used by the Renewer, guarded by its mutex.
  Time due{}, retry_at = Time::min();
  bool scheduled = false, paused = false;
  std::atomic<bool> in_flight{false};  // a renewal is sent; set with that mutex held
  /// If true, no renewal is sent and no loss reported any more. Set with that mutex held.
  std::atomic<bool> forgotten{false};

  [[nodiscard]] bool owned() const noexcept {
    return !lost.load() && Time::clock::now() < owned_until();
  }

  /// Returns when it counts as lost unless it is extended, for Lock::expires_at(): last_instant() if it is watched,
  /// otherwise the end of the lease.
  [[nodiscard]] Time owned_until() const noexcept {
    return watched.load() ? last_instant() : expires_at.load();
  }
  /// Returns when the loss of a watched lock is reported, so that it is known before the lease is over: a tenth of
  /// the lease earlier, at most 100 ms.
  [[nodiscard]] Time last_instant() const noexcept {
    const auto end = expires_at.load();
    return end == never ? never : end - std::min(renewal() / 10, milliseconds{100});
  }

  /// Records that an extension sent at `sent` was successful.
  void extended(Time sent, milliseconds duration) noexcept {
    expires_at = after(sent, std::min(duration, shortest_in_doubt.load()));
  }
  /// Records an extension sent at `sent` that may have run, and so may have shortened the lease.
  void shortened(Time sent, milliseconds duration) noexcept {
    expires_at = std::min(expires_at.load(), after(sent, duration));
  }
  void extension_in_doubt(milliseconds duration) noexcept {
    shortest_in_doubt = std::min(duration, shortest_in_doubt.load());
  }
  /// Returns the lease that a renewal gives for certain.
  [[nodiscard]] milliseconds renewal() const noexcept {
    return std::min(expire, shortest_in_doubt.load());
  }

  /// Returns how long the present holder has had it. A loss may be found before the holder's call has returned.
  [[nodiscard]] Time::duration held_for(Time now) const noexcept {
    const auto start = since.load();
    // A hand-off reads a coarse clock, which is behind.
    return start == Time::min() ? Time::duration::zero()
                                : std::max(now - start, Time::duration::zero());
  }

  /// Counts and reports the end, unless that was done before. Call it with no mutex held that others wait for.
  void end(Event::Kind how, Time at = Time::clock::now()) noexcept {
    if (count_end(how, at)) tell_end(how, at);
  }
  /// Counts the end, unless that was done before. Returns whether it was counted now, and so must be reported.
  [[nodiscard]] bool count_end(Event::Kind how, Time at) noexcept {
    if (how == Event::Kind::lost) found_lost(presumed_loss(at));
    if (ended.exchange(true)) return false;
    observer->counters().ended(how, held_for(at));
    return true;
  }
  void tell_end(Event::Kind how, Time at) noexcept {
    if (!observer->is_told()) return;
    Event event{how, {}, id, held_for(at)};
    std::string words;
    std::shared_ptr<const RenewalFailure> why;
    if (how == Event::Kind::lost) {
      event.reason = lost_by;
      if (event.reason == LossReason::unreachable) why = latest_failure();
      try {
        words = describe_loss();
      } catch (const std::exception&) {  // no memory for the text
      }
    }
    if (why) why->add_to(event);
    event.message = words;
    observer->tell(event);
  }

  /// Records that it is lost for this reason, unless another one is known.
  void found_lost(LossReason reason) noexcept {
    auto none = LossReason::none;
    lost_by.compare_exchange_strong(none, reason);
  }
  /// Returns why it is lost, or will be if the lease ends at `at` without a reply of the server.
  [[nodiscard]] LossReason presumed_loss(Time at) const noexcept {
    if (const LossReason known = lost_by; known != LossReason::none) return known;
    if (renewals_fail || in_flight) return LossReason::unreachable;
    const bool was_renewed = renewed_until != Time::min();
    return was_renewed && at >= renewed_until ? LossReason::max_hold : LossReason::expired;
  }
  /// Returns why it is lost; none if it is not.
  [[nodiscard]] LossReason loss_reason() const noexcept {
    const LossReason known = lost_by;
    if (known != LossReason::none || ended || owned()) return known;
    return presumed_loss(Time::clock::now());
  }

  /// Describes why it is lost.
  [[nodiscard]] std::string describe_loss() {
    switch (loss_reason()) {
      case LossReason::unreachable: return "its lease ended" + describe_failure();
      case LossReason::taken: return "its key has another holder";
      case LossReason::gone:
        return keys && keys->is_set() ? "Redis has ended it" : "its key is gone";
      case LossReason::max_hold: return "its lease ended, and max_hold was over";
      case LossReason::expired:
      case LossReason::none: break;
    }
    return "its lease ended";
  }
  [[nodiscard]] std::string describe_failure() {
    const auto last = latest_failure();
    if (!last) return {};
    const auto end = std::min(Time::clock::now(), expires_at.load());
    const auto time = std::chrono::duration_cast<milliseconds>(end - last->since);
    return ", as renewals failed for " + std::to_string(time.count()) + " ms: " + last->text;
  }
  /// Returns the failure of an operation that found it lost.
  [[nodiscard]] Failure loss() {
    return {errc::lease_lost, "it was lost before: " + describe_loss()};
  }

  /// Records the failure of a renewal that was sent at `sent`. Without one, there was no memory.
  void renewal_failed(const std::optional<Failure>& why, Time sent, bool is_cut) noexcept {
    observer->counters().renewal_failed();
    if (!why) return;
    try {
      const std::lock_guard guard{mutex};
      // The end of the lease has cut off the last renewal: keep the earlier, more specific failure.
      if (failure && is_cut && why->code() == errc::timed_out) return;
      const auto first = failure ? failure->since : sent;
      failure =
          std::make_shared<const RenewalFailure>(RenewalFailure{first, why->code(), why->what()});
      renewals_fail = true;
    } catch (const std::exception&) {  // no memory for the text
    }
  }
  void renewal_worked() noexcept {
    if (!renewals_fail) return;
    const std::lock_guard guard{mutex};
    failure.reset();
    renewals_fail = false;
  }
  /// Returns the failure of the latest renewal; null if it worked.
  [[nodiscard]] std::shared_ptr<const RenewalFailure> latest_failure() {
    const std::lock_guard guard{mutex};
    return failure;
  }

  /// Reports a failed renewal, which was counted before.
  void tell_failure(const std::shared_ptr<const RenewalFailure>& why, Time at) noexcept {
    Event event{Event::Kind::renewal_failed, {}, id, held_for(at)};
    if (why) {
      why->add_to(event);
      event.message = why->text;
    }
    observer->tell(event);
  }

  /// Reports an extension, which was counted before.
  void tell_renewal(Time at = Time::clock::now()) noexcept {
    if (observer->is_told()) observer->tell(Event::Kind::renewed, id, held_for(at));
  }

  /// Returns whether a callback waits for the report of its loss.
  [[nodiscard]] bool is_told_loss() {
    if (observer->is_told() || observer->is_told_losses()) return true;
    const std::lock_guard guard{mutex};
    return request_stop != nullptr;
  }

  /// Counts and reports the loss, and requests stop of the token of lost_token().
  void tell_loss(Time at = Time::clock::now()) noexcept {
    lost = true;
    end(Event::Kind::lost, at);
    std::shared_ptr<void> told;
    {
      const std::lock_guard guard{mutex};
      told = token_source;
    }
    if (told) request_stop(told.get());
    observer->tell_loss();
  }
};

using Leases = std::vector<std::shared_ptr<Lease>>;

/// Outcome of the renewal of one lease.
struct Renewal {
  std::optional<Extension> result{};  // nothing: it failed
  bool may_run_later = false;         // its reply was lost
  std::optional<Failure> failure{};
};
using Renewals = std::vector<Renewal>;

}  // namespace redis_lock::detail
