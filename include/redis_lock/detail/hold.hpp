#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include <redis_lock/detail/account.hpp>
#include <redis_lock/detail/deadline.hpp>
#include <redis_lock/detail/slot_map.hpp>
#include <redis_lock/event.hpp>

namespace redis_lock::detail {

/// One acquisition while it lasts: shared by its Lock and the renewal thread.
struct Hold {
  const void* holder = nullptr;  // whose acquisition it is
  std::string key, id;
  Slot slot = 0;          // of the key
  milliseconds expire{};  // milliseconds::max(): none
  std::string expire_text;
  milliseconds advance{};  // by how much it is renewed before a third of its lease is over
  Time renewed_until = Time::min();  // not renewed at all, unless set
  std::shared_ptr<const Account> account;

  std::uint64_t fencing_token = 0;  // 0: none

  std::atomic<Time> expires_at{Time::min()};
  std::atomic<Time> since{Time::min()};  // when the present holder got it
  std::atomic<bool> ended{false};        // released, lost or abandoned, and counted as such
  std::atomic<bool> watched{false};      // by a renewal thread, which tells the loss
  std::atomic<bool> lost{false};
  std::atomic<bool> refused{false};  // lost by the server's word: the key is not ours
  /// The shortest lease of an extension that may have been sent, and was not heard of again: Redis may
  /// still come upon it, however much later, so that no lease is longer for certain.
  std::atomic<milliseconds> shortest_in_doubt{milliseconds::max()};

  /// Of whoever asked for a token that tells the loss; guarded by `mutex`.
  std::mutex mutex;
  std::shared_ptr<void> token_source;
  void (*request_stop)(void* token_source) noexcept = nullptr;

  /// Of who extends it by hand: one at a time.
  std::mutex extending;

  /// Of the Renewer, guarded by its mutex.
  Time due{}, retry_at = Time::min();
  bool scheduled = false, in_flight = false, paused = false, forgotten = false;

  [[nodiscard]] bool owned() const noexcept {
    return !lost.load() && Time::clock::now() < owned_until();
  }

  /// When it counts as lost unless it is extended: what Lock::expires_at() tells. It is the end of the
  /// lease, or of a watched lock last_instant().
  [[nodiscard]] Time owned_until() const noexcept {
    return watched.load() ? last_instant() : expires_at.load();
  }
  /// When the loss of a watched lock is told, so that it is known before the lease is over: a tenth of the
  /// lease earlier, at most 100 ms.
  [[nodiscard]] Time last_instant() const noexcept {
    const auto end = expires_at.load();
    return end == never ? never : end - std::min(renewal() / 10, milliseconds{100});
  }

  /// The lease was extended by what was sent at that time.
  void extended(Time sent, milliseconds lease) noexcept {
    expires_at = after(sent, std::min(lease, shortest_in_doubt.load()));
  }
  /// It may have been set to this, by what was sent at that time.
  void shortened(Time sent, milliseconds lease) noexcept {
    expires_at = std::min(expires_at.load(), after(sent, lease));
  }
  void extension_in_doubt(milliseconds lease) noexcept {
    shortest_in_doubt = std::min(lease, shortest_in_doubt.load());
  }
  /// What a renewal gives for certain.
  [[nodiscard]] milliseconds renewal() const noexcept {
    return std::min(expire, shortest_in_doubt.load());
  }

  /// How long the present holder has had it. A loss may be found out before its call has returned.
  [[nodiscard]] Time::duration held_for(Time now) const noexcept {
    const auto start = since.load();
    return start == Time::min() ? Time::duration::zero() : now - start;
  }

  /// Counts and tells how it ended, unless that was done before; with no mutex held that others wait for.
  void end(Event::Kind how, Time at = Time::clock::now()) noexcept {
    if (ended.exchange(true)) return;
    const auto held = held_for(at);
    account->counters().ended(how, held);
    account->tell(how, id, held);
  }

  /// The same of an extension, which was counted.
  void tell_renewal() noexcept {
    if (account->is_told()) account->tell(Event::Kind::renewed, id, held_for(Time::clock::now()));
  }

  /// The same of the loss, and stops who asked to be stopped.
  void tell_loss() noexcept {
    lost = true;
    end(Event::Kind::lost);
    std::shared_ptr<void> told;
    {
      const std::lock_guard guard{mutex};
      told = token_source;
    }
    if (told) request_stop(told.get());
    account->tell_loss();
  }
};

}  // namespace redis_lock::detail
