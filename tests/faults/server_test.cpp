// Servers that are killed, stopped, restarted, full, busy, read-only, loading or locked.

#include <sys/socket.h>

#include <array>
#include <atomic>
#include <future>
#include <memory>
#include <thread>

#include "faults.hpp"

namespace redis_lock_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Values;

// ---------------------------------------------------------------------------------------------------
// Killed. The library runs in a child, whose end is what counts: never by a signal, SIGPIPE or SIGABRT.

struct Progress {
  std::atomic<int> step{0};
  std::atomic<int> told{0};
};

class KilledServer : public OnOwnServer {
 protected:
  /// Lets the other process know how far this one is.
  void reach(int step) { progress->step = step; }
  [[nodiscard]] bool reached(int step) {
    return eventually([&] { return progress->step >= step; });
  }

  std::string patient_uri = server.uri("command_timeout=500&retry_for=20s");
  std::string impatient_uri = server.uri("command_timeout=500&retry_for=300");
  Shared<Progress> progress;
};

TEST_F(KilledServer, ThatIsRestartedLetsAWaiterGoOn) {
  held_by_somebody();
  Child child{[this] {
    return ends_well([this] {
      Lock lock{patient_uri, name, leased_for(60s)};
      lock.lock();
      if (!lock.owns_lock() || redis.string("GET", key) != lock.id())
        throw std::runtime_error("not held");
    });
  }};
  ASSERT_TRUE(are_waiting(1));
  server.kill();
  EXPECT_TRUE(child.running());
  server.restart();
  EXPECT_EQ(end_of(child), exit_with(0));
}

TEST_F(KilledServer, ThatStaysAwayIsAnErrorForWaiters) {
  held_by_somebody();
  Child child{[this] {
    return ends_well([this] {
      Lock lock{impatient_uri, name, leased_for(60s)};
      lock.lock();
    });
  }};
  ASSERT_TRUE(are_waiting(1));
  server.kill();
  const Stopwatch watch;
  EXPECT_EQ(end_of(child), exit_with(failed_with(errc::connection_failed)));
  EXPECT_GE(watch.elapsed(), 290ms);
  EXPECT_LT(watch.elapsed(), 300ms + soon);
}

TEST_F(KilledServer, ThatIsRestartedLetsUnlockReturn) {
  Child child{[this] {
    Complaints complaints;
    auto options = leased_for(60s);
    options.on_error = complaints.on_error();
    Lock lock{patient_uri, name, options};
    lock.lock();
    reach(1);
    if (!reached(2)) return 2;
    lock.unlock();
    return static_cast<int>(complaints.count());
  }};
  ASSERT_TRUE(reached(1));
  server.kill();
  reach(2);
  std::this_thread::sleep_for(50ms);  // so that it finds nobody there at first
  EXPECT_TRUE(child.running());
  server.restart();
  EXPECT_EQ(end_of(child), exit_with(0));
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(KilledServer, IsReportedByUnlockAndDestructors) {
  Child child{[this] {
    Complaints complaints;
    Options options;
    options.on_error = complaints.on_error();
    {
      Lock unlocked{impatient_uri, "a", options}, destroyed{impatient_uri, "b", options};
      unlocked.lock();
      destroyed.lock();
      const std::unique_lock guard{destroyed, std::adopt_lock};
      reach(1);
      if (!reached(2)) return 2;
      unlocked.unlock();
      if (unlocked.owns_lock()) return 3;
    }
    const auto away = make_error_code(errc::connection_failed);
    return complaints.codes() == std::vector{away, away} ? 0 : 4;
  }};
  ASSERT_TRUE(reached(1));
  server.kill();
  reach(2);
  EXPECT_EQ(end_of(child), exit_with(0));
}

TEST_F(KilledServer, RestartedEmptyCostsTheHolderItsLock) {
  Child child{[this] {
    Options options;
    options.expire = 1500ms;
    options.on_lost = [this](std::error_code) { ++progress->told; };
    Lock lock{patient_uri, name, options};
    lock.lock();
    reach(1);
    if (!eventually([&] { return !lock.owns_lock(); })) return 2;
    if (!eventually([&] { return progress->told == 1; })) return 3;
    std::error_code error;
    lock.unlock(error);
    if (error != errc::lease_lost) return 4;
    return ends_well([&] { lock.lock(); });
  }};
  ASSERT_TRUE(reached(1));
  server.restart();
  EXPECT_EQ(end_of(child), exit_with(0));
  EXPECT_EQ(progress->told, 1);
}

TEST_F(KilledServer, IsReportedByRenewalOnlyAsALoss) {
  Child child{[this] {
    Options options;
    options.expire = 900ms;
    options.on_lost = [this](std::error_code) { ++progress->told; };
    Lock lock{impatient_uri, name, options};
    lock.lock();
    reach(1);
    if (!eventually([&] { return progress->told == 1; })) return 2;
    if (lock.owns_lock()) return 3;
    std::error_code error;
    lock.unlock(error);
    return error == errc::lease_lost ? 0 : 4;
  }};
  ASSERT_TRUE(reached(1));
  server.kill();
  EXPECT_EQ(end_of(child), exit_with(0));
  EXPECT_EQ(progress->told, 1);
}

TEST_F(KilledServer, AgainAndAgainIsNeverFatal) {
  Child child{[this] {
    Options options;
    options.expire = 600ms;
    options.on_lost = [](std::error_code) {};
    Lock lock{server.uri("command_timeout=100&retry_for=30"), name, options};
    while (progress->step == 0) {
      try {
        const std::lock_guard guard{lock};
        ++progress->told;
        lock.extend();
        (void)lock.owner();
        (void)lock.try_lock();
      } catch (const Error&) {  // may fail, as long as it says so
      }
    }
    return ends_well([&] {
      std::error_code ignored;
      lock.unlock(ignored);
    });
  }};
  for (int round = 0; round < 5; ++round) {
    const auto told = progress->told.load();
    ASSERT_TRUE(eventually([&] { return progress->told > told + 3 || !child.running(); }));
    server.kill();
    std::this_thread::sleep_for(60ms);  // longer than retry_for
    server.restart();
  }
  reach(1);
  EXPECT_EQ(end_of(child), exit_with(0));
}

// ---------------------------------------------------------------------------------------------------
// Stopped by SIGSTOP: it accepts connections and commands, answers nothing, and goes on later.

class FrozenServer : public OnOwnServer {
 protected:
  static constexpr auto command_timeout = 300ms;
  /// How long a waiter asks the server to wait at most.
  static constexpr auto longest_slice = 3000ms;

  /// It has thawed: all that was sent to it meanwhile runs. In the end nobody holds the lock who does
  /// not know of it.
  void expect_free_in_the_end() {
    server.resume();
    ASSERT_TRUE(eventually([this] { return redis.string("PING") == "PONG"; }));
    EXPECT_TRUE(eventually([this] { return !redis.exists(key); }, 5s));
    Lock next{server.uri(), name, leased_for(60s)};
    ASSERT_TRUE(next.try_lock_for(soon));
    expect_owned(next);
    release(next);
  }

  const Client client{server.uri("command_timeout=300&retry_for=1000")};
};

class FrozenServerUnderLeaseOf : public FrozenServer,
                                 public ::testing::WithParamInterface<milliseconds> {
 protected:
  const Options options = leased_for(GetParam());
};
INSTANTIATE_TEST_SUITE_P(, FrozenServerUnderLeaseOf, Values(3000ms, redis_lock::no_expiry),
                         [](const auto& test) {
                           return std::string(test.param == redis_lock::no_expiry ? "NoExpiry"
                                                                                  : "3s");
                         });

TEST_P(FrozenServerUnderLeaseOf, IsAnErrorForAWaiter) {
  held_by_somebody();
  Lock lock{client, name, options};
  auto waiter = std::async(std::launch::async, [&] { return error_of([&] { lock.lock(); }); });
  ASSERT_TRUE(are_waiting(1));
  auto releaser = connect_to(server.endpoint());
  server.pause();
  const Stopwatch watch;
  // It is freed while the server is frozen: when it thaws, it will want to grant it to the waiter.
  const auto freed = encode({"DEL", key}) + encode({"LPUSH", signal, "1"});
  ASSERT_EQ(::send(releaser.get(), freed.data(), freed.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(freed.size()));
  EXPECT_EQ(waiter.get(), errc::timed_out);
  RecordProperty("timed_out_after_ms", static_cast<int>(watch.elapsed().count()));
  EXPECT_LT(watch.elapsed(), longest_slice + 2 * command_timeout + 3s);
  EXPECT_FALSE(lock.owns_lock());
  expect_free_in_the_end();
  EXPECT_TRUE(lock.try_lock());
}

TEST_P(FrozenServerUnderLeaseOf, IsAnErrorForAnAttempt) {
  Lock lock{client, name, options};
  lock.lock();
  release(lock);
  server.pause();
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::timed_out);
  EXPECT_GE(watch.elapsed(), command_timeout);
  EXPECT_LT(watch.elapsed(), 2 * command_timeout + 3s);
  EXPECT_FALSE(lock.owns_lock());
  expect_free_in_the_end();
}

TEST_P(FrozenServerUnderLeaseOf, IsAnErrorForATimedAttempt) {
  Lock lock{client, name, options};
  server.pause();
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { return lock.try_lock_for(50ms); }), errc::timed_out);
  EXPECT_GE(watch.elapsed(), 50ms);
  EXPECT_LT(watch.elapsed(), 2 * command_timeout + 3s);
  expect_free_in_the_end();
}

TEST_P(FrozenServerUnderLeaseOf, TimesOutUnlockButFreesTheLockLater) {
  {
    Lock teacher{client, name};
    const std::lock_guard makes_the_script_known{teacher};
  }
  Complaints complaints;
  auto with_callback = options;
  with_callback.on_error = complaints.on_error();
  Lock lock{client, name, with_callback};
  lock.lock();
  server.pause();
  const Stopwatch watch;
  lock.unlock();
  RecordProperty("unlock_returned_after_ms", static_cast<int>(watch.elapsed().count()));
  EXPECT_GE(watch.elapsed(), command_timeout);
  EXPECT_LT(watch.elapsed(), 3 * command_timeout + 3s);
  EXPECT_THAT(complaints.codes(), ElementsAre(errc::timed_out));
  EXPECT_FALSE(lock.owns_lock());
  expect_free_in_the_end();
}

TEST_P(FrozenServerUnderLeaseOf, FreesTheLockLaterWithoutKnowingTheScript) {
  Lock lock{client, name, options};
  lock.lock();
  redis.command("SCRIPT", "FLUSH");
  server.pause();
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::timed_out);
  expect_free_in_the_end();
}

TEST_F(FrozenServer, ThatThawsInTimeIsNotNoticed) {
  Lock lock{server.uri(), name, leased_for(60s)};
  lock.lock();
  server.pause();
  auto released = std::async(std::launch::async, [&] {
    std::error_code error;
    lock.unlock(error);
    return error;
  });
  EXPECT_EQ(released.wait_for(100ms), std::future_status::timeout);
  server.resume();
  EXPECT_FALSE(released.get());
  expect_free();
}

/// Each new connection of the renewal thread owes an answer to SELECT first.
TEST_F(FrozenServer, IsALossBeforeTheLeaseEnds) {
  bool in_time = false;
  for (int attempt = 0; attempt < 3 && !in_time;
       ++attempt) {  // a busy machine may wake the thread late
    Complaints losses;
    std::atomic<steady_clock::time_point> told_at{steady_clock::time_point::max()};
    Options options;
    options.expire = 1500ms;
    options.on_lost = [&, told = losses.on_lost()](std::error_code error) {
      told_at = steady_clock::now();
      told(error);
    };
    // Renewed after 500 ms: no answer until 1100 ms; on a new connection there would be none until 1700.
    Lock lock{server.uri("db=1&command_timeout=600&retry_for=0"), name, options};
    lock.lock();
    server.pause();
    ASSERT_TRUE(eventually([&] { return losses.count() == 1; }));
    EXPECT_FALSE(lock.owns_lock());
    // A watched lock expires a tenth of its lease, at most 100 ms, before the lease is over.
    in_time = told_at.load() < lock.expires_at() + 100ms;
    server.resume();
    ASSERT_TRUE(eventually([this] { return redis.string("PING") == "PONG"; }));
  }
  EXPECT_TRUE(in_time);
}

// ---------------------------------------------------------------------------------------------------
// States that pass: retried for retry_for, then reported with the server's own words.

class PassingState : public OnOwnServer {
 protected:
  explicit PassingState(std::vector<std::string> arguments = {})
      : OnOwnServer(std::move(arguments)) {}

  /// While the server is in that state, which `end` ends.
  template <class End>
  void expect_ridden_out(End&& end) {
    Proxy proxy{server.endpoint()};
    Lock lock{proxy.uri("retry_for=20s"), name, leased_for(60s)};
    auto acquired = std::async(std::launch::async, [&] { return lock.try_lock_for(20s); });
    EXPECT_TRUE(eventually([&] { return proxy.seen("SET") >= 3; })) << "it tries again";
    end();
    EXPECT_TRUE(acquired.get());
    expect_owned(lock);
    release(lock);
  }

  /// The server stays in that state.
  void expect_reported(const std::string& words) {
    for (const bool limited : {true, false}) {
      Lock lock{server.uri(limited ? "retry_for=20s" : "retry_for=400"), name, leased_for(60s)};
      const Stopwatch watch;
      auto outcome = std::async(std::launch::async, [&]() -> std::string {
        try {
          if (limited) return lock.try_lock_for(400ms) ? "acquired" : "busy";
          lock.lock();
          return "acquired";
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), errc::server_error);
          return error.what();
        }
      });
      // A call that goes on for ever must not hang the test: then the server ends it.
      if (outcome.wait_for(soon) != std::future_status::ready) {
        ADD_FAILURE() << "still retried long after " << (limited ? "the deadline" : "retry_for");
        server.kill();
      }
      EXPECT_THAT(outcome.get(), HasSubstr(words));
      EXPECT_GE(watch.elapsed(), 400ms);
      EXPECT_FALSE(lock.owns_lock());
    }
  }
};

class BusyServer : public PassingState {
 protected:
  BusyServer() : PassingState({"--lua-time-limit", "20"}) {
    const auto endless = encode({"EVAL", "while true do end", "0"});
    ::send(script.get(), endless.data(), endless.size(), MSG_NOSIGNAL);
  }
  void SetUp() override {
    ASSERT_TRUE(eventually([this] { return redis.command("PING").text.rfind("BUSY", 0) == 0; }));
  }

  Socket script = connect_to(server.endpoint());
};

TEST_F(BusyServer, IsRiddenOut) {
  expect_ridden_out([this] { EXPECT_EQ(redis.string("SCRIPT", "KILL"), "OK"); });
}

TEST_F(BusyServer, IsReportedWhenItLasts) {
  expect_reported("BUSY");
  redis.command("SCRIPT", "KILL");
}

class ReplicaServer : public PassingState {
 protected:
  void become_replica() { ASSERT_EQ(redis.string("SLAVEOF", "127.0.0.1", "1"), "OK"); }
  void become_master() { ASSERT_EQ(redis.string("SLAVEOF", "NO", "ONE"), "OK"); }
};

TEST_F(ReplicaServer, IsRiddenOut) {
  become_replica();
  expect_ridden_out([this] { become_master(); });
}

TEST_F(ReplicaServer, IsReportedWhenItLasts) {
  become_replica();
  expect_reported("READONLY");
}

TEST_F(ReplicaServer, LosesNoWaiterAndNoHolder) {
  Complaints losses;
  Options options;
  options.expire = 2s;
  options.on_lost = losses.on_lost();
  Lock holder{server.uri(), name, options};
  holder.lock();
  Lock lock{server.uri("retry_for=20s"), name, leased_for(60s)};
  auto waiter = std::async(std::launch::async, [&] { return lock.try_lock_for(20s); });
  ASSERT_TRUE(are_waiting(1));
  become_replica();
  ASSERT_TRUE(are_waiting(0)) << "the server ends the waiting itself";
  EXPECT_EQ(waiter.wait_for(100ms), std::future_status::timeout);
  become_master();
  ASSERT_TRUE(are_waiting(1));
  EXPECT_TRUE(holder.owns_lock());
  EXPECT_EQ(losses.count(), 0U);
  std::error_code error;
  holder.unlock(error);
  EXPECT_FALSE(error) << error.message();
  EXPECT_TRUE(waiter.get());
  expect_owned(lock);
}

TEST_F(ReplicaServer, IsRiddenOutByUnlock) {
  Lock lock{server.uri("retry_for=20s"), name, leased_for(60s)};
  lock.lock();
  become_replica();
  auto released = std::async(std::launch::async, [&] {
    std::error_code error;
    lock.unlock(error);
    return error;
  });
  EXPECT_EQ(released.wait_for(100ms), std::future_status::timeout);
  become_master();
  EXPECT_FALSE(released.get());
  expect_free();
}

TEST_F(ReplicaServer, IsReportedByUnlockWhenItLasts) {
  Complaints complaints;
  auto options = leased_for(3s);
  options.on_error = complaints.on_error();
  Lock lock{server.uri("retry_for=300"), name, options};
  lock.lock();
  become_replica();
  const Stopwatch watch;
  lock.unlock();
  EXPECT_GE(watch.elapsed(), 290ms);
  EXPECT_LT(watch.elapsed(), 2s) << "not for the whole lease";
  EXPECT_THAT(complaints.codes(), ElementsAre(errc::server_error));
  EXPECT_THAT(complaints.text(), HasSubstr("READONLY"));
}

TEST_F(ReplicaServer, IsRiddenOutByADeferredUnlock) {
  Complaints complaints;
  auto options = leased_for(60s);
  options.on_error = complaints.on_error();
  options.deferred_unlock = true;
  Lock lock{server.uri("retry_for=20s"), name, options};
  lock.lock();
  become_replica();
  lock.unlock();
  EXPECT_EQ(lock.owner(), lock.id()) << "it does not wait for that";
  std::this_thread::sleep_for(200ms);
  become_master();
  EXPECT_TRUE(eventually([&] { return !redis.exists("lock:" + name); }));
  EXPECT_EQ(complaints.count(), 0U);
}

TEST_F(ReplicaServer, IsEventuallyReportedByADeferredUnlock) {
  Complaints complaints;
  auto options = leased_for(60s);
  options.on_error = complaints.on_error();
  options.deferred_unlock = true;
  Lock lock{server.uri("retry_for=300"), name, options};
  lock.lock();
  become_replica();
  lock.unlock();
  EXPECT_TRUE(eventually([&] { return complaints.count() == 1; }));
  EXPECT_THAT(complaints.text(), HasSubstr("READONLY"));
}

/// A master right after a failover: min-replicas-to-write is 1, and no replica is attached yet.
class MasterWithoutReplicas : public PassingState {
 protected:
  void lose_replicas() {
    ASSERT_EQ(redis.string("CONFIG", "SET", "min-replicas-to-write", "1"), "OK");
  }
  void get_replicas() {
    ASSERT_EQ(redis.string("CONFIG", "SET", "min-replicas-to-write", "0"), "OK");
  }

  /// Does `work` while there are no replicas: it ends when there are some, not before.
  template <class Work>
  void expect_ridden_out_by(Work&& work) {
    lose_replicas();
    auto done = std::async(std::launch::async, std::forward<Work>(work));
    EXPECT_EQ(done.wait_for(100ms), std::future_status::timeout) << "it tries again";
    get_replicas();
    done.get();
  }

  Client patient{server.uri("retry_for=20s")};
};

TEST_F(MasterWithoutReplicas, IsRiddenOut) {
  lose_replicas();
  expect_ridden_out([this] { get_replicas(); });
}

TEST_F(MasterWithoutReplicas, IsReportedWhenItLasts) {
  lose_replicas();
  expect_reported("NOREPLICAS");
}

TEST_F(MasterWithoutReplicas, IsRiddenOutByWhatAHolderDoes) {
  Lock lock{patient, name, leased_for(60s)};
  expect_ridden_out_by([&] { lock.lock(); });
  expect_owned(lock);
  expect_ridden_out_by([&] { lock.extend(); });
  expect_owned(lock);
  expect_ridden_out_by([&] { lock.guarded_set("guarded", "written"); });
  EXPECT_EQ(redis.string("GET", "guarded"), "written");
  std::error_code error;
  expect_ridden_out_by([&] { lock.unlock(error); });
  EXPECT_FALSE(error) << error.message();
  expect_free();
}

TEST_F(MasterWithoutReplicas, IsRiddenOutByAFencedAcquisition) {
  auto options = leased_for(60s);
  options.fencing = true;
  Lock lock{patient, name, options};
  expect_ridden_out_by([&] { lock.lock(); });
  EXPECT_EQ(lock.fencing_token(), 1U);
  expect_owned(lock);
}

TEST_F(MasterWithoutReplicas, LosesNoWaiterAndNoHolder) {
  Complaints losses;
  Options options;
  options.expire = 6s;
  options.on_lost = losses.on_lost();
  Proxy proxy{server.endpoint()};
  Client through_proxy{proxy.uri("retry_for=20s")};
  Lock holder{through_proxy, name, options};
  holder.lock();
  Lock lock{through_proxy, name, leased_for(3s)};  // asks again each second
  auto waiter = std::async(std::launch::async, [&] { return lock.try_lock_for(20s); });
  ASSERT_TRUE(are_waiting(1));
  const auto end = holder.expires_at();
  lose_replicas();
  const auto attempts = proxy.seen("SET") + 2;
  EXPECT_TRUE(eventually([&] { return proxy.seen("SET") >= attempts; })) << "of the waiter";
  EXPECT_TRUE(eventually([&] { return proxy.seen("EVALSHA") >= 2; })) << "renewals";
  EXPECT_EQ(holder.expires_at(), end) << "none was accepted";
  get_replicas();
  EXPECT_TRUE(eventually([&] { return holder.expires_at() > end; })) << "it is renewed again";
  EXPECT_EQ(losses.count(), 0U);
  EXPECT_EQ(waiter.wait_for(0ms), std::future_status::timeout);
  std::error_code error;
  holder.unlock(error);
  EXPECT_FALSE(error) << error.message();
  EXPECT_TRUE(waiter.get());
  expect_owned(lock);
}

TEST_F(MasterWithoutReplicas, IsRiddenOutByADeferredUnlock) {
  Complaints complaints;
  auto options = leased_for(60s);
  options.on_error = complaints.on_error();
  options.deferred_unlock = true;
  Lock lock{patient, name, options};
  lock.lock();
  lose_replicas();
  lock.unlock();
  EXPECT_EQ(lock.owner(), lock.id()) << "it does not wait for that";
  std::this_thread::sleep_for(200ms);
  get_replicas();
  EXPECT_TRUE(eventually([&] { return !redis.exists(key); }));
  EXPECT_EQ(complaints.count(), 0U);
}

/// States that are hard to bring a real server into.
class StateOf : public ::testing::TestWithParam<const char*> {
 protected:
  /// Answers with this error the first `times` times that somebody tries, and then as a free lock does.
  static FakeServer::Answer answers(const std::string& error,
                                    std::shared_ptr<std::atomic<int>> times) {
    return FakeServer::each_command([=](const Command& command) -> std::optional<std::string> {
      if (command.front() == "SET" && (*times)-- > 0) return "-" + error + "\r\n";
      if (command.front() == "SET") return "+OK\r\n";
      return ":0\r\n";
    });
  }

  const std::string error = std::string(GetParam()) + " in the server's own words";
};
INSTANTIATE_TEST_SUITE_P(, StateOf,
                         Values("LOADING", "TRYAGAIN", "MASTERDOWN", "CLUSTERDOWN", "READONLY",
                                "NOREPLICAS", "BUSY"),
                         [](const auto& test) { return std::string(test.param); });

TEST_P(StateOf, IsRiddenOut) {
  const auto times = std::make_shared<std::atomic<int>>(3);
  FakeServer fake{answers(error, times)};
  Lock lock{fake.uri("retry_for=20s"), "name", leased_for(60s)};
  lock.lock();
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_LT(times->load(), 0);
}

TEST_P(StateOf, IsReportedWhenItLasts) {
  const auto times = std::make_shared<std::atomic<int>>(1'000'000);
  FakeServer fake{answers(error, times)};
  Lock lock{fake.uri("retry_for=300"), "name", leased_for(60s)};
  auto outcome = std::async(std::launch::async, [&] {
    return message_of<Error>([&] {
      lock.lock();
      return 0;
    });
  });
  if (outcome.wait_for(5s) != std::future_status::ready) {
    ADD_FAILURE() << "still retried long after retry_for";
    *times = 0;
  }
  EXPECT_THAT(outcome.get(), HasSubstr(error));
  EXPECT_LT(1'000'000 - *times, 50) << "with growing pauses";
}

/// Two servers of a cluster, each of which says that the other one has the keys.
TEST(State, OfCircularRedirectionIsReportedAfterGrowingPauses) {
  std::array<std::atomic<int>, 2> ports{};
  const auto answers = [&ports](std::size_t self) {
    return FakeServer::each_command([&ports, self](const Command& command) {
      const auto port = [&](std::size_t which) { return std::to_string(ports[which].load()); };
      if (command.front() == "CLUSTER") {
        return "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:" + port(self) + "\r\n";
      }
      return "-MOVED 1 127.0.0.1:" + port(1 - self) + "\r\n";
    });
  };
  FakeServer one{answers(0)}, other{answers(1)};
  ports[0] = one.endpoint().port;
  ports[1] = other.endpoint().port;
  Lock lock{"redis+cluster://127.0.0.1:" + std::to_string(one.endpoint().port) + "?retry_for=400",
            "name", leased_for(60s)};
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::server_error);
  EXPECT_GE(watch.elapsed(), 400ms);
  EXPECT_LT(one.accepted() + other.accepted(), 60);
}

/// Redis 2.6, which has no NOAUTH yet.
TEST(State, OfAnOldServersAuthErrorIsRecognised) {
  FakeServer fake{
      FakeServer::each_command([](const Command&) { return "-ERR operation not permitted\r\n"; })};
  Lock lock{fake.uri(), "name", leased_for(60s)};
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::authentication_failed);
}

TEST(State, OfAnyOtherKindIsReportedAtOnce) {
  const auto tries = std::make_shared<std::atomic<int>>(0);
  FakeServer fake{FakeServer::each_command([=](const Command&) {
    ++*tries;
    return "-MISCONF Redis is configured to save RDB snapshots\r\n";
  })};
  Lock lock{fake.uri(), "name", leased_for(60s)};
  const auto message = message_of<Error>([&] { return lock.try_lock(); });
  EXPECT_THAT(message, HasSubstr("MISCONF Redis is configured to save RDB snapshots"));
  EXPECT_EQ(error_of([&] { return lock.owner(); }), errc::server_error);
  EXPECT_LE(*tries, 4) << "SET, PTTL, perhaps a release; GET";
}

// ---------------------------------------------------------------------------------------------------
// What its administrator may do to it.

using Administrator = OnOwnServer;

TEST_F(Administrator, MayFlushTheScriptsBetweenAnyTwoOperations) {
  Complaints losses;
  Options options;
  options.expire = 900ms;
  options.on_lost = losses.on_lost();
  Lock lock{server.uri(), name, options};
  lock.lock();
  redis.command("SCRIPT", "FLUSH");
  lock.extend();
  for (int i = 0; i < 2; ++i) {
    redis.command("SCRIPT", "FLUSH");
    const auto end = lock.expires_at();
    ASSERT_TRUE(eventually([&] { return lock.expires_at() > end; })) << "renewed";
  }
  expect_owned(lock);
  redis.command("SCRIPT", "FLUSH");
  EXPECT_TRUE(lock.reset());
  redis.command("SCRIPT", "FLUSH");
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  lock.lock();
  redis.command("SCRIPT", "FLUSH");
  release(lock);
}

TEST_F(Administrator, WhoFlushesEverythingEndsTheHoldForGood) {
  Complaints losses;
  Options options;
  options.expire = 900ms;
  options.on_lost = losses.on_lost();
  Lock lock{server.uri(), name, options};
  lock.lock();
  redis.command("FLUSHALL");
  ASSERT_TRUE(eventually([&] { return losses.count() == 1; }));
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
  const auto nothing_for = Stopwatch{};
  while (nothing_for.elapsed() < 1000ms) {  // more than another lease
    ASSERT_FALSE(redis.exists(key)) << "a renewal must not create it again";
    std::this_thread::sleep_for(20ms);
  }
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_EQ(losses.count(), 1U);
  EXPECT_EQ(redis.integer("DBSIZE"), 0);
}

TEST_F(Administrator, WhoKillsAWaitersConnectionLosesNoWaiter) {
  held_by_somebody();
  Lock lock{server.uri(), name, leased_for(60s)};
  auto waiter = std::async(std::launch::async, [&] { return lock.try_lock_for(soon); });
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(are_waiting(1));
    const auto connections = redis.info("total_connections_received");
    EXPECT_EQ(redis.integer("CLIENT", "KILL", "TYPE", "normal"), 1);
    ASSERT_TRUE(eventually([&] { return redis.info("total_connections_received") > connections; }));
  }
  ASSERT_TRUE(are_waiting(1));
  released_by_somebody();
  EXPECT_TRUE(waiter.get());
  expect_owned(lock);
}

TEST_F(Administrator, WhoKillsAHoldersConnectionsTakesNoLock) {
  Complaints losses;
  Options options;
  options.expire = 900ms;
  options.on_lost = losses.on_lost();
  Lock lock{server.uri(), name, options};
  lock.lock();
  for (int i = 0; i < 3; ++i) {
    const auto end = lock.expires_at();
    redis.command("CLIENT", "KILL", "TYPE", "normal");
    ASSERT_TRUE(eventually([&] { return lock.expires_at() > end; })) << "renewed";
  }
  redis.command("CLIENT", "KILL", "TYPE", "normal");
  expect_owned(lock);
  EXPECT_EQ(losses.count(), 0U);
  release(lock);
}

TEST_F(Administrator, WhoKillsIdleConnectionsIsNotNoticed) {
  // Even without any retry, and if a new connection owes an answer to SELECT first.
  for (const char* const parameters : {"retry_for=0", "retry_for=0&db=1"}) {
    SCOPED_TRACE(parameters);
    const Client client{server.uri(parameters)};
    std::vector<std::unique_ptr<Lock>> locks;
    for (int i = 0; i < 4; ++i) {
      locks.push_back(std::make_unique<Lock>(client, name + std::to_string(i), leased_for(60s)));
    }
    {
      std::vector<std::future<void>> at_once;  // so that there are several idle connections
      for (auto& lock : locks) {
        at_once.push_back(std::async(std::launch::async, [&] { lock->lock(); }));
      }
    }
    EXPECT_GE(redis.integer("CLIENT", "KILL", "TYPE", "normal"), 1);
    for (auto& lock : locks) {
      std::error_code error;
      lock->unlock(error);
      EXPECT_FALSE(error) << error.message();
    }
    redis.command("CLIENT", "KILL", "TYPE", "normal");
    for (auto& lock : locks) EXPECT_TRUE(lock->try_lock_for(0s));
  }
}

TEST_F(Administrator, WhoSetsAPasswordShutsNewConnectionsOut) {
  redis.command("CONFIG", "SET", "requirepass", "right");
  const auto expect_refused = [&](const std::string& password) {
    auto endpoint = server.endpoint();
    endpoint.password = password;
    const auto expect_refusal = [&](auto&& operation) {
      const auto message = message_of<Error>(operation);
      EXPECT_THAT(message, Not(HasSubstr("sesame")));
      EXPECT_THAT(message, ::testing::AnyOf(HasSubstr("NOAUTH"), HasSubstr("WRONGPASS"),
                                            HasSubstr("invalid password")));
      EXPECT_EQ(error_of(operation), errc::authentication_failed);
    };
    Lock lock{endpoint, name, leased_for(60s)};
    expect_refusal([&] { return lock.try_lock(); });
    expect_refusal([&] { return lock.try_lock_for(5s); });
    expect_refusal([&] { return lock.owner(); });
  };
  expect_refused("");
  expect_refused("sesame");
  auto endpoint = server.endpoint();
  endpoint.password = "right";
  Lock lock{endpoint, name, leased_for(60s)};
  EXPECT_TRUE(lock.try_lock());
}

TEST_F(Administrator, WhoSetsAPasswordMayEndRenewedLocks) {
  Complaints losses;
  Options options;
  options.expire = 900ms;
  options.on_lost = losses.on_lost();
  Lock lock{server.uri("retry_for=0"), name, options};
  lock.lock();
  redis.command("CONFIG", "SET", "requirepass", "right");
  redis.command("CLIENT", "KILL", "TYPE", "normal");
  ASSERT_TRUE(eventually([&] { return losses.count() == 1; }));
  EXPECT_FALSE(lock.owns_lock());
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
}

/// A server that lets nobody in says so and closes, which may come before or after the first write.
TEST_F(Administrator, WhoAdmitsNoMoreClientsIsReported) {
  redis.command("CONFIG", "SET", "maxclients", "1");
  Lock lock{server.uri("retry_for=300"), name, leased_for(60s)};
  const Stopwatch watch;
  const auto error = error_of([&] { return lock.try_lock(); });
  EXPECT_TRUE(error == errc::server_error || error == errc::connection_failed) << error.message();
  EXPECT_GE(watch.elapsed(), 290ms) << "as it may pass";
  EXPECT_LT(watch.elapsed(), 300ms + soon);
}

TEST_F(Administrator, WhoAdmitsClientsAgainIsWaitedFor) {
  Proxy proxy{server.endpoint()};
  redis.command("CONFIG", "SET", "maxclients", "1");
  Lock lock{proxy.uri("retry_for=20s"), name, leased_for(60s)};
  auto acquired = std::async(std::launch::async, [&] { return lock.try_lock(); });
  EXPECT_TRUE(eventually([&] { return proxy.accepted() >= 3; }));
  redis.command("CONFIG", "SET", "maxclients", "100");
  EXPECT_TRUE(acquired.get());
  expect_owned(lock);
}

class FullServer : public OnOwnServer {
 protected:
  void fill() { ASSERT_EQ(redis.string("CONFIG", "SET", "maxmemory", "1"), "OK"); }
  void empty() { ASSERT_EQ(redis.string("CONFIG", "SET", "maxmemory", "0"), "OK"); }
};

TEST_F(FullServer, GivesNoLockAndSaysWhy) {
  fill();
  Lock lock{server.uri(), name, leased_for(60s)};
  const Stopwatch watch;
  for (const auto& operation :
       std::vector<std::function<void()>>{[&] { lock.lock(); }, [&] { (void)lock.try_lock(); },
                                          [&] { (void)lock.try_lock_for(5s); }}) {
    EXPECT_EQ(error_of(operation), errc::server_error);
    EXPECT_FALSE(lock.owns_lock());
  }
  EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }), HasSubstr("OOM"));
  EXPECT_LT(watch.elapsed(), 4s) << "this is no state that passes";
  empty();
  expect_free();
}

TEST_F(FullServer, RenewsAndReleases) {
  Options options;
  options.expire = 900ms;
  Lock lock{server.uri(), name, options};
  lock.lock();
  fill();
  lock.extend();
  const auto end = lock.expires_at();
  ASSERT_TRUE(eventually([&] { return lock.expires_at() > end; }));
  release(lock);
  empty();
  expect_free();
}

TEST_F(FullServer, WakesTheWaiter) {
  Lock holder{server.uri(), name, leased_for(60s)};
  holder.lock();
  Lock lock{server.uri(), name, leased_for(60s)};
  auto waiter = std::async(std::launch::async, [&] {
    return message_of<Error>([&] { return lock.try_lock_for(20s); });
  });
  ASSERT_TRUE(are_waiting(1));
  fill();
  const Stopwatch since_release;
  release(holder);
  EXPECT_THAT(waiter.get(), HasSubstr("OOM")) << "there is no room for its id";
  EXPECT_LT(since_release.elapsed(), 2s) << "nor did it sleep on for the rest of its three seconds";
  EXPECT_FALSE(redis.exists(key));
  empty();
  expect_free();
}

TEST_F(FullServer, HandsTheLockOverOnceThereIsRoom) {
  Lock holder{server.uri(), name, leased_for(60s)};
  holder.lock();
  fill();
  release(holder);
  EXPECT_EQ(redis.integer("LLEN", signal), 1);
  empty();
  Lock lock{server.uri(), name, leased_for(60s)};
  EXPECT_TRUE(lock.try_lock());
}

}  // namespace
}  // namespace redis_lock_test
