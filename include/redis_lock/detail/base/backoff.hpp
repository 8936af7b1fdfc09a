#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/random_id.hpp>

namespace redis_lock::detail {

/// Pauses between attempts: they double from a first to a longest one, and each is cut at random by up to a half. The
/// cut spreads out the clients of a server that comes back. By default they are those between attempts to reconnect.
class Backoff {
 public:
  Backoff() = default;
  Backoff(milliseconds first, milliseconds last) : pause_(first), longest_(last) {}

  [[nodiscard]] milliseconds next() {
    const auto longest_pause = std::exchange(pause_, std::min(pause_ * 2, longest_));
    const auto now = static_cast<std::uint64_t>(Time::clock::now().time_since_epoch().count());
    const auto cut = mix(now) % static_cast<std::uint64_t>(longest_pause.count() / 2 + 1);
    return longest_pause - milliseconds{cut};
  }

 private:
  milliseconds pause_{5};
  milliseconds longest_{500};
};

/// How far one attempt of an operation got before it failed.
enum class Progress {
  none,   // no result: an intermediate reply (NOSCRIPT, an unconfirmed grant) counts as none
  asked,  // a waiter learnt that the lock is held: the server is there
  waited  // a wait ended normally: by a signal, or when its time was over
};

/// Failed attempts of one operation: since when the server is away, and how long to pause. A server that replies to
/// each waiter, but hangs up during the wait, is not away. It is asked again without end, with growing pauses.
class Retries {
 public:
  /// Records a failed attempt. Any progress restarts the time away; a completed wait also resets the pauses.
  void failed(Progress progress, Time now) {
    if (progress != Progress::none) away_since_.reset();
    if (progress == Progress::waited) backoff_ = {};
    if (!away_since_) away_since_ = now;
  }

  /// Returns when the operation must fail. Call failed() before.
  [[nodiscard]] Time give_up_at(milliseconds retry_for) const {
    return after(*away_since_, retry_for);
  }

  [[nodiscard]] milliseconds next_pause() { return backoff_.next(); }

 private:
  std::optional<Time> away_since_;
  Backoff backoff_;
};

}  // namespace redis_lock::detail
