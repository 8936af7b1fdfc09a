// SharedLock and Semaphore while connections break, replies get lost, and servers forget, freeze or restart.

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "faults.hpp"
#include "integration/family.hpp"

namespace redis_lock_test {
namespace {

using ::testing::Combine;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Values;
using ::testing::ValuesIn;
using namespace std::string_literals;

enum class Role { reader, writer, permit };

[[nodiscard]] std::string name_of(Role role) {
  return role == Role::reader ? "reader" : role == Role::writer ? "writer" : "permit";
}
void PrintTo(Role role, std::ostream* stream) { *stream << name_of(role); }
const std::vector roles{Role::reader, Role::writer, Role::permit};
const std::vector faults{Fault::lose_request, Fault::lose_reply, Fault::lose_reply_and_stall,
                         Fault::cut_reply};

/// One reader or writer of a SharedLock, or one holder of the only permit of a Semaphore. All is done by a thread of its
/// own, to which a reading belongs.
class User {
 public:
  User(Role role, const Client& client, const std::string& name, const Options& options)
      : role_(role) {
    if (role == Role::permit) {
      semaphore_.emplace(client, name, std::size_t{1}, options);
    } else {
      lock_.emplace(client, name, options);
    }
  }
  User(const User&) = delete;
  User& operator=(const User&) = delete;
  ~User() {
    later([this] { return stops_ = true; }).get();
    thread_.join();
  }

  void acquire() { start_acquire().get(); }
  [[nodiscard]] std::future<bool> start_acquire(std::stop_token token = {}) {
    return later([this, token] {
      if (role_ == Role::reader) return lock_->lock_shared(token);
      return role_ == Role::writer ? lock_->lock(token) : semaphore_->acquire(token);
    });
  }
  [[nodiscard]] bool try_once() {
    return later([this] {
             if (role_ == Role::reader) return lock_->try_lock_shared();
             return role_ == Role::writer ? lock_->try_lock() : semaphore_->try_acquire();
           })
        .get();
  }
  [[nodiscard]] bool try_for(milliseconds time) { return start_try_for(time).get(); }
  [[nodiscard]] std::future<bool> start_try_for(milliseconds time) {
    return later([this, time] {
      if (role_ == Role::reader) return lock_->try_lock_shared_for(time);
      return role_ == Role::writer ? lock_->try_lock_for(time) : semaphore_->try_acquire_for(time);
    });
  }
  /// Returns the error, if there is one.
  [[nodiscard]] std::error_code release() {
    std::error_code error;
    later([this, &error] {
      if (role_ == Role::reader) {
        lock_->unlock_shared(error);
      } else if (role_ == Role::writer) {
        lock_->unlock(error);
      } else {
        semaphore_->release(error);
      }
      return true;
    }).get();
    return error;
  }
  [[nodiscard]] bool owns() {
    return later([this] {
             if (role_ == Role::reader) return lock_->owns_lock_shared();
             return role_ == Role::writer ? lock_->owns_lock() : semaphore_->owns_lock();
           })
        .get();
  }

 private:
  std::future<bool> later(std::function<bool()> work) {
    std::packaged_task<bool()> task{std::move(work)};
    auto result = task.get_future();
    const std::lock_guard guard{mutex_};
    tasks_.push_back(std::move(task));
    changed_.notify_all();
    return result;
  }
  void run() {
    while (!stops_) {
      std::unique_lock guard{mutex_};
      changed_.wait(guard, [this] { return !tasks_.empty(); });
      auto task = std::move(tasks_.front());
      tasks_.pop_front();
      guard.unlock();
      task();
    }
  }

  const Role role_;
  std::optional<SharedLock> lock_;
  std::optional<Semaphore> semaphore_;
  std::mutex mutex_;  // guards tasks_
  std::condition_variable changed_;
  std::deque<std::packaged_task<bool()>> tasks_;
  std::atomic<bool> stops_{false};
  std::thread thread_{[this] { run(); }};
};

/// A server of the test's own, and one role in which it is used.
class FamilyOnOwnServer : public OnOwnServer {
 protected:
  /// The ids that hold something in this role, and whose leases are not over.
  [[nodiscard]] std::vector<std::string> ids(Role role) {
    const auto& set = role == Role::reader ? shared.readers : permits.set;
    if (role != Role::writer) {
      redis.command("ZREMRANGEBYSCORE", set, "-inf", server_time(redis));
      return ids_in(redis, set);
    }
    const auto id = redis.string("GET", shared.gate);
    return id ? std::vector{*id} : std::vector<std::string>{};
  }

  /// Another holder, which never dies, keeps this role out.
  void block(Role role) {
    if (role != Role::permit) {
      ASSERT_EQ(redis.string("SET", shared.gate, "somebody", "NX"), "OK");
    } else {
      ASSERT_EQ(redis.integer("ZADD", permits.set, 9'000'000'000'000'000LL, "somebody"), 1);
    }
  }
  void unblock(Role role) {
    if (role != Role::permit) {
      EXPECT_TRUE(SharedLock(server.uri(), name).reset("somebody"));
    } else {
      EXPECT_TRUE(Semaphore(server.uri(), name, 1).reset("somebody"));
    }
  }

  /// It holds what it should, once, and releases it without any complaint; then nothing is left.
  void expect_releases(User& user, Role role) {
    EXPECT_TRUE(user.owns());
    EXPECT_EQ(ids(role).size(), 1U) << "neither none nor two";
    const auto error = user.release();
    EXPECT_FALSE(error) << error.message();
    EXPECT_FALSE(user.owns());
    EXPECT_THAT(ids(role), IsEmpty());
  }

  /// Makes the scripts known to the server, so that EVALSHA does what EVAL would.
  void load_scripts() {
    for (const auto role : roles) {
      User user{role, server.uri(), name, leased_for(60s)};
      user.acquire();
      EXPECT_FALSE(user.release());
    }
  }

  void kill_connections() { redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"); }

  const SharedKeys shared{name};
  const PermitKeys permits{name};
};

class FamilyFault : public FamilyOnOwnServer, public ::testing::WithParamInterface<Role> {
 protected:
  const Role role = GetParam();
};
INSTANTIATE_TEST_SUITE_P(, FamilyFault, ValuesIn(roles),
                         [](const auto& test) { return name_of(test.param); });

// ---------------------------------------------------------------------------------------------------
// Connections that are killed.

TEST_P(FamilyFault, KilledConnectionsLoseNoWaiter) {
  block(role);
  User user{role, server.uri(), name, leased_for(60s)};
  auto waiter = user.start_try_for(patience);
  ASSERT_TRUE(are_waiting(1));
  for (int i = 0; i < 3; ++i) {
    kill_connections();
    ASSERT_TRUE(are_waiting(1));
  }
  unblock(role);
  EXPECT_TRUE(waiter.get());
  expect_releases(user, role);
}

TEST_P(FamilyFault, KilledConnectionsTakeNothingFromHolders) {
  Complaints losses;
  auto options = renewed_for(900ms);
  options.on_lost = losses.on_lost();
  const Client client{server.uri()};
  User user{role, client, name, options};
  user.acquire();
  for (int i = 0; i < 3; ++i) {
    const auto renewed = client.stats().renewed;
    kill_connections();
    ASSERT_TRUE(eventually([&] { return client.stats().renewed > renewed; }));
  }
  EXPECT_EQ(losses.count(), 0U);
  kill_connections();
  expect_releases(user, role);
}

using FamilyWriterFault = FamilyOnOwnServer;

TEST_F(FamilyWriterFault, KilledConnectionKeepsItsPlaceBehindTheGate) {
  SharedLock reader{server.uri(), name, leased_for(60s)};
  User writer{Role::writer, server.uri(), name, leased_for(60s)};
  reader.lock_shared();
  auto waiter = writer.start_try_for(patience);
  ASSERT_TRUE(are_waiting(1));
  const auto gate = redis.string("GET", shared.gate);
  ASSERT_TRUE(gate);
  for (int i = 0; i < 3; ++i) {
    kill_connections();
    ASSERT_TRUE(are_waiting(1));
    EXPECT_EQ(redis.string("GET", shared.gate), gate) << "no newcomer gets between";
  }
  reader.unlock_shared();
  EXPECT_TRUE(waiter.get());
  EXPECT_EQ(redis.string("GET", shared.gate), gate);
  expect_releases(writer, Role::writer);
}

TEST_F(FamilyWriterFault, LostRepliesBehindTheGateAreResolved) {
  load_scripts();
  for (const auto fault : faults) {
    Proxy proxy{server.endpoint()};
    SharedLock reader{server.uri(), name, leased_for(60s)};
    User writer{Role::writer, proxy.uri("command_timeout=300"), name, leased_for(900ms)};
    reader.lock_shared();
    auto waiter = writer.start_try_for(patience);
    ASSERT_TRUE(are_waiting(1));
    proxy.inject("EVALSHA", fault);
    ASSERT_TRUE(eventually([&] { return proxy.faults_left() == 0; }));
    ASSERT_TRUE(are_waiting(1));
    EXPECT_TRUE(redis.exists(shared.gate));
    reader.unlock_shared();
    EXPECT_TRUE(waiter.get()) << name_of(fault);
    expect_releases(writer, Role::writer);
  }
}

TEST_F(FamilyWriterFault, GivenUpBehindTheGateOpensIt) {
  load_scripts();
  SharedLock reader{server.uri(), name, leased_for(60s)};
  reader.lock_shared();
  Proxy proxy{server.endpoint()};
  User writer{Role::writer, proxy.uri("command_timeout=200&retry_for=0"), name, leased_for(3s)};
  auto waiter = writer.start_try_for(patience);
  ASSERT_TRUE(are_waiting(1));
  proxy.inject("EVALSHA", Fault::lose_reply_and_stall);
  EXPECT_EQ(error_of([&] { return waiter.get(); }), errc::timed_out);
  EXPECT_FALSE(redis.exists(shared.gate)) << "long before its lease";
  SharedLock next{server.uri(), name};
  EXPECT_TRUE(next.try_lock_shared());
}

TEST_F(FamilyWriterFault, CancelledBehindTheGateOpensIt) {
  SharedLock reader{server.uri(), name, leased_for(60s)};
  reader.lock_shared();
  User writer{Role::writer, server.uri(), name, leased_for(60s)};
  std::stop_source stop;
  auto waiter = writer.start_acquire(stop.get_token());
  ASSERT_TRUE(are_waiting(1));
  User beside{Role::reader, server.uri(), name, leased_for(60s)};
  auto newcomer = beside.start_try_for(patience);
  ASSERT_TRUE(are_waiting(2));
  stop.request_stop();
  EXPECT_FALSE(waiter.get());
  EXPECT_TRUE(eventually([&] { return redis.info("blocked_clients") == 0; }, 1500ms))
      << "the newcomer was woken";
  EXPECT_TRUE(newcomer.get());
  EXPECT_FALSE(redis.exists(shared.gate));
  EXPECT_FALSE(beside.release());
}

// ---------------------------------------------------------------------------------------------------
// Scripts and keys that are flushed.

TEST_P(FamilyFault, ScriptsMayBeFlushedAtAnyTime) {
  User user{role, server.uri(), name, leased_for(60s)};
  const auto flush = [&] { redis.command("SCRIPT", "FLUSH"); };
  for (int i = 0; i < 2; ++i) {
    flush();
    user.acquire();
    flush();
    expect_releases(user, role);
    flush();
    EXPECT_TRUE(user.try_once());
    flush();
    expect_releases(user, role);
  }
  block(role);
  auto waiter = user.start_try_for(patience);
  ASSERT_TRUE(are_waiting(1));
  unblock(role);
  EXPECT_TRUE(waiter.get());
  expect_releases(user, role);
}

TEST_P(FamilyFault, ScriptsMayBeFlushedDuringAWait) {
  block(role);
  User user{role, server.uri(), name, leased_for(60s)};
  auto waiter = user.start_try_for(patience);
  ASSERT_TRUE(are_waiting(1));
  // The release is a script of the test's own; the flush comes between it and the waiter's attempt.
  redis.command("MULTI");
  redis.command("DEL", role == Role::permit ? permits.set : shared.gate);
  redis.command("LPUSH", role == Role::permit ? permits.signal : shared.signal, 1);
  redis.command("SCRIPT", "FLUSH");
  redis.command("EXEC");
  EXPECT_TRUE(waiter.get());
  expect_releases(user, role);
}

TEST_F(FamilyWriterFault, ScriptsMayBeFlushedForReadersInLine) {
  block(Role::reader);
  std::vector<std::unique_ptr<User>> readers;
  std::vector<std::future<bool>> waiters;
  for (int i = 0; i < 4; ++i) {
    auto& user = *readers.emplace_back(
        std::make_unique<User>(Role::reader, server.uri(), name, leased_for(60s)));
    waiters.push_back(user.start_try_for(patience));
  }
  ASSERT_TRUE(are_waiting(4));
  redis.command("MULTI");
  redis.command("DEL", shared.gate);
  redis.command("LPUSH", shared.signal, 1);
  redis.command("SCRIPT", "FLUSH");
  redis.command("EXEC");
  EXPECT_TRUE(eventually([&] { return redis.info("blocked_clients") == 0; }, 1500ms))
      << "each has woken the next";
  for (auto& waiter : waiters) EXPECT_TRUE(waiter.get());
  EXPECT_EQ(ids(Role::reader).size(), 4U);
}

TEST_P(FamilyFault, FlushedKeysAreALoss) {
  Complaints losses;
  auto options = renewed_for(900ms);
  options.on_lost = losses.on_lost();
  User user{role, server.uri(), name, options};
  user.acquire();
  redis.command("FLUSHALL");
  EXPECT_TRUE(eventually([&] { return losses.count() == 1; }));
  EXPECT_EQ(losses.codes(), std::vector{make_error_code(errc::lease_lost)});
  EXPECT_FALSE(user.owns());
  EXPECT_EQ(user.release(), errc::lease_lost);
  EXPECT_THAT(ids(role), IsEmpty()) << "no renewal makes them anew";
}

TEST_P(FamilyFault, FlushedKeysAreFoundByTheRelease) {
  User user{role, server.uri(), name, leased_for(60s)};
  user.acquire();
  redis.command("FLUSHALL");
  EXPECT_EQ(user.release(), errc::lease_lost);
  EXPECT_TRUE(user.try_once());
  expect_releases(user, role);
}

// ---------------------------------------------------------------------------------------------------
// Servers that restart or freeze.

TEST_P(FamilyFault, ARestartLetsAWaiterGoOn) {
  block(role);
  Child child{[this] {
    return ends_well([this] {
      User user{role, server.uri("retry_for=20s"), name, leased_for(60s)};
      user.acquire();
      if (!user.owns() || user.release()) throw std::runtime_error("it does not hold it");
    });
  }};
  ASSERT_TRUE(are_waiting(1));
  server.restart();
  EXPECT_EQ(end_of(child), exit_with(0));
  EXPECT_THAT(ids(role), IsEmpty());
}

TEST_P(FamilyFault, AFrozenServerIsAnErrorForWaiters) {
  block(role);
  User user{role, server.uri("command_timeout=200&retry_for=0"), name, leased_for(900ms)};
  auto waiter = std::async(std::launch::async, [&] { return error_of([&] { user.acquire(); }); });
  ASSERT_TRUE(are_waiting(1));
  server.pause();
  const bool ends = waiter.wait_for(soon) == std::future_status::ready;
  server.resume();
  EXPECT_TRUE(ends);
  EXPECT_EQ(waiter.get(), errc::timed_out);
  unblock(role);
  EXPECT_TRUE(eventually([&] { return ids(role).empty(); })) << "nothing stays behind";
  EXPECT_TRUE(user.try_for(soon));
  expect_releases(user, role);
}

TEST_P(FamilyFault, AFrozenServerKeepsNoGivenUpGrant) {
  load_scripts();
  User user{role, server.uri("command_timeout=200&retry_for=0"), name, leased_for(600s)};
  server.pause();
  EXPECT_EQ(error_of([&] { user.acquire(); }), errc::timed_out);
  server.resume();
  EXPECT_TRUE(redis.string("PING"));
  EXPECT_TRUE(eventually([&] { return ids(role).empty(); })) << "long before its lease";
  EXPECT_TRUE(user.try_for(soon));
  expect_releases(user, role);
}

TEST_P(FamilyFault, AFrozenServerIsALossBeforeTheLeaseEnds) {
  Complaints losses;
  auto options = renewed_for(900ms);
  options.on_lost = losses.on_lost();
  User user{role, server.uri("command_timeout=100"), name, options};
  user.acquire();
  server.pause();
  const bool told = eventually([&] { return losses.count() == 1; });
  EXPECT_FALSE(user.owns());
  server.resume();
  EXPECT_TRUE(told);
  EXPECT_EQ(user.release(), errc::lease_lost);
}

TEST_P(FamilyFault, AServerThatThawsInTimeIsNotNoticed) {
  User user{role, server.uri(), name, renewed_for(5s)};
  server.pause();
  auto acquires = user.start_try_for(patience);
  std::this_thread::sleep_for(100ms);
  server.resume();
  EXPECT_TRUE(acquires.get());
  expect_releases(user, role);
}

// ---------------------------------------------------------------------------------------------------
// Requests and replies that get lost.

/// A client behind a proxy.
class FamilyDoubt : public FamilyOnOwnServer,
                    public ::testing::WithParamInterface<std::tuple<Role, Fault>> {
 protected:
  void TearDown() override {
    EXPECT_EQ(proxy.faults_left(), 0U) << "a fault that did not happen proves nothing";
    EXPECT_THAT(ids(role), IsEmpty());
    User next{role, server.uri(), name, leased_for(60s)};
    EXPECT_TRUE(next.try_once()) << "nothing was left behind";
  }

  const Role role = std::get<0>(GetParam());
  const Fault fault = std::get<1>(GetParam());
  Proxy proxy{server.endpoint()};
  const std::string uri = proxy.uri("command_timeout=300&retry_for=5000");
};
INSTANTIATE_TEST_SUITE_P(, FamilyDoubt, Combine(ValuesIn(roles), ValuesIn(faults)),
                         [](const auto& test) {
                           return name_of(std::get<0>(test.param)) + "_" +
                                  name_of(std::get<1>(test.param));
                         });

TEST_P(FamilyDoubt, InAnAcquisitionTakesOne) {
  load_scripts();
  User user{role, uri, name, leased_for(60s)};
  user.acquire();  // so that the connection was good once
  EXPECT_FALSE(user.release());
  redis.reset_stats();
  proxy.inject("EVALSHA", fault);
  EXPECT_TRUE(user.try_once()) << "false is for what others hold";
  expect_releases(user, role);
  proxy.inject("EVALSHA", fault);
  user.acquire();
  expect_releases(user, role);
  EXPECT_EQ(redis.calls_of("blpop"), 0) << "nor was it waited for";
}

TEST_P(FamilyDoubt, InAnAcquisitionGivenUpLeavesNothing) {
  load_scripts();
  User user{role, proxy.uri("command_timeout=300&retry_for=0"), name, leased_for(600s)};
  proxy.inject("EVALSHA", fault);
  const auto code =
      fault == Fault::lose_reply_and_stall ? errc::timed_out : errc::connection_failed;
  EXPECT_EQ(error_of([&] { user.acquire(); }), code);
  EXPECT_FALSE(user.owns());
  EXPECT_TRUE(eventually([&] { return ids(role).empty(); }));
  EXPECT_TRUE(user.try_for(soon)) << "the same object gets it when asked again";
  expect_releases(user, role);
}

TEST_P(FamilyDoubt, InAWaitTakesOne) {
  load_scripts();
  for (const auto* command : {"BLPOP", "EVALSHA"}) {
    block(role);
    User user{role, uri, name, leased_for(3s)};  // so that one BLPOP takes a second
    auto waiter = user.start_try_for(patience);
    ASSERT_TRUE(are_waiting(1));
    proxy.inject(command, fault);
    ASSERT_TRUE(eventually([&] { return proxy.faults_left() == 0; }));
    unblock(role);
    EXPECT_TRUE(waiter.get()) << command;
    expect_releases(user, role);
  }
}

TEST_P(FamilyDoubt, InAReleaseIsSuccess) {
  load_scripts();
  User user{role, uri, name, leased_for(600s)};
  user.acquire();
  const auto& list = role == Role::permit ? permits.signal : shared.signal;
  redis.command("DEL", list);
  proxy.inject("EVALSHA", fault);
  expect_releases(user, role);
  if (role != Role::reader) {
    EXPECT_EQ(redis.integer("LLEN", list), 1) << "and it woke the next";
  }
}

TEST_P(FamilyDoubt, InAReleaseNeverEndsTheNext) {
  load_scripts();
  User user{role, uri, name, leased_for(600s)}, next{role, server.uri(), name, leased_for(600s)};
  user.acquire();
  auto waiter = next.start_try_for(patience);
  if (role != Role::reader) {
    ASSERT_TRUE(are_waiting(1));
  }
  proxy.inject("EVALSHA", fault);
  EXPECT_FALSE(user.release());
  EXPECT_TRUE(waiter.get());
  expect_releases(next, role);
}

TEST_P(FamilyDoubt, InARenewalLosesNothing) {
  Complaints losses;
  auto options = renewed_for(1500ms);
  options.on_lost = losses.on_lost();
  const Client client{proxy.uri("command_timeout=150")};
  User user{role, client, name, options};
  user.acquire();
  ASSERT_TRUE(eventually([&] { return client.stats().renewed >= 1; }));
  proxy.inject("EVALSHA", fault);
  ASSERT_TRUE(eventually([&] { return proxy.faults_left() == 0; }));
  const auto renewed = client.stats().renewed;
  ASSERT_TRUE(eventually([&] { return client.stats().renewed > renewed; }));
  EXPECT_EQ(losses.count(), 0U);
  expect_releases(user, role);
}

TEST_P(FamilyDoubt, InADeferredReleaseIsRepeated) {
  load_scripts();
  auto options = leased_for(600s);
  options.deferred_unlock = true;
  User user{role, uri, name, options};
  user.acquire();
  EXPECT_FALSE(user.release());  // the first carries its script
  user.acquire();
  proxy.inject("EVALSHA", fault);
  EXPECT_FALSE(user.release());
  EXPECT_TRUE(eventually([&] { return ids(role).empty(); }));
  EXPECT_TRUE(eventually([&] { return proxy.faults_left() == 0; }));
}

// ---------------------------------------------------------------------------------------------------
// Waiters that vanish when they are woken.

TEST_F(FamilyWriterFault, AWaiterKilledBeforeItsAttemptDelaysOthersOnly) {
  block(Role::permit);
  Child first{[this] {
    User user{Role::permit, server.uri(), name, leased_for(60s)};
    user.acquire();
    return 0;
  }};
  ASSERT_TRUE(are_waiting(1));
  const auto clients = redis.string("CLIENT", "LIST", "TYPE", "normal").value_or("");
  const auto line = clients.rfind("id=", clients.find("cmd=blpop"));
  ASSERT_NE(line, std::string::npos);
  const auto id = clients.substr(line + 3, clients.find(' ', line) - line - 3);
  User next{Role::permit, server.uri(), name, leased_for(60s)};
  auto waiter = next.start_try_for(patience);
  ASSERT_TRUE(are_waiting(2));
  first.pause();
  // In one write, so that the server kills the waiter between its wake-up and its attempt.
  const auto context = connect_hiredis(with_all_rights(server.endpoint()));
  const auto append = [&](const std::vector<std::string>& words) {
    std::vector<const char*> values;
    std::vector<std::size_t> lengths;
    for (const auto& word : words) {
      values.push_back(word.data());
      lengths.push_back(word.size());
    }
    redisAppendCommandArgv(context.get(), static_cast<int>(words.size()), values.data(),
                           lengths.data());
  };
  append({"DEL", permits.set});
  append({"LPUSH", permits.signal, "1"});
  append({"CLIENT", "KILL", "ID", id});
  for (int i = 0; i < 3; ++i) {
    void* reply = nullptr;
    ASSERT_EQ(redisGetReply(context.get(), &reply), REDIS_OK);
    freeReplyObject(reply);
  }
  first.kill();
  const Stopwatch watch;
  EXPECT_TRUE(waiter.get());
  EXPECT_LT(watch.elapsed(), 3s + soon) << "the end of its slice, and not of a lease";
  expect_releases(next, Role::permit);
}

}  // namespace
}  // namespace redis_lock_test
