// C++ processes and Python processes share locks. The Python is peer.py, over Debian's redis-py, in two
// styles: as python-redis-lock 4.0, and as docs/protocol.md advises.

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "integration/integration.hpp"

namespace redis_lock_test {
namespace {

using ::testing::SizeIs;
using ::testing::Values;
using Words = std::vector<std::string>;

/// A name that is no ASCII, and a journal of what the Python processes say: see peer.py.
class BesidePython : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const auto missing = std::string(REDIS_LOCK_PYTHON) +
                         " cannot import redis; on Debian: apt-get install python3-redis";
    Child python{[] { return run({REDIS_LOCK_PYTHON, "-c", "import redis"}); }};
    ASSERT_EQ(python.exit_code(), 0) << missing;
  }

  /// Starts a peer; `words` are its action and the options of this.
  [[nodiscard]] Child start(const std::string& style, const Words& words) const {
    Words all{REDIS_LOCK_PYTHON, REDIS_LOCK_PEER, test_uri(), name, style, journal};
    all.insert(all.end(), words.begin(), words.end());
    return Child{[all] { return run(all); }};
  }

  /// How often the peers have said so.
  [[nodiscard]] long long said(const std::string& what) {
    const auto words = lines(journal);
    return std::count(words.begin(), words.end(), what);
  }
  [[nodiscard]] bool hears(const std::string& what, long long times = 1) {
    return eventually([&] { return said(what) >= times; });
  }
  [[nodiscard]] bool somebody_waits() {
    return eventually([this] { return redis.info("blocked_clients") == 1; });
  }

  /// All peers that hold go on.
  void open_the_gate() { redis.string("SET", journal + ":gate", "open"); }

  [[nodiscard]] Words lines(const std::string& list) {
    Words all;
    for (const auto& one : redis.command("LRANGE", list, 0, -1).elements) all.push_back(one.text);
    return all;
  }

  /// Exactly one release has signalled since the last reset_stats(), and a waiter has taken the signal; it
  /// would stay for a minute.
  void expect_woken_by_signal() {
    EXPECT_EQ(redis.calls_of("lpush"), 1);
    EXPECT_FALSE(redis.exists(signal));
  }

  const std::string name = unique_name("n\u00e4me \u2603");
  const std::string key = "lock:" + name;
  const std::string signal = "lock-signal:" + name;
  const std::string journal = "journal-" + name;
  Redis redis{test_uri()};
  Client client{test_uri()};

 private:
  static int run(Words words) {
    std::vector<char*> argv;
    for (auto& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv(argv.front(), argv.data());
    return 127;
  }
};

class Interop : public BesidePython, public ::testing::WithParamInterface<const char*> {
 protected:
  [[nodiscard]] Child peer(const Words& words) const { return start(GetParam(), words); }
};

INSTANTIATE_TEST_SUITE_P(, Interop, Values("classic", "pipelined"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(Interop, AnUnlockWakesAPythonWaiter) {
  Lock lock{client, name};
  lock.lock();
  auto waiter = peer({"hold"});  // without a lease the classic style waits without end
  ASSERT_TRUE(somebody_waits());
  redis.reset_stats();
  lock.unlock();
  ASSERT_TRUE(hears("acquired"));
  EXPECT_GE(said("signal"), 1);
  EXPECT_FALSE(redis.exists(signal));
  EXPECT_FALSE(lock.try_lock());
  open_the_gate();
  EXPECT_EQ(waiter.exit_code(), 0);
  EXPECT_TRUE(lock.try_lock());
}

TEST_P(Interop, AReleaseByPythonWakesAWaiter) {
  auto holder = peer({"hold"});  // without a lease: nothing but the release frees it
  ASSERT_TRUE(hears("acquired"));
  Child waiter{[this] {
    Lock lock{client, name};
    lock.lock();
    ::_exit(lock.owner() == lock.id() ? 0 : 1);  // without releasing it, which would signal, too
    return 0;
  }};
  ASSERT_TRUE(somebody_waits());
  redis.reset_stats();
  open_the_gate();
  EXPECT_TRUE(eventually([this] { return redis.calls_of("lpush") == 1; }));
  EXPECT_EQ(waiter.exit_code(), 0);
  expect_woken_by_signal();
}

TEST_P(Interop, AKilledPythonHolderCostsItsLease) {
  auto holder = peer({"hold", "--expire", "1"});
  ASSERT_TRUE(hears("acquired"));
  ::kill(holder.pid(), SIGKILL);
  Lock lock{client, name};
  EXPECT_TRUE(lock.try_lock_for(soon));
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_P(Interop, AKilledHolderCostsPythonItsLease) {
  Child holder{[this] {
    Lock lock{client, name, leased_for(1s)};
    lock.lock();
    redis.command("RPUSH", journal, "locked");
    ::pause();
    return 0;
  }};
  ASSERT_TRUE(hears("locked"));
  ::kill(holder.pid(), SIGKILL);
  auto waiter = peer({"hold", "--expire", "2"});
  EXPECT_TRUE(hears("acquired"));
  open_the_gate();
  EXPECT_EQ(waiter.exit_code(), 0);
}

TEST_P(Interop, PythonRenewsAsLongAsItHolds) {
  auto holder = peer({"hold", "--expire", "1", "--renew-every", "0.25"});
  ASSERT_TRUE(hears("acquired"));
  Lock lock{client, name};
  EXPECT_FALSE(lock.try_lock_for(1500ms));
  EXPECT_GE(said("renewed"), 2);
  open_the_gate();
  EXPECT_EQ(holder.exit_code(), 0);
  EXPECT_TRUE(lock.try_lock_for(soon));
}

TEST_P(Interop, PythonSeesWhoHoldsTheLock) {
  Options options;
  options.id_prefix = redis_lock::host_and_pid();
  options.fencing = true;
  Lock lock{client, name, options};
  lock.lock();
  EXPECT_EQ(peer({"try", "--expire", "5"}).exit_code(), 0);
  EXPECT_EQ(said("busy"), 1);
  EXPECT_EQ(said("owner " + lock.id()), 1);
  lock.unlock();
  EXPECT_EQ(peer({"try", "--expire", "5", "--id", "00ff6964"}).exit_code(), 0);
  EXPECT_EQ(lock.owner(), std::string("\0\xffid", 4));
}

TEST_P(Interop, AResetByEitherIsTheOthersLoss) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  EXPECT_EQ(peer({"reset"}).exit_code(), 0);
  EXPECT_FALSE(redis.exists(key));
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
  lock.unlock();

  auto holder = peer({"hold"});
  ASSERT_TRUE(hears("acquired"));
  EXPECT_TRUE(lock.reset());
  open_the_gate();
  EXPECT_EQ(holder.exit_code(), 3);
  EXPECT_EQ(said("lost"), 1);
}

TEST_P(Interop, APythonWaiterWaitsForARenewedLock) {
  Options options;
  options.expire = 1s;
  Lock lock{client, name, options};
  lock.lock();
  const auto waiter =
      peer({"hold", "--expire", "1"});  // it looks again when that is over, at the latest
  EXPECT_TRUE(hears("timeout", 2));
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(said("acquired"), 0);
  lock.unlock();
  EXPECT_TRUE(hears("acquired"));
}

TEST_P(Interop, AResetByEitherWakesTheOthersWaiter) {
  redis.string("SET", key, "somebody");
  auto waiter = peer({"hold"});
  ASSERT_TRUE(somebody_waits());
  EXPECT_GE(redis_lock::reset_all(client), 1U);
  ASSERT_TRUE(hears("acquired"));
  EXPECT_GE(said("signal"), 1);

  Child next{[this] {
    Lock lock{client, name};
    lock.lock();
    ::_exit(0);
    return 0;
  }};
  ASSERT_TRUE(somebody_waits());
  redis.reset_stats();
  EXPECT_EQ(start(GetParam(), {"reset-all"}).exit_code(), 0);
  EXPECT_EQ(next.exit_code(), 0);
  expect_woken_by_signal();
}

class Contention : public BesidePython {
 protected:
  void add(const Options& options) {
    const auto who = "cpp" + std::to_string(processes_.size());
    processes_.push_back(Child{[=] { return contend(who, options); }});
  }
  void add_python(const std::string& style) {
    const auto who = style + std::to_string(processes_.size());
    processes_.push_back(start(style, {"contend", "--expire", "30", "--rounds",
                                       std::to_string(rounds), "--pause", "0.002", "--who", who}));
  }
  [[nodiscard]] int processes() const { return static_cast<int>(processes_.size()); }

  /// Lets all of them begin, and waits for their end. Nothing but the lock keeps them from losing updates of a
  /// counter. How many rounds each has done.
  [[nodiscard]] std::map<std::string, int> run_all() {
    EXPECT_TRUE(eventually(
        [&] { return redis.string("GET", journal + ":ready") == std::to_string(processes()); }));
    open_the_gate();
    for (auto& process : processes_) EXPECT_EQ(process.exit_code(60s), 0);
    EXPECT_EQ(redis.string("GET", journal + ":overlaps"), std::nullopt);
    EXPECT_EQ(redis.string("GET", journal + ":count"), std::to_string(rounds));
    std::map<std::string, int> shares;
    for (const auto& who : lines(journal + ":order")) ++shares[who];
    for (const auto& [who, share] : shares) RecordProperty(who, share);
    return shares;
  }

  int rounds = 0;

 private:
  /// As contend() of peer.py.
  [[nodiscard]] int contend(const std::string& who, const Options& options) const {
    Redis own{test_uri()};
    Lock lock{Client{test_uri()}, name, options};
    own.integer("INCR", journal + ":ready");
    if (!eventually([&] { return own.exists(journal + ":gate"); })) return 1;
    for (bool going_on = true; going_on; std::this_thread::sleep_for(2ms)) {
      const std::lock_guard guard{lock};
      if (own.integer("INCR", journal + ":inside") != 1) own.integer("INCR", journal + ":overlaps");
      const auto count = std::stoi(own.string("GET", journal + ":count").value_or("0"));
      going_on = count < rounds;
      if (going_on) {
        own.integer("RPUSH", journal + ":order", who);
        own.string("SET", journal + ":count", count + 1);
      }
      own.integer("DECR", journal + ":inside");
    }
    return 0;
  }

  std::list<Child> processes_;
};

/// Each process, whatever it is written in, does at least a third of its share of the rounds.
TEST_F(Contention, WithPythonLosesNoUpdateAndStarvesNobody) {
  rounds = 600;
  for (const bool fencing : {false, true, false}) {
    Options options;
    options.fencing = fencing;
    add(options);
  }
  for (const auto* const style : {"classic", "classic", "pipelined", "pipelined"}) {
    add_python(style);
  }
  const auto shares = run_all();
  EXPECT_THAT(shares, SizeIs(processes())) << "somebody had no turn";
  for (const auto& [who, share] : shares) EXPECT_GE(share, rounds / processes() / 3) << who;
}

/// What docs/migrating.md says of locks that are a plain key and are polled.
TEST_F(Contention, WithRedisPysLockLosesNoUpdate) {
  rounds = 60;
  Options options;
  options.key_prefix = "";
  options.expire = 3s;  // nobody signals: so it looks again after a second
  add(options);
  add(options);
  add_python("polling");
  add_python("polling");
  EXPECT_FALSE(run_all().empty());
  EXPECT_FALSE(redis.exists(name)) << "all were released";
}

TEST_F(BesidePython, RedisPysLockEqualsOneWithoutAPrefix) {
  auto holder = start("polling", {"hold", "--expire", "60"});
  ASSERT_TRUE(hears("acquired"));
  Options options;
  options.key_prefix = "";
  options.expire = 3s;
  Lock lock{client, name, options};
  EXPECT_FALSE(lock.try_lock());
  open_the_gate();
  EXPECT_TRUE(lock.try_lock_for(soon));
  redis.command("DEL", journal + ":gate");
  const auto waiter = start("polling", {"hold", "--expire", "60"});
  lock.unlock();
  EXPECT_TRUE(hears("acquired", 2));
  EXPECT_FALSE(lock.try_lock());
}

}  // namespace
}  // namespace redis_lock_test
