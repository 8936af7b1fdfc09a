// Connections that nobody uses: how many are kept, and for how long.

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <redis_lock/detail/base/counters.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/net/calls.hpp>
#include <redis_lock/detail/net/prober.hpp>
#include <redis_lock/detail/net/topology.hpp>

#include "integration.hpp"
#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

using namespace std::chrono_literals;
using redis_lock::Endpoint;
using redis_lock::QuorumLock;
namespace detail = redis_lock::detail;

class Idle : public ::testing::Test {
 protected:
  static constexpr milliseconds longest_idle{200};
  static constexpr long long watcher = 1;  // the plain client that looks

  [[nodiscard]] long long connections() { return redis.info("connected_clients"); }
  [[nodiscard]] bool are_connected(long long count) {
    return eventually([&] { return connections() == count; });
  }

  /// Does one operation inside of another, so that each needs a connection of its own.
  static void use(detail::Calls& calls, int how_many) {
    if (how_many == 0) return;
    (void)calls.perform(detail::CallLimits{1s}, [&](detail::Connection& connection) {
      use(calls, how_many - 1);
      return detail::ask(connection, detail::Commands{}.add({"GET", "lock:a"}));
    });
  }

  RedisServer server;
  Redis redis{server.endpoint()};
  const std::shared_ptr<detail::Counters> counters = std::make_shared<detail::Counters>();
};

TEST_F(Idle, ConnectionsBeyondTheBoundCloseAfterABurst) {
  auto endpoint = server.endpoint();
  endpoint.max_idle = 3;
  const Client client{endpoint};
  Options options;
  options.expire = 3s;
  Lock renewed{client, "b", options};
  renewed.lock();
  const auto end = renewed.expires_at();
  ASSERT_TRUE(eventually([&] { return renewed.expires_at() > end; })) << "the renewer is connected";
  Lock holder{client, "a", leased_for(1min)};
  holder.lock();
  std::vector<std::thread> threads;
  for (int i = 0; i < 100; ++i) {
    threads.emplace_back([&client] {
      Lock lock{client, "a", leased_for(1min)};
      lock.lock();
      lock.unlock();
    });
  }
  EXPECT_TRUE(eventually([&] { return redis.info("blocked_clients") == 100; }));
  holder.unlock();
  for (auto& thread : threads) thread.join();
  constexpr long long renewer = 1;
  EXPECT_TRUE(are_connected(3 + renewer + watcher)) << connections();
  EXPECT_TRUE(renewed.owns_lock());
}

TEST_F(Idle, ConnectionsAreClosedByTheBackgroundThread) {
  const auto endpoint = server.endpoint();
  const auto servers = std::make_shared<detail::Topology>(endpoint, counters);
  detail::Calls calls{endpoint, servers, longest_idle};
  const auto renewer = std::make_shared<detail::Renewer>(
      endpoint.command_timeout,
      detail::Renewer::Work{nullptr, nullptr, [&] { return calls.settle_idle(); }});
  renewer->start();
  for (int burst = 0; burst < 2; ++burst) {
    const auto start = detail::Time::clock::now();
    use(calls, 20);
    EXPECT_EQ(connections(), 20 + watcher);
    const auto plan = calls.take_plan();
    ASSERT_TRUE(plan);
    EXPECT_GE(*plan, start + longest_idle);
    EXPECT_FALSE(calls.take_plan()) << "once is enough";
    renewer->maintain_by(*plan);
    EXPECT_TRUE(are_connected(watcher)) << connections();
    EXPECT_GE(detail::Time::clock::now(), start + longest_idle);
  }
  renewer->stop();
}

TEST_F(Idle, ConnectionsAreClosedWithTheNextOperation) {
  const auto endpoint = server.endpoint();
  detail::Calls calls{endpoint, std::make_shared<detail::Topology>(endpoint, counters),
                      longest_idle};
  use(calls, 20);
  EXPECT_EQ(connections(), 20 + watcher);
  std::this_thread::sleep_for(longest_idle);
  use(calls, 1);
  EXPECT_TRUE(are_connected(1 + watcher)) << connections();
}

TEST_F(Idle, ConnectionsAreNotKeptWithMaxIdleZero) {
  const Client client{server.uri("max_idle=0")};
  auto options = leased_for(1min);
  for (const bool deferred : {false, true}) {
    options.deferred_unlock = deferred;
    Lock lock{client, "a", options};
    for (int i = 0; i < 3; ++i) {
      lock.lock();
      std::error_code error;
      lock.unlock(error);
      EXPECT_FALSE(error) << error.message();
      EXPECT_FALSE(redis.exists("lock:a"));
      EXPECT_TRUE(are_connected(watcher));
    }
  }
}

TEST_F(Idle, ConnectionsOfDeferredReleasesCloseAfterTheirAnswer) {
  auto endpoint = server.endpoint();
  endpoint.max_idle = 1;
  const Client client{endpoint};
  auto options = leased_for(1min);
  options.deferred_unlock = true;
  std::string complaints;
  options.on_error = [&](const Error& error) { complaints += error.what(); };
  Lock lock{client, "a", options};
  for (int i = 0; i < 3; ++i) {
    lock.lock();
    lock.unlock();
  }
  EXPECT_TRUE(eventually([&] { return !redis.exists("lock:a"); }));
  EXPECT_TRUE(are_connected(1 + watcher));
  EXPECT_EQ(complaints, "");
}

/// The connections to one node of a QuorumLock.
TEST_F(Idle, ConnectionsToANodeAreClosedAfterAWhile) {
  const auto endpoint = server.endpoint();
  detail::Prober prober{endpoint, counters, longest_idle};
  std::vector<std::unique_ptr<detail::Connection>> connections;
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(eventually([&] {
      if (auto taken = prober.take(0, nullptr).connection) connections.push_back(std::move(taken));
      return static_cast<int>(connections.size()) == i + 1;
    }));
  }
  for (auto& each : connections) prober.give_back(std::move(each), false);
  EXPECT_TRUE(are_connected(5 + watcher));
  const auto next = prober.maintain();
  EXPECT_GT(next, detail::Time::clock::now());
  EXPECT_LE(next, detail::Time::clock::now() + longest_idle);
  EXPECT_TRUE(eventually([&] { return prober.maintain() == detail::never; }));
  EXPECT_GE(detail::Time::clock::now(), next);
  EXPECT_TRUE(are_connected(watcher));
}

TEST(IdleNodeConnections, BeyondTheBoundCloseAfterABurst) {
  QuorumServers nodes{3};
  const auto clients = nodes.clients([](Endpoint& endpoint) { endpoint.max_idle = 1; });
  QuorumLock holder{clients, "a"};
  holder.lock();
  std::vector<std::thread> threads;
  for (int i = 0; i < 20; ++i) {
    threads.emplace_back([&] {
      QuorumLock lock{clients, "a", leased_for(1min)};
      EXPECT_FALSE(lock.try_lock_for(1500ms));
    });
  }
  EXPECT_TRUE(eventually([&] { return nodes.sum("connected_clients") > 3 * (1 + 1) + 10; }));
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(eventually([&] { return nodes.sum("connected_clients") <= 3 * (1 + 1); }))
      << nodes.sum("connected_clients");
  EXPECT_TRUE(holder.owns_lock());
}

}  // namespace
}  // namespace redis_lock_test
