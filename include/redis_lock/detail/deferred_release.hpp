#pragma once

#include <memory>
#include <string>
#include <vector>

#include <redis_lock/detail/deadline.hpp>
#include <redis_lock/detail/hold.hpp>
#include <redis_lock/detail/message.hpp>
#include <redis_lock/detail/protocol.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>

namespace redis_lock::detail {

/// A release that was sent, and whose reply is read later: by then its Lock may be gone.
struct DeferredRelease {
  Keys keys;
  std::string signal_expire;
  std::shared_ptr<Hold> hold;
  Time sent;

  [[nodiscard]] ScriptCall call() const {
    return {&release_script, {keys.lock, keys.signal, hold->id, signal_expire}};
  }

  /// Looks at the reply, and reports what unlock() would have reported.
  void settle(const Reply& reply) const noexcept {
    try {
      if (integer_of(reply, "the release script") == 0) return succeed();
      fail({errc::lease_lost, "it was lost before"});
    } catch (const Fault& fault) {
      fail(fault);
    }
  }

  void succeed() const noexcept { hold->end(Event::Kind::released, sent); }

  void fail(const Fault& fault) const noexcept {
    const bool lost = fault.code() == errc::lease_lost;
    hold->end(lost ? Event::Kind::lost : Event::Kind::abandoned, sent);
    hold->account->tell_error(error_of("unlock", hold->account->name(), fault));
  }
};

using DeferredReleases = std::vector<DeferredRelease>;

}  // namespace redis_lock::detail
