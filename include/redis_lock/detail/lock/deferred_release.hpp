#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/lock/callbacks.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/net/owed_reply.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>

namespace redis_lock::detail {

/// A release that was sent, and whose reply is read later: by then its Lock may be gone. If it is destroyed before it
/// is settled, the lease counts as abandoned.
class DeferredRelease final : public OwedReply {
 public:
  DeferredRelease(std::string signal_expire, std::shared_ptr<Lease> lease,
                  std::shared_ptr<Callbacks> callbacks)
      : signal_expire_(std::move(signal_expire)),
        lease_(std::move(lease)),
        callbacks_(std::move(callbacks)) {}
  ~DeferredRelease() override { end(Event::Kind::abandoned, nullptr); }

  [[nodiscard]] const std::string& key() const noexcept override { return lease_->keys->lock; }
  [[nodiscard]] ScriptCall call() const override {
    return release_call(*lease_->keys, lease_->id, signal_expire_, lease_->kept_for);
  }

  /// Reports what unlock() would have reported.
  void settle(const Reply& reply) noexcept override {
    auto how = Event::Kind::abandoned;
    try {
      const auto answer = extension_of(integer_of(reply, "the release script"));
      if (answer == Extension::extended) return succeed();
      lease_->found_lost(reason_of(answer));
      how = Event::Kind::lost;
      fail(lease_->loss());
    } catch (const Failure& failure) {
      fail(failure);
    } catch (const std::exception&) {  // no memory for the text
      end(how, nullptr);
    }
  }
  void succeed() noexcept override { end(Event::Kind::released, nullptr); }
  void fail(const Failure& failure) noexcept override {
    const bool lost = failure.code() == errc::lease_lost;
    end(lost ? Event::Kind::lost : Event::Kind::abandoned, &failure);
  }

 private:
  /// Counts the end and reports it. On the renewal thread, the client's callback threads report it.
  void end(Event::Kind how, const Failure* failure) const noexcept {
    const auto& observer = *lease_->observer;
    const bool is_news = lease_->count_end(how, sent_) && observer.is_told();
    std::optional<Error> error;
    try {
      if (failure && observer.is_told_errors())
        error = error_of("unlock", observer.name(), *failure);
    } catch (const std::exception&) {  // no memory for the text
    }
    if (!is_news && !error) return;
    const auto urgency = error ? Callbacks::Urgency::urgent : Callbacks::Urgency::routine;
    const auto tell = [how, is_news, error = std::move(error), lease = lease_, sent = sent_] {
      if (is_news) lease->tell_end(how, sent);
      if (error) lease->observer->tell_error(*error);
    };
    if (callbacks_ && callbacks_->serves_this_thread()) {
      callbacks_->post(&observer, tell, urgency);
    } else {
      tell();
    }
  }

  const std::string signal_expire_;
  const std::shared_ptr<Lease> lease_;
  const Time sent_ = Time::clock::now();
  const std::shared_ptr<Callbacks> callbacks_;  // of the client; may be null
};

}  // namespace redis_lock::detail
