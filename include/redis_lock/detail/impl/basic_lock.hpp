#pragma once

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_jthread
#include <stop_token>
#endif

#include <redis_lock/basic_lock.hpp>
#include <redis_lock/detail/base/callback.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/lockable.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock {

template <class Backend>
BasicLock<Backend>::BasicLock(std::unique_ptr<Backend> backend) noexcept
    : backend_(std::move(backend)) {}

template <class Backend>
BasicLock<Backend>::~BasicLock() {
  const detail::CancellationPause no_cancellation;
  if (backend_->current()) unlock();
  backend_->await_callback();
}

template <class Backend>
void BasicLock<Backend>::lock() {
  (void)backend_->acquire("lock", detail::never, detail::never);
}

template <class Backend>
bool BasicLock<Backend>::try_lock() {
  return backend_->acquire("try_lock", detail::Time::min(), detail::never);
}

template <class Backend>
bool BasicLock<Backend>::acquire_until(const detail::Deadline& deadline) {
  return backend_->acquire("try_lock", deadline, deadline);
}

template <class Backend>
void BasicLock<Backend>::unlock() noexcept {
  const detail::CancellationPause no_cancellation;
  try {
    backend_->release();
  } catch (const Error& error) {
    detail::call_back(backend_->options().on_error, error);
  } catch (const std::exception& error) {
    detail::call_back_about(backend_->options().on_error, error);
  }
}

template <class Backend>
void BasicLock<Backend>::lock(std::error_code& error) noexcept {
  detail::without_exceptions(
      error, [this] { return backend_->acquire("lock", detail::never, detail::never); });
}

template <class Backend>
bool BasicLock<Backend>::try_lock(std::error_code& error) noexcept {
  return detail::without_exceptions(
      error, [this] { return backend_->acquire("try_lock", detail::Time::min(), detail::never); });
}

template <class Backend>
void BasicLock<Backend>::unlock(std::error_code& error) noexcept {
  detail::without_exceptions(error, [this] { return backend_->release(), true; });
}

#ifdef __cpp_lib_jthread
template <class Backend>
bool BasicLock<Backend>::lock(std::stop_token token) {
  if (token.stop_requested()) return false;
  detail::Cancellation cancellation;
  const std::stop_callback callback{token, [&] {
                                      cancellation.request();
                                      backend_->interrupt();
                                    }};
  return backend_->acquire("lock", detail::never, detail::never, &cancellation);
}

template <class Backend>
std::stop_token BasicLock<Backend>::lost_token() const {
  const auto lease = backend_->current();
  if (!lease) return {};
  backend_->watch(lease);
  return detail::lost_token(*lease);
}
#endif

template <class Backend>
void BasicLock<Backend>::extend() {
  backend_->extend(backend_->options().expire);
}

template <class Backend>
void BasicLock<Backend>::extend(std::chrono::milliseconds lease) {
  detail::require(lease > lease.zero() && lease != no_expiry, "lease must be positive and finite");
  backend_->extend(detail::limited(lease));
}

template <class Backend>
bool BasicLock<Backend>::owns_lock() const noexcept {
  const auto lease = backend_->current();
  return lease && lease->owned();
}

template <class Backend>
LossReason BasicLock<Backend>::loss_reason() const noexcept {
  return backend_->loss_reason();
}

template <class Backend>
std::chrono::steady_clock::time_point BasicLock<Backend>::expires_at() const noexcept {
  const auto lease = backend_->current();
  return detail::to_steady(lease ? lease->owned_until() : detail::Time::min());
}

template <class Backend>
bool BasicLock<Backend>::locked() {
  return backend_->owner("locked").has_value();
}

template <class Backend>
std::optional<std::string> BasicLock<Backend>::owner() {
  return backend_->owner("owner");
}

template <class Backend>
bool BasicLock<Backend>::reset() {
  return backend_->reset();
}

template <class Backend>
const std::string& BasicLock<Backend>::name() const noexcept {
  return backend_->name();
}

template <class Backend>
std::string BasicLock<Backend>::id() const {
  return backend_->id();
}

}  // namespace redis_lock
