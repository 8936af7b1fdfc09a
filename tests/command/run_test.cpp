#include "command.hpp"

namespace redis_lock_test {
namespace {

using ::testing::AllOf;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Not;
using ::testing::StartsWith;

using RunCommand = CommandTest;

TEST_F(RunCommand, HasTheStatusOfTheCommand) {
  for (const int status : {0, 3, 255})
    EXPECT_EQ(status_of(run({}, "exit " + std::to_string(status))), status);
  EXPECT_EQ(status_of(run({}, "kill -TERM $$")), 128 + SIGTERM);
  EXPECT_EQ(status_of(run({}, "kill -KILL $$")), 128 + SIGKILL);
  EXPECT_TRUE(is_free());
}

TEST_F(RunCommand, HasTheCommandsStatusThoughSigchldIsIgnored) {
  Child child{[&] {
    ::signal(SIGCHLD, SIG_IGN);
    return become(run({}, "exit 3"), server.uri());
  }};
  EXPECT_EQ(child.exit_code(), 3);
}

TEST_F(RunCommand, PassesInputAndOutputThrough) {
  input = file("input");
  std::ofstream{input} << "some text\n";
  EXPECT_EQ(status_of(run({}, "cat; echo wrong >&2")), 0);
  EXPECT_EQ(out(), "some text\n");
  EXPECT_EQ(err(), "wrong\n");
}

TEST_F(RunCommand, LeavesTheArgumentsBehindTheSeparatorAlone) {
  EXPECT_EQ(status_of({"run", name, "--", "/bin/echo", "--wait", "--", "-E", "", "a  b"}), 0);
  EXPECT_EQ(out(), "--wait -- -E  a  b\n");
}

TEST_F(RunCommand, HoldsTheLockAndTellsTheCommand) {
  auto child =
      start(run({"--fencing"}, "env > " + file("env") + "; touch " + file("ready") +
                                   "; while ! [ -e " + file("go") + " ]; do sleep 0.01; done"));
  ASSERT_TRUE(exists("ready"));
  const auto id = redis.string("GET", key).value_or("");
  EXPECT_THAT(
      id, StartsWith(redis_lock::host_and_pid().substr(0, redis_lock::host_and_pid().find(':')) +
                     ":" + std::to_string(child.pid()) + ":"));
  const auto environment = content_of(file("env"));
  EXPECT_THAT(environment, HasSubstr("REDIS_LOCK_NAME=" + name + "\n"));
  EXPECT_THAT(environment, HasSubstr("REDIS_LOCK_ID=" + id + "\n"));
  EXPECT_THAT(environment, HasSubstr("REDIS_LOCK_FENCE=1\n"));
  std::ofstream{file("go")};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_TRUE(is_free());
}

TEST_F(RunCommand, DoesNotPassOnTheFenceOfAnother) {
  ::setenv("REDIS_LOCK_FENCE", "7", 1);
  EXPECT_EQ(status_of(run({}, "echo fence: $REDIS_LOCK_FENCE")), 0);
  ::unsetenv("REDIS_LOCK_FENCE");
  EXPECT_EQ(out(), "fence:\n");
}

TEST_F(RunCommand, HasItsKeysUnderTheGivenPrefixes) {
  auto child = start(run({"--key-prefix", "k:", "--signal-prefix", "s:"},
                         "while ! [ -e " + file("go") + " ]; do sleep 0.01; done"));
  ASSERT_TRUE(eventually([&] { return redis.exists("k:" + name); }));
  EXPECT_TRUE(is_free()) << "the one with the usual prefix";
  std::ofstream{file("go")};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_TRUE(redis.exists("s:" + name)) << "the signal of the release";
}

TEST_F(RunCommand, KeepsTheLockForTheMinimumTime) {
  EXPECT_EQ(status_of(run({"--at-least", "1m"}, "exit 3")), 3);
  EXPECT_THAT(redis.integer("PTTL", key), AllOf(Gt(50'000), Le(60'000)));
  EXPECT_EQ(status_of(run({"-n", "-E", "0"}, "touch " + file("ran"))), 0);
  EXPECT_FALSE(std::filesystem::exists(file("ran")));
}

TEST_F(RunCommand, KeepsNoLockIfTheCommandCannotStart) {
  EXPECT_EQ(status_of({"run", "--at-least", "1m", name, "--", file("none")}), 127);
  EXPECT_TRUE(is_free());
}

TEST_F(RunCommand, CountsUnderTheGivenPrefix) {
  EXPECT_EQ(status_of(run({"--fencing", "--fence-prefix", "f:"}, "exit 0")), 0);
  EXPECT_EQ(redis.string("GET", "f:" + name), "1");
  EXPECT_EQ(status_of(run({"--fence-prefix", "f:"}, "exit 0")), 64) << "there is no --fencing";
  EXPECT_EQ(status_of(run({"--fencing", "--fence-prefix", "lock:f:"}, "exit 0")), 64);
  EXPECT_EQ(err(),
            "redis-lock: fence_prefix must not begin with key_prefix, or be signal_prefix\n");
}

TEST_F(RunCommand, RenewsItsLease) {
  auto child = start(run({"--expire", "300ms"}, "sleep 1.2"));
  EXPECT_EQ(child.exit_code(), 0) << "otherwise it was lost";
}

TEST_F(RunCommand, HasNoConnectionAndNoSignalBlocked) {
  EXPECT_EQ(status_of(run({}, "ls -l /proc/self/fd; grep SigBlk /proc/self/status")), 0);
  EXPECT_THAT(out(), Not(HasSubstr("socket:")));
  EXPECT_THAT(out(), HasSubstr("SigBlk:\t0000000000000000"));
}

TEST_F(RunCommand, SaysWhenSomeoneElseHoldsTheLock) {
  held_by_somebody();
  const auto script = "touch " + file("ran");
  EXPECT_EQ(status_of(run({"--no-wait"}, script)), 1);
  EXPECT_THAT(err(), HasSubstr("is held by somebody, whose lease has "));
  EXPECT_EQ(status_of(run({"--no-wait", "-E", "9"}, script)), 9);
  EXPECT_EQ(status_of(run({"--wait", "0.05"}, script)), 1);
  EXPECT_EQ(status_of(run({"--wait", "50ms", "--conflict-exit-code", "0"}, script)), 0);
  EXPECT_EQ(err(), "") << "no failure";
  EXPECT_FALSE(std::filesystem::exists(file("ran")));
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

TEST_F(RunCommand, WaitsForItsTurn) {
  const auto script = "mkdir " + file("inside") + " && sleep 0.02 && rmdir " + file("inside");
  std::vector<Child> children;
  for (int i = 0; i < 4; ++i) children.push_back(start(run({"--wait", "1m"}, script)));
  for (auto& child : children)
    EXPECT_EQ(child.exit_code(), 0) << "mkdir fails where another is inside";
}

TEST_F(RunCommand, PassesSignalsOn) {
  for (const auto& [signal, word] :
       {std::pair{SIGTERM, "TERM"}, {SIGINT, "INT"}, {SIGHUP, "HUP"}, {SIGUSR1, "USR1"}}) {
    std::filesystem::remove(file("ready"));
    auto child = start(run({}, std::string("trap 'exit 42' ") + word + "; touch " + file("ready") +
                                   "; while :; do sleep 0.01; done"));
    ASSERT_TRUE(exists("ready"));
    child.kill(signal);
    EXPECT_EQ(child.exit_code(), 42) << word;
    EXPECT_TRUE(is_free());
  }
}

TEST_F(RunCommand, PassesSignalsOnToTheCommandsChildren) {
  auto child = start(run({}, "sh -c 'trap \"touch " + file("heard") + "; exit\" TERM; touch " +
                                 file("ready") + "; while :; do sleep 0.01; done' & wait; wait"));
  ASSERT_TRUE(exists("ready"));
  child.kill(SIGTERM);
  EXPECT_EQ(death_of(child), SIGTERM);
  EXPECT_TRUE(exists("heard"));
}

TEST_F(RunCommand, StopsWaitingAtASignalLeavingNothingBehind) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    held_by_somebody();
    auto child = start(run({}, "touch " + file("ran")));
    ASSERT_TRUE(gets_waiters());
    child.kill(signal);
    EXPECT_EQ(death_of(child), signal);
    redis.command("DEL", key);
    EXPECT_TRUE(gets_waiters(0));
    EXPECT_TRUE(is_free());
  }
  EXPECT_FALSE(std::filesystem::exists(file("ran")));
}

TEST_F(RunCommand, GoesOnWaitingAtHarmlessSignals) {
  held_by_somebody();
  auto child = start(run({}, "exit 3"));
  ASSERT_TRUE(gets_waiters());
  for (const int signal : {SIGWINCH, SIGCONT, SIGCHLD}) child.kill(signal);
  redis.command("DEL", key);
  redis.command("LPUSH", "lock-signal:" + name, 1);
  EXPECT_EQ(child.exit_code(), 3);
}

TEST_F(RunCommand, SaysWhatCannotBeExecuted) {
  EXPECT_EQ(status_of({"run", name, "--", "no-such-command-anywhere"}), 127);
  EXPECT_THAT(err(), HasSubstr("no-such-command-anywhere: No such file"));
  EXPECT_TRUE(is_free());
  std::ofstream{file("text")} << "no program";
  EXPECT_EQ(status_of({"run", name, "--", file("text")}), 126);
  EXPECT_THAT(err(), HasSubstr("Permission denied"));
  EXPECT_EQ(status_of({"run", name, "--", folder}), 126);
  EXPECT_TRUE(is_free());
}

/// A lock that is lost: the command hears TERM, and what does not end is killed.
TEST_F(RunCommand, RunsAsManyAsThereAreSlots) {
  const auto until_told = [&](const std::string& ready) {
    return run({"--slots", "2"},
               "touch " + file(ready) + "; while ! [ -e " + file("go") + " ]; do sleep 0.01; done");
  };
  auto one = start(until_told("one")), two = start(until_told("two"));
  ASSERT_TRUE(exists("one"));
  ASSERT_TRUE(exists("two"));
  EXPECT_EQ(status_of(run({"--slots", "2", "--no-wait"}, "exit 3")), 1);
  EXPECT_THAT(err(), HasSubstr("has no slot left: 2 are taken"));
  EXPECT_EQ(status_of(run({"--slots", "3", "--no-wait"}, "exit 3")), 3);
  EXPECT_EQ(status_of(run({"--no-wait"}, "exit 3")), 3) << "the lock of that name is another";
  auto third = start(run({"--slots", "2"}, "exit 4"));
  EXPECT_TRUE(gets_waiters());
  std::ofstream{file("go")};
  EXPECT_EQ(status_of(one), 0);
  EXPECT_EQ(status_of(two), 0);
  EXPECT_EQ(status_of(third), 4);
  EXPECT_EQ(redis.integer("EXISTS", "semaphore:" + name), 0);
}

TEST_F(RunCommand, EndsTheCommandWhenItsSlotIsLost) {
  auto child = start(
      run({"--slots", "2", "--expire", "300ms"}, "touch " + file("ready") + "; exec sleep 60"));
  ASSERT_TRUE(exists("ready"));
  redis.command("DEL", "semaphore:" + name);
  EXPECT_EQ(status_of(child), 75);
}

TEST_F(RunCommand, RefusesSlotsThatMakeNoSense) {
  EXPECT_EQ(status_of(run({"--slots", "0"}, "exit 0")), 64);
  EXPECT_EQ(status_of(run({"--slots", "2147483649"}, "exit 0")), 64);
  EXPECT_EQ(status_of(run({"--slots", "2", "--fencing"}, "exit 0")), 64);
  EXPECT_EQ(status_of(run({"--slots", "2", "--key-prefix", "mine:"}, "exit 0")), 64);
  EXPECT_THAT(err(), HasSubstr("key_prefix"));
}

TEST_F(RunCommand, EndsTheCommandWhenTheLockIsLost) {
  auto child =
      start(run({"--expire", "300ms"}, "trap 'touch " + file("heard") + "; exit 0' TERM; touch " +
                                           file("ready") + "; while :; do sleep 0.01; done"));
  ASSERT_TRUE(exists("ready"));
  redis.command("FLUSHALL");
  EXPECT_EQ(child.exit_code(), 75);
  EXPECT_TRUE(std::filesystem::exists(file("heard")));
  EXPECT_THAT(err(), HasSubstr("was lost"));
}

TEST_F(RunCommand, EndsACommandThatWasStopped) {
  auto child =
      start(run({"--expire", "300ms"}, "trap 'touch " + file("heard") + "; exit' TERM; touch " +
                                           file("ready") + "; kill -STOP $$"));
  ASSERT_TRUE(exists("ready"));
  redis.command("DEL", key);
  EXPECT_EQ(child.exit_code(), 75);
  EXPECT_TRUE(std::filesystem::exists(file("heard")));
}

TEST_F(RunCommand, KillsACommandThatDoesNotEnd) {
  auto child = start(run({"--expire", "300ms", "--grace", "100ms"},
                         "trap '' TERM; echo $$ > " + file("pid") + "; touch " + file("ready") +
                             "; while :; do sleep 0.01; done"));
  ASSERT_TRUE(exists("ready"));
  redis.command("DEL", key);
  EXPECT_EQ(child.exit_code(), 75);
  EXPECT_NE(::kill(std::stoi(content_of(file("pid"))), 0), 0);
}

TEST_F(RunCommand, KillsWhatTheCommandHasLeftToo) {
  auto child = start(run({"--expire", "300ms", "--grace", "100ms"},
                         "sh -c 'trap \"\" TERM; echo $$ > " + file("pid") + "; touch " +
                             file("ready") + "; while :; do sleep 0.01; done' & wait"));
  ASSERT_TRUE(exists("ready"));
  redis.command("DEL", key);
  EXPECT_EQ(child.exit_code(), 75);
  const auto left = std::stoi(content_of(file("pid")));
  EXPECT_TRUE(eventually([&] {
    return ::kill(left, 0) != 0 ||
           content_of("/proc/" + std::to_string(left) + "/stat").find(") Z ") != std::string::npos;
  }));
}

TEST_F(RunCommand, NoticesThatItWasStoppedTooLong) {
  auto child = start(run({"--expire", "300ms"}, "touch " + file("ready") + "; sleep 60"));
  ASSERT_TRUE(exists("ready"));
  child.pause();
  EXPECT_TRUE(gets_free());
  held_by_somebody();
  child.resume();
  EXPECT_EQ(child.exit_code(), 75);
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

TEST_F(RunCommand, EndsTheCommandWhenItIsKilled) {
  auto child = start(run({}, "trap 'touch " + file("heard") + "; exit' TERM; touch " +
                                 file("ready") + "; while :; do sleep 0.01; done"));
  ASSERT_TRUE(exists("ready"));
  child.kill(SIGKILL);
  EXPECT_TRUE(exists("heard"));
}

class RunCommandWithoutRedis : public CommandTest {
 protected:
  RedisServer other;
};

TEST_F(RunCommandWithoutRedis, LosesTheLockWhenTheServerIsKilled) {
  auto child =
      start(run({"--expire", "600ms"}, "touch " + file("ready") + "; sleep 60"), other.uri());
  ASSERT_TRUE(exists("ready"));
  other.kill();
  EXPECT_EQ(child.exit_code(), 75);
}

TEST_F(RunCommandWithoutRedis, SaysSo) {
  const auto words = run({"--no-wait"}, "touch " + file("ran"));
  EXPECT_EQ(status_of(words, "unix://" + folder + "/none?retry_for=0ms"), 69);
  EXPECT_THAT(err(), StartsWith("redis-lock: "));
  EXPECT_EQ(status_of(run({"--wait", "50ms"}, "true"), "unix://" + folder + "/none?retry_for=0ms"),
            69)
      << "it was not the holder who kept it waiting";
  const FakeServer garbage{[](const auto&) { return "what?\r\n"; }};
  EXPECT_EQ(status_of(words, garbage.uri("retry_for=0ms")), 69);
  EXPECT_FALSE(std::filesystem::exists(file("ran")));
}

TEST_F(RunCommandWithoutRedis, NeverSaysAPassword) {
  const RedisServer guarded{Transport::tcp, {"--requirepass", "right"}, "right"};
  const auto url = "redis://:s3cret@127.0.0.1:" + std::to_string(guarded.endpoint().port);
  EXPECT_EQ(status_of(run({}, "true"), url), 69);
  EXPECT_THAT(err(), Not(HasSubstr("s3cret")));
  EXPECT_EQ(status_of(run({}, "true"), url + "/what"), 64);
  EXPECT_THAT(err(), Not(HasSubstr("s3cret")));
}

TEST_F(RunCommand, RefusesBadUsage) {
  const Words command{"--", "touch", file("ran")};
  const std::vector<Words> mistakes{{},
                                    {"--no-such-option"},
                                    {"run"},
                                    {"run", name},
                                    {"run", name, "--"},
                                    {"run", name, "touch", file("ran")},
                                    {"frobnicate"},
                                    {"show"},
                                    {"reset"},
                                    {"show", ""},
                                    {"list", "extra"},
                                    {"reset", "--yes", "--all", name},
                                    {"list", "--", "x"}};
  for (const auto& words : mistakes) {
    EXPECT_EQ(status_of(words), 64) << ::testing::PrintToString(words);
    EXPECT_NE(err(), "");
    EXPECT_EQ(out(), "");
  }
  const std::vector<Words> bad_options{{"--wait", "5x"},
                                       {"--wait", "-1s"},
                                       {"--wait", ""},
                                       {"--expire", "0"},
                                       {"--wait", "1e9h"},
                                       {"--wait", "99999999999999999h"},
                                       {"--wait", "1", "--no-wait"},
                                       {"-E", "256"},
                                       {"-E", "x"},
                                       {"--uri", "gopher://x"},
                                       {"--frob"}};
  for (const auto& options : bad_options) {
    Words words{"run"};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back(name);
    words.insert(words.end(), command.begin(), command.end());
    EXPECT_EQ(status_of(words), 64) << ::testing::PrintToString(words);
    EXPECT_NE(err(), "");
  }
  EXPECT_EQ(status_of({"run", "", "--", "touch", file("ran")}), 64);
  EXPECT_EQ(status_of({"reset", "--all", "--uri", "gopher://x"}), 64);
  EXPECT_THAT(err(), HasSubstr("gopher")) << "before it asks anything";
  EXPECT_FALSE(std::filesystem::exists(file("ran")));
  EXPECT_EQ(redis.integer("DBSIZE"), 0);
}

TEST_F(RunCommand, HasHelp) {
  for (const auto& words : std::vector<Words>{{"--help"}, {"run", "--help"}, {"list", "--help"}}) {
    EXPECT_EQ(status_of(words), 0);
    EXPECT_THAT(out(), HasSubstr("--"));
    EXPECT_EQ(err(), "");
  }
  EXPECT_EQ(status_of({"--version"}), 0);
  EXPECT_THAT(out(), StartsWith("redis-lock "));
}

TEST_F(RunCommand, LeavesTheTerminalToTheCommand) {
  const auto words = run({}, "echo ready; read line; echo \"read: $line\"; exit 5");
  const auto url = server.uri();
  OnTerminal terminal{[&] { return become(words, url); }};
  ASSERT_TRUE(terminal.shows("ready"));
  terminal.type("hello\n");
  EXPECT_TRUE(terminal.shows("read: hello"));
  EXPECT_EQ(terminal.exit_code(), 5);
}

TEST_F(RunCommand, LetsTheTerminalInterruptTheCommandOnce) {
  const std::string count = R"(
from signal import *
pthread_sigmask(SIG_BLOCK, [SIGINT])
print("ready", flush=True)
sigwait([SIGINT])
exit(1 if sigtimedwait([SIGINT], 0.3) is None else 2))";
  const auto url = server.uri();
  OnTerminal terminal{[&] { return become({"run", name, "--", "python3", "-c", count}, url); }};
  ASSERT_TRUE(terminal.shows("ready"));
  terminal.type("\x03");
  EXPECT_EQ(terminal.exit_code(), 1) << "once";
  EXPECT_TRUE(is_free());
}

}  // namespace
}  // namespace redis_lock_test
