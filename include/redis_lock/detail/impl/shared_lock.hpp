#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <redis_lock/detail/base/config.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/impl/lock.hpp>
#include <redis_lock/detail/lock/lockable.hpp>
#include <redis_lock/detail/lock/readings.hpp>
#include <redis_lock/detail/lock/single_server.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/options.hpp>
#include <redis_lock/shared_lock.hpp>

namespace redis_lock {

REDIS_LOCK_DEFINITION SharedLock::SharedLock(Client client, std::string name, Options options)
    : Lock(detail::Access{client.state_, detail::Keys::Kind::writing}, name,
           detail::checked_to_share(name, std::move(options))),
      readings_(std::make_unique<detail::Readings>(
          detail::Access{client.state_, detail::Keys::Kind::reading}, name, state().options())) {}

REDIS_LOCK_DEFINITION SharedLock::~SharedLock() = default;

REDIS_LOCK_DEFINITION void SharedLock::refuse_reader(const char* operation) const {
  const auto* const mine = readings_->find();
  if (mine && mine->owns_lock()) mine->refuse_holder(operation);
}
REDIS_LOCK_DEFINITION void SharedLock::refuse_writer(const char* operation) const {
  if (owns_lock()) state().refuse_holder(operation);
}

REDIS_LOCK_DEFINITION void SharedLock::lock() {
  refuse_reader("lock");
  Lock::lock();
}

REDIS_LOCK_DEFINITION void SharedLock::lock(std::error_code& error) noexcept {
  detail::without_exceptions(error, [this] {
    refuse_reader("lock");
    return state().acquire("lock", detail::never, detail::never);
  });
}

REDIS_LOCK_DEFINITION bool SharedLock::acquire_shared(const char* operation,
                                                      const detail::Deadline& deadline,
                                                      const detail::Deadline& retry_deadline) {
  if (deadline.at() == detail::never) refuse_writer(operation);
  const detail::Readings::Mine mine{*readings_};
  return mine->acquire(operation, deadline, retry_deadline);
}

REDIS_LOCK_DEFINITION void SharedLock::lock_shared() {
  (void)acquire_shared("lock_shared", detail::never, detail::never);
}

REDIS_LOCK_DEFINITION bool SharedLock::try_lock_shared() {
  return acquire_shared("try_lock_shared", detail::Time::min(), detail::never);
}

REDIS_LOCK_DEFINITION bool SharedLock::acquire_shared_until(const detail::Deadline& deadline) {
  return acquire_shared("try_lock_shared", deadline, deadline);
}

REDIS_LOCK_DEFINITION void SharedLock::unlock_shared() noexcept {
  detail::report_errors(state().options(), [this] {
    const detail::Readings::Mine mine{*readings_};
    mine->release();
  });
}

REDIS_LOCK_DEFINITION void SharedLock::lock_shared(std::error_code& error) noexcept {
  detail::without_exceptions(
      error, [this] { return acquire_shared("lock_shared", detail::never, detail::never); });
}

REDIS_LOCK_DEFINITION bool SharedLock::try_lock_shared(std::error_code& error) noexcept {
  return detail::without_exceptions(error, [this] {
    return acquire_shared("try_lock_shared", detail::Time::min(), detail::never);
  });
}

REDIS_LOCK_DEFINITION void SharedLock::unlock_shared(std::error_code& error) noexcept {
  detail::without_exceptions(error, [this] {
    const detail::Readings::Mine mine{*readings_};
    return mine->release(), true;
  });
}

#ifdef __cpp_lib_jthread
REDIS_LOCK_DEFINITION bool SharedLock::lock(std::stop_token token) {
  refuse_reader("lock");
  return Lock::lock(std::move(token));
}

REDIS_LOCK_DEFINITION bool SharedLock::lock_shared(std::stop_token token) {
  refuse_writer("lock_shared");
  const detail::Readings::Mine mine{*readings_};
  return detail::acquire(*mine, "lock_shared", token);
}

REDIS_LOCK_DEFINITION std::stop_token SharedLock::lost_token_shared() const {
  const auto* const mine = readings_->find();
  return mine ? detail::lost_token(*mine) : std::stop_token{};
}
#endif

REDIS_LOCK_DEFINITION bool SharedLock::owns_lock_shared() const noexcept {
  const auto* const mine = readings_->find();
  return mine && mine->owns_lock();
}

REDIS_LOCK_DEFINITION bool SharedLock::reset() { return Lock::reset(); }

REDIS_LOCK_DEFINITION bool SharedLock::reset(std::string_view holder) {
  const detail::Readings::Mine mine{*readings_};
  return Lock::reset(holder) || mine->reset(holder);
}

}  // namespace redis_lock
