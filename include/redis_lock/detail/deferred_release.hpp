#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/callbacks.hpp>
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
  std::shared_ptr<Callbacks> callbacks{};  // of the client; may be null

  [[nodiscard]] ScriptCall call() const {
    return {&release_script, {keys.lock, keys.signal, hold->id, signal_expire}};
  }

  /// Looks at the reply, and reports what unlock() would have reported.
  void settle(const Reply& reply) const noexcept {
    try {
      const auto answer = extension_of(integer_of(reply, "the release script"));
      if (answer == Extension::extended) return succeed();
      hold->found_lost(reason_of(answer));
      fail(hold->loss());
    } catch (const Fault& fault) {
      fail(fault);
    } catch (const std::exception& error) {  // no memory
      fail({errc::connection_failed, error.what()});
    }
  }

  void succeed() const noexcept { end(Event::Kind::released, nullptr); }

  void fail(const Fault& fault) const noexcept {
    const bool lost = fault.code() == errc::lease_lost;
    end(lost ? Event::Kind::lost : Event::Kind::abandoned, &fault);
  }

 private:
  /// Counts how it has ended, and tells it; on the renewal thread, by the client's callback threads.
  void end(Event::Kind how, const Fault* fault) const noexcept {
    const auto& account = *hold->account;
    const bool is_news = hold->count_end(how, sent) && account.is_told();
    const bool is_error = fault && account.is_told_errors();
    if (!is_news && !is_error) return;
    const auto tell = [how, is_news, hold = hold, sent = sent](const Error* error) {
      if (is_news) hold->tell_end(how, sent);
      if (error) hold->account->tell_error(*error);
    };
    try {
      std::optional<Error> error;
      if (is_error) error = error_of("unlock", account.name(), *fault);
      if (callbacks && callbacks->serves_this_thread()) {
        const auto urgency = is_error ? Callbacks::Urgency::urgent : Callbacks::Urgency::routine;
        callbacks->post(
            &account, [tell, error = std::move(error)] { tell(error ? &*error : nullptr); },
            urgency);
      } else {
        tell(error ? &*error : nullptr);
      }
    } catch (const std::exception&) {  // no memory for the words
    }
  }
};

using DeferredReleases = std::vector<DeferredRelease>;

}  // namespace redis_lock::detail
