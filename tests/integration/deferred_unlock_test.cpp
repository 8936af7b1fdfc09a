#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include "integration.hpp"

namespace redis_lock_test {
namespace {

Options deferred() {
  Options options;
  options.deferred_unlock = true;
  return options;
}

using DeferredUnlock = OnRedis;

TEST_F(DeferredUnlock, FreesTheLock) {
  Lock lock{client, name, deferred()};
  lock.lock();
  lock.unlock();
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_TRUE(eventually([this] { return !redis.exists(key); }));
}

TEST_F(DeferredUnlock, ReadsEachReplyOnceAndInOrder) {
  Lock lock{client, name, deferred()};
  for (int i = 0; i < 200; ++i) {
    lock.lock();
    ASSERT_EQ(lock.owner(), lock.id());  // another command on the same connection
    lock.unlock();
  }
  EXPECT_FALSE(lock.locked());
}

TEST_F(DeferredUnlock, OfManyLocksInARowLosesNone) {
  std::vector<std::unique_ptr<Lock>> locks;
  for (int i = 0; i < 200; ++i) {
    locks.push_back(std::make_unique<Lock>(client, name + std::to_string(i), deferred()));
    locks.back()->lock();
  }
  for (const auto& lock : locks) lock->unlock();
  for (const auto& lock : locks) EXPECT_FALSE(lock->locked());
}

TEST_F(DeferredUnlock, SendsTheCommandsOfAnOrdinaryUnlock) {
  const RedisServer server;
  Redis own{server.uri()};
  Lock lock{server.uri(), name, deferred()};
  lock.lock();
  lock.unlock();
  lock.lock();
  lock.unlock();
  EXPECT_FALSE(lock.locked());
  own.reset_stats();
  for (int i = 0; i < 10; ++i) {
    lock.lock();
    lock.unlock();
  }
  EXPECT_FALSE(lock.locked());
  EXPECT_EQ(own.calls_of("set"), 10);
  EXPECT_EQ(own.calls_of("evalsha"), 19) << "the releases, and the attempts behind them";
  EXPECT_EQ(own.calls_of("eval"), 0);
}

TEST_F(DeferredUnlock, OutlivesTheLastClientInACallback) {
  auto alive = std::make_shared<bool>(true);
  const std::weak_ptr<bool> callback = alive;
  {
    Client own{test_uri()};
    auto options = deferred();
    options.on_error = [own, alive = std::move(alive)](const Error&) {};
    Lock lock{std::move(own), name, std::move(options)};
    lock.lock();
    lock.unlock();
  }
  EXPECT_TRUE(eventually([&] { return callback.expired(); })) << "the release was not settled";
  EXPECT_FALSE(redis.exists(key));
}

/// A waiter with a connection of its own, which is known to be in BLPOP before a release.
class DeferredUnlockTurn : public OnRedis {
 protected:
  /// Rounds in which a waiter is blocked when `lock` is released and tried again at once: how often was it faster?
  int times_faster_than_a_waiter(Lock& lock) {
    int faster = 0;
    for (int i = 0; i < 30; ++i) {
      if (!lock.owns_lock()) lock.lock();
      std::promise<void> tried;
      std::thread waiter{[&] {
        Lock next{test_uri(), name};
        next.lock();
        tried.get_future().wait();
        next.unlock();
      }};
      EXPECT_TRUE(eventually([this] { return somebody_waits(); }));
      lock.unlock();
      if (lock.try_lock()) ++faster;
      tried.set_value();
      if (lock.owns_lock()) lock.unlock();
      waiter.join();
    }
    return faster;
  }
};

TEST_F(DeferredUnlockTurn, GoesToTheWaiterThatIsBlocked) {
  Lock lock{client, name, deferred()};
  EXPECT_EQ(times_faster_than_a_waiter(lock), 0);
}

TEST_F(DeferredUnlockTurn, GoesToTheWaiterWithFencingToo) {
  auto options = deferred();
  options.fencing = true;
  Lock lock{client, name, options};
  EXPECT_EQ(times_faster_than_a_waiter(lock), 0);
}

TEST_F(DeferredUnlockTurn, GoesToTheWaiterWithoutExpiryToo) {
  auto options = deferred();
  options.auto_renewal = false;
  options.expire = redis_lock::no_expiry;
  Lock lock{client, name, options};
  EXPECT_EQ(times_faster_than_a_waiter(lock), 0);
}

TEST_F(DeferredUnlockTurn, IsTakenWhereNoneWaits) {
  for (const bool fencing : {false, true}) {
    auto options = deferred();
    options.fencing = fencing;
    Lock lock{client, name, options};
    for (int i = 0; i < 20; ++i) {
      redis.string("SCRIPT", "FLUSH");
      ASSERT_TRUE(lock.try_lock());
      lock.unlock();
    }
  }
}

TEST_F(DeferredUnlockTurn, IsTakenWhenTheSignalIsGone) {
  auto options = deferred();
  options.signal_expire = 1ms;
  Lock lock{client, name, options};
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(lock.try_lock());
    lock.unlock();
    ASSERT_TRUE(eventually([this] { return !redis.exists(key) && !redis.exists(signal); }));
  }
}

TEST_F(DeferredUnlock, WakesTheNextInLine) {
  Lock lock{client, name, deferred()}, next{test_uri(), name};
  lock.lock();
  std::thread waiter{[&] { next.lock(); }};
  EXPECT_TRUE(eventually([this] { return somebody_waits(); }));
  lock.unlock();
  waiter.join();
  EXPECT_TRUE(next.owns_lock());
}

/// The reply that says so is read by the Client, though nobody uses it any more.
TEST_F(DeferredUnlock, ReportsALostLeaseFromTheIdleClient) {
  std::atomic<int> reports{0};
  std::error_code code;
  auto options = leased_for(60s);
  options.deferred_unlock = true;
  options.on_error = [&](const Error& error) {
    code = error.code();
    ++reports;
  };
  Lock lock{client, name, options};
  lock.lock();
  redis.string("SET", key, "somebody");
  lock.unlock();
  EXPECT_TRUE(eventually([&] { return reports == 1; }));
  EXPECT_EQ(code, errc::lease_lost);
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

TEST_F(DeferredUnlock, ReportsWhatTheServerRefuses) {
  std::atomic<int> reports{0};
  auto options = deferred();
  options.on_error = [&](const Error& error) { reports += error.code() == errc::server_error; };
  Lock lock{client, name, options};
  lock.lock();
  redis.command("DEL", key);
  redis.command("LPUSH", key, "no lock");
  lock.unlock();
  EXPECT_TRUE(eventually([&] { return reports == 1; }));
}

TEST_F(DeferredUnlock, IsFinishedByTheDestructorOfTheClient) {
  int reports = 0;
  {
    auto options = leased_for(60s);
    options.deferred_unlock = true;
    options.on_error = [&](const Error&) { ++reports; };
    Lock lock{test_uri(), name, options};
    lock.lock();
    redis.string("SET", key, "somebody");
    lock.unlock();
  }
  EXPECT_EQ(reports, 1);
}

TEST_F(DeferredUnlock, IsNotLostWhenTheProcessExits) {
  Child child{[this] {
    auto* const lock = new Lock{test_uri(), name, deferred()};
    lock->lock();
    lock->unlock();
    return 0;  // by _exit: no destructor runs
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_TRUE(eventually([this] { return !redis.exists(key); }));
}

TEST_F(DeferredUnlock, SurvivesAServerThatForgotTheScript) {
  Lock lock{client, name, deferred()};
  for (int i = 0; i < 5; ++i) {
    lock.lock();
    redis.string("SCRIPT", "FLUSH");
    lock.unlock();
  }
  EXPECT_TRUE(eventually([this] { return !redis.exists(key); }));
}

/// By the next user of the connection, for whom it is a lock that somebody holds.
TEST_F(DeferredUnlock, IsRepeatedWhenTheConnectionBreaks) {
  for (const auto fault : {Fault::lose_request, Fault::lose_reply, Fault::cut_reply}) {
    Proxy proxy{redis_lock::Endpoint::parse(test_uri())};
    Lock lock{proxy.uri(), name, deferred()};
    lock.lock();
    lock.unlock();  // the first carries its script
    lock.lock();
    proxy.inject("EVALSHA", fault);
    lock.unlock();
    lock.lock();
    EXPECT_EQ(redis.string("GET", key), lock.id());
    lock.unlock();
    EXPECT_TRUE(eventually([this] { return !redis.exists(key); }));
  }
}

/// So that it cannot even be sent.
TEST_F(DeferredUnlock, IsRepeatedWhenTheConnectionIsClosedAlready) {
  Proxy proxy{redis_lock::Endpoint::parse(test_uri())};
  Lock lock{proxy.uri(), name, deferred()};
  lock.lock();
  proxy.drop_connections();
  ASSERT_TRUE(eventually([&] { return proxy.open() == 0; }));
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(DeferredUnlock, ReportsAServerThatIsGone) {
  RedisServer server;
  std::error_code code;
  auto options = deferred();
  options.on_error = [&](const Error& error) { code = error.code(); };
  Lock lock{server.uri("retry_for=0"), name, options};
  lock.lock();
  server.kill();
  lock.unlock();
  EXPECT_EQ(code, errc::connection_failed);
}

TEST_F(DeferredUnlock, ReportsAServerThatNeverAnswers) {
  RedisServer server;
  std::atomic<int> reports{0};
  auto options = deferred();
  options.on_error = [&](const Error&) { ++reports; };
  Lock lock{server.uri("command_timeout=200&retry_for=0"), name, options};
  lock.lock();
  server.pause();
  lock.unlock();
  EXPECT_TRUE(eventually([&] { return reports == 1; }));
  server.resume();
}

TEST_F(DeferredUnlock, IsRefusedOverABorrowedContext) {
  const auto context = connect_hiredis(redis_lock::Endpoint::parse(test_uri()));
  auto options = Options::without_renewal();
  options.deferred_unlock = true;
  EXPECT_THAT(message_of<std::invalid_argument>([&] {
                Lock lock{context.get(), name, options};
                return 0;
              }),
              ::testing::HasSubstr("deferred_unlock"));
}

}  // namespace
}  // namespace redis_lock_test
