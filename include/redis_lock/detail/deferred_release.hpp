#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/callback.hpp>
#include <redis_lock/detail/message.hpp>
#include <redis_lock/detail/protocol.hpp>
#include <redis_lock/error.hpp>

namespace redis_lock::detail {

/// A release that was sent, and whose reply is read later: by then its Lock may be gone.
struct DeferredRelease {
  std::string name;  // of the lock
  Keys keys;
  std::string id, signal_expire;
  std::function<void(const Error&)> on_error;

  [[nodiscard]] ScriptCall call() const {
    return {&release_script, {keys.lock, keys.signal, id, signal_expire}};
  }

  /// Looks at the reply, and reports what unlock() would have reported.
  void settle(const Reply& reply) const noexcept {
    try {
      if (integer_of(reply, "the release script") != 0) {
        fail({errc::lease_lost, "it was lost before"});
      }
    } catch (const Fault& fault) {
      fail(fault);
    }
  }

  void fail(const Fault& fault) const noexcept {
    call_back(on_error, error_of("unlock", name, fault));
  }
};

using DeferredReleases = std::vector<DeferredRelease>;

}  // namespace redis_lock::detail
