#include "integration.hpp"

#include <algorithm>
#include <future>
#include <list>
#include <mutex>
#include <numeric>
#include <thread>

// What the tests of python-redis-lock ask of a lock, and what a Python process sees of ours: keys,
// values and signals as the first section of the design has them.

namespace redis_lock_test {
namespace {

using ::testing::ElementsAre;

class AmongProcesses : public OnRedis {
 protected:
  /// Children that all start when open_the_gate() is called; `work` returns their exit codes.
  template <class Work>
  std::list<Child> fork_children(int count, const Work& work) {
    std::list<Child> children;
    for (int i = 0; i < count; ++i) {
      children.emplace_back([&] {
        Redis own{test_uri()};
        own.command("BLPOP", gate, 0);
        return work(own);
      });
    }
    return children;
  }

  void open_the_gate(int count) {
    std::vector<std::string> words{"RPUSH", gate};
    words.insert(words.end(), static_cast<std::size_t>(count), "go");
    redis.send(words);
  }

  const std::string gate = "gate-" + name;
};

TEST_F(AmongProcesses, HoldersNeverOverlap) {
  constexpr int holders = 110;
  auto children = fork_children(holders, [this](Redis& own) {
    Lock lock{Client{test_uri()}, name};
    const std::lock_guard guard{lock};
    if (own.integer("INCR", "inside-" + name) != 1) own.integer("INCR", "overlaps-" + name);
    own.integer("INCR", "entered-" + name);
    own.integer("DECR", "inside-" + name);
    return 0;
  });
  open_the_gate(holders);
  for (auto& child : children) EXPECT_EQ(child.exit_code(), 0);
  EXPECT_EQ(redis.string("GET", "entered-" + name), std::to_string(holders));
  EXPECT_EQ(redis.string("GET", "overlaps-" + name), std::nullopt);
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(AmongProcesses, OneOfAllWinsWhenNobodyReleases) {
  constexpr int contenders = 110, won = 1, busy = 0;
  auto children = fork_children(contenders, [&](Redis&) {
    Lock lock{Client{test_uri()}, name, leased_for(60s)};
    ::_exit(lock.try_lock() ? won : busy);  // without releasing it
    return 0;
  });
  open_the_gate(contenders);
  int winners = 0;
  for (auto& child : children) {
    const auto code = child.exit_code();
    EXPECT_THAT(code, ::testing::AnyOf(won, busy));
    winners += code;
  }
  EXPECT_EQ(winners, 1);
  EXPECT_TRUE(redis.exists(key));
}

TEST_F(AmongProcesses, OneOfAllWinsWithATimeoutToo) {
  constexpr int contenders = 20;
  auto children = fork_children(contenders, [&](Redis&) {
    Lock lock{Client{test_uri()}, name, leased_for(60s)};
    ::_exit(lock.try_lock_for(300ms) ? 1 : 0);
    return 0;
  });
  open_the_gate(contenders);
  int winners = 0;
  for (auto& child : children) winners += child.exit_code();
  EXPECT_EQ(winners, 1);
}

TEST_F(AmongProcesses, AnAbandonedLockIsTakenByAnother) {
  Child holder{[&] {
    Lock lock{Client{test_uri()}, name, leased_for(700ms)};
    lock.lock();
    for (;;) ::pause();
    return 0;
  }};
  ASSERT_TRUE(eventually([this] { return redis.exists(key); }));
  holder.kill();
  ASSERT_TRUE(holder.wait());
  const Stopwatch since_death;
  Lock lock{client, name};
  lock.lock();
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_LT(since_death.elapsed(), 700ms + soon);
}

TEST_F(AmongProcesses, ResetWakesABlockedWaiter) {
  held_by_somebody();
  Child waiter{[&] {
    Lock lock{Client{test_uri()}, name};
    lock.lock();
    return lock.owns_lock() ? 0 : 1;
  }};
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  const Stopwatch since_reset;
  Lock observer{client, name};
  EXPECT_TRUE(observer.reset());
  EXPECT_EQ(waiter.exit_code(), 0);
  EXPECT_LT(since_reset.elapsed(), soon);
}

TEST_F(AmongProcesses, ResetAllWakesABlockedWaiter) {
  auto options = leased_for(60s);
  options.key_prefix = "l-" + name;
  options.signal_prefix = "s-" + name;
  redis.command("SET", options.key_prefix + "x", "somebody");
  Child waiter{[&] {
    Lock lock{Client{test_uri()}, "x", options};
    lock.lock();
    return lock.owns_lock() ? 0 : 1;
  }};
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  EXPECT_EQ(redis_lock::reset_all(client, options.key_prefix, options.signal_prefix), 1U);
  EXPECT_EQ(waiter.exit_code(), 0);
}

using PythonSuite = OnRedis;

TEST_F(PythonSuite, AnEndedLeaseLetsTheNextIn) {
  Lock first{client, name, leased_for(200ms)}, second{client, name, leased_for(60s)};
  const Stopwatch watch;
  first.lock();
  second.lock();
  EXPECT_GE(watch.elapsed(), 200ms - clock_error);
  EXPECT_FALSE(first.owns_lock());
  EXPECT_TRUE(second.owns_lock());
  first.unlock();
  EXPECT_EQ(redis.string("GET", key), second.id()) << "a late release frees nobody else's lock";
}

TEST_F(PythonSuite, TheOwnersIdIsWhatTheOwnerSays) {
  auto options = leased_for(60s);
  options.id = "host-1 pid-2 " + name;
  Lock lock{client, name, options}, observer{client, name};
  lock.lock();
  EXPECT_EQ(observer.owner(), options.id);
  EXPECT_EQ(redis.string("GET", key), options.id);
}

TEST_F(PythonSuite, AnObjectWithTheSameIdStillContends) {
  auto options = leased_for(60s);
  options.id = "twin " + name;
  Lock lock{client, name, options}, twin{client, name, options};
  lock.lock();
  EXPECT_FALSE(twin.try_lock());
  EXPECT_FALSE(twin.try_lock_for(20ms));
  EXPECT_EQ(redis.string("GET", key), options.id);
}

TEST_F(PythonSuite, ReleasingWhatIsNotHeldIsAnError) {
  Lock lock{client, name};
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::not_owned);
  EXPECT_FALSE(redis.exists(signal));
}

TEST_F(PythonSuite, TenReleasesLeaveOneSignal) {
  Lock lock{client, name};
  for (int i = 0; i < 10; ++i) {
    lock.lock();
    lock.unlock();
  }
  EXPECT_EQ(redis.integer("LLEN", signal), 1);
  EXPECT_EQ(redis.string("LINDEX", signal, 0), "1");
}

TEST_F(PythonSuite, ASignalThatNobodyHeardExpires) {
  auto options = leased_for(60s);
  options.signal_expire = 150ms;
  Lock lock{client, name, options};
  lock.lock();
  lock.unlock();
  EXPECT_LE(redis.integer("PTTL", signal), 150);
  EXPECT_TRUE(eventually([this] { return !redis.exists(signal); }));
  Lock with_defaults{client, name};
  with_defaults.lock();
  with_defaults.unlock();
  EXPECT_LE(redis.integer("PTTL", signal), 1000);
  EXPECT_GT(redis.integer("PTTL", signal), 150);
}

TEST_F(PythonSuite, AnOldSignalGrantsNoLock) {
  held_by_somebody();
  redis.command("LPUSH", signal, 1);
  Lock lock{client, name};
  const Stopwatch watch;
  EXPECT_FALSE(lock.try_lock_for(100ms));
  EXPECT_GE(watch.elapsed(), 100ms);
}

using APythonPeer = OnRedis;

TEST_F(APythonPeer, IsWokenByOurRelease) {
  Lock lock{client, name};
  lock.lock();
  auto peer = std::async(std::launch::async, [this] {
    Redis python{test_uri()};
    if (!python.command("SET", key, "python", "NX", "PX", 60'000).is_nil()) return Reply{};
    return python.command("BLPOP", signal, 60);
  });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  lock.unlock();
  const auto woken = peer.get();
  ASSERT_EQ(woken.elements.size(), 2U);
  EXPECT_EQ(woken.elements[0].text, signal);
  EXPECT_EQ(woken.elements[1].text, "1");
  EXPECT_EQ(redis.string("SET", key, "python", "NX", "PX", 60'000), "OK");
  EXPECT_FALSE(lock.try_lock());
}

TEST_F(APythonPeer, WakesUsByItsRelease) {
  ASSERT_EQ(redis.string("SET", key, "python", "NX"), "OK")
      << "no expiry: only its signal can wake us at once";
  auto waiter = std::async(std::launch::async, [this] {
    Lock lock{client, name};
    lock.lock();
    return redis_lock_test::Redis{test_uri()}.string("GET", key) == lock.id();
  });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  const Stopwatch since_release;
  ASSERT_EQ(released_by("python"), 0);
  EXPECT_TRUE(waiter.get());
  EXPECT_LT(since_release.elapsed(), 2500ms) << "sooner than the next look without a signal";
}

TEST_F(APythonPeer, ReleasesNothingOfOurs) {
  Lock lock{client, name};
  lock.lock();
  EXPECT_EQ(released_by("python"), 1);
  EXPECT_TRUE(lock.locked());
  EXPECT_EQ(released_by(lock.id()), 0) << "but knows our id as its own kind's";
  EXPECT_FALSE(lock.locked());
}

TEST_F(APythonPeer, ContendsWithUs) {
  std::atomic<bool> done{false};
  std::atomic<int> inside{0}, overlaps{0};
  const auto critical_section = [&] {
    if (++inside != 1) ++overlaps;
    --inside;
  };
  auto python = std::async(std::launch::async, [&] {
    Redis own{test_uri()};
    int rounds = 0;
    for (; !done || rounds < 20; ++rounds) {
      while (own.command("SET", key, "python", "NX", "PX", 60'000).is_nil())
        own.command("BLPOP", signal, 1);
      critical_section();
      own.integer(
          "EVAL",
          "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 1 else redis.call('del', KEYS[2]) "
          "redis.call('lpush', KEYS[2], 1) redis.call('pexpire', KEYS[2], ARGV[2]) "
          "redis.call('del', KEYS[1]) return 0 end",
          2, key, signal, "python", 1000);
    }
    return rounds;
  });
  Lock lock{client, name};
  for (int i = 0; i < 40; ++i) {
    const std::lock_guard guard{lock};
    critical_section();
  }
  done = true;
  EXPECT_GE(python.get(), 20);
  EXPECT_EQ(overlaps, 0);
}

/// The commands as they leave the client.
class OnTheWire : public ::testing::Test {
 protected:
  std::vector<Command> sent() {
    auto commands = proxy.commands();
    if (commands.at(0).at(0) == "AUTH") commands.erase(commands.begin());  // as the least user
    return commands;
  }
  void forget_what_was_sent() { proxy.forget_commands(); }

  RedisServer server;
  Redis redis{server.endpoint()};
  Proxy proxy{server.endpoint()};
  Client client{proxy.uri()};
};

TEST_F(OnTheWire, AcquisitionIsOneSetWithNxAndPx) {
  Lock lock{client, "n", leased_for(45s)};
  forget_what_was_sent();
  lock.lock();
  EXPECT_THAT(sent(), ElementsAre(Command{"SET", "lock:n", lock.id(), "NX", "PX", "45000"},
                                  Command{"PTTL", "lock:n"}));
}

TEST_F(OnTheWire, AnAcquisitionWithoutExpiryHasNoPx) {
  Lock lock{client, "n", leased_for(redis_lock::no_expiry)};
  forget_what_was_sent();
  lock.lock();
  EXPECT_THAT(sent(),
              ElementsAre(Command{"SET", "lock:n", lock.id(), "NX"}, Command{"PTTL", "lock:n"}));
}

TEST_F(OnTheWire, AReleaseCallsItsScriptByDigest) {
  auto options = leased_for(45s);
  options.signal_expire = 2500ms;
  Lock lock{client, "n", options};
  lock.lock();
  forget_what_was_sent();
  lock.unlock();
  const auto first = sent();
  ASSERT_EQ(first.size(), 2U) << "EVALSHA, and EVAL as the server does not know the script yet";
  EXPECT_EQ(first[0][0], "EVALSHA");
  EXPECT_EQ(first[1][0], "EVAL");
  EXPECT_EQ(first[1][1].find("#!"), std::string::npos);
  for (auto command : first) {
    command.erase(command.begin(), command.begin() + 2);
    EXPECT_THAT(command, ElementsAre("2", "lock:n", "lock-signal:n", lock.id(), "2500"));
  }
  lock.lock();
  forget_what_was_sent();
  lock.unlock();
  const auto second = sent();
  ASSERT_EQ(second.size(), 1U) << "by then it does";
  EXPECT_EQ(second[0][0], "EVALSHA");
}

TEST_F(OnTheWire, AWaitIsBlpopSetAndPttl) {
  redis.command("SET", "lock:n", "somebody", "PX", 60'000);
  auto options = leased_for(45s);
  options.id = "me";
  Lock lock{client, "n", options};
  EXPECT_FALSE(lock.try_lock_for(250ms));
  const auto commands = sent();
  ASSERT_GE(commands.size(), 5U);
  const Command set{"SET", "lock:n", "me", "NX", "PX", "45000"}, pttl{"PTTL", "lock:n"};
  EXPECT_EQ(commands[0], set);
  EXPECT_EQ(commands[1], pttl);
  ASSERT_EQ(commands[2].size(), 3U);
  EXPECT_EQ(commands[2][0], "BLPOP");
  EXPECT_EQ(commands[2][1], "lock-signal:n");
  EXPECT_GT(std::stod(commands[2][2]), 0.0) << "0 would be for ever";
  EXPECT_LE(std::stod(commands[2][2]), 0.25) << "not beyond the deadline";
  EXPECT_EQ(commands[3], set);
  EXPECT_EQ(commands[4], pttl);
}

TEST_F(OnTheWire, ASliceHardlyExceedsTheHoldersLease) {
  redis.command("SET", "lock:n", "somebody", "PX", 500);
  forget_what_was_sent();
  Lock lock{client, "n"};
  lock.lock();
  for (const auto& command : sent()) {
    if (command[0] != "BLPOP") continue;
    EXPECT_GT(std::stod(command[2]), 0.0);
    EXPECT_LE(std::stod(command[2]), 0.6);
  }
}

}  // namespace
}  // namespace redis_lock_test
