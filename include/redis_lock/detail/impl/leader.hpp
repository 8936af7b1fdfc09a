#pragma once

#include <redis_lock/leader.hpp>
#ifdef __cpp_lib_jthread

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/callback.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/config.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/thread.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/impl/lock.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/lock.hpp>

namespace redis_lock {

/// The thread of a Leader, and what it works with, in the process that made them. A forked child leaves them alone.
class Leader::Campaign : detail::Pinned {
 public:
  using Function = std::function<void(std::stop_token, std::uint64_t)>;

  Campaign(Client client, std::string name, Function function, Options options)
      : function_(std::move(function)),
        on_error_(options.on_error),
        lock_(std::move(client), std::move(name), with_fencing(std::move(options))) {
    detail::require(function_ != nullptr, "function must not be empty");
    try {
      thread_ = detail::without_signals([this] { run(); });
    } catch (const detail::Failure& failure) {
      throw detail::error_of("Leader", lock_.name(), failure);
    }
  }
  ~Campaign() {
    const detail::CancellationPause no_cancellation;
    stop.request_stop();
    thread_.join();
  }

  [[nodiscard]] bool leads() const noexcept { return lock_.owns_lock(); }

  std::stop_source stop;

 private:
  [[nodiscard]] static Options with_fencing(Options options) {
    detail::require(options.id.empty(), "a Leader needs random ids: id must be empty");
    options.fencing = true;
    return options;
  }

  void run() noexcept {
    constexpr detail::milliseconds longest_pause{5000};
    const detail::Backoff short_pauses{detail::milliseconds{100}, longest_pause};
    auto pauses = short_pauses;
    detail::Cancellation pause;
    const std::stop_callback on_stop{stop.get_token(), [&pause] { pause.request(); }};
    while (!stop.stop_requested()) {
      auto elected_at = detail::never;
      try {
        if (is_elected()) lead(elected_at);
      } catch (const Error& error) {
        detail::call_back(on_error_, error);
      } catch (const std::exception& error) {
        tell(error.what());
      } catch (...) {
        tell("an exception of an unknown type");
      }
      const auto now = detail::Time::clock::now();
      if (now > detail::after(elected_at, longest_pause)) pauses = short_pauses;
      pause.sleep_until(detail::after(now, pauses.next()));
    }
  }

  /// Waits for the lock. Returns whether it is held; false if stop was requested meanwhile. A function of its own,
  /// because clang's thread-safety analysis does not see that the std::lock_guard in lead() releases the lock.
  [[nodiscard]] bool is_elected() { return lock_.lock(stop.get_token()); }

  /// Runs the function while the lock is held, and releases it. In libc++, std::lock_guard asks the analysis whether
  /// the lock is held, which it does not know.
  REDIS_LOCK_NOT_ANALYSED void lead(detail::Time& elected_at) {
    elected_at = detail::Time::clock::now();
    const std::lock_guard held{lock_, std::adopt_lock};
    std::stop_source end;
    const auto request_end = [&end] { end.request_stop(); };
    const std::stop_callback on_loss{lock_.lost_token(), request_end};
    const std::stop_callback on_stop{stop.get_token(), request_end};
    function_(end.get_token(), lock_.fencing_token());
  }

  void tell(const char* thrown) const noexcept {
    try {
      const detail::Failure failure{errc::term_failed, thrown};
      detail::call_back(on_error_, detail::error_of("Leader", lock_.name(), failure));
    } catch (const std::exception&) {  // no memory: the callback is not called
    }
  }

  const Function function_;
  const std::function<void(const Error&)> on_error_;
  Lock lock_;
  std::thread thread_;
};

REDIS_LOCK_DEFINITION Leader::Leader(
    Client client, std::string name,
    std::function<void(std::stop_token lost, std::uint64_t term)> function, Options options)
    : campaign_([&] {  // called once, here: a child asks is_here() first
        return std::make_unique<Campaign>(std::move(client), std::move(name), std::move(function),
                                          std::move(options));
      }) {}

REDIS_LOCK_DEFINITION Leader::~Leader() = default;

REDIS_LOCK_DEFINITION bool Leader::leads() const noexcept {
  return campaign_.is_here() && campaign_->leads();
}

REDIS_LOCK_DEFINITION void Leader::request_stop() noexcept {
  if (campaign_.is_here()) campaign_->stop.request_stop();
}

}  // namespace redis_lock

#endif
