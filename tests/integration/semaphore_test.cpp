// Semaphore: each member, guards of std, threads, processes, and what others got wrong.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "family.hpp"

namespace redis_lock_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Le;

/// Three objects of one name with two permits, as three processes have them.
class SemaphorePermits : public OnFamily {
 protected:
  [[nodiscard]] long long taken() { return redis.integer("ZCARD", permits.set); }

  Semaphore first{client, name, 2}, second{client, name, 2}, third{client, name, 2};
};

// ---------------------------------------------------------------------------------------------------
// Each member.

TEST_F(SemaphorePermits, AreGivenToAsManyHolders) {
  EXPECT_EQ(first.available(), 2U);
  first.acquire();
  EXPECT_EQ(first.available(), 1U);
  EXPECT_TRUE(second.try_acquire());
  EXPECT_EQ(first.available(), 0U);
  EXPECT_FALSE(third.try_acquire());
  EXPECT_EQ(taken(), 2);
  first.release();
  EXPECT_TRUE(third.try_acquire());
  EXPECT_FALSE(first.try_acquire());
}

TEST_F(SemaphorePermits, EachWayToAcquireAcquires) {
  using std::chrono::steady_clock;
  using std::chrono::system_clock;
  const auto take = [&](bool acquired) {
    EXPECT_TRUE(acquired);
    EXPECT_TRUE(first.owns_lock());
    EXPECT_GT(first.expires_at(), steady_clock::now());
    EXPECT_THAT(ids_in(redis, permits.set), ElementsAre(first.id()));
    std::error_code error = errc::server_error;
    first.release(error);
    EXPECT_FALSE(error) << error.message();
    EXPECT_FALSE(first.owns_lock());
    EXPECT_EQ(taken(), 0);
  };
  take((first.acquire(), true));
  take(first.try_acquire());
  take(first.try_acquire_for(0s));
  take(first.try_acquire_for(-1h));
  take(first.try_acquire_for(std::chrono::hours::max()));
  take(first.try_acquire_until(steady_clock::now()));
  take(first.try_acquire_until(system_clock::now() + 1h));
  take((first.lock(), true));
  take(first.try_lock());
  take(first.try_lock_for(1s));
  take(first.try_lock_until(system_clock::now() + 1h));
  std::error_code error = errc::not_owned;
  take((first.acquire(error), !error));
  error = errc::not_owned;
  take(first.try_acquire(error) && !error);
  error = errc::not_owned;
  take((first.lock(error), !error));
  error = errc::not_owned;
  take(first.try_lock(error) && !error);
  EXPECT_EQ(first.name(), name);
}

TEST_F(SemaphorePermits, TimedWaitsAreNeverEarly) {
  first.acquire();
  second.acquire();
  for (const auto limit : {1ms, 60ms}) {
    const Stopwatch watch;
    EXPECT_FALSE(third.try_acquire_for(limit));
    EXPECT_GE(watch.elapsed(), limit);
    EXPECT_LT(watch.elapsed(), limit + soon);
  }
  EXPECT_LE(median_lateness(third), hardly_late);
}

TEST_F(SemaphorePermits, AnObjectHoldsOne) {
  first.acquire();
  EXPECT_EQ(error_of([&] { first.acquire(); }), std::errc::resource_deadlock_would_occur);
  std::error_code error;
  first.acquire(error);
  EXPECT_EQ(error, std::errc::resource_deadlock_would_occur);
  EXPECT_FALSE(first.try_acquire());
  EXPECT_FALSE(std::async(std::launch::async, [&] { return first.try_acquire(); }).get());
  EXPECT_EQ(taken(), 1);
}

TEST_F(SemaphorePermits, ReleaseWithoutHoldingIsNotOwned) {
  std::error_code told;
  Options options;
  options.on_error = [&](const Error& error) { told = error.code(); };
  Semaphore idle{client, name, 2, options};
  idle.release();
  EXPECT_EQ(told, errc::not_owned);
  std::error_code error;
  idle.release(error);
  EXPECT_EQ(error, errc::not_owned);
  EXPECT_EQ(error_of([&] { idle.extend(); }), errc::not_owned);
  EXPECT_EQ(taken(), 0);
}

TEST_F(SemaphorePermits, AnyThreadReleases) {
  first.acquire();
  std::thread{[&] { first.release(); }}.join();
  EXPECT_FALSE(first.owns_lock());
  EXPECT_EQ(taken(), 0);
}

TEST_F(SemaphorePermits, TheDestructorReturnsThePermit) {
  {
    Semaphore mine{client, name, 2};
    mine.acquire();
    EXPECT_EQ(taken(), 1);
  }
  EXPECT_EQ(taken(), 0);
}

TEST_F(SemaphorePermits, ExtendSetsTheLease) {
  Semaphore mine{client, name, 2, leased_for(60s)};
  mine.acquire();
  mine.extend(600s);
  EXPECT_GT(redis.integer("PTTL", permits.set), 500'000);
  mine.extend();
  EXPECT_LE(redis.integer("PTTL", permits.set), 60'000);
  EXPECT_EQ(taken(), 1);
}

TEST_F(SemaphorePermits, ResetFreesAllAndWakesAll) {
  EXPECT_FALSE(first.reset()) << "none is taken";
  first.acquire();
  second.acquire();
  Semaphore fourth{client, name, 2};
  auto one = permit_by_thread(third), two = permit_by_thread(fourth);
  ASSERT_TRUE(are_waiting(2));
  EXPECT_TRUE(first.reset());
  EXPECT_TRUE(all_are_woken());
  EXPECT_TRUE(one.gets_inside() && two.gets_inside());
  std::error_code error;
  first.release(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_EQ(taken(), 2);
}

TEST_F(SemaphorePermits, ResetOfAnIdFreesThatPermit) {
  first.acquire();
  second.acquire();
  EXPECT_FALSE(third.reset("nobody"));
  auto waiter = permit_by_thread(third);
  ASSERT_TRUE(are_waiting(1));
  EXPECT_TRUE(second.reset(first.id()));
  EXPECT_TRUE(waiter.gets_inside());
  std::error_code error;
  first.release(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_TRUE(second.owns_lock());
}

TEST_F(SemaphorePermits, GuardsOfStdReturnThem) {
  {
    const std::unique_lock permit{first};
    const std::lock_guard other{second};
    EXPECT_EQ(taken(), 2);
    EXPECT_FALSE((std::unique_lock{third, std::try_to_lock}.owns_lock()));
    EXPECT_FALSE((std::unique_lock{third, 10ms}.owns_lock()));
  }
  EXPECT_EQ(taken(), 0);
  const std::scoped_lock both{first, second};
  EXPECT_EQ(taken(), 2);
}

TEST_F(SemaphorePermits, ScopedLockTakesTwoInAnyOrder) {
  Semaphore one{client, name + "-1", 1}, one_of_other{client, name + "-1", 1};
  Semaphore two{client, name + "-2", 1}, two_of_other{client, name + "-2", 1};
  int rounds = 0;  // guarded by both
  const auto work = [&](Semaphore& a, Semaphore& b) {
    for (int i = 0; i < 10; ++i) {
      const std::scoped_lock both{a, b};
      ++rounds;
    }
  };
  std::thread forwards{[&] { work(one, two); }};
  work(two_of_other, one_of_other);
  forwards.join();
  EXPECT_EQ(rounds, 20);
}

TEST_F(SemaphorePermits, ConditionVariableGivesThePermitUp) {
  std::condition_variable_any changed;
  Semaphore one{client, name + "-1", 1}, other{client, name + "-1", 1};
  std::unique_lock permit{one};
  auto visitor = std::async(std::launch::async, [&] {
    const std::lock_guard visit{other};
    return true;
  });
  ASSERT_TRUE(are_waiting(1));
  EXPECT_TRUE(eventually([&] {
    changed.wait_for(permit, 5ms);
    return visitor.wait_for(0s) == std::future_status::ready;
  }));
  EXPECT_TRUE(one.owns_lock());
}

TEST_F(SemaphorePermits, ThreadsOfAnObjectQueueForIt) {
  std::atomic<int> inside{0}, overlaps{0}, turns{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        const std::lock_guard permit{first};
        if (++inside != 1) ++overlaps;
        ++turns;
        --inside;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(overlaps, 0);
  EXPECT_EQ(turns, 80);
}

TEST_F(SemaphorePermits, NeverExceedTheirNumber) {
  std::atomic<int> inside{0}, most{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      Semaphore own{client, name, 3};
      for (int round = 0; round < 25; ++round) {
        if ((i + round) % 3 != 0) {
          own.acquire();
        } else if (!own.try_acquire_for(soon)) {
          ADD_FAILURE() << "it starves";
          return;
        }
        const int beside = ++inside;
        auto seen = most.load();
        while (beside > seen && !most.compare_exchange_weak(seen, beside)) {
        }
        std::this_thread::yield();
        --inside;
        own.release();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(most, 3);
  EXPECT_GT(most, 1);
  EXPECT_EQ(taken(), 0);
}

TEST_F(SemaphorePermits, LeaveNoKeysBehind) {
  first.acquire();
  second.acquire();
  auto waiter = permit_by_thread(third);
  ASSERT_TRUE(are_waiting(1));
  first.release();
  EXPECT_TRUE(waiter.gets_inside());
  waiter.leave();
  second.release();
  EXPECT_FALSE(redis.exists(permits.set));
  EXPECT_TRUE(eventually([&] { return !redis.exists(permits.signal); }));
}

// ---------------------------------------------------------------------------------------------------
// Order, and what others got wrong.

using SemaphoreOrder = SemaphorePermits;

TEST_F(SemaphoreOrder, AWaiterIsWokenByARelease) {
  first.acquire();
  second.acquire();
  auto waiter = permit_by_thread(third);
  ASSERT_TRUE(are_waiting(1));
  second.release();
  EXPECT_TRUE(all_are_woken());
  EXPECT_TRUE(waiter.gets_inside());
}

TEST_F(SemaphoreOrder, WaitersEnterInOrderOfArrival) {
  Semaphore one{client, name + "-1", 1};
  one.acquire();
  std::deque<Semaphore> waiters;
  std::mutex mutex;
  std::vector<int> order;
  std::vector<std::thread> threads;
  for (int i = 0; i < 5; ++i) {
    auto& own = waiters.emplace_back(client, name + "-1", std::size_t{1});
    threads.emplace_back([&, i] {
      const std::lock_guard permit{own};
      const std::lock_guard guard{mutex};
      order.push_back(i);
    });
    ASSERT_TRUE(are_waiting(i + 1));
  }
  one.release();
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4));
}

TEST_F(SemaphoreOrder, AReleaseDoesNotJumpTheQueue) {
  for (const bool deferred : {false, true}) {
    Options options;
    options.deferred_unlock = deferred;
    Semaphore one{client, name + "-1", 1, options}, next{client, name + "-1", 1};
    for (int i = 0; i < 10; ++i) {
      one.acquire();
      auto waiter = permit_by_thread(next);
      ASSERT_TRUE(are_waiting(1));
      one.release();
      const bool overtakes = one.try_acquire();
      EXPECT_FALSE(overtakes) << (deferred ? "deferred" : "");
      if (overtakes) one.release();
      EXPECT_TRUE(waiter.gets_inside());
    }
  }
}

TEST_F(SemaphoreOrder, AResetWakesAWaiterForEachPermit) {
  Semaphore fourth{client, name, 2};
  first.acquire();
  second.acquire();
  auto one = permit_by_thread(third), two = permit_by_thread(fourth);
  ASSERT_TRUE(are_waiting(2));
  EXPECT_TRUE(first.reset()) << "both permits come free in one step";
  EXPECT_TRUE(all_are_woken());
  EXPECT_TRUE(one.gets_inside() && two.gets_inside());
}

TEST_F(SemaphoreOrder, NoMorePermitsAreSignalledThanFree) {
  for (int i = 0; i < 10; ++i) {
    first.acquire();
    second.acquire();
    EXPECT_EQ(redis.integer("LLEN", permits.signal), 0);
    second.release();
    first.release();
    EXPECT_EQ(redis.integer("LLEN", permits.signal), 2);
    first.acquire();
    EXPECT_EQ(redis.integer("LLEN", permits.signal), 1);
    second.acquire();
    EXPECT_TRUE(first.reset());
    EXPECT_EQ(redis.integer("LLEN", permits.signal), 2);
    first.release();
    second.release();
  }
  EXPECT_THAT(redis.integer("PTTL", permits.signal), AllOf(Gt(0), Le(1000)));
}

TEST_F(SemaphoreOrder, ASignalThatIsGoneLosesNoPermit) {
  first.acquire();
  first.release();
  redis.command("DEL", permits.signal);
  EXPECT_TRUE(first.try_acquire());
  EXPECT_TRUE(second.try_acquire());
}

TEST_F(SemaphoreOrder, ReleaseOfWhatWasOverIsLost) {
  Semaphore slow{client, name, 1, leased_for(80ms)}, next{client, name, 1, leased_for(60s)};
  slow.acquire();
  ASSERT_TRUE(next.try_acquire_for(soon));
  std::error_code error;
  slow.release(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_TRUE(next.owns_lock());
  EXPECT_EQ(taken(), 1) << "the next holder has its permit";
}

TEST_F(SemaphoreOrder, ReleaseOfAVanishedPermitIsLost) {
  first.acquire();
  second.acquire();
  redis.command("ZREM", permits.set, first.id());
  std::error_code error;
  first.release(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_EQ(first.loss_reason(), redis_lock::LossReason::gone);
  EXPECT_FALSE(redis.exists(permits.signal)) << "it frees nothing";
  EXPECT_EQ(taken(), 1);
}

TEST_F(SemaphoreOrder, TheServerEndsAReleaseThatIsOver) {
  second.acquire();
  first.acquire();
  // What a client sees that was paused behind its look at the clock.
  const auto over = server_time(redis) - 1;
  redis.command("ZADD", permits.set, over, first.id());
  std::error_code error;
  first.release(error);
  EXPECT_EQ(error, errc::lease_lost);
}

TEST_F(SemaphoreOrder, ADeadHolderIsNotKeptByLiveOnes) {
  const auto end = add_dead_holder(redis, permits.set, 500ms);
  Semaphore live{client, name, 2, renewed_for(300ms)};
  live.acquire();
  ASSERT_TRUE(eventually([&] {
    const auto dead = end_of_lease(redis, permits.set, "dead");
    EXPECT_EQ(dead.value_or(end), end) << "it is renewed";
    return !dead;
  }));
  EXPECT_TRUE(live.owns_lock());
  EXPECT_GE(server_time(redis), end);
}

TEST_F(SemaphoreOrder, ADeadHolderCostsItsOwnLeaseOnly) {
  first.acquire();
  const auto end = add_dead_holder(redis, permits.set, 500ms);
  ASSERT_TRUE(second.try_acquire_for(soon));
  EXPECT_GE(server_time(redis), end);
  EXPECT_TRUE(first.owns_lock());
}

TEST_F(SemaphoreOrder, AShortLeaseCutsNoLongOne) {
  Semaphore patient{client, name, 2, leased_for(60s)}, hasty{client, name, 2, leased_for(150ms)};
  patient.acquire();
  hasty.acquire();
  EXPECT_GT(redis.integer("PTTL", permits.set), 50'000);
  ASSERT_TRUE(eventually([&] { return first.available() == 1; }));
  EXPECT_TRUE(first.try_acquire());
  EXPECT_FALSE(second.try_acquire()) << "the patient one has its permit";
  hasty.release();
  EXPECT_GT(redis.integer("PTTL", permits.set), 50'000);
}

TEST_F(SemaphoreOrder, ScoresAreTheServersTime) {
  Proxy proxy{redis_lock::Endpoint::parse(test_uri())};
  Semaphore seen{proxy.uri(), name, 1, leased_for(60s)};
  const auto before = server_time(redis);
  seen.acquire();
  const auto score = end_of_lease(redis, permits.set, seen.id());
  ASSERT_TRUE(score);
  EXPECT_THAT(*score, AllOf(Ge(before + 60'000), Le(server_time(redis) + 60'000)));
  seen.extend(50s);
  EXPECT_EQ(seen.available(), 0U);
  Semaphore beside{proxy.uri(), name, 1, leased_for(60s)};
  EXPECT_FALSE(beside.try_acquire_for(20ms));
  seen.release();
  const auto now = server_time(redis);
  EXPECT_THAT(proxy.commands().size(), Ge(6U));
  for (const auto& command : proxy.commands()) {
    for (const auto& word : command) EXPECT_FALSE(looks_like_time(word, now)) << word;
  }
}

TEST_F(SemaphoreOrder, AvailableCountsNoLeaseThatIsOver) {
  add_dead_holder(redis, permits.set, 1h);
  redis.command("ZADD", permits.set, server_time(redis) - 1, "over");
  EXPECT_EQ(first.available(), 1U);
  EXPECT_EQ(taken(), 2) << "to look changes nothing";
}

TEST_F(SemaphoreOrder, HoldersApplyTheirOwnNumbers) {
  Semaphore small{client, name, 1}, large{client, name, 4};
  first.acquire();
  EXPECT_FALSE(small.try_acquire());
  EXPECT_TRUE(second.try_acquire());
  EXPECT_FALSE(third.try_acquire());
  EXPECT_TRUE(large.try_acquire());
  EXPECT_EQ(small.available(), 0U);
  EXPECT_EQ(first.available(), 0U) << "three are taken of two";
  EXPECT_EQ(large.available(), 1U);
  first.release();
  EXPECT_FALSE(third.try_acquire());
  second.release();
  EXPECT_TRUE(third.try_acquire());
}

// ---------------------------------------------------------------------------------------------------
// Leases and options.

using SemaphoreLease = SemaphorePermits;

TEST_F(SemaphoreLease, PermitsAreRenewedBeyondTheirLease) {
  Semaphore renewed{client, name, 1, renewed_for(300ms)}, other{client, name, 1};
  renewed.acquire();
  const Stopwatch watch;
  while (watch.elapsed() < 900ms) {
    ASSERT_TRUE(renewed.owns_lock());
    ASSERT_FALSE(other.try_acquire());
    std::this_thread::sleep_for(20ms);
  }
  std::error_code error;
  renewed.release(error);
  EXPECT_FALSE(error) << error.message();
}

TEST_F(SemaphoreLease, ALostPermitIsReported) {
  std::atomic<int> losses{0};
  auto options = renewed_for(300ms);
  options.on_lost = [&](std::error_code code) {
    EXPECT_EQ(code, errc::lease_lost);
    ++losses;
  };
  Semaphore told{client, name, 2, options};
  told.acquire();
  redis.command("DEL", permits.set);
  EXPECT_TRUE(eventually([&] { return losses == 1; }));
  EXPECT_FALSE(told.owns_lock());
  EXPECT_EQ(taken(), 0) << "a renewal never creates it anew";
  EXPECT_EQ(error_of([&] { told.extend(); }), errc::lease_lost);
}

TEST_F(SemaphoreLease, ExtendRevivesNoPermitThatIsOver) {
  Semaphore mine{client, name, 2, leased_for(60s)};
  mine.acquire();
  redis.command("ZADD", permits.set, server_time(redis) - 1, mine.id());
  EXPECT_EQ(error_of([&] { mine.extend(); }), errc::lease_lost);
  EXPECT_EQ(taken(), 0);
}

TEST_F(SemaphoreLease, MinHoldKeepsThePermitForTheRest) {
  auto options = leased_for(60s);
  options.min_hold = 600ms;
  Semaphore brief{client, name, 1, options}, next{client, name, 1};
  const Stopwatch watch;
  brief.acquire();
  auto waiter = permit_by_thread(next);
  ASSERT_TRUE(are_waiting(1));
  brief.release();
  EXPECT_FALSE(brief.owns_lock());
  EXPECT_EQ(taken(), 1);
  EXPECT_FALSE(brief.try_acquire());
  EXPECT_TRUE(waiter.gets_inside());
  EXPECT_GE(watch.elapsed(), 600ms - clock_error);
  EXPECT_LT(watch.elapsed(), soon) << "the waiter learned of the new end";
}

TEST_F(SemaphoreLease, StatsAndEventsTellOfPermits) {
  using Kind = redis_lock::Event::Kind;
  std::vector<Kind> kinds;
  auto options = leased_for(60s);
  options.id_prefix = "host-1:";
  options.on_event = [&](const redis_lock::Event& event) {
    kinds.push_back(event.kind);
    EXPECT_THAT(std::string(event.id), HasSubstr("host-1:"));
  };
  {
    Semaphore told{client, name, 1, options};
    told.acquire();
    EXPECT_FALSE(Semaphore(client, name, 1).try_acquire());
    told.release();
  }
  EXPECT_THAT(kinds, ElementsAre(Kind::acquired, Kind::released));
  const auto stats = client.stats();
  EXPECT_EQ(stats.acquired, 1U);
  EXPECT_EQ(stats.released, 1U);
  EXPECT_EQ(stats.timed_out, 1U);
  EXPECT_EQ(stats.contended, 1U);
}

TEST_F(SemaphoreLease, DeferredReleasesReturnPermits) {
  Options options;
  options.deferred_unlock = true;
  Semaphore quick{client, name, 1, options};
  for (int i = 0; i < 50; ++i) {
    quick.acquire();
    quick.release();
  }
  EXPECT_TRUE(eventually([&] { return taken() == 0 && client.stats().released == 50; }));
}

TEST_F(SemaphoreLease, DeferredReleasesReportALoss) {
  std::atomic<int> reports{0};
  auto options = leased_for(60s);
  options.deferred_unlock = true;
  options.on_error = [&](const Error& error) { reports += error.code() == errc::lease_lost; };
  Semaphore quick{client, name, 1, options};
  quick.acquire();
  redis.command("DEL", permits.set);
  quick.release();
  EXPECT_TRUE(eventually([&] { return reports == 1; }));
}

TEST_F(SemaphoreLease, LocalHandoffsPassThePermitOn) {
  Options options;
  options.local_handoffs = 100;
  Semaphore handing{client, name, 1, options};
  handing.acquire();
  const auto id = handing.id();
  std::string next_id;
  std::thread next{[&] {
    handing.acquire();
    next_id = handing.id();
    handing.release();
  }};
  // In a queue inside the process, which shows nowhere: let the thread get there.
  ASSERT_TRUE(eventually([] { return all_others_sleep(); }));
  handing.release();
  next.join();
  EXPECT_EQ(next_id, id);
  EXPECT_EQ(taken(), 0);
}

// ---------------------------------------------------------------------------------------------------
// Processes.

using SemaphoreProcesses = SemaphorePermits;

TEST_F(SemaphoreProcesses, NeverExceedThePermits) {
  std::vector<Child> children;
  for (int i = 0; i < 5; ++i) {
    children.emplace_back([&] {
      Semaphore own{test_uri(), name, 2};
      Redis plain{test_uri()};
      for (int round = 0; round < 20; ++round) {
        const std::unique_lock permit{own};
        const auto inside = plain.integer("INCR", name);
        plain.integer("DECR", name);
        if (inside > 2) return 2;
      }
      return 0;
    });
  }
  for (auto& child : children) EXPECT_EQ(child.exit_code(), 0);
  EXPECT_EQ(taken(), 0);
}

TEST_F(SemaphoreProcesses, AChildStartsFree) {
  first.acquire();
  Child child{[&] {
    std::error_code error;
    const bool owned = first.owns_lock();
    first.release(error);
    if (owned || error != errc::not_owned) return 1;
    if (!first.try_acquire()) return 2;
    if (second.try_acquire()) return 3;
    first.release();
    return 0;
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_TRUE(first.owns_lock());
  EXPECT_THAT(ids_in(redis, permits.set), ElementsAre(first.id()));
}

TEST_F(SemaphoreProcesses, AChildsDestructorReturnsNoParentsPermit) {
  auto mine = std::make_unique<Semaphore>(client, name, 2);
  mine->acquire();
  Child child{[&] {
    mine.reset();
    return 0;
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_EQ(taken(), 1);
}

TEST_F(SemaphoreProcesses, ADeadHolderFreesItsPermit) {
  Child holder{[&] {
    Semaphore own{test_uri(), name, 1, renewed_for(900ms)};
    own.acquire();
    for (;;) ::pause();
    return 0;
  }};
  ASSERT_TRUE(eventually([&] { return taken() == 1; }));
  Semaphore next{client, name, 1};
  const Stopwatch watch;
  while (watch.elapsed() < 1100ms) {
    ASSERT_FALSE(next.try_acquire()) << "it is renewed";
    std::this_thread::sleep_for(20ms);
  }
  holder.kill();
  EXPECT_TRUE(next.try_acquire_for(soon));
}

TEST_F(SemaphoreProcesses, AWaiterKilledWhenWokenLosesNoPermit) {
  first.acquire();
  second.acquire();
  Child waiter{[&] {
    Semaphore own{test_uri(), name, 2, leased_for(1s)};
    own.acquire();
    return 0;
  }};
  ASSERT_TRUE(are_waiting(1));
  auto other = permit_by_thread(third);
  ASSERT_TRUE(are_waiting(2));
  waiter.pause();  // so that it does not know of its permit
  first.release();
  EXPECT_TRUE(eventually([&] { return taken() == 2; })) << "the server gave it the permit";
  waiter.kill();
  EXPECT_FALSE(other.is_inside());
  second.release();
  EXPECT_TRUE(all_are_woken());
  EXPECT_TRUE(other.gets_inside()) << "the others go on";
  EXPECT_TRUE(eventually([&] { return first.available() == 1; })) << "its lease was one second";
}

TEST_F(SemaphoreProcesses, AStoppedWaiterTakesOneSignalOnly) {
  first.acquire();
  second.acquire();
  Child waiter{[&] {
    Semaphore own{test_uri(), name, 2, leased_for(60s)};
    own.acquire();
    return 0;
  }};
  ASSERT_TRUE(are_waiting(1));
  auto other = permit_by_thread(third);
  ASSERT_TRUE(are_waiting(2));
  waiter.pause();
  EXPECT_TRUE(first.reset()) << "both permits come free, and the stopped waiter takes one signal";
  EXPECT_TRUE(all_are_woken());
  EXPECT_TRUE(other.gets_inside());
  waiter.kill();
}

}  // namespace
}  // namespace redis_lock_test
