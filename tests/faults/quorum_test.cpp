#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>

#include "faults.hpp"
#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::Endpoint;
using redis_lock::QuorumLock;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// So that tests do not wait for long: a round waits for a node this long, if it needs it.
void be_quick(Endpoint& endpoint) {
  endpoint.connect_timeout = endpoint.command_timeout = 200ms;
  endpoint.retry_for = 300ms;
}

/// Nodes of the test's own to do harm to.
class QuorumFault : public ::testing::Test {
 protected:
  explicit QuorumFault(std::size_t count = 3) : nodes(count) {}

  /// Takes it and frees it, so many times, without any complaint.
  void cycle(QuorumLock& lock, int times) {
    for (int i = 0; i < times; ++i) {
      lock.lock();
      ASSERT_TRUE(lock.owns_lock());
      std::error_code error;
      lock.unlock(error);
      ASSERT_FALSE(error) << error.message();
    }
  }
  [[nodiscard]] bool comes_free(const std::vector<std::size_t>& which) {
    return eventually([&] {
      return std::all_of(which.begin(), which.end(),
                         [&](std::size_t i) { return !nodes.redis(i).exists(key); });
    });
  }
  /// Does the lock reach this node again?
  [[nodiscard]] bool rejoins(QuorumLock& lock, std::size_t i) {
    return eventually([&] {
      const std::lock_guard guard{lock};
      return eventually([&] { return nodes.redis(i).string("GET", key) == lock.id(); }, 50ms);
    });
  }

  const std::string name = "name";
  const std::string key = "lock:" + name;
  QuorumServers nodes;
  std::vector<Client> clients = nodes.clients(be_quick);
};

class OneOfFive : public QuorumFault {
 protected:
  OneOfFive() : QuorumFault(5) {}
};

TEST_F(OneOfFive, MayBeKilledAndComeBackEmpty) {
  for (const std::size_t i : {0U, 3U}) {
    QuorumLock lock{clients, name};
    lock.lock();
    nodes.server(i).kill();
    EXPECT_TRUE(lock.owns_lock());
    lock.extend();
    std::error_code error;
    lock.unlock(error);
    EXPECT_FALSE(error) << error.message();
    cycle(lock, 100);
    lock.lock();
    nodes.server(i).restart();
    lock.unlock();
    EXPECT_TRUE(rejoins(lock, i));
  }
}

TEST_F(OneOfFive, MayFreezeWithoutSlowingTheOthers) {
  for (const std::size_t i : {0U, 4U}) {
    QuorumLock lock{clients, name};
    lock.lock();
    nodes.server(i).pause();
    lock.unlock();
    const Stopwatch watch;
    cycle(lock, 300);
    EXPECT_LT(watch.elapsed(), soon) << "300 timeouts are a minute";
    nodes.server(i).resume();
    EXPECT_TRUE(rejoins(lock, i));
  }
}

TEST_F(OneOfFive, ThatIsFrozenHoldsNothingWhenItWakes) {
  QuorumLock lock{clients, name, leased_for(60s)};
  cycle(lock, 1);
  nodes.server(2).pause();
  cycle(lock, 5);
  QuorumLock other{clients, name, leased_for(60s)};
  lock.lock();
  EXPECT_FALSE(other.try_lock());
  lock.unlock();
  nodes.server(2).resume();
  EXPECT_TRUE(comes_free({0, 1, 2, 3, 4}));
}

TEST_F(OneOfFive, MayBeFrozenBeforeItIsFirstAsked) {
  nodes.server(0).pause();
  nodes.server(1).kill();
  QuorumLock lock{clients, name};
  const Stopwatch watch;
  cycle(lock, 50);
  EXPECT_LT(watch.elapsed(), soon);
  nodes.server(0).resume();
  EXPECT_TRUE(rejoins(lock, 0));
}

TEST_F(OneOfFive, MayTakeItsWaitersAlong) {
  QuorumLock holder{clients, name}, waiter{clients, name, leased_for(3s)};  // slices of 1 s
  for (const bool kills : {true, false}) {
    holder.lock();
    auto waiting = std::async(std::launch::async, [&] { waiter.lock(); });
    const std::size_t first = kills ? 0 : 1;  // of those that are there: where waiters wait
    ASSERT_TRUE(eventually([&] { return nodes.redis(first).info("blocked_clients") == 1; }));
    kills ? nodes.server(first).kill() : nodes.server(first).pause();
    holder.unlock();
    waiting.get();
    EXPECT_TRUE(waiter.owns_lock());
    waiter.unlock();
  }
}

TEST_F(OneOfFive, ThatIsFrozenDoesNotStopRenewal) {
  Complaints complaints;
  Options options;
  options.expire = 600ms;
  options.on_lost = complaints.on_lost();
  QuorumLock lock{clients, name, options};
  lock.lock();
  nodes.server(1).pause();
  nodes.server(2).kill();
  const auto end = lock.expires_at() + 600ms;
  while (steady_clock::now() < end) {
    ASSERT_TRUE(lock.owns_lock());
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_EQ(complaints.count(), 0U);
}

using QuorumMajority = QuorumFault;

TEST_F(QuorumMajority, OfPersistedEmptiedAndFrozenNodesIsNone) {
  Options options;
  options.expire = 600ms;
  QuorumLock first{clients, name, options}, second{clients, name, leased_for(60s)};
  first.lock();
  ASSERT_TRUE(eventually([&] { return nodes.values(key) == std::vector(3, first.id()); }));
  nodes.redis(0).command("PERSIST", key);
  nodes.redis(1).command("FLUSHALL");
  nodes.server(2).pause();
  const auto end = std::chrono::steady_clock::now() + 600ms;
  EXPECT_TRUE(eventually([&] { return !first.owns_lock(); }));
  EXPECT_LE(first.expires_at(), end) << "only one node has the lease of the first holder";
  std::this_thread::sleep_until(end);
  nodes.server(2).resume();
  EXPECT_TRUE(second.try_lock_for(soon));
  EXPECT_FALSE(first.owns_lock()) << "two certain holders";
}

TEST_F(QuorumMajority, ThatIsDownFailsAndLeavesNothingBehind) {
  QuorumLock lock{clients, name};
  cycle(lock, 1);
  nodes.server(0).kill();
  nodes.server(2).kill();
  const auto text = message_of([&] { return lock.lock(), 0; });
  EXPECT_THAT(text, HasSubstr("lock of \"name\": 2 of 3 nodes did not answer: node 1 (" +
                              nodes.server(0).endpoint().unix_socket + "): "));
  std::error_code error;
  EXPECT_FALSE(lock.try_lock(error));
  EXPECT_EQ(error, errc::connection_failed);
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_TRUE(comes_free({1}));
  EXPECT_EQ(error_of([&] { return lock.locked(); }), errc::connection_failed);
  EXPECT_EQ(error_of([&] { return lock.reset(); }), errc::connection_failed);
  nodes.server(0).restart();
  EXPECT_TRUE(eventually([&] { return lock.try_lock(error); }));
}

TEST_F(QuorumMajority, ThatAnswersLateIsNoLoss) {
  auto patient = nodes.clients([](Endpoint& endpoint) {
    endpoint.connect_timeout = endpoint.command_timeout = 1s;
    endpoint.retry_for = 10s;
  });
  QuorumLock lock{patient, name, leased_for(60s)};
  cycle(lock, 1);
  lock.lock();
  for (const std::size_t i : {1U, 2U}) nodes.server(i).pause();
  std::thread waker{[&] {
    std::this_thread::sleep_for(1300ms);
    for (const std::size_t i : {1U, 2U}) nodes.server(i).resume();
  }};
  std::error_code error;
  lock.unlock(error);
  waker.join();
  EXPECT_FALSE(error) << error.message();
  EXPECT_TRUE(comes_free({0, 1, 2}));
}

TEST_F(QuorumMajority, ThatFailsToExtendAssumesTheShorterLease) {
  QuorumLock lock{clients, name, leased_for(60s)};
  lock.lock();
  for (const std::size_t i : {1U, 2U}) nodes.server(i).pause();
  EXPECT_THROW(lock.extend(1s), Error);
  EXPECT_LE(lock.expires_at(), std::chrono::steady_clock::now() + 1s);
  for (const std::size_t i : {1U, 2U}) nodes.server(i).resume();
}

TEST_F(QuorumMajority, ThatIsFrozenIsTimedOut) {
  QuorumLock lock{clients, name};
  cycle(lock, 1);
  nodes.server(1).pause();
  nodes.server(2).pause();
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::timed_out);
  EXPECT_LT(watch.elapsed(), soon);
  EXPECT_TRUE(comes_free({0}));
  nodes.server(1).resume();
  nodes.server(2).resume();
  EXPECT_TRUE(eventually([&] {
    std::error_code error;
    lock.lock(error);
    return !error;
  }));
  lock.unlock();
  EXPECT_TRUE(comes_free({0, 1, 2}));
}

TEST_F(QuorumMajority, ThatIsGoneAtUnlockIsReported) {
  Complaints complaints;
  auto options = leased_for(60s);
  options.on_error = complaints.on_error();
  {
    QuorumLock lock{clients, name, options};
    lock.lock();
    nodes.server(0).kill();
    nodes.server(1).kill();
  }
  ASSERT_EQ(complaints.count(), 1U);
  EXPECT_EQ(complaints.codes().front(), errc::connection_failed);
  EXPECT_TRUE(comes_free({2}));
}

TEST_F(QuorumMajority, GoneMeansLossBeforeTheLeaseEnds) {
  bool in_time = false;
  for (int attempt = 0; attempt < 5 && !in_time; ++attempt) {  // a busy machine may be late
    QuorumServers own{3};
    std::atomic<int> told{0};
    std::atomic<steady_clock::time_point> told_at{steady_clock::time_point::max()};
    Options options;
    options.expire = 800ms;
    options.on_lost = [&](std::error_code) {
      told_at = steady_clock::now();
      ++told;
    };
    QuorumLock lock{own.clients(be_quick), name, options};
    lock.lock();
    const auto lost = lock.lost_token();
    own.server(0).kill();
    own.server(1).pause();
    ASSERT_TRUE(eventually([&] { return told == 1; }));
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_TRUE(lost.stop_requested());
    // A watched lock expires a tenth of its certain lease before the lease is over.
    in_time = told_at.load() < lock.expires_at() + 75ms;
  }
  EXPECT_TRUE(in_time);
}

TEST_F(QuorumMajority, ComesBackWithinRetryFor) {
  QuorumLock lock{nodes.clients(), name};  // with 5 s
  cycle(lock, 1);
  for (std::size_t i = 0; i < 3; ++i) nodes.server(i).kill();
  auto locking = std::async(std::launch::async, [&] { lock.lock(); });
  EXPECT_EQ(locking.wait_for(100ms), std::future_status::timeout);
  for (std::size_t i = 0; i < 3; ++i) nodes.server(i).restart();
  locking.get();
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(QuorumMajority, WithoutReplicasIsRiddenOut) {
  const auto set_replicas = [this](const char* least) {
    for (std::size_t i = 0; i < 3; ++i)
      nodes.redis(i).string("CONFIG", "SET", "min-replicas-to-write", least);
  };
  QuorumLock lock{nodes.clients(), name, leased_for(60s)};  // with 5 s
  std::error_code error;
  for (const std::function<void()>& step : std::vector<std::function<void()>>{
           [&] { lock.lock(); }, [&] { lock.extend(); }, [&] { lock.unlock(error); }}) {
    set_replicas("1");
    auto done = std::async(std::launch::async, step);
    EXPECT_EQ(done.wait_for(100ms), std::future_status::timeout) << "it tries again";
    set_replicas("0");
    done.get();
  }
  EXPECT_FALSE(error) << error.message();
  EXPECT_TRUE(comes_free({0, 1, 2}));
}

TEST_F(QuorumMajority, OfIdleConnectionsMayHaveBeenClosed) {
  Complaints complaints;
  auto options = leased_for(60s);
  options.on_error = complaints.on_error();
  QuorumLock lock{nodes.clients([](Endpoint& endpoint) { endpoint.retry_for = 0ms; }), name,
                  options};
  for (int i = 0; i < 3; ++i) {
    cycle(lock, 1);
    for (std::size_t node = 0; node < 3; ++node)
      nodes.redis(node).integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    lock.lock();
    for (std::size_t node = 0; node < 3; ++node)
      nodes.redis(node).integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    lock.unlock();
    EXPECT_EQ(complaints.text(), "");
  }
  EXPECT_TRUE(comes_free({0, 1, 2}));
}

TEST_F(QuorumMajority, MayForgetTheScripts) {
  QuorumLock lock{clients, name};
  cycle(lock, 2);
  lock.lock();
  lock.extend();
  for (std::size_t i = 0; i < 3; ++i) nodes.redis(i).command("SCRIPT", "FLUSH");
  lock.extend();
  for (std::size_t i = 0; i < 3; ++i) nodes.redis(i).command("SCRIPT", "FLUSH");
  std::error_code error;
  lock.unlock(error);
  EXPECT_FALSE(error) << error.message();
  EXPECT_TRUE(comes_free({0, 1, 2})) << "also where nobody waited for the answer";
}

/// Each node behind a proxy.
class QuorumDoubt : public QuorumFault {
 protected:
  QuorumDoubt() {
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      proxies.push_back(std::make_unique<Proxy>(nodes.server(i).endpoint()));
      auto endpoint = proxies.back()->endpoint();
      endpoint.command_timeout = 300ms;
      through.emplace_back(endpoint);
    }
  }

  std::vector<std::unique_ptr<Proxy>> proxies;
  std::vector<Client> through;
};

TEST_F(QuorumDoubt, OfSomeGrantsLeavesNothingBehind) {
  for (const auto fault :
       {Fault::lose_request, Fault::lose_reply, Fault::cut_reply, Fault::lose_reply_and_stall}) {
    for (const std::size_t doubtful : {1U, 2U, 3U}) {
      SCOPED_TRACE(name_of(fault) + " on " + std::to_string(doubtful));
      QuorumLock lock{through, name, leased_for(15s)};
      cycle(lock, 1);
      const Stopwatch watch;
      for (std::size_t i = 0; i < doubtful; ++i) proxies[i]->inject("SET", fault);
      std::error_code error;
      lock.lock(error);
      EXPECT_EQ(lock.owns_lock(), !error);
      if (!error) {
        EXPECT_EQ(lock.owner(), lock.id());
        lock.unlock(error);
        EXPECT_FALSE(error) << error.message();
      }
      EXPECT_TRUE(comes_free({0, 1, 2}));
      ASSERT_LT(watch.elapsed(), soon) << "the lease freed it";
      for (const auto& proxy : proxies) EXPECT_EQ(proxy->faults_left(), 0U);
      EXPECT_TRUE(eventually([&] { return lock.try_lock(error); })) << "the nodes are back";
      lock.unlock();
    }
  }
}

TEST_F(QuorumDoubt, OfReleasesIsResolved) {
  for (const auto fault : {Fault::lose_request, Fault::lose_reply, Fault::cut_reply}) {
    SCOPED_TRACE(name_of(fault));
    QuorumLock lock{through, name, leased_for(60s)};
    cycle(lock, 2);
    lock.lock();
    ASSERT_TRUE(eventually([&] { return nodes.values(key) == std::vector(3, lock.id()); }));
    for (const auto& proxy : proxies) proxy->inject("EVAL", fault);
    std::error_code error;
    lock.unlock(error);
    EXPECT_FALSE(error) << error.message();
    EXPECT_TRUE(comes_free({0, 1, 2}));
    for (const auto& proxy : proxies) EXPECT_EQ(proxy->faults_left(), 0U);
  }
}

TEST_F(QuorumDoubt, OfAnExtensionBoundsLaterLeases) {
  QuorumLock lock{through, name, leased_for(60s)};
  lock.lock();
  ASSERT_TRUE(eventually([&] { return nodes.values(key) == std::vector(3, lock.id()); }));
  lock.extend();
  for (std::size_t i : {1U, 2U}) proxies[i]->inject("EVALSHA", Fault::lose_request);
  lock.extend(2s);
  lock.extend(60s);
  EXPECT_LE(lock.expires_at(), steady_clock::now() + 2s)
      << "two of the three may still come upon the shorter one";
}

TEST_F(QuorumDoubt, WhileItWaitsLosesNoTurn) {
  QuorumLock holder{clients, name}, waiter{through, name};
  holder.lock();
  auto waiting = std::async(std::launch::async, [&] { waiter.lock(); });
  ASSERT_TRUE(eventually([&] { return nodes.sum("blocked_clients") == 1; }));
  proxies[0]->drop_connections();
  ASSERT_TRUE(eventually([&] { return nodes.sum("blocked_clients") == 1; }));
  holder.unlock();
  waiting.get();
  EXPECT_TRUE(waiter.owns_lock());
  waiter.unlock();
  EXPECT_TRUE(comes_free({0, 1, 2}));
}

/// Each node answers, but hangs up at each wait.
TEST_F(QuorumDoubt, AtEachWaitIsRetriedWithGrowingPauses) {
  nodes.hold(key, {0, 1, 2}, 60'000);
  for (const auto& proxy : proxies) proxy->inject("BLPOP", Fault::lose_request, 2'000);
  const auto connections = [&] {
    int sum = 0;
    for (const auto& proxy : proxies) sum += proxy->accepted();
    return sum;
  };
  QuorumLock lock{through, name, leased_for(60s)};
  auto waiter = std::async(std::launch::async, [&] { return error_of([&] { lock.lock(); }); });
  EXPECT_EQ(waiter.wait_for(2s), std::future_status::timeout) << "the nodes are there";
  const auto in_2_s = connections();
  RecordProperty("connections_in_2_s", in_2_s);
  EXPECT_GE(in_2_s, 6) << "it goes on trying";
  EXPECT_LE(in_2_s, 150);
  for (const auto& proxy : proxies) proxy->withdraw_faults();
  ASSERT_TRUE(eventually([&] { return nodes.sum("blocked_clients") == 1; }));
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    nodes.redis(i).command("DEL", key);
    nodes.redis(i).command("LPUSH", "lock-signal:" + name, "1");
  }
  EXPECT_EQ(waiter.get(), std::error_code{});
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(QuorumDoubt, OfSlowNodesIsNone) {
  for (const auto& proxy : proxies) proxy->delay_replies(30ms);
  QuorumLock lock{through, name}, other{through, name};
  lock.lock();
  EXPECT_FALSE(other.try_lock());
  auto waiting = std::async(std::launch::async, [&] { other.lock(); });
  ASSERT_TRUE(eventually([&] { return nodes.sum("blocked_clients") == 1; }));
  lock.unlock();
  waiting.get();
  EXPECT_TRUE(other.owns_lock());
}

using QuorumPeer = QuorumFault;

/// One node of three, or two, is not what it should be.
void expect_of_strange_nodes(const QuorumServers& nodes, const Client& strange,
                             const Client& strange_too, errc code, const std::string& words) {
  auto clients = nodes.clients(be_quick);
  clients[0] = strange;
  {
    QuorumLock lock{clients, "name"};
    const std::lock_guard guard{lock};
    EXPECT_TRUE(lock.owns_lock());
  }
  clients[2] = strange_too;
  QuorumLock lock{clients, "name"};
  std::error_code error;
  const Stopwatch watch;
  lock.lock(error);
  EXPECT_EQ(error, code) << error.message();
  EXPECT_LT(watch.elapsed(), soon);
  EXPECT_THAT(message_of([&] { return lock.try_lock(); }), HasSubstr(words));
}

TEST_F(QuorumPeer, WithAnotherPasswordIsLeftOutOrNamed) {
  const RedisServer one{Transport::unix_socket, {"--requirepass", "secret"}, "secret"};
  const RedisServer another{Transport::unix_socket, {"--requirepass", "secret"}, "secret"};
  const auto wrong = [](const RedisServer& server) {
    auto endpoint = server.endpoint();
    endpoint.password = "guessed";
    return Client{endpoint};
  };
  expect_of_strange_nodes(nodes, wrong(one), wrong(another), errc::authentication_failed,
                          "WRONGPASS");
}

TEST_F(QuorumPeer, ThatTalksNonsenseIsLeftOutOrNamed) {
  const FakeServer one{FakeServer::always("nonsense\r\n")}, another{FakeServer::always("%%\r\n")};
  expect_of_strange_nodes(nodes, one.endpoint(), another.endpoint(), errc::protocol_error,
                          "2 of 3 nodes did not answer");
}

TEST_F(QuorumPeer, ThatBeginsToTalkNonsenseIsLeftOut) {
  const FakeServer strange{FakeServer::each_command([](const Command& command) {
    return std::optional<std::string>{command.front() == "PING" ? "+PONG\r\n" : ":nonsense\r\n"};
  })};
  auto with_strange = clients;
  with_strange[0] = strange.endpoint();
  QuorumLock lock{with_strange, name};
  cycle(lock, 20);
}

TEST_F(QuorumPeer, ThatOnlyListensIsLeftOut) {
  const FakeServer one{FakeServer::silence()}, another{FakeServer::silence()};
  auto endpoint = one.endpoint(), other = another.endpoint();
  be_quick(endpoint);
  be_quick(other);
  expect_of_strange_nodes(nodes, endpoint, other, errc::timed_out, "2 of 3 nodes did not answer");
}

using QuorumCancellation = QuorumFault;

TEST_F(QuorumCancellation, EndsAWait) {
  nodes.hold(key, {0, 1, 2});
  QuorumLock lock{clients, name};
  std::stop_source source;
  auto waiting = std::async(std::launch::async, [&] { return lock.lock(source.get_token()); });
  ASSERT_TRUE(eventually([&] { return nodes.sum("blocked_clients") == 1; }));
  const Stopwatch watch;
  source.request_stop();
  EXPECT_FALSE(waiting.get());
  EXPECT_LT(watch.elapsed(), 2s) << "not at the end of the slice of 3 s";
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_TRUE(eventually([&] { return nodes.sum("blocked_clients") == 0; }));
  EXPECT_FALSE(lock.lock(source.get_token()));
  for (std::size_t i = 0; i < 3; ++i) nodes.redis(i).command("DEL", key);
  EXPECT_TRUE(lock.lock(std::stop_token{}));
}

TEST_F(QuorumCancellation, EndsAWaitForNodes) {
  nodes.server(0).pause();
  nodes.server(1).pause();
  QuorumLock lock{nodes.clients(), name};
  std::stop_source source;
  const Stopwatch watch;
  auto waiting = std::async(std::launch::async, [&] { return lock.lock(source.get_token()); });
  EXPECT_EQ(waiting.wait_for(50ms), std::future_status::timeout);
  source.request_stop();
  EXPECT_FALSE(waiting.get());
  EXPECT_LT(watch.elapsed(), 900ms) << "no timeout was waited for";
}

}  // namespace
}  // namespace redis_lock_test
