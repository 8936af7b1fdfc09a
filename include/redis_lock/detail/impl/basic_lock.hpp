#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <redis_lock/basic_lock.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/lock/lock_state.hpp>
#include <redis_lock/detail/lock/lockable.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock {

template <class Backend>
BasicLock<Backend>::BasicLock(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}

template <class Backend>
BasicLock<Backend>::~BasicLock() {
  detail::close(*state_);
}

template <class Backend>
void BasicLock<Backend>::lock() {
  (void)state_->acquire("lock", detail::never, detail::never);
}

template <class Backend>
bool BasicLock<Backend>::try_lock() {
  return state_->acquire("try_lock", detail::Time::min(), detail::never);
}

template <class Backend>
bool BasicLock<Backend>::acquire_until(const detail::Deadline& deadline) {
  return state_->acquire("try_lock", deadline, deadline);
}

template <class Backend>
void BasicLock<Backend>::unlock() noexcept {
  detail::report_errors(state_->options(), [this] { state_->release(); });
}

template <class Backend>
void BasicLock<Backend>::lock(std::error_code& error) noexcept {
  detail::without_exceptions(
      error, [this] { return state_->acquire("lock", detail::never, detail::never); });
}

template <class Backend>
bool BasicLock<Backend>::try_lock(std::error_code& error) noexcept {
  return detail::without_exceptions(
      error, [this] { return state_->acquire("try_lock", detail::Time::min(), detail::never); });
}

template <class Backend>
void BasicLock<Backend>::unlock(std::error_code& error) noexcept {
  detail::without_exceptions(error, [this] { return state_->release(), true; });
}

#ifdef __cpp_lib_jthread
template <class Backend>
bool BasicLock<Backend>::lock(std::stop_token token) {
  return detail::acquire(*state_, "lock", token);
}

template <class Backend>
std::stop_token BasicLock<Backend>::lost_token() const {
  return detail::lost_token(*state_);
}
#endif

template <class Backend>
void BasicLock<Backend>::extend() {
  state_->extend(state_->options().expire);
}

template <class Backend>
void BasicLock<Backend>::extend(std::chrono::milliseconds lease) {
  detail::require(lease > lease.zero() && lease != no_expiry, "lease must be positive and finite");
  state_->extend(detail::limited(lease));
}

template <class Backend>
bool BasicLock<Backend>::owns_lock() const noexcept {
  return state_->owns_lock();
}

template <class Backend>
LossReason BasicLock<Backend>::loss_reason() const noexcept {
  return state_->loss_reason();
}

template <class Backend>
std::chrono::steady_clock::time_point BasicLock<Backend>::expires_at() const noexcept {
  const auto lease = state_->current();
  return detail::to_steady(lease ? lease->owned_until() : detail::Time::min());
}

template <class Backend>
bool BasicLock<Backend>::locked() {
  return state_->owner("locked").has_value();
}

template <class Backend>
std::optional<std::string> BasicLock<Backend>::owner() {
  return state_->owner("owner");
}

template <class Backend>
bool BasicLock<Backend>::reset() {
  return state_->reset();
}

template <class Backend>
const std::string& BasicLock<Backend>::name() const noexcept {
  return state_->name();
}

template <class Backend>
std::string BasicLock<Backend>::id() const {
  return state_->id();
}

}  // namespace redis_lock
