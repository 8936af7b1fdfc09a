// Commands whose requests or replies are lost on the way: whether they ran must be found out.

#include <future>
#include <stop_token>
#include <thread>
#include <tuple>

#include "faults.hpp"

namespace redis_lock_test {
namespace {

using ::testing::Combine;
using ::testing::HasSubstr;
using ::testing::Values;
using namespace std::string_literals;

const auto any_fault =
    Values(Fault::lose_request, Fault::lose_reply, Fault::lose_reply_and_stall, Fault::cut_reply);

/// A client behind a proxy. After each test: the fault has met its command, and the lock is free.
class Doubt : public OnOwnServer {
 protected:
  void TearDown() override {
    EXPECT_EQ(proxy.faults_left(), 0U) << "a fault that did not happen proves nothing";
    expect_free();
  }

  /// Makes the scripts known to the server, so that EVALSHA does what EVAL would.
  void load_scripts() {
    Lock lock{server.uri(), name, leased_for(60s)};
    lock.lock();
    lock.extend();
    lock.unlock();
  }

  Proxy proxy{server.endpoint()};
  const Client client{proxy.uri("command_timeout=300&retry_for=5000")};
};

class DoubtOf : public Doubt, public ::testing::WithParamInterface<std::tuple<std::string, Fault>> {
 protected:
  const std::string command = std::get<0>(GetParam());
  const Fault fault = std::get<1>(GetParam());
};

std::string name_of_case(const ::testing::TestParamInfo<DoubtOf::ParamType>& test) {
  return std::get<0>(test.param) + "_" + name_of(std::get<1>(test.param));
}

using DoubtInAcquire = DoubtOf;
INSTANTIATE_TEST_SUITE_P(, DoubtInAcquire, Combine(Values("SET"s, "PTTL"s), any_fault),
                         name_of_case);

TEST_P(DoubtInAcquire, IsResolvedOnAConnectionThatWasIdle) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  release(lock);
  proxy.inject(command, fault);
  ASSERT_TRUE(lock.try_lock_for(soon));
  expect_owned(lock);
  release(lock);
  proxy.inject(command, fault);
  ASSERT_TRUE(lock.try_lock()) << "false is for locks that somebody else holds";
  expect_owned(lock);
  release(lock);
  EXPECT_EQ(redis.calls_of("blpop"), 0) << "nor was it waited for, as for somebody else's";
}

TEST_P(DoubtInAcquire, IsResolvedOnANewConnection) {
  Lock lock{client, name, leased_for(60s)};
  proxy.inject(command, fault);
  if (fault == Fault::lose_reply_and_stall) {
    EXPECT_EQ(error_of([&] { lock.lock(); }), errc::timed_out) << "a server that does not answer";
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_FALSE(redis.exists(key));
    lock.lock();
  } else {
    ASSERT_TRUE(lock.try_lock_for(soon));
  }
  expect_owned(lock);
  release(lock);
}

TEST_P(DoubtInAcquire, IsResolvedForALockWithoutExpiry) {
  Lock lock{client, name, leased_for(redis_lock::no_expiry)};
  lock.lock();
  release(lock);
  proxy.inject(command, fault);
  ASSERT_TRUE(lock.try_lock_for(soon));
  expect_owned(lock);
  release(lock);
}

/// Whose acquire is not tried again: an Error, and nothing may stay behind, not even for a lease.
TEST_P(DoubtInAcquire, ThatIsGivenUpOnLeavesNothingBehind) {
  const auto code =
      fault == Fault::lose_reply_and_stall ? errc::timed_out : errc::connection_failed;
  const auto uri = proxy.uri("command_timeout=300&retry_for=0");
  const auto expect_given_up = [&](milliseconds expire, const std::function<void(Lock&)>& acquire) {
    Lock lock{uri, name, leased_for(expire)};
    proxy.inject(command, fault);
    EXPECT_EQ(error_of([&] { acquire(lock); }), code);
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_FALSE(redis.exists(key));
    EXPECT_TRUE(lock.try_lock()) << "the same object gets it when asked again";
    release(lock);
  };
  expect_given_up(60s, [](Lock& lock) { lock.lock(); });
  expect_given_up(60s, [](Lock& lock) { (void)lock.try_lock(); });
  expect_given_up(redis_lock::no_expiry, [](Lock& lock) { (void)lock.try_lock_for(5s); });
}

class DoubtWhileWaiting : public DoubtOf {
 protected:
  void SetUp() override { held_by_somebody(); }

  /// Sends the lock's second BLPOP, SET and PTTL, of which one meets the fault.
  void reach_the_fault() {
    ASSERT_TRUE(are_waiting(1));
    proxy.inject(command, fault);
    ASSERT_TRUE(eventually([this] { return proxy.faults_left() == 0; }));
  }

  const Options options = leased_for(3s);  // so that one BLPOP takes a second
};
INSTANTIATE_TEST_SUITE_P(, DoubtWhileWaiting, Combine(Values("BLPOP"s, "SET"s, "PTTL"s), any_fault),
                         name_of_case);

TEST_P(DoubtWhileWaiting, IsResolved) {
  Lock lock{client, name, options};
  auto waiter = std::async(std::launch::async, [&] { return lock.try_lock_for(soon); });
  reach_the_fault();
  const auto released_at = steady_clock::now();
  released_by_somebody();
  ASSERT_TRUE(waiter.get());
  expect_owned(lock);
  EXPECT_LT(lock.expires_at(), released_at + 3s + 2s) << "it did not wait for its own lease to end";
  release(lock);
}

/// The server has granted the lock to a waiter that does not hear of it.
class UnheardGrant : public Doubt {
 protected:
  void grant_unheard() {
    ASSERT_TRUE(are_waiting(1));
    proxy.inject("SET", Fault::lose_reply_and_stall);
    ASSERT_TRUE(eventually([this] { return proxy.faults_left() == 0; }));
    released_by_somebody();
    ASSERT_TRUE(eventually([this] { return redis.exists(key); }));
    ASSERT_NE(redis.string("GET", key), "somebody");
  }
};

TEST_F(UnheardGrant, IsGivenBackAtTheDeadline) {
  held_by_somebody();
  Lock lock{client, name, leased_for(3s)};
  auto waiter = std::async(std::launch::async, [&] {
    return error_of([&] { EXPECT_FALSE(lock.try_lock_for(1500ms)); });
  });
  grant_unheard();
  EXPECT_EQ(waiter.get(), errc::timed_out);
  EXPECT_FALSE(lock.owns_lock());
}

#ifdef __cpp_lib_jthread
TEST_F(UnheardGrant, IsGivenBackWhenStopIsRequested) {
  held_by_somebody();
  Lock lock{client, name, leased_for(3s)};
  std::stop_source stop;
  auto waiter = std::async(std::launch::async, [&] { return lock.lock(stop.get_token()); });
  grant_unheard();
  stop.request_stop();
  EXPECT_FALSE(waiter.get());
  EXPECT_FALSE(lock.owns_lock());
}
#endif

TEST_F(UnheardGrant, IsGivenBackWhenTheServerIsFull) {
  Lock lock{proxy.uri("command_timeout=1500"), name, leased_for(redis_lock::no_expiry)};
  lock.lock();
  release(lock);
  proxy.inject("SET", Fault::lose_reply_and_stall);
  auto acquirer = std::async(std::launch::async, [&] {
    return message_of<Error>([&] { return lock.try_lock_for(soon); });
  });
  ASSERT_TRUE(eventually([this] { return redis.exists(key); }));
  redis.command("CONFIG", "SET", "maxmemory", "1");
  EXPECT_THAT(acquirer.get(), HasSubstr("OOM"));
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_FALSE(redis.exists(key));
  redis.command("CONFIG", "SET", "maxmemory", "0");
}

/// A grant that comes late in a short lease is confirmed by an extend.
class DoubtInConfirmation : public Doubt, public ::testing::WithParamInterface<Fault> {};
INSTANTIATE_TEST_SUITE_P(, DoubtInConfirmation, any_fault,
                         [](const auto& test) { return name_of(test.param); });

TEST_P(DoubtInConfirmation, IsResolved) {
  load_scripts();
  held_by_somebody();
  Lock lock{client, name, leased_for(1800ms)};
  auto waiter = std::async(std::launch::async, [&] { return lock.try_lock_for(soon); });
  ASSERT_TRUE(are_waiting(1));
  proxy.inject("EVALSHA", GetParam());
  std::this_thread::sleep_for(700ms);  // more than a third of the lease
  released_by_somebody();
  ASSERT_TRUE(waiter.get());
  expect_owned(lock);
  release(lock);
}

using DoubtInScript = DoubtOf;
INSTANTIATE_TEST_SUITE_P(, DoubtInScript, Combine(Values("EVALSHA"s, "EVAL"s), any_fault),
                         name_of_case);

/// EVAL comes after an EVALSHA of a script that the server does not know.
TEST_P(DoubtInScript, OfReleaseIsSuccess) {
  load_scripts();
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  if (command == "EVAL") redis.command("SCRIPT", "FLUSH");
  redis.command("DEL", signal);
  proxy.inject(command, fault);
  release(lock);
  EXPECT_EQ(redis.integer("LLEN", signal), 1) << "and it woke the next";
}

TEST_P(DoubtInScript, OfReleaseNeverFreesTheNextHolder) {
  load_scripts();
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  Lock next{server.uri(), name, leased_for(60s)};
  auto waiter = std::async(std::launch::async, [&] { return next.try_lock_for(soon); });
  ASSERT_TRUE(are_waiting(1));
  if (command == "EVAL") redis.command("SCRIPT", "FLUSH");
  proxy.inject(command, fault);
  std::error_code error;
  lock.unlock(error);
  EXPECT_FALSE(error) << error.message();
  ASSERT_TRUE(waiter.get());
  expect_owned(next);
  release(next);
}

TEST_P(DoubtInScript, OfExtendIsResolved) {
  load_scripts();
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  if (command == "EVAL") redis.command("SCRIPT", "FLUSH");
  proxy.inject(command, fault);
  const auto before = steady_clock::now();
  lock.extend(600s);
  EXPECT_GE(lock.expires_at(), before + 600s);
  EXPECT_GT(redis.integer("PTTL", key), 500'000);
  expect_owned(lock);
  release(lock);
}

TEST_P(DoubtInScript, OfRenewalLosesNothing) {
  load_scripts();
  Complaints losses;
  Options options;
  options.expire = 1500ms;
  options.on_lost = losses.on_lost();
  Lock lock{proxy.uri("command_timeout=150"), name, options};
  lock.lock();
  if (command == "EVAL") redis.command("SCRIPT", "FLUSH");
  const auto first_end = lock.expires_at();
  proxy.inject(command, fault);
  ASSERT_TRUE(eventually([&] { return lock.expires_at() > first_end + 600ms; }));
  expect_owned(lock);
  EXPECT_EQ(losses.count(), 0U);
  release(lock);
}

using DroppedConnections = Doubt;

TEST_F(DroppedConnections, LoseNoWaiter) {
  held_by_somebody();
  Lock lock{client, name, leased_for(60s)};
  auto waiter = std::async(std::launch::async, [&] { return lock.try_lock_for(soon); });
  for (int drop = 1; drop <= 3; ++drop) {
    ASSERT_TRUE(are_waiting(1));
    proxy.drop_connections();
    ASSERT_TRUE(eventually([&] { return proxy.accepted() > drop; }));
  }
  ASSERT_TRUE(are_waiting(1));
  released_by_somebody();
  ASSERT_TRUE(waiter.get());
  expect_owned(lock);
  release(lock);
}

TEST_F(DroppedConnections, AreReplacedOnceTheServerIsBack) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  proxy.refuse_connections();
  proxy.drop_connections();
  auto released = std::async(std::launch::async, [&] {
    std::error_code error;
    lock.unlock(error);
    return error;
  });
  ASSERT_TRUE(eventually([this] { return proxy.accepted() >= 5; })) << "it goes on trying";
  proxy.refuse_connections(false);
  EXPECT_FALSE(released.get());
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(DroppedConnections, AreGivenUpOnAfterRetryFor) {
  Lock lock{proxy.uri("retry_for=400"), name, leased_for(60s)};
  proxy.refuse_connections();
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::connection_failed);
  EXPECT_GE(watch.elapsed(), 400ms);
  EXPECT_LT(watch.elapsed(), 400ms + soon);
  EXPECT_FALSE(lock.owns_lock());
  proxy.refuse_connections(false);
}

TEST_F(DroppedConnections, EndATimedWaitAtItsDeadline) {
  held_by_somebody();
  Lock lock{client, name, leased_for(60s)};
  const Stopwatch watch;
  auto waiter = std::async(std::launch::async,
                           [&] { return error_of([&] { (void)lock.try_lock_for(1s); }); });
  ASSERT_TRUE(are_waiting(1));
  proxy.refuse_connections();
  proxy.drop_connections();
  EXPECT_EQ(waiter.get(), errc::connection_failed);
  EXPECT_GE(watch.elapsed(), 1s);
  EXPECT_LT(watch.elapsed(), 4s) << "not after retry_for";
  proxy.refuse_connections(false);
  released_by_somebody();
}

/// A server, or a proxy before it, that answers, but hangs up at one command each time.
class HangsUpAt : public OnOwnServer {
 protected:
  void hang_up_at(const std::string& command) { proxy.inject(command, Fault::lose_request, 2'000); }

  Proxy proxy{server.endpoint()};
};

TEST_F(HangsUpAt, EachWaitIsReconnectedToWithGrowingPauses) {
  held_by_somebody();
  hang_up_at("BLPOP");
  Lock lock{proxy.uri("retry_for=20s"), name, leased_for(60s)};
  EXPECT_FALSE(lock.try_lock()) << "the lock is held, and the server says so";
  const auto before = proxy.accepted();
  bool acquired = false;
  (void)error_of([&] { acquired = lock.try_lock_for(2s); });
  EXPECT_FALSE(acquired);
  const auto reconnected = proxy.accepted() - before;
  RecordProperty("reconnected_in_2_s", reconnected);
  EXPECT_GE(reconnected, 4) << "it goes on trying";
  EXPECT_LE(reconnected, 40) << "twice a second in the end";
}

TEST_F(HangsUpAt, EachWaitKeepsNoWaiterFromTheLock) {
  held_by_somebody();
  hang_up_at("BLPOP");
  Lock lock{proxy.uri("retry_for=200"), name, leased_for(60s)};
  auto waiter = std::async(std::launch::async, [&] { lock.lock(); });
  EXPECT_EQ(waiter.wait_for(1s), std::future_status::timeout) << "the lock is held, Redis is there";
  released_by_somebody();
  waiter.get();
  expect_owned(lock);
}

TEST_F(HangsUpAt, EachWaitForAWhileLosesNoWaiter) {
  held_by_somebody();
  hang_up_at("BLPOP");
  Lock lock{proxy.uri("retry_for=200"), name, leased_for(60s)};
  auto waiter = std::async(std::launch::async, [&] { lock.lock(); });
  ASSERT_TRUE(eventually([&] { return proxy.accepted() >= 5; }));
  proxy.withdraw_faults();
  ASSERT_TRUE(are_waiting(1));
  released_by_somebody();
  waiter.get();
  expect_owned(lock);
}

TEST_F(HangsUpAt, EachConfirmationIsAnErrorAfterRetryFor) {
  hang_up_at("WAIT");
  auto options = leased_for(60s);
  options.replicas.min_acks = 1;
  Lock lock{proxy.uri("retry_for=400"), name, options};
  const Stopwatch watch;
  auto attempt = std::async(std::launch::async, [&] { return error_of([&] { lock.lock(); }); });
  if (attempt.wait_for(soon) != std::future_status::ready) {
    ADD_FAILURE() << "it goes on for ever";
    proxy.withdraw_faults();
  }
  EXPECT_EQ(attempt.get(), errc::connection_failed);
  EXPECT_GE(watch.elapsed(), 400ms);
  EXPECT_LE(proxy.accepted(), 40);
  EXPECT_TRUE(eventually([&] { return !redis.exists(key); })) << "it was given back";
}

TEST_F(HangsUpAt, EachScriptFailsUnlockAfterRetryFor) {
  Lock lock{proxy.uri("retry_for=400"), name, leased_for(60s)};
  lock.lock();
  hang_up_at("EVAL");
  const Stopwatch watch;
  std::error_code error;
  auto release = std::async(std::launch::async, [&] { lock.unlock(error); });
  if (release.wait_for(soon) != std::future_status::ready) {
    ADD_FAILURE() << "it goes on for the whole lease";
    proxy.withdraw_faults();
  }
  release.get();
  EXPECT_EQ(error, errc::connection_failed);
  EXPECT_GE(watch.elapsed(), 400ms);
  EXPECT_LE(proxy.accepted(), 40);
}

using DoubtInGivingBack = Doubt;

/// A grant came too late, and so did the word that it was given back: Redis may still free that id at
/// any time, so that another grant under it would be none.
TEST_F(DoubtInGivingBack, IsResolvedUnderAFreshId) {
  load_scripts();
  Lock lock{client, name, leased_for(200ms)};
  lock.lock();
  release(lock);
  proxy.forget_commands();
  const auto before = proxy.seen("EVALSHA");
  proxy.delay_replies(250ms);
  proxy.inject("EVALSHA", Fault::lose_reply);
  std::thread acquires{[&] { lock.lock(); }};
  EXPECT_TRUE(eventually([&] { return proxy.seen("EVALSHA") > before; }));
  proxy.delay_replies(0ms);
  acquires.join();
  const auto first = proxy.commands().front();
  ASSERT_EQ(first.front(), "SET");
  EXPECT_NE(lock.id(), first.at(2));
  EXPECT_EQ(redis.string("GET", key), lock.id());
  release(lock);
}

}  // namespace
}  // namespace redis_lock_test
