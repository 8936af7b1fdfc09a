// redis-lock once: what it adds to `run`, which run_test.cpp and dependable_test.cpp test.

#include "command.hpp"

#include <utility>

namespace redis_lock_test {
namespace {

using ::testing::AllOf;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::StartsWith;

class OnceCommand : public CommandTest {
 protected:
  /// `redis-lock once … NAME -- sh -c SCRIPT`
  [[nodiscard]] Words once(const Words& options, const std::string& script) const {
    auto words = run(options, script);
    words.front() = "once";
    return words;
  }
  /// A script that counts its runs, lasts until there is a file `go`, and ends with this status.
  [[nodiscard]] std::string slow(int status = 0) const {
    return "echo x >> " + file("runs") + "; touch " + file("ready") + "; while ! [ -e " +
           file("go") + " ]; do sleep 0.01; done; exit " + std::to_string(status);
  }
  [[nodiscard]] std::string counting(int status = 0) const {
    return "echo x >> " + file("runs") + "; exit " + std::to_string(status);
  }
  /// Starts a second one while a first one runs, which ends with this status. Returns the statuses of both.
  [[nodiscard]] std::pair<int, int> one_beside_another(int status) {
    auto runner = start(once({}, slow(status)));
    EXPECT_TRUE(exists("ready"));
    auto other = start(once({}, counting()));
    EXPECT_TRUE(gets_waiters());
    go();
    const int first = runner.exit_code();
    return {first, other.exit_code()};
  }
  [[nodiscard]] std::size_t runs() const { return content_of(file("runs")).size() / 2; }
  void go() const { std::ofstream{file("go")}; }

  const std::string marker = "once:" + name, its_lock = "lock:once:" + name;
};

TEST_F(OnceCommand, RunsOnceInAPeriod) {
  EXPECT_EQ(status_of(once({"--every", "1m"}, counting())), 0);
  EXPECT_EQ(status_of(once({"--every", "1m"}, counting())), 0);
  EXPECT_EQ(out() + err(), "") << "cron would mail it";
  EXPECT_EQ(runs(), 1U);
  EXPECT_THAT(redis.integer("PTTL", marker), AllOf(Gt(30'000), Le(60'000)));
  EXPECT_FALSE(redis.exists(its_lock));
  redis.command("DEL", marker);
  EXPECT_EQ(status_of(once({"--every", "1m"}, counting())), 0);
  EXPECT_EQ(runs(), 2U) << "another period";
}

TEST_F(OnceCommand, WithoutPeriodRunsOnceForEver) {
  EXPECT_EQ(status_of(once({}, counting())), 0);
  EXPECT_EQ(status_of(once({"-n"}, counting())), 0);
  EXPECT_EQ(runs(), 1U);
  EXPECT_EQ(redis.integer("PTTL", marker), -1);
}

TEST_F(OnceCommand, FailureLeavesNoMarker) {
  EXPECT_EQ(status_of(once({}, counting(3))), 3);
  EXPECT_EQ(status_of(once({}, "kill -TERM $$")), 128 + SIGTERM);
  EXPECT_EQ(status_of({"once", name, "--", file("none")}), 127);
  EXPECT_FALSE(redis.exists(marker));
  EXPECT_FALSE(redis.exists(its_lock));
  EXPECT_EQ(status_of(once({}, counting())), 0);
  EXPECT_EQ(runs(), 2U);
}

TEST_F(OnceCommand, WaitsForARunThatSucceeds) {
  EXPECT_EQ(one_beside_another(0), std::pair(0, 0));
  EXPECT_EQ(runs(), 1U);
}

TEST_F(OnceCommand, RunsAfterARunThatFails) {
  EXPECT_EQ(one_beside_another(3), std::pair(3, 0));
  EXPECT_EQ(runs(), 2U);
}

TEST_F(OnceCommand, NamesTheHolderThatRunsIt) {
  auto runner = start(once({}, slow()));
  ASSERT_TRUE(exists("ready"));
  const auto host = redis_lock::host_and_pid().substr(0, redis_lock::host_and_pid().find(':'));
  EXPECT_EQ(status_of(once({"--no-wait"}, counting())), 1);
  EXPECT_THAT(err(), AllOf(StartsWith("redis-lock: \"the-lock\" is held by "), HasSubstr(host)));
  EXPECT_EQ(status_of(once({"--wait", "50ms", "-E", "9"}, counting())), 9);
  EXPECT_EQ(status_of(once({"-n", "-E", "0"}, counting())), 0);
  EXPECT_EQ(err(), "");
  go();
  EXPECT_EQ(runner.exit_code(), 0);
  EXPECT_EQ(runs(), 1U);
}

TEST_F(OnceCommand, TellsTheCommandWhatRunTells) {
  EXPECT_EQ(status_of(once({"--fencing"}, "echo $REDIS_LOCK_NAME $REDIS_LOCK_FENCE")), 0);
  EXPECT_EQ(out(), name + " 1\n");
  EXPECT_THAT(redis.string("GET", marker).value_or(""),
              StartsWith(redis_lock::host_and_pid().substr(0, 3)));
}

TEST_F(OnceCommand, LostLockLeavesNoMarker) {
  const auto script = "redis-cli -s " + server.endpoint().unix_socket + " del " + its_lock;
  EXPECT_EQ(status_of(once({}, script)), 75);
  EXPECT_THAT(err(), HasSubstr("\"the-lock\" was lost before the command had ended"));
  EXPECT_FALSE(redis.exists(marker));
}

TEST_F(OnceCommand, SaysThatTheMarkerIsNotStored) {
  const auto script = "redis-cli -s " + server.endpoint().unix_socket + " config set maxmemory 1";
  EXPECT_EQ(status_of(once({}, script)), 69);
  EXPECT_THAT(err(), HasSubstr("\"the-lock\" has run, but may run again in this period"));
  EXPECT_THAT(err(), HasSubstr("OOM"));
  EXPECT_FALSE(redis.exists(its_lock));
}

TEST_F(OnceCommand, SignalEndsItsWait) {
  auto runner = start(once({}, slow()));
  ASSERT_TRUE(exists("ready"));
  auto other = start(once({}, counting()));
  ASSERT_TRUE(gets_waiters());
  ::kill(other.pid(), SIGTERM);
  EXPECT_EQ(death_of(other), SIGTERM);
  go();
  EXPECT_EQ(runner.exit_code(), 0);
  EXPECT_EQ(runs(), 1U);
}

TEST_F(OnceCommand, SignalEndsItWhileRedisIsFrozen) {
  auto frozen = std::make_unique<RedisServer>();
  frozen->pause();
  auto child = start(once({}, counting()), frozen->uri());
  std::this_thread::sleep_for(
      100ms);  // it may not have begun to look yet: then it ends all the same
  ::kill(child.pid(), SIGTERM);
  EXPECT_EQ(death_of(child), SIGTERM);
  frozen->resume();
}

TEST_F(OnceCommand, BadUseIsRefused) {
  EXPECT_EQ(status_of(once({"--every", "0"}, counting())), 64);
  EXPECT_THAT(err(), HasSubstr("--every: must be positive"));
  EXPECT_EQ(status_of(once({"--every", "1x"}, counting())), 64);
  EXPECT_EQ(status_of(once({"--at-least", "1s"}, counting())), 64) << "of run only";
  EXPECT_EQ(status_of({"run", "--every", "1s", name, "--", "true"}), 64) << "of once only";
  EXPECT_EQ(status_of({"once", name, "true"}), 64);
  EXPECT_THAT(err(), HasSubstr("redis-lock once NAME -- true"));
  EXPECT_EQ(status_of({"once", "", "--", "true"}), 64);
  EXPECT_THAT(err(), HasSubstr("name must not be empty"));
  EXPECT_EQ(runs(), 0U);
}

}  // namespace
}  // namespace redis_lock_test
