#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>

#include "faults.hpp"
#include "support/fleet.hpp"

/// Those who use locks while a master fails. Each is made before the fault, and asked afterwards.
namespace redis_lock_test {

[[nodiscard]] inline std::string name_of(Harm harm) {
  return harm == Harm::kill ? "Killed" : "Frozen";
}
inline void PrintTo(Harm harm, std::ostream* stream) { *stream << name_of(harm); }

/// The script by which those free locks who do not use the library.
inline void release_by_hand(Redis& redis, const std::string& key, const std::string& signal,
                            const std::string& id) {
  const auto answer = redis.integer("EVAL",
                                    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 1 end "
                                    "redis.call('DEL', KEYS[2]) redis.call('LPUSH', KEYS[2], 1) "
                                    "redis.call('PEXPIRE', KEYS[2], 1000) "
                                    "redis.call('DEL', KEYS[1]) return 0",
                                    2, key, signal, id);
  EXPECT_EQ(answer, 0) << key << " is not held by " << id;
}

/// Holds a lock whose lease is renewed.
class Holder {
 public:
  Holder(const Client& client, const std::string& name, milliseconds lease = 6s)
      : lock_(client, name, renewed_for(lease)), lease_(lease) {
    // So that renewals do not begin with a new connection after the fault.
    Options options;
    options.expire = 300ms;
    Lock before{client, "{" + name + "}-before", options};
    before.lock();
    const auto first_end = before.expires_at();
    // On a busy machine it may be lost by then; tried it was.
    EXPECT_TRUE(eventually([&] { return before.expires_at() > first_end || !before.owns_lock(); }));
    lock_.lock();
  }

  [[nodiscard]] Lock& lock() { return lock_; }
  [[nodiscard]] const Complaints& losses() const { return losses_; }

  /// Waits until it was renewed after `time`.
  void expect_renewed_after(Moment::Time time) {
    EXPECT_TRUE(eventually([&] { return lock_.expires_at() > time + lease_; }));
    EXPECT_TRUE(lock_.owns_lock());
    EXPECT_EQ(losses_.count(), 0U);
  }
  /// Nobody came between, and it can be released.
  void expect_releases() {
    std::error_code error;
    lock_.unlock(error);
    EXPECT_FALSE(error) << error.message();
    EXPECT_EQ(losses_.count(), 0U);
  }

 private:
  [[nodiscard]] Options renewed_for(milliseconds lease) {
    auto options = redis_lock_test::renewed_for(lease);
    options.on_lost = losses_.on_lost();
    return options;
  }

  Complaints losses_;
  Lock lock_;
  const milliseconds lease_;
};

/// Waits in lock() in a thread of its own; until the object goes, at most.
class Waiter {
 public:
  Waiter(const Client& client, const std::string& name, Options options = leased_for(60s))
      : lock_(client, name, std::move(options)), end_(std::async(std::launch::async, [this] {
          return message_of<Error>([this] { return lock_.lock(stop_.get_token()); });
        })) {}
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  ~Waiter() { stop_.request_stop(); }

  [[nodiscard]] Lock& lock() { return lock_; }
  [[nodiscard]] bool still_waits() const {
    return end_.wait_for(0s) == std::future_status::timeout;
  }

  /// Waits until it has the lock.
  void expect_acquires() {
    ASSERT_EQ(end_.wait_for(patience), std::future_status::ready) << "it still waits";
    EXPECT_EQ(end_.get(), "");
    EXPECT_TRUE(lock_.owns_lock());
  }

 private:
  Lock lock_;
  std::stop_source stop_;
  std::future<std::string> end_;
};

/// Two with connections of their own who take the same lock by turns, until they are told to stop.
class Contest {
 public:
  Contest(const std::string& uri, const std::string& name) {
    for (auto& contender : contenders_) {
      contender.thread = std::thread{[this, &contender, uri, name] {
        Lock lock{Client{uri}, name, leased_for(2s)};
        while (!stopping_) {
          try {
            lock.lock();
            ++contender.turns;
            std::this_thread::sleep_for(2ms);
            std::error_code ignored;  // what was not replicated may be lost
            lock.unlock(ignored);
          } catch (const Error& error) {
            const std::lock_guard guard{mutex_};
            errors_ += std::string(error.what()) + "\n";
            return;
          }
        }
      }};
    }
    expect_both_go_on();
  }
  Contest(const Contest&) = delete;
  Contest& operator=(const Contest&) = delete;
  ~Contest() { stop(); }

  /// Each gets several turns from now on.
  void expect_both_go_on() {
    for (auto& contender : contenders_) {
      const auto before = contender.turns.load();
      EXPECT_TRUE(eventually([&] { return contender.turns >= before + 5; })) << errors();
    }
    EXPECT_EQ(errors(), "");
  }

 private:
  struct Contender {
    std::atomic<int> turns{0};
    std::thread thread;
  };

  [[nodiscard]] std::string errors() {
    const std::lock_guard guard{mutex_};
    return errors_;
  }
  void stop() {
    stopping_ = true;
    for (auto& contender : contenders_) contender.thread.join();
  }

  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::string errors_;
  std::array<Contender, 2> contenders_;
};

/// Releases a lock in a thread of its own.
class Releaser {
 public:
  Releaser(const Client& client, const std::string& name, Options options = leased_for(60s))
      : lock_(client, name, told(std::move(options))) {
    lock_.lock();
  }

  [[nodiscard]] Lock& lock() { return lock_; }
  void start() {
    end_ = std::async(std::launch::async, [this] { lock_.unlock(); });
  }
  void expect_released() {
    ASSERT_EQ(end_.wait_for(patience), std::future_status::ready) << "unlock() does not return";
    EXPECT_EQ(complaints_.text(), "");
  }
  [[nodiscard]] std::string complaints() const { return complaints_.text(); }

 private:
  [[nodiscard]] Options told(Options options) {
    options.on_error = complaints_.on_error();
    return options;
  }

  Complaints complaints_;
  Lock lock_;
  std::future<void> end_;
};

}  // namespace redis_lock_test
