// Callbacks that take their time: nothing else of the client waits for them.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "integration.hpp"
#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::Event;
using redis_lock::QuorumLock;
using std::chrono::steady_clock;

[[nodiscard]] std::ptrdiff_t threads_of_this_process() {
  const std::filesystem::directory_iterator tasks{"/proc/self/task"};
  return std::distance(begin(tasks), end(tasks));
}

/// Callbacks stay in pass() until open() is called.
class Barrier {
 public:
  ~Barrier() { open(); }
  void pass(milliseconds at_most = 60s) {
    std::unique_lock guard{mutex_};
    ++arrived_;
    opened_.wait_for(guard, at_most, [this] { return is_open_; });
  }
  void open() {
    const std::lock_guard guard{mutex_};
    is_open_ = true;
    opened_.notify_all();
  }
  [[nodiscard]] int arrived() {
    const std::lock_guard guard{mutex_};
    return arrived_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool is_open_ = false;
  int arrived_ = 0;
};

class SlowCallback : public OnRedis {
 protected:
  static constexpr milliseconds lease{600};

  /// Blocks when its lock was renewed, for three leases.
  [[nodiscard]] Options blocked_by_renewal() {
    auto options = renewed_for(lease);
    options.on_event = [this](const Event& event) {
      if (event.kind == Event::Kind::renewed) barrier.pass(3 * lease);
    };
    return options;
  }
  /// Blocks when its lock is lost, until the test ends.
  [[nodiscard]] Options blocked_by_loss() {
    auto options = renewed_for(lease);
    options.on_lost = [this](std::error_code) { barrier.pass(); };
    return options;
  }
  [[nodiscard]] std::string nth(int i) const { return name + '-' + std::to_string(i); }

  template <class AnyLock>
  static void expect_kept(const AnyLock& lock) {
    const auto end = steady_clock::now() + 3 * lease;
    while (steady_clock::now() < end) {
      ASSERT_TRUE(lock.owns_lock());
      std::this_thread::sleep_for(lease / 20);
    }
  }

  Barrier barrier;
};

TEST_F(SlowCallback, OfThreeLeasesLosesNoneOfFiftyLocks) {
  std::vector<std::unique_ptr<Lock>> locks;
  for (int i = 0; i < 50; ++i) {
    locks.push_back(std::make_unique<Lock>(client, nth(i), blocked_by_renewal()));
    locks.back()->lock();
  }
  ASSERT_TRUE(eventually([&] { return barrier.arrived() > 0; }));
  for (const auto end = steady_clock::now() + 4 * lease; steady_clock::now() < end;) {
    for (const auto& lock : locks) ASSERT_TRUE(lock->owns_lock()) << lock->name();
    std::this_thread::sleep_for(lease / 20);
  }
  EXPECT_EQ(client.stats().lost, 0U);
  EXPECT_GE(barrier.arrived(), 20)
      << "a blocked callback does not keep those of other locks waiting";
  barrier.open();
}

TEST_F(SlowCallback, DelaysNoNewsOfAnotherLoss) {
  constexpr int blocked = 20;
  std::vector<std::unique_ptr<Lock>> locks;
  for (int i = 0; i < blocked; ++i) {
    locks.push_back(std::make_unique<Lock>(client, nth(i), blocked_by_loss()));
    locks.back()->lock();
  }
  std::atomic<bool> told{false};
  auto options = renewed_for(lease);
  options.on_lost = [&](std::error_code) { told = true; };
  Lock other{client, name, options};
  other.lock();
  for (int i = 0; i < blocked; ++i) redis.command("DEL", "lock:" + nth(i));
  ASSERT_TRUE(eventually([&] { return barrier.arrived() == blocked; }));
  redis.command("DEL", key);
  EXPECT_TRUE(eventually([&] { return told.load(); }));
  EXPECT_EQ(client.stats().lost, 1U + blocked);
  barrier.open();
}

TEST_F(SlowCallback, OfManyRenewalsDelaysNoReportOfLoss) {
  std::vector<std::unique_ptr<Lock>> locks;
  for (int i = 0; i < 80; ++i) {  // more than there may be threads
    auto options = renewed_for(lease);
    options.on_event = [this](const Event& event) {
      if (event.kind == Event::Kind::renewed) barrier.pass();
    };
    locks.push_back(std::make_unique<Lock>(client, nth(i), options));
    locks.back()->lock();
  }
  ASSERT_TRUE(eventually([&] { return barrier.arrived() >= 30; }));
  std::atomic<bool> told{false};
  auto options = renewed_for(lease);
  options.on_lost = [&](std::error_code) { told = true; };
  Lock lost{client, name, options};
  lost.lock();
  redis.command("DEL", key);
  EXPECT_TRUE(eventually([&] { return told.load(); }));
  barrier.open();
}

TEST_F(SlowCallback, OfADeferredReleaseDelaysNoRenewal) {
  auto options = leased_for(60s);
  options.deferred_unlock = true;
  options.on_error = [this](const Error&) { barrier.pass(); };
  Lock deferred{client, nth(1), options}, other{client, name, renewed_for(lease)};
  deferred.lock();
  redis.command("DEL", "lock:" + nth(1));
  deferred.unlock();
  ASSERT_TRUE(eventually([&] { return barrier.arrived() == 1; })) << "the client reads the answer";
  ASSERT_TRUE(other.try_lock());
  expect_kept(other);
  barrier.open();
}

TEST_F(SlowCallback, OfAQuorumDelaysNeitherRenewalNorLoss) {
  QuorumServers nodes{3};
  const auto clients = nodes.clients();
  std::atomic<bool> told{false};
  auto counted = renewed_for(lease);
  counted.on_lost = [&](std::error_code) { told = true; };
  QuorumLock blocked{clients, nth(1), blocked_by_loss()}, kept{clients, nth(2), renewed_for(lease)},
      lost{clients, nth(3), counted};
  blocked.lock();
  kept.lock();
  lost.lock();
  const auto take_away = [&](const std::string& of) {
    for (std::size_t i = 0; i < nodes.size(); ++i) nodes.redis(i).command("DEL", "lock:" + of);
  };
  take_away(nth(1));
  ASSERT_TRUE(eventually([&] { return barrier.arrived() == 1; }));
  expect_kept(kept);
  take_away(nth(3));
  EXPECT_TRUE(eventually([&] { return told.load(); }));
  barrier.open();
}

using CallbackOrder = SlowCallback;

TEST_F(CallbackOrder, OfOneLockIsThatOfItsEvents) {
  std::atomic<int> inside{0}, renewals{0}, overlaps{0};
  std::mutex mutex;
  std::vector<std::chrono::nanoseconds> durations;
  std::vector<std::string> last_steps;
  auto options = renewed_for(lease);
  options.on_event = [&](const Event& event) {
    if (event.kind != Event::Kind::renewed && event.kind != Event::Kind::lost) return;
    if (++inside > 1) ++overlaps;
    if (event.kind == Event::Kind::renewed) {
      std::this_thread::sleep_for(++renewals % 2 == 0 ? lease / 2 : 0ms);  // others come meanwhile
    }
    const std::lock_guard guard{mutex};
    durations.push_back(event.duration);
    if (event.kind == Event::Kind::lost) last_steps.emplace_back("lost");
    --inside;
  };
  options.on_lost = [&](std::error_code) {
    if (++inside > 1) ++overlaps;
    const std::lock_guard guard{mutex};
    last_steps.emplace_back("on_lost");
    --inside;
  };
  Lock lock{client, name, options};
  lock.lock();
  ASSERT_TRUE(eventually([&] { return renewals >= 6; }));
  redis.command("DEL", key);
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard guard{mutex};
    return last_steps.size() == 2;
  }));
  const std::lock_guard guard{mutex};
  EXPECT_EQ(overlaps, 0);
  EXPECT_TRUE(std::is_sorted(durations.begin(), durations.end()));
  EXPECT_EQ(last_steps, (std::vector<std::string>{"lost", "on_lost"}));
}

using CallbackLifetime = SlowCallback;

TEST_F(CallbackLifetime, EndsWithTheLockAlsoOfWhatWaits) {
  std::atomic<bool> is_gone{false}, called_late{false};
  auto options = blocked_by_renewal();
  options.expire = 3 * lease;
  options.on_lost = [&](std::error_code) { called_late = called_late || is_gone; };
  std::optional<Lock> lock{std::in_place, client, name, options};
  lock->lock();
  ASSERT_TRUE(eventually([&] { return barrier.arrived() == 1; })) << client.stats().lost;
  redis.command("DEL", key);
  ASSERT_TRUE(eventually([&] { return !lock->owns_lock(); }));
  std::thread opener{[this] {
    std::this_thread::sleep_for(50ms);
    barrier.open();
  }};
  lock.reset();
  is_gone = true;
  opener.join();
  std::this_thread::sleep_for(200ms);
  EXPECT_FALSE(called_late);
}

TEST_F(CallbackLifetime, MayEndTheLockAndItsClient) {
  { Lock{Client{test_uri()}, name}.lock(); }  // ThreadSanitizer starts a thread of its own
  const auto before = threads_of_this_process();
  for (int i = 0; i < 10; ++i) {
    std::mutex mutex;
    std::unique_ptr<Lock> lock;
    std::atomic<bool> ended{false};
    auto options = renewed_for(lease);
    options.expire = lease / 2;
    const auto end = [&] {
      std::unique_ptr<Lock> last;
      {
        const std::lock_guard guard{mutex};
        last.swap(lock);
      }
      if (!last) return;
      last.reset();
      ended = true;
    };
    if (i % 2 == 0) {
      options.on_lost = [&](std::error_code) { end(); };
    } else {
      options.on_event = [&](const Event& event) {
        if (event.kind != Event::Kind::acquired) end();
      };
    }
    {
      const std::lock_guard guard{mutex};
      lock = std::make_unique<Lock>(Client{test_uri()}, name, options);
      lock->lock();
      if (i % 2 == 0) redis.command("DEL", key);
    }
    ASSERT_TRUE(eventually([&] { return ended.load(); })) << i;
  }
  EXPECT_TRUE(eventually([&] { return threads_of_this_process() == before; }));
}

TEST_F(CallbackLifetime, OfAThreadEndsWhenItIsIdle) {
  { Lock{Client{test_uri()}, name}.lock(); }
  const auto before = threads_of_this_process();
  {
    std::atomic<bool> told{false};
    auto options = renewed_for(lease);
    options.on_lost = [&](std::error_code) { told = true; };
    Lock lock{Client{test_uri()}, name, options};
    lock.lock();
    EXPECT_EQ(threads_of_this_process(), before + 1) << "there is nothing to tell yet";
    redis.command("DEL", key);
    ASSERT_TRUE(eventually([&] { return told.load(); }));
    EXPECT_TRUE(eventually([&] { return threads_of_this_process() == before + 1; }));
  }
  EXPECT_EQ(threads_of_this_process(), before);
}

}  // namespace
}  // namespace redis_lock_test
