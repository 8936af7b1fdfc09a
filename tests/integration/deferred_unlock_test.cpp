#include <atomic>
#include <memory>
#include <mutex>

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

TEST_F(DeferredUnlock, SendsTheCommandsOfAnOrdinaryOneAndNoMore) {
  const RedisServer server;
  Redis own{server.uri()};
  Lock lock{server.uri(), name, deferred()};
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
  EXPECT_EQ(own.calls_of("evalsha"), 10);
  EXPECT_EQ(own.calls_of("eval"), 0);
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

TEST_F(DeferredUnlock, IsNotLostWhenTheProcessExitsRightAfter) {
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
