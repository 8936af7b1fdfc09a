#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/redis_lock.hpp>

#include "support/child.hpp"
#include "support/eventually.hpp"
#include "support/fake_server.hpp"
#include "support/no_lock_analysis.hpp"
#include "support/proxy.hpp"
#include "support/redis.hpp"
#include "support/redis_server.hpp"
#include "support/unique_name.hpp"

namespace redis_lock_test {

using redis_lock::Client;
using redis_lock::errc;
using redis_lock::Error;
using redis_lock::Lock;
using redis_lock::Options;
using std::chrono::milliseconds;

/// For what a busy machine may delay but a broken timeout would exceed by far.
inline constexpr std::chrono::seconds soon{10};

/// Redis tells time in whole milliseconds and looks at its clock once for each batch of commands, so a lease may seem
/// this much shorter than it is.
inline constexpr milliseconds clock_error{5};

/// A lease that nobody renews.
inline Options leased_for(milliseconds expire) {
  auto options = Options::without_renewal();
  options.expire = expire;
  return options;
}

/// A lease that is renewed, each third of it.
inline Options renewed_for(milliseconds expire) {
  Options options;
  options.expire = expire;
  return options;
}

/// The code of the std::system_error that `function` throws; no error when it throws nothing.
template <class Function>
std::error_code error_of(Function&& function) {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Function>>) {
      function();
    } else {
      static_cast<void>(function());
    }
  } catch (const std::system_error& error) {
    return error.code();
  }
  return {};
}

/// What the exception says that `function` throws; empty when it throws nothing.
template <class Exception = std::exception, class Function>
std::string message_of(Function&& function) {
  try {
    static_cast<void>(function());
  } catch (const Exception& error) {
    return error.what();
  }
  return {};
}

/// How late the timed waits for a lock that another one holds end, in the median. An idle server that is not nudged
/// answers up to 100 ms late.
template <class AnyLock>
milliseconds median_lateness(AnyLock& lock) {
  std::vector<milliseconds> late;
  for (int i = 0; i < 21; ++i) {
    const milliseconds limit{40 + 13 * i % 100};
    const Stopwatch watch;
    EXPECT_FALSE(lock.try_lock_for(limit));
    late.push_back(watch.elapsed() - limit);
  }
  std::nth_element(late.begin(), late.begin() + 10, late.end());
  return late[10];
}
inline constexpr milliseconds hardly_late{20};

/// A name of its own on the shared server, seen through the library and through a plain client.
class OnRedis : public ::testing::Test {
 protected:
  /// Somebody else takes the lock, and never comes back.
  void held_by_somebody(milliseconds lease = std::chrono::minutes{1}) {
    ASSERT_EQ(
        redis.string("SET", key, "somebody", "NX", "PX", static_cast<long long>(lease.count())),
        "OK");
  }

  /// Somebody frees the lock as the protocol asks, with the script of python-redis-lock.
  long long released_by(const std::string& id) {
    return redis.integer(
        "EVAL",
        "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 1 else "
        "redis.call('del', KEYS[2]) redis.call('lpush', KEYS[2], 1) "
        "redis.call('pexpire', KEYS[2], ARGV[2]) redis.call('del', KEYS[1]) return 0 end",
        2, key, signal, id, 1000);
  }

  /// Whether some client sleeps in a BLPOP on this lock's signal.
  [[nodiscard]] bool somebody_waits() { return waiters() > 0; }

  /// How many clients sleep in a blocking command on the server.
  [[nodiscard]] long long waiters() { return redis.info("blocked_clients"); }

  const std::string name = unique_name();
  const std::string key = "lock:" + name;
  const std::string signal = "lock-signal:" + name;
  Redis redis{test_uri()};
  Client client{test_uri()};
};

}  // namespace redis_lock_test
