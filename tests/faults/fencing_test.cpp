// Fencing tokens, guarded writes and extensions whose requests or replies are lost, or come late.

#include <thread>

#include "faults.hpp"

namespace redis_lock_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Values;

Options fenced() {
  auto options = leased_for(60s);
  options.fencing = true;
  return options;
}

/// A lock with fencing, behind a proxy.
class GuardedFault : public OnOwnServer {
 protected:
  GuardedFault() {
    lock.lock();  // the server knows the scripts, and the connection is old
    release(lock);
    scripts_before = proxy.seen("EVAL");
  }
  [[nodiscard]] long long count() {
    return std::stoll(redis.string("GET", "counter").value_or("0"));
  }
  [[nodiscard]] std::error_code error_of_an_increment() {
    return error_of([&] { return lock.guarded_eval("redis.call('INCR', KEYS[1])", {"counter"}); });
  }
  [[nodiscard]] int guarded_scripts() const { return proxy.seen("EVAL") - scripts_before; }

  Proxy proxy{server.endpoint()};
  const Client client{proxy.uri("command_timeout=300&retry_for=5000")};
  Lock lock{client, name, fenced()};
  int scripts_before = 0;
};

class FencingDoubt : public GuardedFault, public ::testing::WithParamInterface<Fault> {
 protected:
  void TearDown() override {
    EXPECT_EQ(proxy.faults_left(), 0U) << "a fault that did not happen proves nothing";
  }
};

INSTANTIATE_TEST_SUITE_P(, FencingDoubt,
                         Values(Fault::lose_request, Fault::lose_reply, Fault::lose_reply_and_stall,
                                Fault::cut_reply),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(FencingDoubt, OfTheAcquireScriptEndsWithItsToken) {
  proxy.inject("EVALSHA", GetParam());
  ASSERT_TRUE(lock.try_lock_for(soon));
  expect_owned(lock);
  EXPECT_EQ(redis.string("GET", "lock-fence:name"), std::to_string(lock.fencing_token()));
  EXPECT_EQ(lock.fencing_token(), 2U) << "it was acquired once";
  release(lock);
}

TEST_P(FencingDoubt, OfAWaitersScriptEndsWithItsToken) {
  held_by_somebody();
  std::error_code error;
  std::thread waiter{[&] { lock.lock(error); }};
  EXPECT_TRUE(are_waiting(1));
  proxy.inject("EVALSHA", GetParam());
  proxy.drop_connections();  // what it waits with was sent before the fault
  released_by_somebody();
  waiter.join();
  if (GetParam() == Fault::lose_reply_and_stall) {  // on the new connection, too, nothing comes
    EXPECT_EQ(error, errc::timed_out);
    return expect_free();
  }
  EXPECT_FALSE(error);
  expect_owned(lock);
  EXPECT_EQ(redis.string("GET", "lock-fence:name"), std::to_string(lock.fencing_token()));
  release(lock);
}

TEST_P(FencingDoubt, OfAGuardedScriptIsReportedNotRetried) {
  lock.lock();
  proxy.inject("EVAL", GetParam());
  const auto error = error_of_an_increment();
  EXPECT_EQ(error,
            GetParam() == Fault::lose_reply_and_stall ? errc::timed_out : errc::connection_failed);
  EXPECT_EQ(count(), GetParam() == Fault::lose_request ? 0 : 1);
  EXPECT_EQ(guarded_scripts(), 1);
  expect_owned(lock);
  EXPECT_FALSE(error_of_an_increment()) << "a new connection serves the next";
  release(lock);
}

TEST_P(FencingDoubt, OfAFailedExtensionAssumesTheShorterLease) {
  auto endpoint = proxy.endpoint();
  endpoint.retry_for = 0ms;
  endpoint.command_timeout = 200ms;
  Lock other{endpoint, name + "-shortened", leased_for(60s)};
  other.lock();
  other.extend();
  proxy.pause();
  EXPECT_THROW(other.extend(1s), Error);
  EXPECT_LE(other.expires_at(), steady_clock::now() + 1s);
  proxy.resume();
}

TEST_P(FencingDoubt, OfAnExtensionBoundsLaterLeases) {
  lock.lock();
  lock.extend();
  proxy.inject("EVALSHA", GetParam());
  lock.extend(2s);  // the second attempt has its reply, the first may still be under way
  lock.extend(60s);
  EXPECT_LE(lock.expires_at(), steady_clock::now() + 2s)
      << "Redis may come upon the lost one after the others";
  release(lock);
  lock.lock();
  lock.extend(50s);
  EXPECT_GT(lock.expires_at(), steady_clock::now() + 40s) << "a new id is not concerned";
  release(lock);
}

TEST_F(GuardedFault, OfAClosedConnectionDoesNotMatter) {
  lock.lock();
  proxy.drop_connections();
  EXPECT_TRUE(eventually([this] { return proxy.open() == 0; }));
  EXPECT_FALSE(error_of_an_increment());
  EXPECT_EQ(count(), 1);
  EXPECT_EQ(guarded_scripts(), 1);
}

TEST_F(GuardedFault, AfterADeferredReleaseDoesNotOccur) {
  auto deferred = fenced();
  deferred.deferred_unlock = true;
  Lock other{client, "other", deferred};
  lock.lock();
  const auto connections = proxy.accepted();
  for (int i = 1; i <= 20; ++i) {
    other.lock();
    other.unlock();
    std::this_thread::sleep_for(2ms);  // its reply comes
    EXPECT_FALSE(error_of_an_increment());
    EXPECT_EQ(count(), i);
  }
  EXPECT_EQ(proxy.accepted(), connections) << "the reply to the release was read first";
}

TEST_F(GuardedFault, OfAStoppedServerIsReportedInTime) {
  lock.lock();
  server.pause();
  EXPECT_EQ(error_of_an_increment(), errc::timed_out);
  server.resume();
  EXPECT_TRUE(eventually([this] { return redis.string("PING") == "PONG"; }));
  EXPECT_TRUE(eventually([this] { return count() == 1; })) << "its socket still had the command";
  release(lock);
}

TEST_F(GuardedFault, OfAServerThatIsGoneIsReported) {
  Lock brief{proxy.uri("retry_for=200"), "brief", fenced()};
  brief.lock();
  server.kill();
  const auto message = message_of([&] { brief.guarded_set("data", "value"); });
  EXPECT_THAT(message, HasSubstr("guarded_set of \"brief\""));
}

TEST_F(GuardedFault, OfAServerRestartedEmptyIsALoss) {
  lock.lock();
  server.restart();
  std::error_code error = errc::connection_failed;
  // The first may find the old connection closing.
  EXPECT_TRUE(eventually([&] { return (error = error_of_an_increment()) == errc::lease_lost; }))
      << error.message();
  EXPECT_EQ(count(), 0);
}

TEST_F(GuardedFault, OfAScriptFlushDoesNotMatter) {
  lock.lock();
  redis.command("SCRIPT", "FLUSH");
  EXPECT_FALSE(error_of_an_increment());
  EXPECT_EQ(count(), 1);
}

TEST_F(GuardedFault, OfAHolderStoppedTooLongWritesNothing) {
  Child holder{[&] {
    Lock late{server.uri(), name, leased_for(300ms)};
    late.lock();
    redis.string("SET", "holder", "1");
    static_cast<void>(eventually([&] { return redis.exists("go"); }));
    late.guarded_set("data", "late");
    return 0;
  }};
  EXPECT_TRUE(eventually([this] { return redis.exists("holder"); }));
  holder.pause();
  Lock next{server.uri(), name, fenced()};
  next.lock();
  next.guarded_set("data", "next");
  redis.string("SET", "go", "1");
  holder.resume();
  EXPECT_EQ(holder.exit_code(), 111) << "an exception: the lease is lost";
  EXPECT_EQ(redis.string("GET", "data"), "next");
}

/// With fencing, a SCRIPT FLUSH meets the acquire script, too.
TEST_F(GuardedFault, OfAScriptFlushHarmsNoWaiter) {
  held_by_somebody();
  std::thread waiter{[this] { lock.lock(); }};
  EXPECT_TRUE(are_waiting(1));
  redis.command("SCRIPT", "FLUSH");
  released_by_somebody();
  waiter.join();
  expect_owned(lock);
  EXPECT_EQ(lock.fencing_token(), 2U);
  release(lock);
}

TEST(ExtensionInDoubt, IsFollowedByRenewalsOfTheShorterLease) {
  const RedisServer server;
  Redis redis{server.endpoint()};
  Proxy proxy{server.endpoint()};
  Options options;
  options.expire = 60s;
  Lock lock{proxy.uri("command_timeout=300"), "name", options};
  lock.lock();
  lock.extend();
  proxy.inject("EVALSHA", Fault::lose_reply);
  lock.extend(1500ms);
  const auto before = proxy.seen("EVALSHA");
  const auto until = steady_clock::now() + 3s;
  while (steady_clock::now() < until) {
    ASSERT_TRUE(lock.owns_lock());
    ASSERT_LE(lock.expires_at(), steady_clock::now() + 1500ms);
    std::this_thread::sleep_for(20ms);
  }
  const auto renewals = proxy.seen("EVALSHA") - before;
  EXPECT_GE(renewals, 2);
  EXPECT_LE(renewals, 20) << "each third of the lease that is certain, not all the time";
}

}  // namespace
}  // namespace redis_lock_test
