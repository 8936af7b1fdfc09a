#pragma once

#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/deadline.hpp>
#include <redis_lock/detail/hold.hpp>
#include <redis_lock/detail/message.hpp>
#include <redis_lock/detail/protocol.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>

namespace redis_lock::detail {

/// A release that was sent, and whose reply is read later: by then its Lock may be gone. If it goes without having been
/// settled, as there is no memory, the hold counts as abandoned.
struct DeferredRelease {
  DeferredRelease(Keys of, std::string expire_of_signal, std::shared_ptr<Hold> released, Time at)
      : keys(std::move(of)),
        signal_expire(std::move(expire_of_signal)),
        hold(std::move(released)),
        sent(at) {}
  ~DeferredRelease() {
    if (hold) hold->end(Event::Kind::abandoned, sent);
  }
  DeferredRelease(DeferredRelease&&) noexcept = default;
  DeferredRelease& operator=(DeferredRelease&&) noexcept = default;
  DeferredRelease(const DeferredRelease&) = delete;
  DeferredRelease& operator=(const DeferredRelease&) = delete;

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
      hold->end(Event::Kind::lost, sent);
      fail({errc::lease_lost, "it was lost before"});
    } catch (const Fault& fault) {
      fail(fault);
    } catch (const std::exception&) {  // no memory for the words
      hold->end(Event::Kind::abandoned, sent);
    }
  }

  void succeed() const noexcept { hold->end(Event::Kind::released, sent); }

  void fail(const Fault& fault) const noexcept {
    const bool lost = fault.code() == errc::lease_lost;
    hold->end(lost ? Event::Kind::lost : Event::Kind::abandoned, sent);
    try {
      hold->account->tell_error(error_of("unlock", hold->account->name(), fault));
    } catch (const std::exception&) {  // no memory for the words
    }
  }
};

using DeferredReleases = std::vector<DeferredRelease>;

}  // namespace redis_lock::detail
