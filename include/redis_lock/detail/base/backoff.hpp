#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/random_id.hpp>

namespace redis_lock::detail {

/// The pauses between attempts to reconnect: from 5 ms to half a second, doubling, each cut by up to a
/// half at random, so that the clients of a server that comes back do not all come at once.
class Backoff {
 public:
  [[nodiscard]] milliseconds next() {
    const auto longest_pause = std::exchange(pause_, std::min(pause_ * 2, milliseconds{500}));
    const auto now = static_cast<std::uint64_t>(Time::clock::now().time_since_epoch().count());
    const auto cut = mix(now) % static_cast<std::uint64_t>(longest_pause.count() / 2 + 1);
    return longest_pause - milliseconds{cut};
  }

 private:
  milliseconds pause_{5};
};

/// How far one attempt of an operation got before it failed.
enum class Progress {
  none,   // a mere answer on the way, such as NOSCRIPT or a grant that was to be confirmed, is none
  asked,  // a waiter was told that the lock is held: the server is there
  waited  // a wait ended as it should: by a signal, or when the time was over
};

/// The failed attempts of one operation: since when the server is away, and how long to pause. A server that answers
/// each waiter, but hangs up while it waits, is not away: it is asked again without end, with pauses that grow.
class Retries {
 public:
  /// An attempt has failed.
  void failed(Progress progress, Time now) {
    if (progress != Progress::none) away_since_.reset();
    if (progress == Progress::waited) backoff_ = {};
    if (!away_since_) away_since_ = now;
  }

  /// When the operation is to fail, after failed().
  [[nodiscard]] Time give_up_at(milliseconds retry_for) const {
    return after(*away_since_, retry_for);
  }

  [[nodiscard]] milliseconds next_pause() { return backoff_.next(); }

 private:
  std::optional<Time> away_since_;
  Backoff backoff_;
};

}  // namespace redis_lock::detail
