#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "integration.hpp"
#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::QuorumLock;
using std::chrono::steady_clock;
using ::testing::Each;
using ::testing::HasSubstr;

class OnThreeNodes : public ::testing::Test {
 protected:
  explicit OnThreeNodes(std::size_t count = 3) : nodes(count) {}

  /// No node holds anything, or soon so: a node that was late releases after the others.
  [[nodiscard]] bool all_free() {
    return eventually([&] {
      const auto values = nodes.values(key);
      return std::all_of(values.begin(), values.end(), [](const auto& one) { return one.empty(); });
    });
  }
  /// Every node holds the lock under this id, or soon will.
  [[nodiscard]] bool all_hold(const std::string& id) {
    return eventually([&] {
      const auto values = nodes.values(key);
      return std::all_of(values.begin(), values.end(), [&](const auto& one) { return one == id; });
    });
  }
  [[nodiscard]] long long waiters() { return nodes.sum("blocked_clients"); }

  const std::string name = "name";
  const std::string key = "lock:" + name;
  QuorumServers nodes;
  std::vector<Client> clients = nodes.clients();
};

class OnFiveNodes : public OnThreeNodes {
 protected:
  OnFiveNodes() : OnThreeNodes(5) {}
};

/// Has a connection to each node: on a busy machine, opening one may take longer than a vote waits for it.
class QuorumLocking : public OnThreeNodes {
 protected:
  QuorumLocking() {
    QuorumLock lock{clients, "connected"};
    EXPECT_TRUE(eventually([&] {
      lock.lock();
      const auto values = nodes.values("lock:connected");
      const bool all =
          std::all_of(values.begin(), values.end(), [](const auto& one) { return !one.empty(); });
      lock.unlock();
      return all;
    }));
  }
};

TEST_F(QuorumLocking, HoldsTheSameIdOnEachNode) {
  QuorumLock lock{clients, name, leased_for(60s)};
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_EQ(lock.expires_at(), steady_clock::time_point::min());
  const auto before = steady_clock::now();
  lock.lock();
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_TRUE(all_hold(lock.id()));
  for (std::size_t i = 0; i < nodes.size(); ++i)
    EXPECT_GT(nodes.redis(i).integer("PTTL", key), 50'000);
  EXPECT_GE(lock.expires_at(), before + 60s - 602ms);
  EXPECT_LE(lock.expires_at(), steady_clock::now() + 60s - 602ms) << "1 % and 2 ms are not certain";
  EXPECT_EQ(lock.owner(), lock.id());
  EXPECT_TRUE(lock.locked());
  const auto id = lock.id();
  lock.unlock();
  EXPECT_TRUE(all_free());
  EXPECT_FALSE(lock.locked());
  EXPECT_EQ(lock.owner(), std::nullopt);
  lock.lock();
  EXPECT_NE(lock.id(), id) << "a fresh one each time";
}

TEST_F(QuorumLocking, TellsAPersonWhoHoldsIt) {
  auto options = leased_for(60s);
  options.id_prefix = redis_lock::host_and_pid();
  QuorumLock lock{clients, name, options};
  lock.lock();
  EXPECT_EQ(lock.owner().value_or("").find(options.id_prefix), 0U);
}

TEST_F(QuorumLocking, IsBusyWhenOthersHoldAMajority) {
  QuorumLock lock{clients, name};
  nodes.hold(key, {1, 2});
  EXPECT_FALSE(lock.try_lock());
  EXPECT_EQ(lock.owner(), "somebody");
  EXPECT_TRUE(eventually([&] { return nodes.values(key).front().empty(); })) << "it went back";
}

TEST_F(QuorumLocking, WorksWhenOthersHoldAMinority) {
  for (std::size_t held = 0; held < 3; ++held) {
    nodes.hold(key, {held});
    QuorumLock lock{clients, name};
    EXPECT_TRUE(lock.try_lock());
    EXPECT_EQ(lock.owner(), lock.id());
    lock.unlock();
    lock.lock();  // also if it is the node at which waiters queue
    EXPECT_TRUE(lock.owns_lock());
    lock.unlock();
    EXPECT_EQ(nodes.values(key)[held], "somebody");
    nodes.redis(held).command("DEL", key);
    EXPECT_TRUE(all_free());
  }
}

TEST_F(QuorumLocking, ByTheHoldingThreadIsAnError) {
  QuorumLock lock{clients, name};
  lock.lock();
  EXPECT_EQ(error_of([&] { lock.lock(); }), std::errc::resource_deadlock_would_occur);
  EXPECT_FALSE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock_for(1ms));
  std::error_code error;
  EXPECT_FALSE(lock.try_lock(error));
  EXPECT_FALSE(error);
  lock.lock(error);
  EXPECT_EQ(error, std::errc::resource_deadlock_would_occur);
  lock.unlock(error);
  EXPECT_FALSE(error);
  lock.unlock(error);
  EXPECT_EQ(error, errc::not_owned);
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::not_owned);
}

TEST_F(QuorumLocking, WaitsOnOneNodeWithoutPolling) {
  QuorumLock holder{clients, name}, waiter{clients, name};
  holder.lock();
  auto waiting = std::async(std::launch::async, [&] { waiter.lock(); });
  ASSERT_TRUE(eventually([&] { return waiters() == 1; }));
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes.redis(i).reset_stats();
  EXPECT_EQ(waiting.wait_for(500ms), std::future_status::timeout);
  long long asked = 0;
  for (std::size_t i = 0; i < nodes.size(); ++i) asked += nodes.redis(i).calls_of("set");
  EXPECT_LE(asked, 4);
  holder.unlock();
  waiting.get();
  EXPECT_TRUE(waiter.owns_lock());
  EXPECT_TRUE(all_hold(waiter.id()));
}

TEST_F(QuorumLocking, WaitsForACrashedHoldersLease) {
  nodes.hold(key, {2, 1, 0}, 300);  // the lease that is waited for ends last
  QuorumLock lock{clients, name};
  const Stopwatch watch;
  lock.lock();
  EXPECT_GE(watch.elapsed(), 300ms - clock_error - 50ms);
  EXPECT_TRUE(all_hold(lock.id()));
}

TEST_F(QuorumLocking, WithSplitVotesWaitsForTheLeases) {
  nodes.hold(key, {0}, 250, "one");
  nodes.hold(key, {1}, 350, "another");
  QuorumLock lock{clients, name};
  EXPECT_EQ(lock.owner(), std::nullopt) << "nobody has it";
  EXPECT_FALSE(lock.try_lock());
  lock.lock();
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(QuorumLocking, WithATimeIsNeverEarly) {
  QuorumLock holder{clients, name}, lock{clients, name};
  holder.lock();
  for (const auto limit : {0ms, 1ms, 30ms, 1200ms}) {
    const auto start = steady_clock::now();
    EXPECT_FALSE(lock.try_lock_for(limit));
    EXPECT_GE(steady_clock::now() - start, limit);
    EXPECT_LT(steady_clock::now() - start, limit + soon);
  }
  EXPECT_FALSE(lock.try_lock_for(-1h));
  EXPECT_FALSE(lock.try_lock_until(std::chrono::system_clock::now() + 20ms));
  EXPECT_EQ(nodes.values(key), std::vector<std::string>(3, holder.id()));
  holder.unlock();
  EXPECT_TRUE(lock.try_lock_for(std::chrono::hours::max()));
}

TEST_F(QuorumLocking, EndsATimedWaitAtItsDeadline) {
  QuorumLock holder{clients, name}, lock{clients, name};
  holder.lock();
  EXPECT_LT(median_lateness(lock), hardly_late);
}

TEST_F(QuorumLocking, WaitsOnServersBeforeRedis6) {
  std::vector<std::unique_ptr<Proxy>> proxies;
  std::vector<Client> through;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    proxies.push_back(std::make_unique<Proxy>(nodes.server(i).endpoint()));
    proxies.back()->reject_fractional_timeouts();
    through.emplace_back(proxies.back()->endpoint());
  }
  QuorumLock holder{through, name}, lock{through, name};
  holder.lock();
  const auto start = steady_clock::now();
  EXPECT_FALSE(lock.try_lock_for(150ms));
  EXPECT_GE(steady_clock::now() - start, 150ms);
  auto waiting = std::async(std::launch::async, [&] { return lock.try_lock_for(soon); });
  ASSERT_TRUE(eventually([&] { return waiters() == 1; }));
  holder.unlock();
  EXPECT_TRUE(waiting.get());
}

TEST_F(QuorumLocking, OfAWrongKeyTypeQuotesTheServer) {
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes.redis(i).command("LPUSH", key, "1");
  QuorumLock lock{clients, name};
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::server_error);
  EXPECT_THAT(message_of([&] { return lock.owner(); }), HasSubstr("WRONGTYPE"));
}

TEST_F(QuorumLocking, ResetsWhoeverHoldsIt) {
  QuorumLock holder{clients, name}, other{clients, name};
  EXPECT_FALSE(other.reset());
  holder.lock();
  auto waiting = std::async(std::launch::async, [&] {
    QuorumLock waiter{clients, name};
    waiter.lock();
  });
  ASSERT_TRUE(eventually([&] { return waiters() == 1; }));
  EXPECT_TRUE(other.reset());
  waiting.get();
  std::error_code error;
  holder.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  nodes.hold(key, {2});
  EXPECT_TRUE(other.reset()) << "held on one";
}

TEST_F(QuorumLocking, SpeaksTheProtocolOfLockOnEachNode) {
  Options options;
  options.id = "an id";
  options.key_prefix = "other:";
  options.signal_prefix = "other:signal:";
  QuorumLock lock{clients, name, options};
  lock.lock();
  EXPECT_EQ(lock.id(), "an id");
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    Lock one{clients[i], name, options};
    EXPECT_TRUE(eventually([&] { return one.owner() == "an id"; }));
    EXPECT_FALSE(one.try_lock());
  }
  lock.unlock();
  Lock one{clients[0], name, options};
  EXPECT_TRUE(one.try_lock_for(soon));
}

using QuorumShared = OnThreeNodes;

TEST_F(QuorumShared, SerialisesTheThreadsThatShareOneObject) {
  QuorumLock lock{clients, name};
  int counter = 0;  // no atomic: the lock's gate orders the accesses, ThreadSanitizer watches
  std::vector<std::thread> workers;
  for (int i = 0; i < 6; ++i) {
    workers.emplace_back([&] {
      for (int round = 0; round < 15; ++round) {
        const std::lock_guard guard{lock};
        ++counter;
      }
    });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(counter, 90);
  EXPECT_TRUE(all_free());
}

TEST_F(QuorumShared, ExcludesObjectsInDifferentThreads) {
  std::atomic<int> inside{0}, overlaps{0}, entered{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < 8; ++i) {
    workers.emplace_back([&, i] {
      QuorumLock lock{clients, name};
      for (int round = 0; round < 25; ++round) {
        if ((i + round) % 3 == 0) {
          while (!lock.try_lock_for(20ms)) {
          }
        } else {
          lock.lock();
        }
        if (++inside != 1) ++overlaps;
        std::this_thread::sleep_for(200us);
        ++entered;
        --inside;
        lock.unlock();
      }
    });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(overlaps, 0);
  EXPECT_EQ(entered, 200);
  EXPECT_TRUE(all_free());
}

TEST_F(QuorumShared, ExcludesProcesses) {
  struct Counters {
    std::atomic<int> inside{0}, overlaps{0}, entered{0};
  };
  void* const place =
      ::mmap(nullptr, sizeof(Counters), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(place, MAP_FAILED);
  auto& counters = *new (place) Counters;
  {
    std::vector<Child> children;
    for (int i = 0; i < 4; ++i) {
      children.emplace_back([&] {
        QuorumLock lock{nodes.clients(), name};
        for (int round = 0; round < 25; ++round) {
          const std::lock_guard guard{lock};
          if (++counters.inside != 1) ++counters.overlaps;
          std::this_thread::sleep_for(200us);
          ++counters.entered;
          --counters.inside;
        }
        return 0;
      });
    }
    for (auto& child : children) EXPECT_EQ(child.exit_code(), 0);
  }
  EXPECT_EQ(counters.overlaps, 0);
  EXPECT_EQ(counters.entered, 100);
  EXPECT_TRUE(all_free());
  ::munmap(place, sizeof(Counters));
}

TEST_F(QuorumShared, ManyLocksShareConnectionsAndOneThread) {
  const auto threads = [] {
    const std::filesystem::directory_iterator tasks{"/proc/self/task"};
    return std::distance(begin(tasks), end(tasks));
  };
  const auto take = [&](int i) {
    auto lock = std::make_unique<QuorumLock>(clients, name + std::to_string(i));
    lock->lock();
    return lock;
  };
  std::vector<std::unique_ptr<QuorumLock>> locks;
  locks.push_back(take(0));
  const auto before = threads();
  for (int i = 1; i < 60; ++i) locks.push_back(take(i));
  EXPECT_LE(threads(), before);
  EXPECT_LE(nodes.sum("connected_clients"), 3 * (1 + 3))
      << "the test's own, and a few of each node";
}

TEST_F(QuorumShared, AForkedChildHoldsNothingAndHarmsNothing) {
  QuorumLock lock{clients, name};
  lock.lock();
  Child child{[&] {
    std::error_code error;
    lock.unlock(error);
    const bool held_nothing = error == errc::not_owned && !lock.owns_lock() && !lock.try_lock();
    QuorumLock own{clients, name + "-child"};
    const std::lock_guard guard{own};
    return held_nothing && own.owns_lock() ? 0 : 1;
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(lock.owner(), lock.id());
  std::error_code error;
  lock.unlock(error);
  EXPECT_FALSE(error);
}

using QuorumExtending = OnThreeNodes;

TEST_F(QuorumExtending, GivesANewLeaseOnEachNode) {
  QuorumLock lock{clients, name, leased_for(20s)};
  lock.lock();
  const auto first_end = lock.expires_at();
  lock.extend(60s);
  EXPECT_GT(lock.expires_at(), first_end + 30s);
  EXPECT_LE(lock.expires_at(), steady_clock::now() + 60s - 602ms);
  EXPECT_TRUE(eventually([&] { return nodes.redis(2).integer("PTTL", key) > 30'000; }));
  lock.extend();
  EXPECT_LT(lock.expires_at(), steady_clock::now() + 20s);
  EXPECT_THROW(lock.extend(0ms), std::invalid_argument);
  EXPECT_THROW(lock.extend(redis_lock::no_expiry), std::invalid_argument);
}

TEST_F(QuorumExtending, NeverCreatesAKeyThatIsGone) {
  QuorumLock lock{clients, name, leased_for(60s)};
  lock.lock();
  ASSERT_TRUE(all_hold(lock.id()));
  nodes.redis(1).command("DEL", key);
  lock.extend();
  EXPECT_TRUE(lock.owns_lock()) << "of a minority";
  EXPECT_FALSE(nodes.redis(1).exists(key));
  nodes.redis(2).command("DEL", key);
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
  EXPECT_FALSE(nodes.redis(1).exists(key) || nodes.redis(2).exists(key));
  EXPECT_FALSE(lock.owns_lock());
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_TRUE(all_free()) << "what was left of it";
}

TEST_F(QuorumExtending, OfAKeyWithoutExpiryIsAnError) {
  QuorumLock lock{clients, name, leased_for(60s)};
  lock.lock();
  ASSERT_TRUE(all_hold(lock.id()));
  nodes.redis(0).command("PERSIST", key);
  nodes.redis(1).command("PERSIST", key);
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::not_expirable);
}

TEST_F(QuorumExtending, ToAShorterLeaseCountsThoughNotExpirable) {
  QuorumLock lock{clients, name, leased_for(60s)};
  lock.lock();
  ASSERT_TRUE(all_hold(lock.id()));
  nodes.redis(0).command("PERSIST", key);
  nodes.redis(1).command("DEL", key);
  EXPECT_EQ(error_of([&] { lock.extend(1s); }), errc::not_expirable);
  EXPECT_LE(lock.expires_at(), steady_clock::now() + 1s) << "the third node ends it then";
}

using QuorumRenewal = OnThreeNodes;

TEST_F(QuorumRenewal, HoldsBeyondTheLease) {
  std::atomic<int> told{0};
  auto options = renewed_for(1500ms);
  options.on_lost = [&](std::error_code) { ++told; };
  QuorumLock lock{clients, name, options}, other{clients, name};
  lock.lock();
  const auto first_end = lock.expires_at();
  while (steady_clock::now() < first_end + 600ms) {
    ASSERT_TRUE(lock.owns_lock());
    ASSERT_FALSE(other.try_lock_for(20ms));
  }
  lock.unlock();
  EXPECT_TRUE(all_free());
  EXPECT_EQ(told, 0);
}

TEST_F(QuorumRenewal, GoesOnWhenAMinorityIsLost) {
  QuorumLock lock{clients, name, renewed_for(600ms)};
  lock.lock();
  ASSERT_TRUE(all_hold(lock.id()));
  nodes.redis(0).command("DEL", key);
  const auto first_end = lock.expires_at();
  EXPECT_TRUE(eventually([&] { return steady_clock::now() > first_end + 300ms; }));
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_FALSE(nodes.redis(0).exists(key)) << "a renewal never creates a key";
}

TEST_F(QuorumRenewal, TellsOnceThatAMajorityIsLost) {
  std::atomic<int> told{0};
  auto options = renewed_for(300ms);
  options.on_lost = [&](std::error_code error) { told += error == errc::lease_lost ? 1 : 100; };
  QuorumLock lock{clients, name, options};
  lock.lock();
  ASSERT_TRUE(all_hold(lock.id()));
  nodes.redis(0).command("DEL", key);
  nodes.redis(2).command("SET", key, "somebody", "PX", 60'000);
  ASSERT_TRUE(eventually([&] { return told == 1; }));
  EXPECT_FALSE(lock.owns_lock());
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_EQ(nodes.values(key)[2], "somebody");
  EXPECT_EQ(told, 1);
}

TEST_F(QuorumRenewal, StopsAtMaxHold) {
  std::atomic<int> told{0};
  auto options = renewed_for(300ms);
  options.max_hold = 500ms;
  options.on_lost = [&](std::error_code) { ++told; };
  QuorumLock hanging{clients, name, options}, next{clients, name};
  const Stopwatch watch;
  hanging.lock();
  next.lock();
  EXPECT_GE(watch.elapsed(), 500ms - clock_error) << "renewed until then";
  EXPECT_FALSE(hanging.owns_lock());
  EXPECT_TRUE(eventually([&] { return told == 1; }));
}

using QuorumOfFive = OnFiveNodes;

TEST_F(QuorumOfFive, NeedsThree) {
  QuorumLock lock{clients, name};
  nodes.hold(key, {0, 3, 4});
  EXPECT_FALSE(lock.try_lock());
  nodes.redis(3).command("DEL", key);
  EXPECT_TRUE(lock.try_lock());
  EXPECT_TRUE(eventually([&] { return nodes.values(key)[3] == lock.id(); }));
  nodes.redis(3).command("DEL", key);
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
}

using QuorumRenewals = OnThreeNodes;

TEST_F(QuorumRenewals, OfSeveralLocksGoInOneWrite) {
  Options options;
  options.expire = 600ms;
  std::atomic<int> losses{0};
  options.on_lost = [&](std::error_code) { ++losses; };
  std::vector<std::unique_ptr<QuorumLock>> locks;
  for (int i = 0; i < 5; ++i) {
    locks.push_back(std::make_unique<QuorumLock>(clients, name + std::to_string(i), options));
    locks.back()->lock();
  }
  std::this_thread::sleep_for(1500ms);
  for (const auto& lock : locks) EXPECT_TRUE(lock->owns_lock());
  EXPECT_EQ(losses, 0);
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const auto errors = nodes.redis(i).string("INFO", "errorstats").value_or("");
    EXPECT_THAT(errors, ::testing::Not(HasSubstr("errorstat_ERR"))) << "no lease is garbled";
  }
}

class QuorumBadInput : public ::testing::Test {
 protected:
  [[nodiscard]] static std::vector<Client> clients(int count) {
    std::vector<Client> clients;
    for (int i = 0; i < count; ++i)
      clients.emplace_back("redis://localhost:" + std::to_string(10'000 + i));
    return clients;
  }
  [[nodiscard]] static std::string complaint(const std::vector<Client>& nodes,
                                             const Options& options = {},
                                             const std::string& name = "name") {
    return message_of<std::invalid_argument>([&] { return QuorumLock{nodes, name, options}.id(); });
  }
  [[nodiscard]] static std::string complaint(const std::function<void(Options&)>& change) {
    Options options;
    change(options);
    return complaint(clients(3), options);
  }
};

TEST_F(QuorumBadInput, OfTheNodesIsNamed) {
  for (const int count : {0, 1, 2})
    EXPECT_THAT(complaint(clients(count)), HasSubstr("there must be three nodes or more"));
  EXPECT_THAT(complaint(clients(4)), HasSubstr("must be odd"));
  EXPECT_EQ(complaint(clients(3)), "");
  EXPECT_EQ(complaint(clients(5)), "");
  auto copies = clients(3);
  copies[2] = copies[0];
  EXPECT_THAT(complaint(copies), HasSubstr("copies of one Client"));
  auto same = clients(3);
  same[2] = Client{"redis://localhost:10000"};
  EXPECT_THAT(complaint(same), HasSubstr("different servers"));
  same[2] = Client{"redis://localhost:10000/7"};
  EXPECT_THAT(complaint(same), HasSubstr("different servers")) << "a database is no server";
  same[1] = Client{"unix:///run/one"};
  same[2] = Client{"unix:///run/one?db=1"};
  EXPECT_THAT(complaint(same), HasSubstr("different servers"));
}

TEST_F(QuorumBadInput, IsANodeThatIsNoSingleServer) {
  auto nodes = clients(3);
  for (const auto* uri : {"redis+sentinel://h/m", "redis+cluster://h"}) {
    nodes[1] = Client{uri};
    EXPECT_THAT(complaint(nodes), HasSubstr("single servers"));
  }
}

TEST_F(QuorumBadInput, OfTheOptionsIsNamed) {
  EXPECT_THAT(complaint(clients(3), {}, ""), HasSubstr("name must not be empty"));
  EXPECT_THAT(complaint([](Options& options) { options.expire = redis_lock::no_expiry; }),
              HasSubstr("expire must not be no_expiry"));
  EXPECT_THAT(complaint([](Options& options) { options.expire = 9ms; }), HasSubstr("expire"));
  EXPECT_THAT(complaint([](Options& options) { options.expire = 0ms; }), HasSubstr("expire"));
  EXPECT_THAT(complaint([](Options& options) { options.fencing = true; }), HasSubstr("fencing"));
  EXPECT_THAT(complaint([](Options& options) { options.local_handoffs = 1; }),
              HasSubstr("local_handoffs"));
  EXPECT_THAT(complaint([](Options& options) { options.replicas.min_acks = 1; }),
              HasSubstr("replicas"));
  EXPECT_THAT(complaint([](Options& options) { options.deferred_unlock = true; }),
              HasSubstr("deferred_unlock"));
  EXPECT_EQ(complaint([](Options& options) { options.expire = 10ms; }), "");
}

}  // namespace
}  // namespace redis_lock_test
