// Redis Sentinel: servers and sentinels that fail, and what the latter say.

#include <future>
#include <memory>
#include <thread>

#include "failover.hpp"
#include "support/sentinel.hpp"

namespace redis_lock_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Values;

class OnSentinels : public ::testing::Test {
 protected:
  /// One fleet for all tests, which leave it as they found it.
  static SentinelFleet& fleet() {
    static SentinelFleet one{{"secret-of-servers", "secret-of-sentinels"}};
    return one;
  }

  void TearDown() override { fleet().restore(); }

  /// Some client sleeps in a BLPOP on the present master.
  [[nodiscard]] static bool somebody_waits() {
    return eventually([] { return fleet().redis().info("blocked_clients") > 0; });
  }

  static std::string key_of(const std::string& name) { return "lock:" + name; }
  static std::string signal_of(const std::string& name) { return "lock-signal:" + name; }

  const std::string name = unique_name();
  const std::string key = key_of(name);
  /// Longer than a failover takes.
  const std::string patient = "command_timeout=500&retry_for=20s";
};

TEST_F(OnSentinels, LocksAreTakenAndFreedOnTheMaster) {
  Lock lock{fleet().uri(), name}, other{fleet().uri(), name};
  lock.lock();
  EXPECT_EQ(fleet().redis().string("GET", key), lock.id());
  EXPECT_FALSE(other.try_lock());
  EXPECT_EQ(other.owner(), lock.id());
  lock.extend(60s);
  EXPECT_GT(fleet().redis().integer("PTTL", key), 50'000);
  lock.unlock();
  EXPECT_TRUE(other.try_lock());
  EXPECT_TRUE(other.reset());
  EXPECT_FALSE(fleet().redis().exists(key));
}

// ---------------------------------------------------------------------------------------------------
// Sentinels that fail, or have no good news.

TEST_F(OnSentinels, TimedWaitsEndAtTheirDeadline) {
  Lock holder{fleet().uri(), name}, waiter{fleet().uri(), name};
  holder.lock();
  EXPECT_LT(median_lateness(waiter), hardly_late);
}

class Sentinels : public OnSentinels {
 protected:
  void expect_works(const std::string& uri) {
    Lock lock{uri, name};
    const Stopwatch watch;
    EXPECT_TRUE(lock.try_lock());
    EXPECT_EQ(fleet().redis().string("GET", key), lock.id());
    RecordProperty("took_ms", static_cast<int>(watch.elapsed().count()));
  }

  /// The error of a lock() over a URI, and what it says.
  static void expect_fails(const std::string& uri, errc code,
                           const ::testing::Matcher<std::string>& description) {
    Lock lock{uri, "name"};
    try {
      lock.lock();
      ADD_FAILURE() << "it got the lock";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_THAT(error.what(), description);
      EXPECT_THAT(error.what(), Not(HasSubstr("secret")));
    }
  }
};

TEST_F(Sentinels, OneIsEnough) {
  fleet().sentinel(0).kill();
  fleet().sentinel(1).kill();
  expect_works(fleet().uri("retry_for=0"));
}

TEST_F(Sentinels, AFrozenOneIsPassedOver) {
  fleet().sentinel(0).freeze();
  expect_works(fleet().uri("command_timeout=300&retry_for=0"));
}

TEST_F(Sentinels, ThatDoNotAnswerAreNamed) {
  const auto first = fleet().sentinel(0).address();
  fleet().sentinel(0).kill();
  expect_fails(fleet().uri("retry_for=300", {0}), errc::connection_failed,
               AllOf(HasSubstr("sentinel"), HasSubstr(first)));
}

TEST_F(Sentinels, ThatAreFrozenAreNamed) {
  const auto first = fleet().sentinel(0).address();
  fleet().sentinel(0).freeze();
  const Stopwatch watch;
  expect_fails(fleet().uri("command_timeout=200&retry_for=300", {0}), errc::timed_out,
               AllOf(HasSubstr("sentinel"), HasSubstr(first)));
  EXPECT_LT(watch.elapsed(), soon);
}

TEST_F(Sentinels, RefuseAWrongPassword) {
  auto endpoint = redis_lock::Endpoint::parse(fleet().uri());
  endpoint.sentinel->password = "secret-but-wrong";
  Lock lock{Client{endpoint}, name};
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::authentication_failed);
  EXPECT_THAT(message_of([&] { return lock.try_lock(); }),
              AllOf(HasSubstr("sentinel"), HasSubstr("WRONGPASS"), Not(HasSubstr("secret"))));
  endpoint.sentinel->password.clear();
  EXPECT_EQ(error_of([&] { Lock{Client{endpoint}, name}.lock(); }), errc::authentication_failed);
}

TEST_F(Sentinels, AreNotBlamedForTheMastersPassword) {
  auto endpoint = redis_lock::Endpoint::parse(fleet().uri());
  endpoint.password = "secret-but-wrong";
  Lock lock{Client{endpoint}, name};
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::authentication_failed);
  EXPECT_THAT(message_of([&] { return lock.try_lock(); }),
              AllOf(HasSubstr("master " + fleet().master().address()), HasSubstr("WRONGPASS"),
                    Not(HasSubstr("secret"))));
}

TEST_F(Sentinels, ThatDoNotKnowTheMasterAreNamed) {
  auto endpoint = redis_lock::Endpoint::parse(fleet().uri());
  endpoint.sentinel->master_name = "nobody";
  Lock lock{Client{endpoint}, name};
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::server_error);
  EXPECT_LT(watch.elapsed(), endpoint.retry_for) << "to ask again does not help";
  EXPECT_THAT(message_of([&] { return lock.try_lock(); }),
              AllOf(HasSubstr("sentinel"), HasSubstr("\"nobody\"")));
}

/// A sentinel that has old news, or was cut off: it names this member as the master.
class StaleSentinel : public Sentinels {
 protected:
  static std::string bulk(const std::string& text) {
    return "$" + std::to_string(text.size()) + "\r\n" + text + "\r\n";
  }
  static FakeServer::Answer names(const Member& member) {
    const auto address = "*2\r\n" + bulk(member.host()) + bulk(std::to_string(member.port()));
    return FakeServer::each_command([address](const Command& command) {
      return std::optional{command.front() == "SENTINEL" ? address : std::string("+OK\r\n")};
    });
  }
  /// A URI with this sentinel before others.
  static std::string uri(const FakeServer& first, const std::string& others,
                         const std::string& parameters) {
    return "redis+sentinel://:" + fleet().passwords().servers +
           "@127.0.0.1:" + std::to_string(first.endpoint().port) + others +
           "/fleet?sentinel_password=" + fleet().passwords().sentinels + "&" + parameters;
  }
};

TEST_F(StaleSentinel, ThatNamesAReplicaIsNotBelieved) {
  auto& replica = fleet().member(fleet().replicas().front());
  const FakeServer fake{names(replica)};
  const Stopwatch watch;
  expect_fails(uri(fake, "", "retry_for=400"), errc::connection_failed,
               AllOf(HasSubstr("master " + replica.address()), HasSubstr("replica")));
  EXPECT_GE(watch.elapsed(), 390ms);
  EXPECT_LT(watch.elapsed(), soon);
}

TEST_F(StaleSentinel, DoesNotKeepOthersFromTellingTheMaster) {
  auto& replica = fleet().member(fleet().replicas().front());
  replica.break_replication();
  Lock holder{fleet().uri(), name};
  holder.lock();
  const FakeServer fake{names(replica)};
  Lock other{uri(fake, "," + fleet().sentinel(1).address(), "retry_for=10s"), name};
  EXPECT_EQ(other.owner(), holder.id()) << "the replica does not know of it";
}

// ---------------------------------------------------------------------------------------------------
// Failovers.

class MasterOfSentinels : public OnSentinels, public ::testing::WithParamInterface<Harm> {};
INSTANTIATE_TEST_SUITE_P(, MasterOfSentinels, Values(Harm::kill, Harm::freeze),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(MasterOfSentinels, CostsNobodyALockThatWasReplicated) {
  const auto uri = fleet().uri(patient);
  const auto held = unique_name("held"), waited = unique_name("waited"),
             released = unique_name("released"), deferred = unique_name("deferred"),
             idle = unique_name("idle");

  Holder holder{Client{uri}, held};
  fleet().redis().command("SET", key_of(waited), "somebody");
  Waiter waiter{Client{uri}, waited};
  Releaser releaser{Client{uri}, released};
  auto later = leased_for(60s);
  later.deferred_unlock = true;
  Releaser deferring{Client{uri}, deferred, later};
  Contest contest{uri, unique_name("contended")};
  const Client idle_client{uri};
  ASSERT_TRUE((Lock{idle_client, idle}.try_lock()));
  ASSERT_TRUE(somebody_waits());
  fleet().replicate();

  const auto switched = fleet().next_switch();
  const auto old = fleet().harm_master(GetParam());
  releaser.start();
  deferring.start();
  Lock taken{Client{uri}, name};
  EXPECT_TRUE(taken.try_lock()) << "a failover is not the end of an attempt";
  const auto at = switched->wait();
  ASSERT_NE(fleet().master_index(), old);
  auto& redis = fleet().redis();

  EXPECT_EQ(redis.string("GET", key), taken.id());
  EXPECT_TRUE(waiter.still_waits());
  release_by_hand(redis, key_of(waited), signal_of(waited), "somebody");
  waiter.expect_acquires();
  EXPECT_EQ(redis.string("GET", key_of(waited)), waiter.lock().id());

  releaser.expect_released();
  EXPECT_FALSE(redis.exists(key_of(released)));
  deferring.expect_released();
  EXPECT_TRUE(eventually([&] { return !redis.exists(key_of(deferred)); }));
  EXPECT_EQ(deferring.complaints(), "");

  contest.expect_both_go_on();

  const auto id = holder.lock().id();
  holder.expect_renewed_after(at);
  EXPECT_EQ(redis.string("GET", key_of(held)), id);

  // The old master comes back, and is a replica: also for who has not used the library meanwhile.
  fleet().restore();
  ASSERT_NE(fleet().master_index(), old);
  Lock follows{idle_client, idle + "-2"};
  EXPECT_TRUE(follows.try_lock());
  EXPECT_EQ(fleet().redis().string("GET", key_of(idle + "-2")), follows.id());
  contest.expect_both_go_on();
  holder.expect_releases();
}

TEST_P(MasterOfSentinels, ThatFailsBeforeReplicatingCostsTheLock) {
  const Client client{fleet().uri(patient)};
  for (const auto replica : fleet().replicas()) fleet().member(replica).break_replication();
  Holder holder{client, name, 3s};
  const auto switched = fleet().next_switch();
  fleet().harm_master(GetParam());
  static_cast<void>(switched->wait());
  EXPECT_TRUE(eventually([&] { return holder.losses().count() > 0; }));
  EXPECT_EQ(holder.losses().codes(), std::vector{make_error_code(errc::lease_lost)});
  EXPECT_FALSE(holder.lock().owns_lock());
  Lock next{client, name};
  EXPECT_TRUE(next.try_lock());
  std::error_code error;
  holder.lock().unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_EQ(fleet().redis().string("GET", key), next.id());
}

using MasterDemotedBySentinels = OnSentinels;

TEST_F(MasterDemotedBySentinels, SendsItsWaitersAndHoldersToItsSuccessor) {
  const auto uri = fleet().uri(patient);
  const auto waited = unique_name("waited");
  Holder holder{Client{uri}, name};
  fleet().redis().command("SET", key_of(waited), "somebody");
  Waiter waiter{Client{uri}, waited};
  ASSERT_TRUE(somebody_waits());
  fleet().replicate();
  const auto old = fleet().master_index();
  const auto switched = fleet().next_switch();
  fleet().fail_over();
  const auto at = switched->wait();
  // What the sentinels do a while later. It ends each BLPOP there with -UNBLOCKED.
  auto& successor = fleet().master();
  fleet().member(old).redis().command("REPLICAOF", successor.host(), successor.port());
  EXPECT_TRUE(waiter.still_waits());
  release_by_hand(fleet().redis(), key_of(waited), signal_of(waited), "somebody");
  waiter.expect_acquires();
  EXPECT_EQ(fleet().redis().string("GET", key_of(waited)), waiter.lock().id());
  holder.expect_renewed_after(at);
  EXPECT_EQ(fleet().redis().string("GET", key), holder.lock().id());
  holder.expect_releases();
}

}  // namespace
}  // namespace redis_lock_test
