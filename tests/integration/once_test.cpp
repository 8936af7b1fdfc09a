// call_once() and try_call_once(): a function that one process runs in each period.

#include <atomic>
#include <future>
#include <stdexcept>
#include <thread>

#include "integration.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::call_once;
using redis_lock::no_expiry;
using redis_lock::try_call_once;
using ::testing::AllOf;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Le;

class CallOnce : public OnRedis {
 protected:
  /// Calls it with an f that counts.
  bool call(Options options = {}) {
    return call_once(
        client, name, 60s, [this] { ++ran; }, std::move(options));
  }
  bool try_call() {
    return try_call_once(client, name, 60s, [this] { ++ran; });
  }
  /// Runs an f that lasts until `finish` is set, on another thread.
  std::future<bool> running(Options options = {}) {
    auto runner = std::async(std::launch::async, [this, options] {
      return call_once(
          client, name, 60s,
          [this] {
            ++ran;
            is_running = true;
            EXPECT_TRUE(eventually([this] { return finish.load(); }));
          },
          options);
    });
    EXPECT_TRUE(eventually([this] { return is_running.load(); }));
    return runner;
  }

  const std::string marker = "once:" + name, its_lock = "lock:once:" + name;
  std::atomic<int> ran{0};
  std::atomic<bool> is_running{false}, finish{false};
};

TEST_F(CallOnce, RunsOnceInAPeriod) {
  EXPECT_TRUE(call());
  EXPECT_FALSE(call());
  EXPECT_FALSE(try_call());
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(redis.exists(its_lock)) << "it is free again";
}

TEST_F(CallOnce, RunsOnceAmongThreads) {
  std::atomic<int> here{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 12; ++i) {
    callers.emplace_back([&] {
      here += call_once(client, name, 60s, [this] {
        std::this_thread::sleep_for(50ms);
        ++ran;
      });
      EXPECT_EQ(ran, 1) << "it has run when any caller returns";
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(here, 1);
}

TEST_F(CallOnce, RunsOnceAmongProcesses) {
  const auto counter = "test-" + name;
  std::vector<Child> callers;
  for (int i = 0; i < 6; ++i) {
    callers.emplace_back([&] {
      Redis own{test_uri()};
      const bool here = call_once(Client{test_uri()}, name, 60s, [&] {
        std::this_thread::sleep_for(50ms);
        own.command("INCR", counter);
      });
      return (here ? 10 : 0) + (own.string("GET", counter) == "1" ? 1 : 0);
    });
  }
  int sum = 0;
  for (auto& caller : callers) {
    const auto exit = caller.wait();
    ASSERT_TRUE(exit);
    sum += exit->code;
  }
  EXPECT_EQ(sum, 16) << "one ran it, and all saw that it had run";
}

TEST_F(CallOnce, OthersWaitUntilItHasRun) {
  auto runner = running();
  auto other = std::async(std::launch::async, [this] { return call(); });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  finish = true;
  EXPECT_FALSE(other.get());
  EXPECT_TRUE(runner.get());
  EXPECT_EQ(ran, 1);
}

TEST_F(CallOnce, ExceptionPassesTheTurnOn) {
  std::future<bool> next;
  EXPECT_THROW(call_once(client, name, 60s,
                         [&] {
                           next = std::async(std::launch::async, [this] { return call(); });
                           EXPECT_TRUE(eventually([this] { return somebody_waits(); }));
                           throw std::out_of_range("no report");
                         }),
               std::out_of_range);
  EXPECT_TRUE(next.get());
  EXPECT_EQ(ran, 1);
}

TEST_F(CallOnce, ExceptionLeavesNoMarker) {
  EXPECT_THROW(try_call_once(client, name, 60s, [] { throw std::out_of_range("no report"); }),
               std::out_of_range);
  EXPECT_FALSE(redis.exists(marker));
  EXPECT_FALSE(redis.exists(its_lock));
}

TEST_F(CallOnce, MarkerLivesForThePeriod) {
  EXPECT_TRUE(call());
  EXPECT_THAT(redis.integer("PTTL", marker), AllOf(Gt(30'000), Le(60'000)));
  redis.command("PEXPIRE", marker, 1);
  EXPECT_TRUE(eventually([this] { return !redis.exists(marker); }));
  EXPECT_TRUE(call()) << "another period";
}

TEST_F(CallOnce, MarkerStaysWithoutExpiry) {
  EXPECT_TRUE(call_once(client, name, no_expiry, [] {}));
  EXPECT_EQ(redis.integer("PTTL", marker), -1);
  EXPECT_FALSE(call());
}

TEST_F(CallOnce, MarkerHoldsTheIdOfItsRun) {
  Options options;
  options.id_prefix = "host:1:";
  EXPECT_TRUE(call(options));
  EXPECT_THAT(redis.string("GET", marker).value_or(""), ::testing::StartsWith("host:1:"));
}

TEST_F(CallOnce, LaterCallsCostOneCommand) {
  const RedisServer server;
  Redis own{server.endpoint()};
  const Client idle{server.uri()};
  EXPECT_TRUE(call_once(idle, name, 60s, [] {}));
  const auto before = own.info("total_commands_processed");
  EXPECT_FALSE(call_once(idle, name, 60s, [] {}));
  EXPECT_EQ(own.info("total_commands_processed") - before, 2) << "GET, and the INFO that asks";
}

TEST_F(CallOnce, LockOfTheSameNameIsAnother) {
  Lock lock{client, name};
  const std::lock_guard guard{lock};
  EXPECT_TRUE(try_call());
}

TEST_F(CallOnce, LostLockLeavesNoMarker) {
  Options options;
  std::atomic<int> told{0};
  options.on_error = [&](const Error&) { ++told; };
  EXPECT_EQ(error_of([&] {
              return call_once(
                  client, name, 60s,
                  [&] {
                    ++ran;
                    redis.command("SET", its_lock, "somebody", "PX", 60'000);
                  },
                  options);
            }),
            errc::lease_lost);
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(redis.exists(marker));
  EXPECT_EQ(redis.string("GET", its_lock), "somebody");
}

TEST_F(CallOnce, LostLockLeavesTheOthersMarker) {
  EXPECT_EQ(error_of([&] {
              return call_once(client, name, 60s, [&] {
                Lock{client, "once:" + name}.reset();
                EXPECT_TRUE(call()) << "the next in line";
                redis.command("SET", marker, "theirs");
              });
            }),
            errc::lease_lost);
  EXPECT_EQ(redis.string("GET", marker), "theirs");
}

TEST_F(CallOnce, TryDoesNotWaitForARunner) {
  auto runner = running();
  const Stopwatch watch;
  EXPECT_FALSE(try_call());
  EXPECT_LT(watch.elapsed(), soon);
  EXPECT_EQ(ran, 1);
  finish = true;
  EXPECT_TRUE(runner.get());
}

TEST_F(CallOnce, TryRunsWhatIsDue) {
  EXPECT_TRUE(try_call());
  EXPECT_EQ(ran, 1);
  EXPECT_TRUE(redis.exists(marker));
}

TEST_F(CallOnce, RunsElsewhereWhenTheRunnerDies) {
  auto options = leased_for(400ms);
  Child runner{[&] {
    call_once(
        Client{test_uri()}, name, 60s,
        [&] {
          Redis{test_uri()}.command("SET", "test-" + name, "running");
          for (;;) ::pause();
        },
        options);
    return 0;
  }};
  ASSERT_TRUE(eventually([this] { return redis.exists("test-" + name); }));
  runner.kill();
  ASSERT_TRUE(runner.wait());
  EXPECT_TRUE(call(options));
  EXPECT_EQ(ran, 1);
}

TEST_F(CallOnce, MarkerThatCannotBeStoredIsAnError) {
  const RedisServer server;
  Redis own{server.endpoint()};
  const Client full{server.uri()};
  EXPECT_EQ(error_of([&] {
              return call_once(full, name, 60s, [&] {
                ++ran;
                own.command("CONFIG", "SET", "maxmemory", "1");
              });
            }),
            errc::server_error);
  EXPECT_EQ(ran, 1);
  EXPECT_FALSE(own.exists(marker));
  EXPECT_FALSE(own.exists(its_lock)) << "the turn passes on";
}

TEST_F(CallOnce, AwayRedisThrowsAndRunsNothing) {
  const Client nowhere{"unix:///nowhere?retry_for=0"};
  const auto run = [this] { ++ran; };
  EXPECT_EQ(error_of([&] { return call_once(nowhere, name, 60s, run); }), errc::connection_failed);
  EXPECT_EQ(error_of([&] { return try_call_once(nowhere, name, 60s, run); }),
            errc::connection_failed);
  EXPECT_EQ(ran, 0);
}

TEST_F(CallOnce, BadArgumentsAreRefusedBeforeAnyIo) {
  const Client nowhere{"unix:///nowhere?retry_for=0"};
  const auto complaint = [&](const std::string& called, milliseconds period, Options options = {}) {
    return message_of<std::invalid_argument>([&] {
      return call_once(
          nowhere, called, period, [] {}, options);
    });
  };
  EXPECT_THAT(complaint("x", 0ms), HasSubstr("period must be positive"));
  EXPECT_THAT(complaint("x", -1ms), HasSubstr("period must be positive"));
  EXPECT_THAT(complaint("", 1ms), HasSubstr("name must not be empty"));
  Options options;
  options.min_hold = 1ms;
  EXPECT_THAT(complaint("x", 1ms, options), HasSubstr("min_hold must be 0"));
  EXPECT_THROW(try_call_once(nowhere, "x", 0ms, [] {}), std::invalid_argument);
}

TEST_F(CallOnce, MarkerNeedsItsLocksSlotOnACluster) {
  const Client cluster{"redis+cluster://127.0.0.1:1?retry_for=0"};
  const auto call_named = [&](const std::string& called, Options options = {}) {
    return error_of([&] {
      return call_once(
          cluster, called, 60s, [] {}, options);
    });
  };
  for (const auto* good : {"job", "{user}job", "job{user}", "{job", "a}b{user}"}) {
    EXPECT_EQ(call_named(good), errc::connection_failed) << good;
  }
  EXPECT_THROW(call_named("a}b"), std::invalid_argument);
  Options tagged;
  tagged.key_prefix = "{app}lock:";
  tagged.signal_prefix = "{app}signal:";
  EXPECT_THROW(call_named("job", tagged), std::invalid_argument);
}

TEST_F(CallOnce, MarkerIsNoLockToOperators) {
  const RedisServer server;
  Redis own{server.endpoint()};
  const Client alone{server.uri()};
  EXPECT_TRUE(call_once(alone, name, 60s, [] {}));
  EXPECT_TRUE(redis_lock::held_locks(alone, "o").empty());
  EXPECT_EQ(redis_lock::reset_all(alone, "o"), 0U);
  EXPECT_TRUE(own.exists(marker));
}

}  // namespace
}  // namespace redis_lock_test
