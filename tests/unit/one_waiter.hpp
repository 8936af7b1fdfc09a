#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/net/drive.hpp>
#include <redis_lock/detail/protocol/acquisition.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/options.hpp>

#include "fake_redis.hpp"

namespace redis_lock_test {

using redis_lock::errc;
using redis_lock::no_expiry;
using redis_lock::detail::extend_script;
using redis_lock::detail::Failure;
using redis_lock::detail::never;
using redis_lock::detail::release_script;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// The Failure that `function` throws. A failed test where it throws none.
template <class Function>
Failure failure_of_run(Function&& function) {
  try {
    static_cast<void>(function());
  } catch (const Failure& failure) {
    return failure;
  }
  ADD_FAILURE() << "nothing was thrown";
  return {errc::not_owned, "nothing was thrown"};
}

/// One Acquisition under the id "mine", over a Redis in memory. Times are told in milliseconds since
/// the start of the test.
class OneWaiter : public ::testing::Test {
 protected:
  /// An acquisition that a Redis in memory and a fake clock drive.
  class Acquisition : public redis_lock::detail::Acquisition {
   public:
    Acquisition(const redis_lock::detail::Keys& keys, std::string_view id, milliseconds expire,
                std::string_view signal_expire, redis_lock::detail::Deadline deadline,
                const redis_lock::Replicas& replicas = {})
        : redis_lock::detail::Acquisition(keys, id, expire, signal_expire, deadline,
                                          FakeClock::now(), replicas) {}
    [[nodiscard]] std::optional<Time> run(FakeRedis& over) {
      return redis_lock::detail::Drive<FakeClock>{*this}(over);
    }
  };

  [[nodiscard]] Acquisition acquisition(milliseconds expire, Time deadline = never) const {
    return {redis.keys, "mine", expire, "1000", deadline};
  }
  [[nodiscard]] std::optional<Time> acquire(milliseconds expire, Time deadline = never) {
    return acquisition(expire, deadline).run(redis);
  }

  [[nodiscard]] double ms(Time time) const {
    return std::chrono::duration<double, std::milli>(time - start).count();
  }
  /// NaN, which equals nothing, for no lease.
  [[nodiscard]] double ms(std::optional<Time> time) const {
    return time ? ms(*time) : std::numeric_limits<double>::quiet_NaN();
  }
  [[nodiscard]] double now() const { return ms(FakeClock::time); }

  /// Somebody signals every 10 ms, although the lock is busy.
  void signal_all_the_time() {
    redis.in(10ms, [this] {
      redis.signal();
      signal_all_the_time();
    });
  }

  FakeRedis redis;
  const Time start = FakeClock::time;
};

}  // namespace redis_lock_test
