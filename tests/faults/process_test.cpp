// Processes that are killed or stopped while they hold the lock, or wait for it.

#include <array>
#include <functional>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "faults.hpp"

namespace redis_lock_test {
namespace {

using ::testing::Values;

std::int64_t nanoseconds_now() {
  return std::chrono::nanoseconds{steady_clock::now().time_since_epoch()}.count();
}

int in_whole_ms(std::chrono::nanoseconds time) {
  return static_cast<int>(std::chrono::duration_cast<milliseconds>(time).count());
}

/// What the children tell. steady_clock is the same for all processes.
struct Told {
  std::atomic<bool> holds{false}, returned{false}, owned{false}, on_server{false}, go{false};
  std::atomic<int> losses{0}, unlock_error{0};
  std::atomic<std::int64_t> acquired_at{0};
};

class Processes : public OnOwnServer {
 protected:
  [[noreturn]] static void hang() {
    for (;;) ::pause();
  }

  Shared<Told> told;
};

using KilledHolder = Processes;

TEST_F(KilledHolder, CostsTheWaiterTheLeaseAndNoMore) {
  constexpr auto lease = 1500ms;
  Child holder{[&] {
    Lock lock{server.uri(), name, renewed_for(lease)};
    lock.lock();
    told->holds = true;
    hang();
    return 0;
  }};
  Child waiter{[&] {
    if (!eventually([&] { return told->holds.load(); })) return 2;
    Lock lock{server.uri(), name, renewed_for(lease)};
    lock.lock();
    told->acquired_at = nanoseconds_now();
    return lock.owns_lock() && redis.string("GET", key) == lock.id() ? 0 : 3;
  }};
  ASSERT_TRUE(are_waiting(1));
  // It is renewed meanwhile.
  ASSERT_TRUE(eventually([&] { return redis.integer("PTTL", key) < 1100; }));
  ASSERT_TRUE(eventually([&] { return redis.integer("PTTL", key) > 1300; }));

  holder.kill();
  const auto killed_at = nanoseconds_now();
  const milliseconds left{redis.integer("PTTL", key)};
  EXPECT_EQ(end_of(waiter), exit_with(0));
  const std::chrono::nanoseconds waited{told->acquired_at - killed_at};
  RecordProperty("lease_left_at_the_kill_ms", static_cast<int>(left.count()));
  RecordProperty("acquired_after_the_kill_ms", in_whole_ms(waited));
  RecordProperty("beyond_the_lease_ms", in_whole_ms(waited - left));
  EXPECT_GE(waited, left - clock_error);
  EXPECT_LT(waited, lease + 2s) << "0.3 s on a machine that is not busy";
}

/// A waiter asks the server to wait for up to three seconds, but not past the lease of the holder.
TEST_F(KilledHolder, IsNoticedOnceTheLeaseIsOver) {
  Child holder{[&] {
    Lock lock{server.uri(), name, leased_for(1s)};
    lock.lock();
    hang();
    return 0;
  }};
  ASSERT_TRUE(eventually([&] { return redis.exists(key); }));
  Child waiter{[&] {
    Lock lock{server.uri(), name, leased_for(60s)};
    lock.lock();
    told->acquired_at = nanoseconds_now();
    return 0;
  }};
  ASSERT_TRUE(are_waiting(1));
  holder.kill();
  const auto killed_at = nanoseconds_now();
  const milliseconds left{redis.integer("PTTL", key)};
  EXPECT_EQ(end_of(waiter), exit_with(0));
  const std::chrono::nanoseconds waited{told->acquired_at - killed_at};
  RecordProperty("beyond_the_lease_ms", in_whole_ms(waited - left));
  EXPECT_GE(waited, left - clock_error);
  EXPECT_LT(waited - left, 1500ms);
}

TEST_F(KilledHolder, LetsItsWaitersInOneAfterAnother) {
  Child holder{[&] {
    Lock lock{server.uri(), name, renewed_for(600ms)};
    lock.lock();
    told->holds = true;
    hang();
    return 0;
  }};
  ASSERT_TRUE(eventually([&] { return told->holds.load(); }));
  std::vector<Child> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] {
      Lock lock{server.uri(), name, renewed_for(60s)};
      lock.lock();
      const bool alone =
          redis.string("SET", "inside", "1", "NX") == "OK" && redis.integer("DEL", "inside") == 1;
      lock.unlock();
      return alone ? 0 : 2;
    });
  }
  ASSERT_TRUE(are_waiting(4));
  holder.kill();
  for (auto& waiter : waiters) EXPECT_EQ(end_of(waiter), exit_with(0));
}

using KilledWaiter = Processes;

TEST_F(KilledWaiter, IsNotGrantedTheLock) {
  held_by_somebody();
  Child waiter{[&] {
    return ends_well([&] {
      Lock lock{server.uri(), name, leased_for(60s)};
      lock.lock();
    });
  }};
  ASSERT_TRUE(are_waiting(1));
  waiter.kill();
  ASSERT_TRUE(are_waiting(0));
  released_by_somebody();
  expect_free();
}

/// The server grants the lock to a waiter that is stopped, and goes on when that lease is over.
class StoppedWaiter : public Processes, public ::testing::WithParamInterface<milliseconds> {
 protected:
  const milliseconds lease = GetParam();

  Child waiting_child() {
    return Child{[this] {
      Lock lock{server.uri(), name, leased_for(lease)};
      lock.lock();
      told->acquired_at = nanoseconds_now();
      // Whoever finds the lock his after he has read whose it is, had it when he read.
      told->on_server = redis.string("GET", key) == lock.id();
      told->owned = lock.owns_lock();
      told->returned = true;
      lock.unlock();
      return 0;
    }};
  }

  /// Returns the time at which the lease of the grant was over.
  void grant_while_stopped(Child& child) {
    ASSERT_TRUE(are_waiting(1));
    child.pause();
    released_by_somebody();
    ASSERT_TRUE(eventually([&] { return redis.exists(key); })) << "granted inside the server";
    ASSERT_TRUE(eventually([&] { return !redis.exists(key); })) << "its lease is over";
  }
};
INSTANTIATE_TEST_SUITE_P(, StoppedWaiter, Values(600ms, 3300ms), [](const auto& test) {
  return std::to_string(test.param.count()) + "ms";
});

TEST_P(StoppedWaiter, NeverReportsHoldingWhatAnotherHolds) {
  held_by_somebody();
  auto child = waiting_child();
  grant_while_stopped(child);
  ASSERT_EQ(redis.string("SET", key, "another", "NX"), "OK");
  child.resume();
  ASSERT_TRUE(are_waiting(1)) << "it goes on waiting";
  EXPECT_FALSE(told->returned);
  EXPECT_EQ(redis.string("GET", key), "another") << "nor did it free the lock of the other";
  RecordProperty("reported_while_another_held", told->returned ? 1 : 0);
  EXPECT_EQ(redis.integer("DEL", key), 1);
  redis.command("LPUSH", signal, "1");
  EXPECT_EQ(end_of(child), exit_with(0));
  EXPECT_TRUE(told->on_server || !told->owned);
}

TEST_P(StoppedWaiter, AcquiresAnewWhatNobodyTook) {
  held_by_somebody();
  auto child = waiting_child();
  grant_while_stopped(child);
  const auto resumed_at = nanoseconds_now();
  child.resume();
  EXPECT_EQ(end_of(child), exit_with(0));
  EXPECT_GE(told->acquired_at, resumed_at);
  EXPECT_TRUE(told->on_server || !told->owned) << "not by the grant that is over";
}

class StoppedHolder : public Processes {
 protected:
  /// Holds the lock, is stopped beyond its lease, and looks around.
  Child holding_child(const Options& base) {
    return Child{[this, options = base]() mutable {
      options.on_lost = [this](std::error_code) { ++told->losses; };
      Lock lock{server.uri(), name, options};
      lock.lock();
      told->holds = true;
      if (!eventually([&] { return told->go.load(); })) return 2;
      told->owned = lock.owns_lock();
      if (!eventually([&] { return told->losses > 0; })) return 3;
      std::error_code error;
      lock.unlock(error);
      told->unlock_error = error.value();
      return error.category() == redis_lock::category() ? 0 : 4;
    }};
  }

  void expect_told_of_its_loss(const Options& options) {
    auto child = holding_child(options);
    ASSERT_TRUE(eventually([&] { return told->holds.load(); }));
    child.pause();
    ASSERT_TRUE(eventually([&] { return !redis.exists(key); }));
    ASSERT_EQ(redis.string("SET", key, "another", "NX"), "OK");
    told->go = true;
    child.resume();
    EXPECT_EQ(end_of(child), exit_with(0));
    EXPECT_FALSE(told->owned);
    EXPECT_EQ(told->losses, 1);
    EXPECT_EQ(told->unlock_error, static_cast<int>(errc::lease_lost));
    EXPECT_EQ(redis.string("GET", key), "another");
    EXPECT_EQ(redis.integer("PTTL", key), -1) << "nor did it touch the lease of the other";
  }
};

TEST_F(StoppedHolder, IsToldOfItsLossDespiteRenewal) {
  expect_told_of_its_loss(renewed_for(600ms));
}
TEST_F(StoppedHolder, IsToldOfItsLoss) { expect_told_of_its_loss(leased_for(600ms)); }

TEST_F(StoppedHolder, WithinItsLeaseLosesNothing) {
  Child child{[&] {
    auto options = renewed_for(6s);
    options.on_lost = [this](std::error_code) { ++told->losses; };
    Lock lock{server.uri("command_timeout=100"), name, options};
    lock.lock();
    told->holds = true;
    if (!eventually([&] { return told->go.load(); })) return 2;
    const bool owned = lock.owns_lock();
    lock.unlock();
    return owned && told->losses == 0 ? 0 : 3;
  }};
  ASSERT_TRUE(eventually([&] { return told->holds.load(); }));
  child.pause();
  std::this_thread::sleep_for(300ms);  // longer than its timeouts
  child.resume();
  told->go = true;
  EXPECT_EQ(end_of(child), exit_with(0));
  EXPECT_FALSE(redis.exists(key));
}

// ---------------------------------------------------------------------------------------------------

constexpr int crowd = 16;

struct CrowdState {
  std::atomic<int> holder{-1};
  std::atomic<bool> over{false};
  std::atomic<int> stalls{0};  // a process that was not run for half a lease may have lost the lock
  std::array<std::atomic<int>, crowd> entered{};
};

class Crowd : public OnOwnServer {
 protected:
  static constexpr auto lease = 1000ms;

  int contend(int self) {
    Options options;
    options.expire = lease;
    Lock lock{server.uri("retry_for=20s"), name, options};
    const auto mark = std::to_string(self);
    while (!state->over) {
      lock.lock();
      const Stopwatch inside;
      state->holder = self;
      redis.command("SET", "inside", mark);
      bool alone = true;
      for (int look = 0; look < 5; ++look) alone = redis.string("GET", "inside") == mark && alone;
      if (!alone && lock.owns_lock()) redis.command("INCR", "overlaps");
      ++state->entered[static_cast<std::size_t>(self)];
      if (inside.elapsed() >= lease / 2) ++state->stalls;
      state->holder = -1;
      lock.unlock();
    }
    return 0;
  }

  Shared<CrowdState> state;
};

TEST_F(Crowd, WhoseHoldersAreKilledNeverOverlaps) {
  std::vector<Child> children;
  for (int self = 0; self < crowd; ++self) {
    children.emplace_back([this, self] { return ends_well([&] { (void)contend(self); }); });
  }
  std::minstd_rand random{std::random_device{}()};
  std::array<bool, crowd> killed{};
  for (int kills = 0; kills < 4; ++kills) {
    const auto entered = [&] {
      int sum = 0;
      for (const auto& count : state->entered) sum += count;
      return sum;
    };
    const auto enough = entered() + 20 + static_cast<int>(random() % 50);
    ASSERT_TRUE(eventually([&] { return entered() >= enough; })) << "the others go on";
    std::optional<std::size_t> victim;
    ASSERT_TRUE(eventually([&] {
      const int holder = state->holder;
      if (holder < 0 || killed[static_cast<std::size_t>(holder)]) return false;
      victim = static_cast<std::size_t>(holder);
      return true;
    }));
    children[*victim].kill();
    killed[*victim] = true;
  }
  for (std::size_t self = 0; self < crowd; ++self) {
    const auto entered = state->entered[self].load();
    EXPECT_TRUE(killed[self] || eventually([&] { return state->entered[self] > entered; }))
        << "each that lives gets its turn";
  }
  state->over = true;
  for (std::size_t self = 0; self < crowd; ++self) {
    if (!killed[self]) {
      EXPECT_EQ(end_of(children[self]), exit_with(0));
    }
  }
  const auto overlaps = redis.string("GET", "overlaps");
  RecordProperty("overlaps", overlaps.value_or("0"));
  RecordProperty("stalls", state->stalls.load());
  EXPECT_TRUE(!overlaps || state->stalls > 0) << *overlaps;
}

}  // namespace
}  // namespace redis_lock_test
