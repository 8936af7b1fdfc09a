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

/// A release that was sent, and whose reply is read later: by then its Lock may be gone. If it goes without having been
/// settled, as there is no memory, the hold counts as abandoned.
struct DeferredRelease {
  DeferredRelease(Keys of, std::string expire_of_signal, std::shared_ptr<Hold> released, Time at,
                  std::shared_ptr<Callbacks> of_client)
      : keys(std::move(of)),
        signal_expire(std::move(expire_of_signal)),
        hold(std::move(released)),
        sent(at),
        callbacks(std::move(of_client)) {}
  ~DeferredRelease() {
    if (hold) end(Event::Kind::abandoned, nullptr);
  }
  DeferredRelease(DeferredRelease&&) noexcept = default;
  DeferredRelease& operator=(DeferredRelease&&) noexcept = default;
  DeferredRelease(const DeferredRelease&) = delete;
  DeferredRelease& operator=(const DeferredRelease&) = delete;

  Keys keys;
  std::string signal_expire;
  std::shared_ptr<Hold> hold;
  Time sent;
  std::shared_ptr<Callbacks> callbacks;  // of the client; may be null

  [[nodiscard]] ScriptCall call() const {
    return release_call(keys, hold->id, signal_expire, hold->kept_for);
  }

  /// Looks at the reply, and reports what unlock() would have reported.
  void settle(const Reply& reply) const noexcept {
    auto how = Event::Kind::abandoned;
    try {
      const auto answer = extension_of(integer_of(reply, "the release script"));
      if (answer == Extension::extended) return succeed();
      hold->found_lost(reason_of(answer));
      how = Event::Kind::lost;
      fail(hold->loss());
    } catch (const Fault& fault) {
      fail(fault);
    } catch (const std::exception&) {  // no memory for the words
      end(how, nullptr);
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
    std::optional<Error> error;
    try {
      if (fault && account.is_told_errors()) error = error_of("unlock", account.name(), *fault);
    } catch (const std::exception&) {  // no memory for the words
    }
    if (!is_news && !error) return;
    const auto urgency = error ? Callbacks::Urgency::urgent : Callbacks::Urgency::routine;
    const auto tell = [how, is_news, error = std::move(error), hold = hold, sent = sent] {
      if (is_news) hold->tell_end(how, sent);
      if (error) hold->account->tell_error(*error);
    };
    if (callbacks && callbacks->serves_this_thread()) {
      callbacks->post(&account, tell, urgency);
    } else {
      tell();
    }
  }
};

using DeferredReleases = std::vector<DeferredRelease>;

}  // namespace redis_lock::detail
