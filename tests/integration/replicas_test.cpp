// Options::replicas, against a real master with real replicas.

#include "integration.hpp"

#include <atomic>
#include <future>
#include <memory>
#include <thread>

namespace redis_lock_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class Replicated : public ::testing::Test {
 protected:
  /// Returns when they have all that the master has.
  void start_replicas(int count) {
    const auto port = std::to_string(master.endpoint().port);
    for (int i = 0; i < count; ++i) {
      replicas.push_back(std::make_unique<RedisServer>(
          Transport::unix_socket, std::vector<std::string>{"--replicaof", "127.0.0.1", port}));
    }
    ASSERT_TRUE(eventually([&] {
      redis.command("SET", "anything", "written");
      return redis.integer("WAIT", count, 100) == count;
    }));
    redis.reset_stats();
  }

  [[nodiscard]] Redis replica(std::size_t index) const {
    return Redis{replicas.at(index)->endpoint()};
  }

  [[nodiscard]] static Options acked_by(unsigned least, milliseconds timeout = soon) {
    auto options = Options::without_renewal();
    options.replicas = {least, timeout};
    return options;
  }

  /// Whether somebody sleeps in WAIT.
  [[nodiscard]] bool somebody_waits() {
    return eventually([&] { return redis.info("blocked_clients") == 1; });
  }

  /// Nothing is left, and the next one need not wait.
  void expect_free() {
    EXPECT_FALSE(redis.exists("lock:x"));
    Lock next{client, "x"};
    EXPECT_TRUE(next.try_lock());
  }

  const RedisServer master{Transport::tcp, {"--repl-diskless-sync-delay", "0"}};
  std::vector<std::unique_ptr<RedisServer>> replicas;
  Redis redis{master.endpoint()};
  const Client client{master.endpoint()};
};

TEST_F(Replicated, LockReturnsWhenTheReplicasHaveIt) {
  start_replicas(2);
  replicas[1]->pause();
  Lock lock{client, "x", acked_by(2)};
  auto locked = std::async(std::launch::async, [&] { lock.lock(); });
  ASSERT_TRUE(somebody_waits());
  EXPECT_EQ(locked.wait_for(0ms), std::future_status::timeout);
  replicas[1]->resume();
  locked.get();
  EXPECT_TRUE(lock.owns_lock());
  for (std::size_t i = 0; i < replicas.size(); ++i) {
    EXPECT_EQ(replica(i).string("GET", "lock:x"), lock.id());
  }
}

TEST_F(Replicated, AnUnneededReplicaIsNotWaitedFor) {
  start_replicas(2);
  replicas[1]->pause();
  Lock lock{client, "x", acked_by(1)};
  EXPECT_TRUE(lock.try_lock());
  EXPECT_EQ(replica(0).string("GET", "lock:x"), lock.id());
}

TEST_F(Replicated, FailoverToAnAcknowledgingReplicaKeepsTheLock) {
  start_replicas(1);
  Lock lock{client, "x", acked_by(1)};
  lock.lock();
  replica(0).command("REPLICAOF", "NO", "ONE");
  Lock other{replicas[0]->uri(), "x"};
  EXPECT_FALSE(other.try_lock());
  EXPECT_EQ(other.owner(), lock.id());
}

TEST_F(Replicated, AFrozenReplicaFailsAndFreesTheLock) {
  start_replicas(2);
  replicas[1]->pause();
  Lock lock{client, "x", acked_by(2, 500ms)};
  const Stopwatch waited;
  const auto what = message_of<Error>([&] {
    lock.lock();
    return 0;
  });
  EXPECT_GE(waited.elapsed(), 500ms);
  EXPECT_THAT(what, AllOf(HasSubstr("lock of \"x\": 1 of 2 replicas"), HasSubstr("500 ms")));
  EXPECT_FALSE(lock.owns_lock());
  expect_free();
}

TEST_F(Replicated, TooFewAreTheSameErrorEverywhere) {
  Lock lock{client, "x", acked_by(1, 20ms)};  // there is no replica at all
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::too_few_replicas);
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::too_few_replicas);
  EXPECT_EQ(error_of([&] { return lock.try_lock_for(1ms); }), errc::too_few_replicas);
  std::error_code code;
  lock.lock(code);
  EXPECT_EQ(code, errc::too_few_replicas);
  EXPECT_FALSE(lock.try_lock(code));
  EXPECT_EQ(code, errc::too_few_replicas);
  bool created = false;
  redis_lock::Cache cache{client};
  const auto create = [&] {
    created = true;
    return "value";
  };
  EXPECT_EQ(error_of([&] { cache.get_or_create("x", 60s, create, acked_by(1, 20ms)); }),
            errc::too_few_replicas);
  EXPECT_FALSE(created);
  EXPECT_FALSE(redis.exists("lock:cache:x"));
  expect_free();
}

TEST_F(Replicated, ABorrowedContextStaysUsable) {
  const auto context = connect_hiredis(master.endpoint());
  Lock impatient{context.get(), "x", acked_by(1, 20ms)};
  EXPECT_EQ(error_of([&] { impatient.lock(); }), errc::too_few_replicas);
  EXPECT_FALSE(redis.exists("lock:x"));
  start_replicas(1);
  Lock lock{context.get(), "x", acked_by(1)};
  lock.lock();
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(Replicated, ALockThatIsBusyWaitsForNone) {
  Lock holder{client, "x"};
  holder.lock();
  Lock lock{client, "x", acked_by(1, 20ms)};
  EXPECT_FALSE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock_for(20ms));
  EXPECT_EQ(redis.calls_of("wait"), 0);
}

TEST_F(Replicated, WithoutTheOptionNothingMoreIsSent) {
  Lock lock{client, "x"};
  lock.lock();
  lock.unlock();
  EXPECT_EQ(redis.calls_of("wait"), 0);
}

TEST_F(Replicated, AWokenWaiterWaitsForReplicasToo) {
  start_replicas(1);
  Lock holder{client, "x"};
  holder.lock();
  Lock lock{client, "x", acked_by(1)};
  auto locked = std::async(std::launch::async, [&] { lock.lock(); });
  ASSERT_TRUE(somebody_waits());
  replicas[0]->pause();
  const auto id = holder.id();
  holder.unlock();
  EXPECT_TRUE(eventually([&] {
    const auto owner = redis.string("GET", "lock:x");
    return owner && owner != id;
  }));
  EXPECT_EQ(locked.wait_for(50ms), std::future_status::timeout);
  replicas[0]->resume();
  locked.get();
  EXPECT_EQ(replica(0).string("GET", "lock:x"), lock.id());
}

TEST_F(Replicated, FencingTokensAreNotReusedAfterAFailure) {
  auto options = acked_by(1, 20ms);
  options.fencing = true;
  Lock impatient{client, "x", options};
  EXPECT_EQ(error_of([&] { impatient.lock(); }), errc::too_few_replicas);
  start_replicas(1);
  options.replicas.timeout = soon;
  Lock lock{client, "x", options};
  lock.lock();
  EXPECT_EQ(lock.fencing_token(), 2U);
  EXPECT_EQ(replica(0).string("GET", "lock-fence:x"), "2");
}

TEST_F(Replicated, RenewalsAndReleasesWaitForNone) {
  start_replicas(1);
  auto options = acked_by(1);
  options.auto_renewal = true;
  options.expire = 3s;
  Lock lock{client, "x", options};
  lock.lock();
  replicas[0]->pause();
  const auto first = lock.expires_at();
  EXPECT_TRUE(eventually([&] { return lock.expires_at() > first; }));
  EXPECT_TRUE(lock.owns_lock());
  lock.extend();
  lock.unlock();
  EXPECT_EQ(redis.calls_of("wait"), 1);
  expect_free();
}

TEST_F(Replicated, LocalHandoffsWaitForNoReplica) {
  start_replicas(1);
  auto options = acked_by(1);
  options.auto_renewal = true;
  options.local_handoffs = 1000;
  Lock lock{client, "x", options};
  lock.lock();
  std::atomic<bool> arrived{false};
  std::thread next{[&] {
    arrived = true;
    const std::lock_guard guard{lock};
  }};
  EXPECT_TRUE(eventually([&] { return arrived.load(); }));
  std::this_thread::sleep_for(50ms);  // for it to queue
  replicas[0]->pause();
  lock.unlock();
  next.join();
  EXPECT_EQ(redis.calls_of("wait"), 1);
}

TEST_F(Replicated, AnUnknownWaitFailsAndFreesTheLock) {
  const RedisServer old{Transport::unix_socket, {"--rename-command", "WAIT", ""}};
  Lock lock{old.uri(), "x", acked_by(1)};
  const auto what = message_of<Error>([&] { return lock.try_lock(); });
  EXPECT_THAT(what, AllOf(HasSubstr("unknown command"), HasSubstr("WAIT")));
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::server_error);
  EXPECT_FALSE(Redis{old.endpoint()}.exists("lock:x"));
}

/// The connection fails on which SET was sent, and then the one on which WAIT was.
class ReplicatedDoubt : public Replicated {
 protected:
  void break_both(Fault fault) {
    proxy.inject("SET", Fault::lose_reply);
    proxy.inject("WAIT", fault);
  }
  [[nodiscard]] std::vector<std::string> names_sent() const {
    std::vector<std::string> names;
    for (const auto& command : proxy.commands()) names.push_back(command.front());
    return names;
  }

  Proxy proxy{master.endpoint()};
  const Client through_proxy{proxy.endpoint()};
};

TEST_F(ReplicatedDoubt, IsResolvedByANewWriteBeforeWait) {
  start_replicas(1);
  for (const auto expire : {milliseconds{60s}, redis_lock::no_expiry}) {
    for (const auto fault : {Fault::lose_request, Fault::lose_reply, Fault::cut_reply}) {
      auto options = acked_by(1);
      options.expire = expire;
      Lock lock{through_proxy, "x", options};
      break_both(fault);
      ASSERT_TRUE(lock.try_lock());
      EXPECT_EQ(proxy.faults_left(), 0U);
      EXPECT_EQ(replica(0).string("GET", "lock:x"), lock.id());
      EXPECT_EQ(redis.integer("PTTL", "lock:x") < 0, expire == redis_lock::no_expiry);
      auto names = names_sent();
      EXPECT_EQ(names.back(), "WAIT");
      names.pop_back();
      EXPECT_THAT(names.back(), StartsWith("EVAL")) << "a write before WAIT";
      lock.unlock();
      EXPECT_FALSE(redis.exists("lock:x"));
    }
  }
}

TEST_F(ReplicatedDoubt, FailsWhenTheReplicaLacksTheLock) {
  start_replicas(1);
  replicas[0]->pause();
  Lock lock{through_proxy, "x", acked_by(1, 100ms)};
  for (const auto fault :
       {Fault::lose_request, Fault::lose_reply, Fault::cut_reply, Fault::lose_reply_and_stall}) {
    break_both(fault);
    EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::too_few_replicas);
    EXPECT_EQ(proxy.faults_left(), 0U);
    expect_free();
  }
}

}  // namespace
}  // namespace redis_lock_test
