#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>

#include <redis_lock/detail/callback.hpp>
#include <redis_lock/detail/deadline.hpp>
#include <redis_lock/detail/slot_map.hpp>
#include <redis_lock/error.hpp>

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
  std::function<void(std::error_code)> on_lost;

  std::uint64_t fencing_token = 0;  // 0: none

  std::atomic<Time> expires_at{Time::min()};
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
  bool scheduled = false, in_flight = false, paused = false, forgotten = false;

  [[nodiscard]] bool owned() const noexcept {
    return !lost.load() && Time::clock::now() < expires_at.load();
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

  /// Tells those who want to know, with no mutex held that others wait for.
  void tell_loss() noexcept {
    lost = true;
    std::function<void()> stop;
    {
      const std::lock_guard guard{mutex};
      stop = request_stop;
    }
    if (stop) stop();
    call_back(on_lost, make_error_code(errc::lease_lost));
  }
};

}  // namespace redis_lock::detail
