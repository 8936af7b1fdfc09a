#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <redis_lock/detail/base/callback.hpp>
#include <redis_lock/detail/base/counters.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// The counters and callbacks of one lock object's acquisitions. Lives on after the object is gone.
class Observer {
 public:
  Observer(std::shared_ptr<Counters> counters, std::string name, const Options& options)
      : counters_(std::move(counters)),
        name_(std::move(name)),
        on_event_(options.on_event),
        on_lost_(options.on_lost),
        on_error_(options.on_error) {}

  [[nodiscard]] Counters& counters() const noexcept { return *counters_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// Returns whether on_event is set. Call the tell functions with no mutex held: they run callbacks.
  [[nodiscard]] bool is_told() const noexcept { return on_event_ != nullptr; }
  [[nodiscard]] bool is_told_losses() const noexcept { return on_lost_ != nullptr; }
  [[nodiscard]] bool is_told_errors() const noexcept { return on_error_ != nullptr; }
  void tell(Event::Kind kind, std::string_view id, nanoseconds duration) const noexcept {
    if (is_told()) tell(Event{kind, {}, id, duration});
  }
  /// Sets the name of the lock in the event.
  void tell(Event event) const noexcept {
    event.name = name_;
    call_back(on_event_, event);
  }
  void tell_loss() const noexcept { call_back(on_lost_, make_error_code(errc::lease_lost)); }
  void tell_error(const Error& error) const noexcept { call_back(on_error_, error); }

  /// Marks the lock object as gone. Callbacks that still wait to report its renewals or a loss are left out.
  void close() const noexcept { closed_ = true; }
  [[nodiscard]] bool is_closed() const noexcept { return closed_; }

 private:
  const std::shared_ptr<Counters> counters_;
  const std::string name_;
  const std::function<void(const Event&)> on_event_;
  const std::function<void(std::error_code)> on_lost_;
  const std::function<void(const Error&)> on_error_;
  mutable std::atomic<bool> closed_{false};
};

}  // namespace redis_lock::detail
