// A system that has no thread left. In a program of its own, whose pthread_create() fails on demand.

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "integration.hpp"
#include "support/quorum.hpp"

namespace {
std::atomic<bool> has_threads{true};
}

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*function)(void*), void* argument) {
  if (!has_threads) return EAGAIN;
  static const auto create =
      reinterpret_cast<decltype(&pthread_create)>(::dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attributes, function, argument);
}

namespace redis_lock_test {
namespace {

using redis_lock::QuorumLock;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// Ends with the test, whatever becomes of it.
class NoThreads {
 public:
  NoThreads() { has_threads = false; }
  ~NoThreads() { has_threads = true; }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;
};

class WithoutThreads : public OnRedis {
 protected:
  /// Every way to acquire a lock that needs the background thread.
  template <class AnyLock>
  void expect_no_thread(AnyLock& lock) {
    const NoThreads none;
    EXPECT_EQ(error_of([&] { lock.lock(); }), errc::no_thread);
    EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::no_thread);
    EXPECT_EQ(error_of([&] { return lock.try_lock_for(milliseconds{1}); }), errc::no_thread);
    EXPECT_EQ(error_of([&] { return lock.lock(std::stop_token{}); }), errc::no_thread);
    std::error_code error;
    lock.lock(error);
    EXPECT_EQ(error, errc::no_thread);
    EXPECT_EQ(error, std::errc::resource_unavailable_try_again);
    EXPECT_FALSE(lock.try_lock(error));
    EXPECT_EQ(error, errc::no_thread);
    EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }),
                AllOf(HasSubstr("try_lock of \"" + name + '"'), HasSubstr("thread")));
    EXPECT_FALSE(lock.owns_lock());
  }
};

TEST_F(WithoutThreads, ARenewedAcquisitionFailsAndTakesNothing) {
  Lock lock{client, name};
  expect_no_thread(lock);
  EXPECT_FALSE(redis.exists(key));
  EXPECT_TRUE(lock.try_lock()) << "later, there is one";
}

TEST_F(WithoutThreads, AWatchedAcquisitionFailsAndTakesNothing) {
  auto options = leased_for(std::chrono::minutes{1});
  options.on_lost = [](std::error_code) {};
  Lock lock{client, name, options};
  expect_no_thread(lock);
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(WithoutThreads, AnAcquisitionThatNeedsNoneWorks) {
  const NoThreads none;
  Lock lock{client, name, leased_for(std::chrono::minutes{1})};
  lock.lock();
  std::error_code error;
  lock.unlock(error);
  EXPECT_FALSE(error) << error.message();
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(WithoutThreads, ADeferredUnlockFreesTheLockAtOnce) {
  std::string complaints;
  auto options = leased_for(std::chrono::minutes{1});
  options.deferred_unlock = true;
  options.on_error = [&](const Error& error) { complaints += error.what(); };
  Lock lock{client, name, options};
  const NoThreads none;
  lock.lock();
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
  EXPECT_EQ(complaints, "");
}

TEST_F(WithoutThreads, LostTokenFailsAndKeepsTheLock) {
  Lock lock{client, name, leased_for(std::chrono::minutes{1})};
  lock.lock();
  {
    const NoThreads none;
    EXPECT_EQ(error_of([&] { return lock.lost_token(); }), errc::no_thread);
  }
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_FALSE(lock.lost_token().stop_requested());
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_F(WithoutThreads, ALossIsToldByTheRenewalThread) {
  std::atomic<int> told{0};
  Options options;
  options.expire = milliseconds{300};
  options.on_lost = [&](std::error_code) { ++told; };
  Lock lost{client, name, options}, kept{client, name + "-kept", options};
  lost.lock();
  kept.lock();
  const NoThreads none;
  redis.command("DEL", key);
  EXPECT_TRUE(eventually([&] { return told == 1; }));
  EXPECT_FALSE(lost.owns_lock());
  std::this_thread::sleep_for(milliseconds{600});
  EXPECT_TRUE(kept.owns_lock());
}

TEST_F(WithoutThreads, TellingALossMayEndTheClient) {
  std::atomic<bool> told{false};
  std::unique_ptr<Lock> lock;
  auto options = leased_for(milliseconds{200});
  options.on_lost = [&](std::error_code) {
    lock.reset();
    told = true;
  };
  lock = std::make_unique<Lock>(Client{test_uri()}, name, options);
  lock->lock();
  const NoThreads none;
  EXPECT_TRUE(eventually([&] { return told.load(); }));
  EXPECT_EQ(lock, nullptr);
}

TEST_F(WithoutThreads, ALeaderIsNotMade) {
  const auto make = [&] {
    redis_lock::Leader{client, name, [](std::stop_token, std::uint64_t) {}};
  };
  {
    const NoThreads none;
    EXPECT_EQ(error_of(make), errc::no_thread);
  }
  EXPECT_EQ(error_of(make), std::error_code{}) << "later, there is one";
}

class QuorumWithoutThreads : public WithoutThreads {
 protected:
  QuorumServers nodes{3};
};

TEST_F(QuorumWithoutThreads, ARenewedAcquisitionFailsAndTakesNothing) {
  QuorumLock lock{nodes.clients(), name};
  expect_no_thread(lock);
  EXPECT_EQ(nodes.values(key), (std::vector<std::string>{"", "", ""}));
  EXPECT_TRUE(lock.try_lock()) << "later, there is one";
}

TEST_F(QuorumWithoutThreads, AnUnrenewedAcquisitionCannotConnect) {
  QuorumLock lock{nodes.clients(), name, leased_for(std::chrono::minutes{1})};
  expect_no_thread(lock);
  EXPECT_TRUE(lock.try_lock_for(soon)) << "later, there is one";
}

TEST_F(QuorumWithoutThreads, AReleaseOverOpenConnectionsWorks) {
  QuorumLock lock{nodes.clients(), name, leased_for(std::chrono::minutes{1})};
  lock.lock();
  const NoThreads none;
  std::error_code error;
  lock.unlock(error);
  EXPECT_FALSE(error) << error.message();
  EXPECT_TRUE(eventually([&] {
    return nodes.values(key) == std::vector<std::string>{"", "", ""};
  }));
}

TEST_F(QuorumWithoutThreads, LostTokenFailsAndKeepsTheLock) {
  QuorumLock lock{nodes.clients(), name, leased_for(std::chrono::minutes{1})};
  lock.lock();
  {
    const NoThreads none;
    EXPECT_EQ(error_of([&] { return lock.lost_token(); }), errc::no_thread);
  }
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_FALSE(lock.lost_token().stop_requested());
}

}  // namespace
}  // namespace redis_lock_test
