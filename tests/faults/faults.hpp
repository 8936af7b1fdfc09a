#pragma once

#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <new>
#include <ostream>
#include <string>
#include <system_error>
#include <vector>

#include "integration/integration.hpp"

namespace redis_lock_test {

using std::chrono::steady_clock;

[[nodiscard]] inline std::string name_of(Fault fault) {
  switch (fault) {
    case Fault::lose_request: return "lose_request";
    case Fault::lose_reply: return "lose_reply";
    case Fault::lose_reply_and_stall: return "lose_reply_and_stall";
    case Fault::cut_reply: return "cut_reply";
  }
  return {};
}
inline void PrintTo(Fault fault, std::ostream* stream) { *stream << name_of(fault); }

/// A server of the test's own to do harm to, and a plain client that looks at it.
class OnOwnServer : public ::testing::Test {
 protected:
  explicit OnOwnServer(std::vector<std::string> arguments = {})
      : server(Transport::unix_socket, std::move(arguments)) {}

  /// Somebody else takes the lock, and never comes back.
  void held_by_somebody() { ASSERT_EQ(redis.string("SET", key, "somebody", "NX"), "OK"); }

  /// Somebody frees the lock as the protocol asks.
  void released_by_somebody() {
    ASSERT_EQ(redis.integer("EVAL",
                            "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 1 end "
                            "redis.call('DEL', KEYS[2]) redis.call('LPUSH', KEYS[2], 1) "
                            "redis.call('PEXPIRE', KEYS[2], 1000) redis.call('DEL', KEYS[1]) "
                            "return 0",
                            2, key, signal, "somebody"),
              0);
  }

  /// Waits until so many clients sleep in a BLPOP.
  [[nodiscard]] bool are_waiting(long long count) {
    return eventually([&] { return redis.info("blocked_clients") == count; });
  }

  /// Nothing was left behind, and the next one gets the lock at once.
  void expect_free() {
    EXPECT_EQ(redis.string("GET", key), std::nullopt);
    Lock next{server.uri(), name, leased_for(60s)};
    EXPECT_TRUE(next.try_lock());
    EXPECT_EQ(redis.string("GET", key), next.id());
    std::error_code error;
    next.unlock(error);
    EXPECT_FALSE(error) << error.message();
    EXPECT_FALSE(redis.exists(key));
  }

  /// It is held by this object, on the server too, and the server does not end the lease earlier than
  /// the object thinks.
  void expect_owned(const Lock& lock) {
    EXPECT_TRUE(lock.owns_lock());
    EXPECT_EQ(redis.string("GET", key), lock.id());
    const milliseconds left{redis.integer("PTTL", key)};
    if (left >= 0ms) {
      EXPECT_LE(lock.expires_at(), steady_clock::now() + left + clock_error);
    } else {
      EXPECT_EQ(lock.expires_at(), steady_clock::time_point::max());
    }
  }

  /// Frees the lock, without any complaint.
  void release(Lock& lock) {
    std::error_code error;
    lock.unlock(error);
    EXPECT_FALSE(error) << error.message();
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_FALSE(redis.exists(key));
  }

  const std::string name = "name";
  const std::string key = "lock:" + name;
  const std::string signal = "lock-signal:" + name;
  RedisServer server;
  Redis redis{server.endpoint()};
};

/// What on_lost and on_error were told.
class Complaints {
 public:
  [[nodiscard]] auto on_lost() {
    return [this](std::error_code error) { add(error, {}); };
  }
  [[nodiscard]] auto on_error() {
    return [this](const Error& error) { add(error.code(), error.what()); };
  }
  [[nodiscard]] std::vector<std::error_code> codes() const {
    const std::lock_guard guard{mutex_};
    return codes_;
  }
  [[nodiscard]] std::size_t count() const { return codes().size(); }
  [[nodiscard]] std::string text() const {
    const std::lock_guard guard{mutex_};
    return text_;
  }

 private:
  void add(std::error_code error, const std::string& text) {
    const std::lock_guard guard{mutex_};
    codes_.push_back(error);
    text_ += text;
  }

  mutable std::mutex mutex_;
  std::vector<std::error_code> codes_;
  std::string text_;
};

/// A T that a test and the children it forks later have in common.
template <class T>
class Shared {
 public:
  Shared() {
    void* const place =
        ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) throw std::bad_alloc{};
    value_ = new (place) T{};
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(value_, sizeof(T)); }

  [[nodiscard]] T* operator->() const { return value_; }
  [[nodiscard]] T& operator*() const { return *value_; }

 private:
  T* value_;
};

/// The end of a child in which the library failed as it may: with an Error.
[[nodiscard]] constexpr int failed_with(errc code) { return 10 + static_cast<int>(code); }

/// What a child returns after it did `work`, which may throw Error.
template <class Work>
[[nodiscard]] int ends_well(Work&& work) {
  try {
    work();
    return 0;
  } catch (const Error& error) {
    if (error.code().category() != redis_lock::category()) throw;
    return failed_with(static_cast<errc>(error.code().value()));
  }
}

/// Waits for the child: how it ended, in a form that a failed expectation shows.
[[nodiscard]] inline std::string end_of(Child& child) {
  const auto exit = child.wait();
  if (!exit) return "still runs";
  if (exit->signal != 0) return "killed by signal " + std::to_string(exit->signal);
  return "exit " + std::to_string(exit->code);
}
[[nodiscard]] inline std::string exit_with(int code) { return "exit " + std::to_string(code); }

}  // namespace redis_lock_test
