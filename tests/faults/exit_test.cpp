// The end of a process, and forks, while the library is at work in it.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "faults.hpp"

#ifdef REDIS_LOCK_TEST_WITH_ASAN
namespace {
/// A child has the memory of all its parent's threads, and none of the stacks on which the pointers to some of it are.
bool is_forked = false;
}  // namespace
extern "C" int __lsan_is_turned_off() { return is_forked ? 1 : 0; }
#endif

namespace redis_lock_test {
namespace {

/// A process that ends in the midst of things: exit() destroys what is static, as the end of main() would.
using ProcessExit = OnOwnServer;

TEST_F(ProcessExit, FreesAStaticLockThatIsBeingRenewed) {
  for (int i = 0; i < 10; ++i) {
    Child child{[&, i]() -> int {
      static const Client client{server.uri()};
      static Lock lock{client, name, renewed_for(60ms)};
      lock.lock();
      std::this_thread::sleep_for(milliseconds{7 * i});  // somewhere between two renewals
      std::exit(0);
    }};
    EXPECT_EQ(end_of(child), exit_with(0));
    EXPECT_FALSE(redis.exists(key));
  }
}

TEST_F(ProcessExit, TellsTheLossOfAStaticLock) {
  const Shared<std::atomic<bool>> told;
  Child child{[&]() -> int {
    static const Client client{server.uri()};
    static auto options = leased_for(60s);
    options.on_error = [&](const Error& error) {
      *told = error.code() == errc::lease_lost && std::string(error.what()).find("lost") != 0;
    };
    static Lock lock{client, name, options};
    lock.lock();
    // Used for the first time after the Lock was made: what is static is destroyed in reverse order.
    if (error_of([] { Lock{"unix:///nowhere?retry_for=0", "name"}.lock(); }) == errc::not_owned)
      return 1;
    (void)redis.integer("DEL", key);
    std::exit(0);
  }};
  EXPECT_EQ(end_of(child), exit_with(0));
  EXPECT_TRUE(*told);
}

TEST_F(ProcessExit, MayBeginInACallback) {
  Child child{[&]() -> int {
    static const Client client{server.uri()};
    auto options = renewed_for(200ms);
    options.on_lost = [](std::error_code) { std::exit(7); };
    static Lock lock{client, name, options};
    static Lock other{client, name + "-2", renewed_for(60s)};
    lock.lock();
    other.lock();
    (void)redis.integer("DEL", key);
    std::this_thread::sleep_for(patience);
    return 1;
  }};
  EXPECT_EQ(end_of(child), exit_with(7));
  EXPECT_FALSE(redis.exists(key + "-2"));
}

/// Threads that lock and unlock in all ways, as fast as they can.
class BusyThreads {
 public:
  BusyThreads(const Client& client, const std::string& name)
      : shared_(client, name + "-shared", with_handoffs()) {
    for (int i = 0; i < 2; ++i) threads_.emplace_back([this] { work(shared_); });
    threads_.emplace_back([this, client, name] {
      Lock lock{client, name + "-deferred", deferred()};
      work(lock);
    });
    threads_.emplace_back([this, client, name] {
      while (!stops_) {
        Lock lock{client, name + "-own", renewed_for(60ms)};
        const std::lock_guard guard{lock};
        std::this_thread::sleep_for(1ms);
      }
    });
  }
  ~BusyThreads() {
    stops_ = true;
    for (auto& thread : threads_) thread.join();
  }
  BusyThreads(const BusyThreads&) = delete;
  BusyThreads& operator=(const BusyThreads&) = delete;

  [[nodiscard]] Lock& shared() { return shared_; }

 private:
  [[nodiscard]] static Options with_handoffs() {
    auto options = renewed_for(3s);
    options.local_handoffs = 3;
    return options;
  }
  [[nodiscard]] static Options deferred() {
    auto options = renewed_for(3s);
    options.deferred_unlock = true;
    return options;
  }
  void work(Lock& lock) {
    while (!stops_) const std::lock_guard guard{lock};
  }

  std::atomic<bool> stops_{false};
  Lock shared_;
  std::vector<std::thread> threads_;
};

TEST_F(ProcessExit, MayComeWhileThreadsLockAndUnlock) {
  for (int i = 0; i < 5; ++i) {
    Child child{[&]() -> int {
      static const Client client{server.uri()};
      static Lock lock{client, name, renewed_for(60ms)};
      lock.lock();
      const auto* const threads = new BusyThreads{client, name};  // which nothing stops
      std::this_thread::sleep_for(20ms);
      std::exit(threads == nullptr ? 1 : 0);
    }};
    EXPECT_EQ(end_of(child), exit_with(0));
    EXPECT_FALSE(redis.exists(key));
  }
}

/// A process that forks while other threads of it are inside the library.
using ForkAmongThreads = OnOwnServer;

TEST_F(ForkAmongThreads, GivesAChildThatLocksAndHarmsNothing) {
  const Client client{server.uri()};
  Lock held{client, name, renewed_for(900ms)};
  held.lock();
  const auto id = held.id();
  {
    BusyThreads threads{client, name};
    for (int i = 0; i < 20; ++i) {
      Child child{[&]() -> int {
        Lock own{Client{server.uri()}, name + "-child", renewed_for(60s)};
        own.lock();
        Lock inherited{client, name + "-child-2", renewed_for(60s)};
        inherited.lock();
        if (!own.owns_lock() || !inherited.owns_lock() || held.owns_lock()) return 1;
        if (!threads.shared().try_lock_for(patience)) return 2;
        threads.shared().unlock();
        held.unlock();  // which it does not hold
        inherited.unlock();
        own.unlock();
#ifdef REDIS_LOCK_TEST_WITH_ASAN
        is_forked = true;
#endif
        if (i % 2 == 0) std::exit(held.try_lock() ? 3 : 0);
        return held.try_lock() ? 3 : 0;
      }};
      ASSERT_EQ(end_of(child), exit_with(0)) << i;
      ASSERT_EQ(redis.string("GET", key), id);
    }
  }
  EXPECT_TRUE(held.owns_lock());
  release(held);
}

}  // namespace
}  // namespace redis_lock_test
