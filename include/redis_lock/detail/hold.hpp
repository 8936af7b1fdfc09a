#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
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
  std::function<void()> request_stop;

  /// Of who extends it by hand: one at a time.
  std::mutex extending;

  /// Of the Renewer, guarded by its mutex.
  Time due{}, retry_at = Time::min();
  bool scheduled = false, in_flight = false, paused = false;
  /// No renewal is sent and no loss told any more. Set with that mutex.
  std::atomic<bool> forgotten{false};

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
    if (count_end(how, at)) account->tell(how, id, held_for(at));
  }
  /// Counts how it ended, unless that was done before. Is that to be told?
  [[nodiscard]] bool count_end(Event::Kind how, Time at) noexcept {
    if (ended.exchange(true)) return false;
    account->counters().ended(how, held_for(at));
    return true;
  }

  /// Tells an extension, which was counted.
  void tell_renewal(Time at = Time::clock::now()) noexcept {
    if (account->is_told()) account->tell(Event::Kind::renewed, id, held_for(at));
  }

  /// Does a callback wait for the news of its loss?
  [[nodiscard]] bool is_told_loss() {
    if (account->is_told() || account->is_told_losses()) return true;
    const std::lock_guard guard{mutex};
    return request_stop != nullptr;
  }

  /// Counts and tells the loss, and requests stop of the token of lost_token().
  void tell_loss(Time at = Time::clock::now()) noexcept {
    lost = true;
    end(Event::Kind::lost, at);
    std::function<void()> stop;
    {
      const std::lock_guard guard{mutex};
      stop = request_stop;
    }
    if (stop) stop();
    account->tell_loss();
  }
};

}  // namespace redis_lock::detail
