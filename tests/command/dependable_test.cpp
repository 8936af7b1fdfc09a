// What a supervisor, a terminal or a failure does to redis-lock run, and what must hold then.

#include <sys/time.h>
#include <termios.h>

#include <chrono>
#include <fstream>
#include <set>

#include "command.hpp"

namespace redis_lock_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// Is this process there, and not only waited for?
[[nodiscard]] bool is_alive(int pid) {
  const auto stat = content_of("/proc/" + std::to_string(pid) + "/stat");
  const auto behind_name = stat.rfind(") ");
  return behind_name != stat.npos && stat[behind_name + 2] != 'Z';
}
[[nodiscard]] int parent_of(int pid) {
  const auto stat = content_of("/proc/" + std::to_string(pid) + "/stat");
  return std::stoi(stat.substr(stat.rfind(") ") + 4));
}

/// A command that ends by KILL alone, or by itself.
class DependableRun : public CommandTest {
 protected:
  /// Writes its pid into this file, and ignores TERM.
  [[nodiscard]] std::string stubborn(const std::string& base) const {
    return "trap '' TERM; echo $$ > " + file(base + ".new") + "; mv " + file(base + ".new") + " " +
           file(base) + "; while :; do sleep 0.01; done";
  }
  [[nodiscard]] int pid_in(const std::string& base) const {
    if (!exists(base)) return 0;
    return std::stoi(content_of(file(base)));
  }
  [[nodiscard]] static bool ends(int pid) {
    return pid > 0 && eventually([pid] { return !is_alive(pid); });
  }
  [[nodiscard]] Words harsh(const std::string& script) const {
    return run({"--expire", "600ms", "--grace", "100ms"}, script);
  }
};

// ---------------------------------------------------------------------------------------------------
// The lock is lost.

TEST_F(DependableRun, EndsTheCommandThoughItsPipeIsFull) {
  int ends_of_pipe[2];
  ASSERT_EQ(::pipe2(ends_of_pipe, O_CLOEXEC | O_NONBLOCK), 0);
  const std::string page(4096, '.');
  while (::write(ends_of_pipe[1], page.data(), page.size()) > 0) {
  }
  ::fcntl(ends_of_pipe[1], F_SETFL, 0);
  Child child{[&] {
    ::setsid();
    ::dup2(ends_of_pipe[1], STDERR_FILENO);
    return become(harsh(stubborn("pid")), server.uri());
  }};
  const auto command = pid_in("pid");
  redis.command("DEL", key);
  EXPECT_EQ(child.exit_code(), 75);
  EXPECT_TRUE(ends(command));
  for (const int end : ends_of_pipe) ::close(end);
}

TEST_F(DependableRun, EndsTheCommandThoughNobodyReadsItsMessage) {
  int ends_of_pipe[2];
  ASSERT_EQ(::pipe2(ends_of_pipe, O_CLOEXEC), 0);
  Child child{[&] {
    ::setsid();
    ::dup2(ends_of_pipe[1], STDERR_FILENO);
    return become(harsh(stubborn("pid")), server.uri());
  }};
  for (const int end : ends_of_pipe) ::close(end);
  const auto command = pid_in("pid");
  redis.command("DEL", key);
  EXPECT_EQ(child.exit_code(), 75);
  EXPECT_TRUE(ends(command));
}

TEST_F(DependableRun, EndsTheCommandThoughTheTerminalStopsOutput) {
  const auto words = harsh(stubborn("pid"));
  const auto url = server.uri();
  OnTerminal terminal{[&] {
    termios modes{};
    ::tcgetattr(0, &modes);
    modes.c_lflag |= TOSTOP;
    ::tcsetattr(0, TCSANOW, &modes);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::setpgid(0, 0);
      ::_exit(become(words, url));
    }
    ::setpgid(pid, pid);
    int status = 0;
    ::waitpid(pid, &status, WUNTRACED);
    return WIFSTOPPED(status) ? 200 : WEXITSTATUS(status);
  }};
  const auto command = pid_in("pid");
  redis.command("DEL", key);
  EXPECT_EQ(terminal.exit_code(), 75);
  EXPECT_TRUE(ends(command));
}

TEST_F(DependableRun, EndsTheCommandsChildrenInTheForegroundToo) {
  const auto words = harsh("sh -c '" + std::string("trap \"\" TERM; echo $$ > ") + file("child") +
                           "; while :; do sleep 0.01; done' & " + stubborn("pid"));
  const auto url = server.uri();
  OnTerminal terminal{[&] { return become(words, url); }};
  const auto command = pid_in("pid"), child = pid_in("child");
  redis.command("DEL", key);
  EXPECT_EQ(terminal.exit_code(), 75);
  EXPECT_TRUE(ends(command));
  EXPECT_TRUE(ends(child));
}

TEST_F(DependableRun, LeavesWhatHasDaemonised) {
  auto child = start(
      harsh("setsid sh -c 'echo $$ > " + file("daemon") + "; exec sleep 60' & " + stubborn("pid")));
  const auto command = pid_in("pid"), daemon = pid_in("daemon");
  redis.command("DEL", key);
  EXPECT_EQ(child.exit_code(), 75);
  EXPECT_TRUE(ends(command));
  EXPECT_TRUE(is_alive(daemon));
  ::kill(daemon, SIGKILL);
}

TEST_F(DependableRun, EndsAllWhenItIsKilled) {
  auto child = start(harsh("sh -c '" + std::string("trap \"\" TERM; echo $$ > ") + file("child") +
                           "; while :; do sleep 0.01; done' & " + stubborn("pid")));
  const auto command = pid_in("pid"), grandchild = pid_in("child");
  child.kill(SIGKILL);
  EXPECT_TRUE(ends(command));
  EXPECT_TRUE(ends(grandchild));
}

TEST_F(DependableRun, EndsAllWhenItsGuardianIsKilled) {
  auto child = start(harsh("sh -c '" + std::string("trap \"\" TERM; echo $$ > ") + file("child") +
                           "; while :; do sleep 0.01; done' & " + stubborn("pid")));
  const auto command = pid_in("pid"), grandchild = pid_in("child");
  const auto guardian = parent_of(command);
  ASSERT_NE(guardian, child.pid());
  ::kill(guardian, SIGKILL);
  EXPECT_EQ(child.exit_code(), 71);
  EXPECT_TRUE(ends(command));
  EXPECT_TRUE(ends(grandchild));
  EXPECT_TRUE(is_free());
}

TEST_F(DependableRun, HasEndedTheCommandWhenTheLeaseEnds) {
  bool in_time = false;
  for (int attempt = 0; attempt < 3 && !in_time; ++attempt) {  // a busy machine may be late
    RedisServer frozen;
    std::filesystem::remove(file("ready"));
    auto child = start(run({"--expire", "1500ms", "--grace", "10s"},
                           "trap '' TERM; cd " + folder + "; touch ready; while :; do " +
                               "date +%s%3N > new && mv new beat; sleep 0.01; done"),
                       frozen.uri());
    ASSERT_TRUE(exists("ready"));
    frozen.pause();
    const auto paused = std::chrono::system_clock::now().time_since_epoch();
    EXPECT_EQ(child.exit_code(), 75);
    const milliseconds last_beat{std::stoll(content_of(file("beat")))};
    in_time = last_beat < paused + 1500ms;
    EXPECT_THAT(err(), HasSubstr("cannot be renewed"));
    frozen.resume();
  }
  EXPECT_TRUE(in_time);
}

/// As if the command ran as another user, by sudo or a set-user-ID bit.
class ForeignCommand : public DependableRun {
 protected:
  ForeignCommand() { ::setenv("LD_PRELOAD", REDIS_LOCK_REFUSED_KILL, 1); }
  ~ForeignCommand() override { ::unsetenv("LD_PRELOAD"); }
};

TEST_F(ForeignCommand, ThatCannotBeSignalledIsReported) {
  auto child = start(run({}, "touch " + file("ready") + "; while ! [ -e " + file("go") +
                                 " ]; do sleep 0.01; done; exit 5"));
  ASSERT_TRUE(exists("ready"));
  child.kill(SIGTERM);
  EXPECT_TRUE(eventually([this] { return err().find("signal 15 may not") != std::string::npos; }));
  std::ofstream{file("go")};
  EXPECT_EQ(child.exit_code(), 5);
}

TEST_F(ForeignCommand, ThatCannotBeEndedHasItsOwnStatus) {
  auto child = start(
      harsh("touch " + file("ready") + "; while ! [ -e " + file("go") + " ]; do sleep 0.01; done"));
  ASSERT_TRUE(exists("ready"));
  redis.command("DEL", key);
  EXPECT_EQ(child.exit_code(), 77);
  EXPECT_THAT(err(), HasSubstr("could not be ended"));
  std::ofstream{file("go")};
}

TEST_F(DependableRun, DoesNotStartTheCommandAfterASignal) {
  held_by_somebody();
  auto child = start(run({}, "touch " + file("ran")));
  ASSERT_TRUE(gets_waiters());
  child.pause();
  redis.command("DEL", key);
  redis.command("LPUSH", "lock-signal:" + name, 1);
  child.kill(SIGINT);
  child.resume();
  EXPECT_EQ(death_of(child), SIGINT);
  EXPECT_FALSE(std::filesystem::exists(file("ran")));
  EXPECT_TRUE(is_free());
}

// ---------------------------------------------------------------------------------------------------
// Signals.

TEST_F(DependableRun, DiesOfTheSignalThatEndsItsCommand) {
  for (const int signal : {SIGTERM, SIGINT, SIGQUIT, SIGSEGV}) {
    auto child = start(run({}, "kill -" + std::to_string(signal) + " $$"));
    EXPECT_EQ(death_of(child), signal);
  }
  auto child = start(run({}, "exit 143"));
  EXPECT_EQ(child.exit_code(), 143) << "a status, though it looks like one";
  EXPECT_TRUE(is_free());
}

TEST_F(DependableRun, LeavesSignalsIgnoredThatWereIgnored) {
  held_by_somebody();
  Child child{[&] {
    for (const int signal : {SIGINT, SIGHUP}) ::signal(signal, SIG_IGN);
    return become(run({}, "kill -INT $$; kill -HUP $$; exit 3"), server.uri());
  }};
  ASSERT_TRUE(gets_waiters());
  for (const int signal : {SIGINT, SIGHUP}) child.kill(signal);
  redis.command("DEL", key);
  redis.command("LPUSH", "lock-signal:" + name, 1);
  EXPECT_EQ(child.exit_code(), 3);
}

TEST_F(DependableRun, IsEndedByAnAlarmThatItInherits) {
  const auto with_alarm = [&](const std::string& script) {
    return Child{[&] {
      ::setsid();
      const itimerval soon_once{{0, 0}, {0, 300'000}};
      ::setitimer(ITIMER_REAL, &soon_once, nullptr);
      return become(run({}, script), server.uri());
    }};
  };
  auto running = with_alarm("sleep 60");
  EXPECT_EQ(death_of(running), SIGALRM);
  EXPECT_TRUE(is_free());
  held_by_somebody();
  auto waiting = with_alarm("true");
  EXPECT_EQ(death_of(waiting), SIGALRM);
}

TEST_F(DependableRun, LeavesNoLockBehindAtAnySignal) {
  for (const int signal : {SIGPWR, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO, SIGPIPE, SIGSTKFLT,
                           SIGRTMIN, SIGRTMIN + 5, SIGRTMAX}) {
    std::filesystem::remove(file("ready"));
    auto child = start(run({}, "touch " + file("ready") + "; exec sleep 60"));
    ASSERT_TRUE(exists("ready"));
    child.kill(signal);
    EXPECT_EQ(death_of(child), signal);
    EXPECT_TRUE(is_free());
  }
}

// ---------------------------------------------------------------------------------------------------
// PID 1 of a container.

class RunAsInit : public CommandTest {
 protected:
  void SetUp() override {
    auto probe = container("exit 0");
    if (probe.exit_code() != 0) GTEST_SKIP() << "no PID namespace can be made here: " << err();
  }
  /// Starts this script of the shell as PID 1, with a /proc of its own.
  [[nodiscard]] Child container(const std::string& script) const {
    Words words{"/usr/bin/unshare", "--pid", "--fork", "--mount-proc", "--kill-child"};
    if (::geteuid() != 0) words.insert(words.end(), {"--user", "--map-root-user"});
    words.insert(words.end(), {"/bin/sh", "-c", "cd " + folder + "; " + script});
    return in_background([&] {
      ::setenv("REDIS_URL", server.uri().c_str(), 1);
      ::setenv("COMMAND", REDIS_LOCK_COMMAND, 1);
      return execute(words);
    });
  }
};

TEST_F(RunAsInit, LeavesNoZombieOfItsCommand) {
  std::ofstream{file("orphans.sh")} << R"sh(
    [ "$(cat /proc/1/comm)" = redis-lock ] || exit 1
    touch go
    (sh -c 'exit 0' & echo $! >> orphans)
    (setsid sh -c 'exit 0' & echo $! >> orphans)
    for pid in $(cat orphans); do
      for i in $(seq 1000); do [ ! -e /proc/$pid ] || sleep 0.01; done
      [ ! -e /proc/$pid ] || exit 2
    done
    exit 7)sh";
  auto init = container(
      "until [ -e go ]; do sleep 0.01; done & echo $! > orphans;"
      "exec $COMMAND run name -- sh orphans.sh");
  EXPECT_EQ(status_of(init), 7) << err();
}

TEST_F(RunAsInit, LeavesNoZombieWhileItWaits) {
  held_by_somebody();
  auto init = container(
      "until [ -e go ]; do sleep 0.01; done & orphan=$!;"
      "(while [ -e /proc/$orphan ]; do sleep 0.01; done; touch reaped; kill -TERM 1) &"
      "exec $COMMAND run " +
      name + " -- true");
  ASSERT_TRUE(gets_waiters()) << err();
  std::ofstream{file("go")};
  ASSERT_TRUE(exists("reaped"));
  EXPECT_EQ(status_of(init), 128 + SIGTERM);
}

TEST_F(RunAsInit, TellsWhichSignalEndedItsCommand) {
  auto init = container("exec $COMMAND run name -- sh -c 'kill -KILL $$'");
  EXPECT_EQ(status_of(init), 128 + SIGKILL);
}

// ---------------------------------------------------------------------------------------------------
// Times. Each limit would be exceeded by far if it did not hold.

class RunWithoutAnswer : public DependableRun {
 protected:
  static constexpr auto patient = "connect_timeout=60s&command_timeout=60s&retry_for=60s";
  RedisServer other;
};

TEST_F(RunWithoutAnswer, EndsItsWaitOnADeadServer) {
  other.kill();
  const Stopwatch watch;
  EXPECT_EQ(status_of(run({"--wait", "300ms"}, "true"), other.uri(patient)), 69);
  EXPECT_GE(watch.elapsed(), 300ms);
  EXPECT_LT(watch.elapsed(), soon);
}

TEST_F(RunWithoutAnswer, EndsItsWaitOnAFrozenServer) {
  other.pause();
  const Stopwatch watch;
  EXPECT_EQ(status_of(run({"--wait", "300ms"}, "true"), other.uri(patient)), 69);
  EXPECT_LT(watch.elapsed(), soon);
  other.resume();
}

TEST_F(RunWithoutAnswer, IsCutShortInItsOnlyAttempt) {
  other.pause();
  const Stopwatch watch;
  auto child = start(run({"--no-wait"}, "true"), other.uri(patient));
  std::this_thread::sleep_for(200ms);
  child.kill(SIGTERM);
  EXPECT_EQ(death_of(child), SIGTERM);
  EXPECT_LT(watch.elapsed(), soon);
  other.resume();
}

TEST_F(RunWithoutAnswer, WaitsPastRetryForUntilTheServerReturns) {
  other.kill();
  auto child = start(run({"--wait", "1m"}, "exit 3"), other.uri("retry_for=50ms"));
  std::this_thread::sleep_for(500ms);
  other.restart();
  EXPECT_EQ(child.exit_code(), 3);
}

// ---------------------------------------------------------------------------------------------------
// Descriptors and what is written to them.

TEST_F(DependableRun, WritesNoMessageToRedisWithClosedDescriptors) {
  const auto evil = "x\r\nDEL lock:kept\r\n";
  redis.command("SET", "lock:kept", "1");
  redis.command("SET", std::string("lock:") + evil, "somebody");
  for (const bool from_start : {true, false}) {
    Child child{[&] {
      ::setsid();
      for (const int descriptor : {0, 1, 2}) ::close(descriptor);
      return become(
          from_start ? Words{"run", "--no-wait", evil, "--", "true"} : Words{"show", evil},
          server.uri());
    }};
    EXPECT_EQ(child.exit_code(), from_start ? 1 : 0);
  }
  EXPECT_TRUE(redis.exists("lock:kept"));
}

// ---------------------------------------------------------------------------------------------------
// An interactive shell with job control.

class InShell : public DependableRun {
 protected:
  OnTerminal shell{[url = server.uri()] {
    ::setenv("REDIS_URL", url.c_str(), 1);
    ::setenv("PS1", "prompt: ", 1);
    return execute({"/bin/bash", "--norc", "--noprofile", "-i"});
  }};

  /// `redis-lock run … sh -c 'SCRIPT'`; no single quotes in it.
  [[nodiscard]] std::string line(const std::string& script) const {
    return std::string(REDIS_LOCK_COMMAND) + " run " + name + " -- sh -c '" + script + "'";
  }
};

// What is typed is shown too, so the texts that are waited for are not in it.

TEST_F(InShell, ReadsTheTerminalAfterReturningToTheForeground) {
  shell.type(line("echo re\"\"ady; read line; echo \"got:$line:\"") + " &\n");
  ASSERT_TRUE(shell.shows("ready"));
  shell.type("fg\n");
  ASSERT_TRUE(shell.shows("fg"));
  shell.type("hello\n");
  EXPECT_TRUE(shell.shows("got:hello:"));
  EXPECT_TRUE(gets_free());
  shell.type("exit\n");
}

TEST_F(InShell, IsInterruptedInTheForegroundAfterTheBackground) {
  shell.type(
      line("trap \"echo hea\"\"rd; exit 3\" INT; echo re\"\"ady; while :; do sleep 0.02; done") +
      " &\n");
  ASSERT_TRUE(shell.shows("ready"));
  shell.type("fg\n");
  ASSERT_TRUE(shell.shows("fg"));
  std::this_thread::sleep_for(100ms);
  shell.type("\x03");
  EXPECT_TRUE(shell.shows("heard"));
  EXPECT_TRUE(gets_free());
  shell.type("exit\n");
}

TEST_F(InShell, IsStoppedAndGoesOn) {
  shell.type(line("echo re\"\"ady; while ! [ -e " + file("go") +
                  " ]; do sleep 0.02; done; echo do\"\"ne") +
             "\n");
  ASSERT_TRUE(shell.shows("ready"));
  shell.type("\x1a");
  ASSERT_TRUE(shell.shows("Stopped"));
  shell.type("bg\n");
  std::ofstream{file("go")};
  EXPECT_TRUE(shell.shows("done"));
  EXPECT_TRUE(gets_free());
  shell.type("exit\n");
}

TEST_F(InShell, EndsALoopAtAnInterrupt) {
  shell.type("for i in 1 2 3; do " + line("echo turn-$0-; exec sleep 60") +
             " $i; done; echo be\"\"hind\n");
  ASSERT_TRUE(shell.shows("turn-1-"));
  std::this_thread::sleep_for(100ms);
  shell.type("\x03");
  EXPECT_TRUE(gets_free());
  shell.type("echo ali\"\"ve\n");
  EXPECT_TRUE(shell.shows("alive"));
  EXPECT_FALSE(shell.has_shown("turn-2-"));
  shell.type("exit\n");
}

}  // namespace
}  // namespace redis_lock_test
