#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "integration.hpp"
#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::Event;
using redis_lock::QuorumLock;
using redis_lock::Stats;
using ::testing::ElementsAre;
using Kind = Event::Kind;

/// Of a client on which nothing is held.
void expect_balanced(const Stats& stats) {
  EXPECT_EQ(stats.acquired, stats.released + stats.lost + stats.abandoned);
  EXPECT_LE(stats.longest_wait, stats.total_wait);
  EXPECT_LE(stats.longest_hold, stats.total_hold);
}

using ClientStats = OnRedis;

TEST_F(ClientStats, CountAnAcquisitionAndItsRelease) {
  Lock lock{client, name};
  EXPECT_EQ(client.stats().acquired, 0U);
  lock.lock();
  const auto held = client.stats();
  EXPECT_EQ(held.acquired, 1U);
  EXPECT_EQ(held.contended, 0U);
  EXPECT_EQ(held.released, 0U);
  EXPECT_EQ(held.total_hold.count(), 0);
  EXPECT_GT(held.longest_wait.count(), 0);
  EXPECT_EQ(held.longest_wait, held.total_wait);
  std::this_thread::sleep_for(20ms);
  lock.unlock();
  const auto stats = client.stats();
  EXPECT_EQ(stats.released, 1U);
  EXPECT_GE(stats.longest_hold, 20ms);
  EXPECT_EQ(stats.longest_hold, stats.total_hold);
  EXPECT_EQ(stats.timed_out + stats.renewed + stats.lost + stats.abandoned + stats.reconnects, 0U);
  expect_balanced(stats);
}

TEST_F(ClientStats, TellTheSumAndTheGreatestOfTimes) {
  Lock lock{client, name};
  for (const auto hold : {30ms, 0ms}) {
    lock.lock();
    std::this_thread::sleep_for(hold);
    lock.unlock();
  }
  const auto stats = client.stats();
  EXPECT_GE(stats.longest_hold, 30ms);
  EXPECT_LT(stats.longest_hold, stats.total_hold);
  EXPECT_LT(stats.longest_wait, stats.total_wait);
  EXPECT_GT(2 * stats.longest_hold, stats.total_hold) << "the second hold was the shorter one";
}

TEST_F(ClientStats, CountWhoHadToWait) {
  held_by_somebody();
  Lock lock{client, name};
  std::thread waiter{[&] { lock.lock(); }};
  EXPECT_TRUE(eventually([this] { return somebody_waits(); }));
  EXPECT_EQ(client.stats().contended, 0U) << "it is told when the call ends";
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(released_by("somebody"), 0);
  waiter.join();
  const auto stats = client.stats();
  EXPECT_EQ(stats.acquired, 1U);
  EXPECT_EQ(stats.contended, 1U);
  EXPECT_GE(stats.longest_wait, 20ms);
}

TEST_F(ClientStats, CountWhoWaitedForAnotherThread) {
  Lock lock{client, name};
  lock.lock();
  std::atomic<bool> waits{false};
  std::thread waiter{[&] {
    waits = true;
    lock.lock();
    lock.unlock();
  }};
  EXPECT_TRUE(eventually([&] { return waits.load(); }));
  std::this_thread::sleep_for(50ms);  // for the last instructions on its way to the gate
  lock.unlock();
  waiter.join();
  const auto stats = client.stats();
  EXPECT_EQ(stats.acquired, 2U);
  EXPECT_EQ(stats.contended, 1U);
  expect_balanced(stats);
}

TEST_F(ClientStats, CountWhoGaveUp) {
  held_by_somebody();
  Lock lock{client, name};
  EXPECT_FALSE(lock.try_lock());
  EXPECT_EQ(client.stats().timed_out, 1U);
  EXPECT_FALSE(lock.try_lock_for(20ms));
  const auto stats = client.stats();
  EXPECT_EQ(stats.timed_out, 2U);
  EXPECT_EQ(stats.contended, 2U);
  EXPECT_EQ(stats.acquired, 0U);
  EXPECT_EQ(stats.total_wait.count(), 0) << "of those that acquired";
}

TEST_F(ClientStats, CountRenewalsInTheBackgroundAndByHand) {
  Lock lock{client, name, renewed_for(300ms)}, by_hand{client, name + "-2", leased_for(60s)};
  by_hand.lock();
  by_hand.extend();
  EXPECT_EQ(client.stats().renewed, 1U);
  lock.lock();
  EXPECT_TRUE(eventually([this] { return client.stats().renewed >= 3; }));
}

TEST_F(ClientStats, CountALossOnceWhoeverFindsItOut) {
  Lock renewed{client, name, renewed_for(300ms)};
  renewed.lock();
  redis.command("DEL", key);
  EXPECT_TRUE(eventually([this] { return client.stats().lost == 1; }));
  std::error_code error;
  renewed.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);

  Lock unlocked{client, name, leased_for(60s)};
  unlocked.lock();
  redis.command("DEL", key);
  unlocked.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);

  Lock extended{client, name, leased_for(60s)};
  extended.lock();
  redis.command("DEL", key);
  EXPECT_EQ(error_of([&] { extended.extend(); }), errc::lease_lost);
  extended.unlock();

  const auto stats = client.stats();
  EXPECT_EQ(stats.lost, 3U);
  EXPECT_EQ(stats.released, 0U);
  expect_balanced(stats);
}

TEST_F(ClientStats, CountWhatCouldNotBeFreed) {
  RedisServer server;
  auto endpoint = server.endpoint();
  endpoint.retry_for = 0ms;
  Client own{endpoint};
  Lock lock{own, name, leased_for(60s)};
  lock.lock();
  server.kill();
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::connection_failed);
  const auto stats = own.stats();
  EXPECT_EQ(stats.abandoned, 1U);
  EXPECT_EQ(stats.released + stats.lost, 0U);
  expect_balanced(stats);
}

TEST_F(ClientStats, CountReconnectsAfterBrokenConnections) {
  const RedisServer server;
  Redis own{server.uri()};
  Client other{server.uri()};
  Lock lock{other, name};
  lock.lock();
  EXPECT_EQ(other.stats().reconnects, 0U);
  own.integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  lock.unlock();
  EXPECT_EQ(other.stats().reconnects, 1U);
  EXPECT_TRUE(lock.try_lock());
  EXPECT_EQ(other.stats().reconnects, 1U);
}

TEST_F(ClientStats, CountRenewalsThatHadToReconnect) {
  const RedisServer server;
  Redis own{server.uri()};
  Client other{server.uri()};
  Lock lock{other, name, renewed_for(600ms)};
  lock.lock();
  EXPECT_TRUE(eventually([&] { return other.stats().renewed >= 1; }));
  own.integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  EXPECT_TRUE(eventually([&] { return other.stats().reconnects >= 1; }));
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(ClientStats, AreSharedByCopiesOfTheClientOnly) {
  Client copy = client, other{test_uri()};
  Lock lock{copy, name};
  lock.lock();
  lock.unlock();
  EXPECT_EQ(client.stats().acquired, 1U);
  EXPECT_EQ(other.stats().acquired, 0U);
}

TEST_F(ClientStats, OfThreadsAddUp) {
  constexpr int threads = 4, rounds = 50;
  std::vector<std::thread> all;
  for (int i = 0; i < threads; ++i) {
    all.emplace_back([this, i] {
      Lock lock{client, name + std::to_string(i % 2)};
      for (int j = 0; j < rounds; ++j) {
        const std::lock_guard guard{lock};
      }
    });
  }
  for (auto& thread : all) thread.join();
  const auto stats = client.stats();
  EXPECT_EQ(stats.acquired, static_cast<std::uint64_t>(threads * rounds));
  EXPECT_EQ(stats.released, stats.acquired);
  EXPECT_LE(stats.contended, stats.acquired);
  expect_balanced(stats);
}

TEST_F(ClientStats, CountEachTurnOfLocalHandoffs) {
  Options options;
  options.local_handoffs = 8;
  Lock lock{client, name, options};
  std::vector<std::thread> all;
  for (int i = 0; i < 3; ++i) {
    all.emplace_back([&lock] {
      for (int j = 0; j < 300; ++j) {
        const std::lock_guard guard{lock};
      }
    });
  }
  for (auto& thread : all) thread.join();
  const auto stats = client.stats();
  EXPECT_EQ(stats.acquired, 900U);
  EXPECT_EQ(stats.released, 900U);
  EXPECT_EQ(stats.lost, 0U);
  expect_balanced(stats);
}

TEST_F(ClientStats, CountADeferredUnlockWithItsAnswer) {
  auto options = leased_for(60s);
  options.deferred_unlock = true;
  Lock lock{client, name, options};
  lock.lock();
  std::this_thread::sleep_for(20ms);
  lock.unlock();
  EXPECT_TRUE(eventually([this] { return client.stats().released == 1; }));
  EXPECT_GE(client.stats().longest_hold, 20ms);
  lock.lock();
  redis.command("DEL", key);
  lock.unlock();
  EXPECT_TRUE(eventually([this] { return client.stats().lost == 1; }));
  expect_balanced(client.stats());
}

TEST_F(ClientStats, StartAtNothingInAForkedChild) {
  Lock lock{client, name};
  lock.lock();
  lock.unlock();
  Child child{[this] {
    const bool is_fresh = client.stats().acquired == 0;
    Lock own{client, name + "-2"};
    own.lock();
    own.unlock();
    return is_fresh && client.stats().acquired == 1 && client.stats().released == 1 ? 0 : 1;
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_EQ(client.stats().acquired, 1U);
}

TEST(QuorumStats, CountWithTheFirstNode) {
  QuorumServers nodes{3};
  const auto clients = nodes.clients();
  auto options = renewed_for(600ms);
  QuorumLock lock{clients, "name", options}, other{clients, "name", options};
  lock.lock();
  EXPECT_FALSE(other.try_lock());
  lock.extend();
  lock.unlock();
  const auto stats = clients.front().stats();
  EXPECT_EQ(stats.acquired, 1U);
  EXPECT_EQ(stats.contended, 1U);
  EXPECT_EQ(stats.timed_out, 1U);
  EXPECT_GE(stats.renewed, 1U);
  EXPECT_EQ(stats.released, 1U);
  expect_balanced(stats);
  EXPECT_EQ(clients.back().stats().acquired, 0U);

  lock.lock();
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes.redis(i).command("DEL", "lock:name");
  EXPECT_TRUE(eventually([&] { return clients.front().stats().lost == 1; }));
  lock.unlock();
  expect_balanced(clients.front().stats());
}

TEST(QuorumStats, CountReconnectsWithEachNode) {
  QuorumServers nodes{3};
  const auto clients = nodes.clients();
  QuorumLock lock{clients, "name", leased_for(60s)};
  lock.lock();
  nodes.redis(2).integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  EXPECT_TRUE(eventually([&] {
    lock.unlock();
    lock.lock();
    return clients.back().stats().reconnects >= 1;
  }));
  EXPECT_EQ(clients.front().stats().reconnects, 0U);
}

/// What on_event was told.
class Trace {
 public:
  struct Step {
    Kind kind;
    std::string name, id;
    std::chrono::nanoseconds duration;
  };

  [[nodiscard]] std::function<void(const Event&)> callback() {
    return [this](const Event& event) {
      const std::lock_guard guard{mutex_};
      steps_.push_back(
          {event.kind, std::string(event.name), std::string(event.id), event.duration});
    };
  }
  [[nodiscard]] std::vector<Step> steps() {
    const std::lock_guard guard{mutex_};
    return steps_;
  }
  [[nodiscard]] std::vector<Kind> kinds() {
    std::vector<Kind> kinds;
    for (const auto& step : steps()) kinds.push_back(step.kind);
    return kinds;
  }
  [[nodiscard]] bool has(Kind kind) {
    const auto all = kinds();
    return std::find(all.begin(), all.end(), kind) != all.end();
  }

 private:
  std::mutex mutex_;
  std::vector<Step> steps_;
};

class LockEvents : public OnRedis {
 protected:
  [[nodiscard]] Options traced(Options options) {
    options.on_event = trace.callback();
    return options;
  }
  Trace trace;
};

TEST_F(LockEvents, TellOfAcquisitionAndRelease) {
  held_by_somebody(60s);
  Lock lock{client, name, traced({})};
  std::thread waiter{[&] { lock.lock(); }};
  EXPECT_TRUE(eventually([this] { return somebody_waits(); }));
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(released_by("somebody"), 0);
  waiter.join();
  const auto id = lock.id();
  std::this_thread::sleep_for(30ms);
  lock.unlock();
  ASSERT_THAT(trace.kinds(), ElementsAre(Kind::acquired, Kind::released));
  const auto steps = trace.steps();
  for (const auto& step : steps) {
    EXPECT_EQ(step.name, name);
    EXPECT_EQ(step.id, id);
  }
  EXPECT_GE(steps[0].duration, 20ms) << "the wait";
  EXPECT_GE(steps[1].duration, 30ms) << "the hold";
}

TEST_F(LockEvents, TellOfAutomaticAndExplicitRenewals) {
  Lock lock{client, name, traced(renewed_for(300ms))};
  lock.lock();
  EXPECT_TRUE(eventually([this] { return trace.has(Kind::renewed); }));
  lock.unlock();
  EXPECT_GE(trace.steps()[1].duration, 50ms) << "held since then";

  Trace by_hand;
  auto options = leased_for(60s);
  options.on_event = by_hand.callback();
  Lock extended{client, name, options};
  extended.lock();
  extended.extend();
  extended.unlock();
  EXPECT_THAT(by_hand.kinds(), ElementsAre(Kind::acquired, Kind::renewed, Kind::released));
}

TEST_F(LockEvents, TellOfALossOnceAlsoWithoutRenewal) {
  for (const auto& options : {renewed_for(300ms), leased_for(300ms)}) {
    Trace own;
    auto told = options;
    told.on_event = own.callback();
    Lock lock{client, name, told};
    lock.lock();
    redis.command("DEL", key);
    EXPECT_TRUE(eventually([&] { return own.has(Kind::lost); }));
    lock.unlock();
    EXPECT_THAT(own.kinds(), ElementsAre(Kind::acquired, Kind::lost));
  }
}

TEST_F(LockEvents, TellWhatCouldNotBeFreed) {
  RedisServer server;
  auto endpoint = server.endpoint();
  endpoint.retry_for = 0ms;
  Lock lock{endpoint, name, traced(leased_for(60s))};
  lock.lock();
  server.kill();
  lock.unlock();
  EXPECT_THAT(trace.kinds(), ElementsAre(Kind::acquired, Kind::abandoned));
}

TEST_F(LockEvents, OfADeferredUnlockComeWithItsAnswer) {
  Options options;
  options.deferred_unlock = true;
  {
    Lock lock{client, name, traced(options)};
    lock.lock();
    lock.unlock();
  }
  EXPECT_TRUE(eventually([this] { return trace.has(Kind::released); }));
  EXPECT_THAT(trace.kinds(), ElementsAre(Kind::acquired, Kind::released));
}

TEST_F(LockEvents, OverABorrowedContextAreTold) {
  const auto context = connect_hiredis(redis_lock::Endpoint::parse(test_uri()));
  Lock lock{context.get(), name, traced(leased_for(60s))};
  lock.lock();
  redis.command("DEL", key);
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
  lock.unlock();
  lock.lock();
  lock.unlock();
  EXPECT_THAT(trace.kinds(),
              ElementsAre(Kind::acquired, Kind::lost, Kind::acquired, Kind::released));
}

TEST_F(LockEvents, OfAQuorumLockAreTheSame) {
  QuorumServers nodes{3};
  QuorumLock lock{nodes.clients(), name, traced(leased_for(60s))};
  lock.lock();
  lock.extend();
  lock.unlock();
  EXPECT_THAT(trace.kinds(), ElementsAre(Kind::acquired, Kind::renewed, Kind::released));
  EXPECT_EQ(trace.steps().back().id, lock.id());
}

/// It would hang if a mutex were held.
TEST_F(LockEvents, MayUseTheLockAndTheClient) {
  std::atomic<int> calls{0};
  std::unique_ptr<Lock> lock;
  auto options = renewed_for(300ms);
  options.on_event = [&](const Event& event) {
    if (event.kind == Kind::released) return;
    EXPECT_TRUE(lock->owns_lock());
    EXPECT_EQ(lock->id(), event.id);
    EXPECT_EQ(lock->owner(), event.id);
    EXPECT_EQ(client.stats().acquired, 1U + static_cast<std::uint64_t>(calls));
    Lock other{client, name + "-2"};
    const std::lock_guard guard{other};
    ++calls;
  };
  lock = std::make_unique<Lock>(client, name, options);
  lock->lock();
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(eventually([&] { return calls >= 2; }));
  lock->unlock();
}

TEST_F(LockEvents, MayReleaseAndDestroyTheLock) {
  std::atomic<bool> gone{false};
  std::unique_ptr<Lock> lock;
  auto options = renewed_for(300ms);
  options.on_event = [&](const Event& event) {
    if (event.kind != Kind::renewed) return;
    lock.reset();
    gone = true;
  };
  lock = std::make_unique<Lock>(client, name, options);
  lock->lock();
  EXPECT_TRUE(eventually([&] { return gone.load(); }));
  EXPECT_FALSE(redis.exists(key));
  Lock next{client, name, renewed_for(300ms)};
  next.lock();
  EXPECT_TRUE(eventually([&] { return client.stats().renewed >= 2; })) << "renewals go on";
}

TEST_F(LockEvents, ThatThrowAreSwallowed) {
  auto options = renewed_for(300ms);
  std::atomic<int> calls{0};
  options.on_event = [&](const Event&) {
    ++calls;
    throw std::runtime_error{"no"};
  };
  Lock lock{client, name, options};
  lock.lock();
  EXPECT_TRUE(eventually([&] { return calls >= 3; })) << "renewals go on";
  EXPECT_TRUE(lock.owns_lock());
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LockEvents, AreOverWhenTheLockIsGone) {
  std::atomic<bool> running{false}, gone{false}, late{false};
  auto options = renewed_for(300ms);
  options.on_event = [&](const Event& event) {
    if (gone) late = true;
    if (event.kind != Kind::renewed) return;
    running = true;
    std::this_thread::sleep_for(50ms);
    if (gone) late = true;
  };
  {
    Lock lock{client, name, options};
    lock.lock();
    EXPECT_TRUE(eventually([&] { return running.load(); }));
  }
  gone = true;
  std::this_thread::sleep_for(200ms);
  EXPECT_FALSE(late);
}

}  // namespace
}  // namespace redis_lock_test
