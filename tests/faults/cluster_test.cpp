// Redis Cluster: keys in slots, slots that move, masters that fail.

#include <array>
#include <future>
#include <memory>
#include <thread>

#include <redis_lock/detail/protocol/slot_map.hpp>

#include "failover.hpp"
#include "support/cluster.hpp"
#include "support/fake_server.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::Cache;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Values;

class OnCluster : public ::testing::Test {
 protected:
  /// One cluster for all tests, which leave it as they found it.
  static ClusterFleet& fleet() {
    static ClusterFleet one{"secret"};
    return one;
  }

  void TearDown() override { fleet().restore(); }

  static std::string key_of(const std::string& name) { return "lock:{" + name + "}"; }
  static std::string signal_of(const std::string& name) { return "lock-signal:{" + name + "}"; }

  /// The test's own look at a key.
  [[nodiscard]] static std::optional<std::string> value_of(const std::string& key) {
    return fleet().redis(key).string("GET", key);
  }

  /// A new name whose lock is on this master.
  [[nodiscard]] static std::string name_at(Index master) {
    return fleet().name_at(master, unique_name() + "-");
  }
  /// One for each master.
  [[nodiscard]] static std::vector<std::string> names_everywhere() {
    std::vector<std::string> names;
    for (const auto master : fleet().masters()) names.push_back(name_at(master));
    return names;
  }

  /// Somebody else takes the lock, and never comes back.
  static void held_by_somebody(const std::string& name) {
    ASSERT_EQ(fleet().redis(key_of(name)).string("SET", key_of(name), "somebody", "NX"), "OK");
  }
  static void released_by_somebody(const std::string& name) {
    release_by_hand(fleet().redis(key_of(name)), key_of(name), signal_of(name), "somebody");
  }

  /// Some client sleeps in a BLPOP on this member.
  [[nodiscard]] static bool somebody_waits_at(Index member) {
    return eventually([=] { return fleet().member(member).redis().info("blocked_clients") > 0; });
  }

  const std::string name = unique_name();
  const std::string key = key_of(name);
  const std::string uri = fleet().uri("command_timeout=500&retry_for=20s");
  const Client client{uri};
};

// ---------------------------------------------------------------------------------------------------
// Keys.

TEST_F(OnCluster, KeysGetTheNameAsHashTag) {
  auto options = leased_for(60s);
  options.fencing = true;
  Lock lock{client, name, options};
  lock.lock();
  EXPECT_EQ(value_of("lock:{" + name + "}"), lock.id());
  EXPECT_EQ(value_of("lock-fence:{" + name + "}"), std::to_string(lock.fencing_token()));
  EXPECT_EQ(lock.owner(), lock.id());
  lock.unlock();
  const auto signal = "lock-signal:{" + name + "}";
  EXPECT_TRUE(fleet().redis(signal).exists(signal));
}

TEST_F(OnCluster, KeysKeepAHashTagInTheName) {
  const auto tagged = "order{" + name + "}items";
  Lock lock{client, tagged};
  lock.lock();
  EXPECT_EQ(value_of("lock:" + tagged), lock.id());
  EXPECT_EQ(fleet().slot_of("lock:" + tagged), fleet().slot_of(name));
  EXPECT_FALSE(fleet().redis(key_of(tagged)).exists(key_of(tagged)));
}

TEST_F(OnCluster, NamesInAllSlotsAreContendedForSafely) {
  const auto names = names_everywhere();
  constexpr int clients = 4, rounds = 15;
  std::vector<std::atomic<int>> inside(names.size()), total(names.size());
  std::atomic<int> overlaps{0};
  std::vector<std::future<void>> workers;
  for (int i = 0; i < clients; ++i) {
    workers.push_back(std::async(std::launch::async, [&, i] {
      const auto used = i % 2 == 0 ? client : Client{uri};
      std::vector<std::unique_ptr<Lock>> locks;
      for (const auto& one : names) locks.push_back(std::make_unique<Lock>(used, one));
      for (int round = 0; round < rounds; ++round) {
        for (std::size_t at = 0; at < names.size(); ++at) {
          const std::lock_guard guard{*locks[at]};
          if (++inside[at] != 1) ++overlaps;
          ++total[at];
          --inside[at];
        }
      }
    }));
  }
  for (auto& worker : workers) worker.get();
  EXPECT_EQ(overlaps, 0);
  for (const auto& count : total) EXPECT_EQ(count, clients * rounds);
}

TEST_F(OnCluster, TokensIncreaseOnEachMaster) {
  auto options = leased_for(60s);
  options.fencing = true;
  for (const auto& one : names_everywhere()) {
    Lock lock{client, one, options};
    for (std::uint64_t expected = 1; expected <= 3; ++expected) {
      const std::lock_guard guard{lock};
      EXPECT_EQ(lock.fencing_token(), expected);
      const auto data = "data:{" + one + "}";
      lock.guarded_set(data, std::to_string(expected));
      EXPECT_EQ(value_of(data), std::to_string(expected));
    }
  }
}

TEST_F(OnCluster, TimedWaitsEndAtTheirDeadline) {
  Lock holder{client, name}, waiter{client, name};
  holder.lock();
  EXPECT_LT(median_lateness(waiter), hardly_late);
}

TEST_F(OnCluster, ResetAllFreesTheLocksOfAllMasters) {
  auto options = leased_for(60s);
  options.key_prefix = name + ":lock:";
  options.signal_prefix = name + ":signal:";
  std::vector<std::unique_ptr<Lock>> locks;
  for (const auto& one : names_everywhere()) {
    for (const auto& another : {one, one + "-2"}) {
      locks.push_back(std::make_unique<Lock>(client, another, options));
      locks.back()->lock();
    }
  }
  EXPECT_EQ(reset_all(Client{uri}, options.key_prefix, options.signal_prefix), locks.size());
  for (const auto& lock : locks) EXPECT_EQ(lock->owner(), std::nullopt) << lock->name();
  EXPECT_EQ(reset_all(client, options.key_prefix, options.signal_prefix), 0U);
}

/// Prefixes of their own for one test.
class ListingOfACluster : public OnCluster {
 protected:
  ListingOfACluster() {
    options.key_prefix = name + ":lock:";
    options.signal_prefix = name + ":signal:";
  }

  [[nodiscard]] std::vector<std::string> listed(const Client& by) const {
    std::vector<std::string> names;
    for (const auto& lock : redis_lock::held_locks(by, options.key_prefix))
      names.push_back(lock.name);
    return names;
  }
  [[nodiscard]] std::size_t reset_all(const Client& by) const {
    return redis_lock::reset_all(by, options.key_prefix, options.signal_prefix);
  }

  /// How often the masters have read from their connections.
  [[nodiscard]] static long long reads() {
    long long all = 0;
    for (const auto master : fleet().masters())
      all += fleet().member(master).redis().info("total_reads_processed");
    return all;
  }

  Options options = leased_for(60s);
  std::vector<std::unique_ptr<Lock>> locks;
  void hold(const std::string& one) {
    locks.push_back(std::make_unique<Lock>(client, one, options));
    locks.back()->lock();
  }
};

TEST_F(ListingOfACluster, HasTheNamesThatWereGiven) {
  const std::vector<std::string> names{"plain", "a}b", "{}", "{}c", "x{y", "{tag}more", "{t}{u}"};
  for (const auto& one : names) hold(one);
  EXPECT_THAT(listed(client), ::testing::UnorderedElementsAreArray(names));
  for (const auto& one : names)
    EXPECT_TRUE(redis_lock::held_lock(client, one, options.key_prefix)) << one;
}

TEST_F(ListingOfACluster, HasNoKeysWithoutAHashTag) {
  const auto foreign = options.key_prefix + "foo";
  ASSERT_EQ(fleet().redis(foreign).string("SET", foreign, "x"), "OK");
  hold("foo");
  EXPECT_THAT(listed(client), ElementsAre("foo"));
  EXPECT_EQ(reset_all(client), 1U);
  EXPECT_EQ(value_of(foreign), "x");
}

TEST_F(ListingOfACluster, TakesManyLocksAtARoundTrip) {
  constexpr std::size_t count = 600;
  for (std::size_t i = 0; i < count; ++i) hold(std::to_string(i));
  constexpr auto most = 100;  // instead of two for each lock
  const auto at_first = reads();
  EXPECT_EQ(listed(client).size(), count);
  const auto when_listed = reads();
  EXPECT_LT(when_listed - at_first, most);
  EXPECT_EQ(reset_all(client), count);
  EXPECT_LT(reads() - when_listed, most);
  EXPECT_THAT(listed(client), ::testing::IsEmpty());
}

TEST_F(OnCluster, CachesHaveTheirValuesOnAllMasters) {
  Cache cache{client};
  for (const auto& one : names_everywhere()) {
    std::atomic<int> made{0};
    const auto get = [&] {
      return cache.get_or_create(one, 60s, [&] { return std::to_string(++made); });
    };
    auto other = std::async(std::launch::async, get);
    EXPECT_EQ(get(), "1");
    EXPECT_EQ(other.get(), "1");
    EXPECT_EQ(value_of("cache:" + one), "1");
    EXPECT_TRUE(cache.erase(one));
    EXPECT_EQ(cache.get(one), std::nullopt);
  }
}

TEST_F(OnCluster, CacheStoresAValueWithoutItsLocksSlot) {
  Cache cache{client};
  const auto odd = unique_name() + "}x";  // its lock is in another slot: lock:{cache:<odd>}
  EXPECT_EQ(cache.get_or_create(odd, 60s, [] { return std::string("made"); }), "made");
  EXPECT_EQ(value_of("cache:" + odd), "made");
  EXPECT_TRUE(cache.erase(odd));
}

TEST_F(OnCluster, CallOnceHasItsMarkersOnAllMasters) {
  auto names = names_everywhere();
  names.push_back("a{" + unique_name() + '}');
  for (const auto& one : names) {
    EXPECT_TRUE(redis_lock::call_once(client, one, 60s, [] {}));
    EXPECT_FALSE(redis_lock::call_once(client, one, 60s, [] {}));
    EXPECT_TRUE(value_of("once:" + one));
    EXPECT_TRUE((Cache{client, "once:"}.erase(one)));
  }
}

// ---------------------------------------------------------------------------------------------------
// The way there.

using WayToCluster = OnCluster;

TEST_F(WayToCluster, IsFoundFromAnyMemberThatAnswers) {
  fleet().member(4).freeze();
  for (const auto& seeds : {std::vector<Index>{5}, {4, 3}}) {
    const Client other{fleet().uri("command_timeout=300&retry_for=0", seeds)};
    for (const auto& one : names_everywhere()) {
      Lock lock{other, one};
      ASSERT_TRUE(lock.try_lock());
      EXPECT_EQ(value_of(key_of(one)), lock.id());
    }
  }
}

TEST_F(WayToCluster, ThatStartsAtADeadServerNamesIt) {
  std::string dead = "127.0.0.1:" + std::to_string(free_port());
  const auto message = message_of<Error>([&] {
    Lock lock{"redis+cluster://" + dead + "?retry_for=300", name};
    return lock.try_lock();
  });
  EXPECT_THAT(message, AllOf(HasSubstr("server " + dead), HasSubstr("no connection")));
}

TEST_F(WayToCluster, ThatStartsAtAStandaloneServerNamesIt) {
  const RedisServer server{Transport::tcp};
  const auto address = "127.0.0.1:" + std::to_string(server.endpoint().port);
  Lock lock{"redis+cluster://" + address, name};
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::server_error);
  EXPECT_LT(watch.elapsed(), 5s) << "to ask again does not help";
  EXPECT_THAT(message_of([&] { return lock.try_lock(); }),
              AllOf(HasSubstr("server " + address), HasSubstr("cluster support disabled")));
}

TEST_F(WayToCluster, IsNotFoundThroughAPlainRedisUri) {
  const auto master = fleet().masters().front();
  auto foreign = unique_name();
  while (fleet().owner_of("lock:" + foreign) == master) foreign = unique_name();
  Lock lock{"redis://:secret@" + fleet().member(master).address(), foreign};
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::server_error);
  EXPECT_LT(watch.elapsed(), 5s) << "to ask again does not help";
  EXPECT_THAT(message_of([&] { return lock.try_lock(); }), HasSubstr("MOVED"));
}

// ---------------------------------------------------------------------------------------------------
// A slot that moves, while its locks are in use.

class MovingSlot : public OnCluster {
 protected:
  void SetUp() override {
    source = fleet().owner_of(key);
    target = fleet().another_master(source);
  }
  void TearDown() override {
    if (migration) migration->finish();
    OnCluster::TearDown();
  }

  [[nodiscard]] int slot() const { return fleet().slot_of(key); }
  void begin() {
    migration.emplace(fleet(), slot(), target);
    fleet().member(target).redis().command("SCRIPT", "FLUSH");  // as if nobody had used it yet
  }
  void finish() {
    migration->finish();
    migration.reset();
    ASSERT_EQ(fleet().owner_of(key), target);
  }
  void migrate() {
    begin();
    finish();
  }

  [[nodiscard]] std::optional<std::string> at_source() {
    return fleet().member(source).redis().string("GET", key);
  }
  /// Also while the slot does not belong to the target yet.
  [[nodiscard]] std::optional<std::string> at_target() {
    auto& redis = fleet().member(target).redis();
    redis.command("ASKING");
    return redis.string("GET", key);
  }
  void held_at_target_by_somebody() {
    auto& redis = fleet().member(target).redis();
    redis.command("ASKING");
    ASSERT_EQ(redis.string("SET", key, "somebody", "NX"), "OK");
  }

  Index source = 0, target = 0;
  std::optional<ClusterFleet::Migration> migration;
};

TEST_F(MovingSlot, TakesItsHolderAlong) {
  Holder holder{client, name, 1500ms};
  const auto id = holder.lock().id();
  migrate();
  holder.expect_renewed_after(std::chrono::steady_clock::now());
  EXPECT_EQ(at_target(), id);
  EXPECT_EQ(holder.lock().owner(), id);
  holder.lock().extend();
  holder.expect_releases();
  EXPECT_FALSE(fleet().redis(key).exists(key));
}

/// How members name each other to clients: Redis 7.0 and later.
class UnnamedMembers : public MovingSlot, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    MovingSlot::SetUp();
    name_members_by(GetParam());
  }
  void TearDown() override {
    name_members_by("ip");
    MovingSlot::TearDown();
  }

 private:
  static void name_members_by(const char* type) {
    for (Index i = 0; i < fleet().size(); ++i) {
      fleet().member(i).redis().command("CONFIG", "SET", "cluster-preferred-endpoint-type", type);
    }
  }
};
INSTANTIATE_TEST_SUITE_P(, UnnamedMembers, Values("unknown-endpoint", "hostname"),
                         [](const auto& test) {
                           return test.param[0] == 'u' ? "ByNothing" : "ByMissingHostNames";
                         });

TEST_P(UnnamedMembers, AreFoundByAHolderWhoseSlotMoves) {
  Holder holder{Client{fleet().uri("command_timeout=500&retry_for=20s", {source})}, name, 1500ms};
  begin();
  holder.expect_renewed_after(std::chrono::steady_clock::now());
  migration->move_key(key);
  holder.expect_renewed_after(std::chrono::steady_clock::now());
  finish();
  holder.expect_renewed_after(std::chrono::steady_clock::now());
  EXPECT_EQ(at_target(), holder.lock().id());
  holder.expect_releases();
}

TEST_F(MovingSlot, TakesItsWaiterAlong) {
  held_by_somebody(name);
  Waiter waiter{client, name};
  ASSERT_TRUE(somebody_waits_at(source));
  migrate();
  ASSERT_TRUE(somebody_waits_at(target));
  released_by_somebody(name);
  waiter.expect_acquires();
  EXPECT_EQ(at_target(), waiter.lock().id());
}

TEST_F(MovingSlot, IsFollowedByAReleaseThatComesLater) {
  Releaser releaser{client, name};
  migrate();
  releaser.start();
  releaser.expect_released();
  EXPECT_FALSE(fleet().redis(key).exists(key));
}

TEST_F(MovingSlot, IsFollowedByADeferredRelease) {
  auto options = leased_for(60s);
  options.deferred_unlock = true;
  Releaser releaser{client, name, options};
  migrate();
  releaser.start();
  releaser.expect_released();
  EXPECT_TRUE(eventually([&] { return !fleet().redis(key).exists(key); }));
  EXPECT_EQ(releaser.complaints(), "");
}

TEST_F(MovingSlot, IsFollowedByGuardedWritesAndTokens) {
  auto options = leased_for(60s);
  options.fencing = true;
  Lock lock{client, name, options};
  lock.lock();
  migrate();
  const auto data = "data:{" + name + "}";
  lock.guarded_eval("redis.call('INCR', KEYS[1])", {data});
  EXPECT_EQ(value_of(data), "1");
  lock.unlock();
  ASSERT_TRUE(lock.try_lock());
  EXPECT_EQ(lock.fencing_token(), 2U);
}

TEST_F(MovingSlot, AgainAndAgainBreaksNoExclusion) {
  Contest contest{uri, name};
  for (int round = 0; round < 6; ++round) {
    migrate();
    std::swap(source, target);
    contest.expect_both_go_on();
    if (HasFailure()) break;
  }
}

// Half-migrated: a key that is still there is at the source, any other at the target.

TEST_F(MovingSlot, HalfMovedProtectsALockAtTheSource) {
  Holder holder{client, name, 1500ms};
  begin();
  Lock other{Client{uri}, name, leased_for(60s)};
  EXPECT_FALSE(other.try_lock());
  EXPECT_FALSE(other.try_lock_for(300ms));
  EXPECT_EQ(at_target(), std::nullopt);
  EXPECT_EQ(at_source(), holder.lock().id());
  EXPECT_EQ(other.owner(), holder.lock().id());
  holder.expect_renewed_after(std::chrono::steady_clock::now());
  finish();
  EXPECT_FALSE(other.try_lock());
  holder.expect_releases();
  EXPECT_TRUE(other.try_lock());
}

TEST_F(MovingSlot, HalfMovedProtectsALockAtTheTarget) {
  begin();
  Holder holder{client, name, 1500ms};  // there was none yet, so it is a new key
  EXPECT_EQ(at_target(), holder.lock().id());
  Lock other{Client{uri}, name, leased_for(60s)};
  EXPECT_FALSE(other.try_lock());
  EXPECT_FALSE(other.try_lock_for(300ms));
  EXPECT_EQ(other.owner(), holder.lock().id());
  EXPECT_EQ(holder.lock().guarded_eval("return 7").integer, 7);
  holder.expect_renewed_after(std::chrono::steady_clock::now());
  EXPECT_EQ(at_target(), holder.lock().id());
  finish();
  EXPECT_FALSE(other.try_lock());
  holder.expect_releases();
}

TEST_F(MovingSlot, HalfMovedIsListedAndReset) {
  const auto prefix = name + "-lock:", signals = name + "-signal:", second = "{" + name + "}-2";
  auto options = leased_for(60s);
  options.key_prefix = prefix;
  options.signal_prefix = signals;
  Lock at_the_source{client, name, options}, at_the_target{client, second, options};
  at_the_source.lock();
  begin();
  at_the_target.lock();
  std::vector<std::string> names;
  for (const auto& lock : redis_lock::held_locks(client, prefix)) names.push_back(lock.name);
  EXPECT_THAT(names, ::testing::UnorderedElementsAre(name, second));
  auto count = std::async(std::launch::async,
                          [&] { return redis_lock::reset_all(Client{uri}, prefix, signals); });
  EXPECT_EQ(count.wait_for(200ms), std::future_status::timeout)
      << "a lock and its signal are not together";
  finish();
  EXPECT_EQ(count.get(), 2U);
  EXPECT_FALSE(at_the_source.locked());
  EXPECT_FALSE(at_the_target.locked());
}

TEST_F(MovingSlot, WithItsLockLosesNeitherHolderNorWaiter) {
  Holder holder{client, name, 1500ms};
  Waiter waiter{Client{uri}, name};
  ASSERT_TRUE(somebody_waits_at(source));
  begin();
  migration->move_key(key);
  EXPECT_EQ(at_target(), holder.lock().id());
  holder.expect_renewed_after(std::chrono::steady_clock::now());
  EXPECT_TRUE(waiter.still_waits());
  finish();
  const auto released = std::async(std::launch::async, [&] { holder.expect_releases(); });
  waiter.expect_acquires();
}

TEST_F(MovingSlot, HalfMovedGrantsAWaiterAnExpiredLock) {
  auto& redis = fleet().redis(key);
  ASSERT_EQ(redis.string("SET", key, "somebody", "PX", 700), "OK");
  begin();
  Waiter waiter{client, name};
  waiter.expect_acquires();
  EXPECT_EQ(at_target(), waiter.lock().id());
  finish();
}

TEST_F(MovingSlot, HalfMovedOnlyDelaysARelease) {
  Releaser releaser{client, name};
  begin();
  releaser.start();  // its keys are in two places: the server says TRYAGAIN
  Lock other{Client{uri}, name, leased_for(60s)};
  EXPECT_FALSE(other.try_lock_for(200ms));
  finish();
  releaser.expect_released();
  EXPECT_TRUE(other.try_lock_for(soon));
}

/// The script of the release comes upon it half way, when it has deleted the signal.
TEST_F(MovingSlot, HalfMovedWithASignalOnlyDelaysReleases) {
  Lock before{client, name};
  before.lock();
  before.unlock();  // leaves a signal
  Releaser releaser{client, name};
  begin();
  releaser.start();
  Lock other{Client{uri}, name, leased_for(60s)};
  EXPECT_FALSE(other.try_lock_for(200ms));
  finish();
  releaser.expect_released();
  EXPECT_TRUE(other.try_lock_for(soon));
}

TEST_F(MovingSlot, HalfMovedOnlyDelaysAFencedAcquisition) {
  auto options = leased_for(60s);
  options.fencing = true;
  Lock lock{client, name, options};
  lock.lock();
  lock.unlock();
  Lock other{Client{uri}, name, options};
  begin();
  auto acquired = std::async(std::launch::async, [&] { return other.try_lock_for(patience); });
  EXPECT_EQ(acquired.wait_for(200ms), std::future_status::timeout);
  finish();
  EXPECT_TRUE(acquired.get());
  EXPECT_EQ(other.fencing_token(), 2U);
}

// ---------------------------------------------------------------------------------------------------
// Failovers.

class MasterInCluster : public OnCluster, public ::testing::WithParamInterface<Harm> {};
INSTANTIATE_TEST_SUITE_P(, MasterInCluster, Values(Harm::kill, Harm::freeze),
                         [](const auto& test) { return name_of(test.param); });

TEST_P(MasterInCluster, ThatFailsLosesNoReplicatedLock) {
  const auto master = fleet().owner_of(key);
  const auto held = name_at(master), waited = name_at(master), released = name_at(master),
             deferred = name_at(master);
  Holder holder{Client{uri}, held};
  held_by_somebody(waited);
  Waiter waiter{Client{uri}, waited};
  Releaser releaser{Client{uri}, released};
  auto later = leased_for(60s);
  later.deferred_unlock = true;
  Releaser deferring{Client{uri}, deferred, later};
  Contest contest{uri, name_at(master)};
  ASSERT_TRUE(somebody_waits_at(master));
  fleet().replicate(master);

  const auto promoted = fleet().next_promotion(master);
  fleet().member(master).suffer(GetParam());
  releaser.start();
  deferring.start();
  Lock taken{Client{uri}, name};
  EXPECT_TRUE(taken.try_lock()) << "a failover is not the end of an attempt";
  const auto at = promoted->wait();
  ASSERT_NE(fleet().owner_of(key), master);
  EXPECT_EQ(value_of(key), taken.id());

  EXPECT_TRUE(waiter.still_waits());
  released_by_somebody(waited);
  waiter.expect_acquires();
  EXPECT_EQ(value_of(key_of(waited)), waiter.lock().id());

  releaser.expect_released();
  EXPECT_EQ(value_of(key_of(released)), std::nullopt);
  deferring.expect_released();
  EXPECT_TRUE(eventually([&] { return !value_of(key_of(deferred)); }));
  EXPECT_EQ(deferring.complaints(), "");

  contest.expect_both_go_on();

  const auto id = holder.lock().id();
  holder.expect_renewed_after(at);
  EXPECT_EQ(value_of(key_of(held)), id);

  // The old master comes back, and is a replica.
  fleet().restore();
  ASSERT_NE(fleet().owner_of(key), master);
  contest.expect_both_go_on();
  holder.expect_releases();
}

class FrozenMasterInCluster : public OnCluster {
 protected:
  void SetUp() override { need_all_slots(false); }
  void TearDown() override {
    OnCluster::TearDown();
    need_all_slots(true);
  }

  /// Whether the masters refuse all commands while some slot has no master, as is the default.
  static void need_all_slots(bool all) {
    for (Index i = 0; i < fleet().size(); ++i) {
      fleet().member(i).redis().command("CONFIG", "SET", "cluster-require-full-coverage",
                                        all ? "yes" : "no");
    }
  }
};

TEST_F(FrozenMasterInCluster, DoesNotDelayRenewalsOnOtherMasters) {
  const auto master = fleet().owner_of(key);
  const Client calm{fleet().uri("command_timeout=5s&connect_timeout=5s")};
  std::vector<std::unique_ptr<Holder>> elsewhere;
  for (const auto other : fleet().masters()) {
    if (other == master) continue;
    for (int i = 0; i < 3; ++i)
      elsewhere.push_back(std::make_unique<Holder>(calm, name_at(other), 1500ms));
  }
  Holder there{calm, name, 3s}, for_shorter{calm, name_at(master), 900ms};
  const auto promoted = fleet().next_promotion(master);
  fleet().member(master).freeze();
  const auto at = promoted->wait();
  // A renewal is under way to the frozen master all the time: each could block for 5 s.
  EXPECT_TRUE(eventually([&] { return for_shorter.losses().count() == 1; }))
      << "its lease is shorter than the failover";
  for (auto& holder : elsewhere) {
    holder->expect_renewed_after(at);
    holder->expect_releases();
  }
}

// ---------------------------------------------------------------------------------------------------
// What servers tell of each other.

/// How a server tells where the other one is.
struct Telling {
  const char* name;
  /// Behind "MOVED <slot> ". {port}: of the other server; {self}: of the one that says it.
  const char* redirection;
  /// The bytes of the entry in CLUSTER SLOTS, without its type.
  const char* entry;
};
void PrintTo(const Telling& telling, std::ostream* stream) { *stream << telling.name; }

class ToldServers : public ::testing::TestWithParam<Telling> {
 protected:
  /// The keys are at the first server, until they are at the second.
  FakeServer::Answer answers(std::size_t self) {
    return FakeServer::each_command([this, self](const Command& command) -> std::string {
      const std::size_t owner = is_moved;
      if (command.front() == "CLUSTER") {
        return "*1\r\n*4\r\n:0\r\n:16383\r\n" + filled(GetParam().entry, self, owner) +
               "*2\r\n$9\r\n127.0.0.9\r\n:0\r\n";  // a replica that is not up yet
      }
      if (owner != self) {
        return "-MOVED " + std::to_string(slot) + " " +
               filled(GetParam().redirection, self, owner) + "\r\n";
      }
      if (command.front() == "SET") return "+OK\r\n";
      if (command.front() == "EVALSHA" || command.front() == "EVAL") ++scripts[self];
      return ":0\r\n";
    });
  }

  [[nodiscard]] std::string filled(std::string text, std::size_t self, std::size_t owner) const {
    const auto fill = [&](const std::string& gap, std::size_t server) {
      const auto at = text.find(gap);
      if (at != text.npos) text.replace(at, gap.size(), std::to_string(ports[server]));
    };
    fill("{port}", owner);
    fill("{self}", self);
    return text;
  }

  const redis_lock::detail::Slot slot = redis_lock::detail::slot_of("lock:{name}");
  std::array<std::atomic<int>, 2> ports{};
  std::array<std::atomic<int>, 2> scripts{};
  std::atomic<bool> is_moved{false};
  FakeServer one{answers(0)}, other{answers(1)};
};
INSTANTIATE_TEST_SUITE_P(
    , ToldServers,
    Values(Telling{"ByAddress", "127.0.0.1:{port}", "*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n"},
           Telling{"ByNull", ":{port}", "*2\r\n$-1\r\n:{port}\r\n"},
           Telling{"ByNothing", ":{port}", "*2\r\n$0\r\n\r\n:{port}\r\n"},
           Telling{"ByQuestionMark", "?:{port}", "*2\r\n$1\r\n?\r\n:{port}\r\n"},
           Telling{"ByIpInMetadata", "?:{self}",
                   "*4\r\n$1\r\n?\r\n:{port}\r\n$2\r\nid\r\n*2\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n"},
           Telling{"WithoutPort", "?:0", "*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST_P(ToldServers, AreFoundByTheRenewalsOfAHolder) {
  ports[0] = one.endpoint().port;
  ports[1] = other.endpoint().port;
  Complaints losses;
  Options options;
  options.expire = 1500ms;
  options.on_lost = losses.on_lost();
  Lock lock{"redis+cluster://127.0.0.1:" + std::to_string(ports[0]), "name", options};
  lock.lock();
  ASSERT_TRUE(eventually([&] { return scripts[0] > 0; }));
  is_moved = true;
  EXPECT_TRUE(eventually([&] { return scripts[1] > 1 || losses.count() > 0; }));
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(losses.count(), 0U);
  std::error_code error;
  lock.unlock(error);
  EXPECT_FALSE(error) << error.message();
}

/// A cluster of one master, which another one joins.
class JoiningMaster : public ::testing::Test {
 protected:
  FakeServer::Answer answers(std::size_t self) {
    return FakeServer::each_command([this, self](const Command& command) -> std::string {
      const auto range = [this](int first, int last, std::size_t owner) {
        return "*3\r\n:" + std::to_string(first) + "\r\n:" + std::to_string(last) +
               "\r\n*2\r\n$9\r\n127.0.0.1\r\n:" + std::to_string(ports[owner]) + "\r\n";
      };
      if (command.front() == "CLUSTER") {
        if (!has_joined) return "*1\r\n" + range(0, 16383, 0);
        return "*2\r\n" + range(0, 8191, 0) + range(8192, 16383, 1);
      }
      if (command.front() == "SCAN") {
        if (command.at(3) != "lock:*") return "*2\r\n$1\r\n0\r\n*0\r\n";
        has_joined = has_joined || joins_at_scan;
        ++scans[self];
        return std::string("*2\r\n$1\r\n0\r\n*1\r\n$8\r\nlock:{") + (self == 0 ? 'a' : 'b') +
               "}\r\n";
      }
      if (command.front() == "GET") return "$2\r\nid\r\n";
      if (command.front() == "EVALSHA") return ":1\r\n";
      return ":1000\r\n";
    });
  }
  void SetUp() override {
    ports[0] = one.endpoint().port;
    ports[1] = other.endpoint().port;
    client.emplace("redis+cluster://127.0.0.1:" + std::to_string(ports[0]));
    Lock before{*client, "a"};
    ASSERT_EQ(before.owner(), "id") << "the client has lived for a while";
  }
  [[nodiscard]] std::vector<std::string> listed() const {
    std::vector<std::string> names;
    for (const auto& lock : redis_lock::held_locks(*client)) names.push_back(lock.name);
    return names;
  }

  std::array<std::atomic<int>, 2> ports{}, scans{};
  std::atomic<bool> has_joined{false}, joins_at_scan{false};
  FakeServer one{answers(0)}, other{answers(1)};
  std::optional<Client> client;
};

TEST_F(JoiningMaster, IsPartOfALaterListing) {
  EXPECT_THAT(listed(), ElementsAre("a"));
  has_joined = true;
  EXPECT_THAT(listed(), ElementsAre("a", "b"));
  EXPECT_EQ(scans[1], 1);
}

TEST_F(JoiningMaster, IsPartOfALaterReset) {
  has_joined = true;
  EXPECT_EQ(redis_lock::reset_all(*client), 2U);
}

TEST_F(JoiningMaster, IsPartOfAListingUnderWay) {
  joins_at_scan = true;
  EXPECT_THAT(listed(), ElementsAre("a", "b"));
  EXPECT_EQ(scans[0], 2);
}

TEST_F(JoiningMaster, IsPartOfAResetUnderWay) {
  joins_at_scan = true;
  (void)redis_lock::reset_all(*client);
  EXPECT_EQ(scans[1], 1);
}

}  // namespace
}  // namespace redis_lock_test
