#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "faults.hpp"
#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::Endpoint;
using redis_lock::NodeStatus;
using redis_lock::QuorumLock;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// Three nodes that answer, but do not do all that they are asked.
class UnwillingNode : public ::testing::Test {
 protected:
  /// Clients of a user that lacks these rights, as in "-blpop", on some of the nodes.
  [[nodiscard]] std::vector<Client> clients_without(const std::string& rights,
                                                    const std::vector<std::size_t>& which) {
    for (std::size_t i = 0; i < nodes.size(); ++i)
      nodes.redis(i).command("ACL", "SETUSER", "user", "reset", "on", ">word", "~*", "+@all");
    for (const auto i : which) take_right(i, rights);
    return nodes.clients([](Endpoint& endpoint) {
      endpoint.username = "user";
      endpoint.password = "word";
    });
  }
  void take_right(std::size_t i, const std::string& rights) {
    std::istringstream words{rights};
    for (std::string word; words >> word;) nodes.redis(i).command("ACL", "SETUSER", "user", word);
  }

  [[nodiscard]] long long votes() {
    long long sum = 0;
    for (std::size_t i = 0; i < nodes.size(); ++i) sum += nodes.redis(i).calls_of("set");
    return sum;
  }
  void count_votes_anew() {
    for (std::size_t i = 0; i < nodes.size(); ++i) nodes.redis(i).reset_stats();
  }

  /// Two take turns: the median of the times from an unlock() to the end of the lock() that waits for it.
  [[nodiscard]] milliseconds median_handover(const std::vector<Client>& of) {
    QuorumLock one{of, name}, other{of, name};
    QuorumLock *holder = &one, *waiter = &other;
    std::error_code ignored;
    holder->lock();
    std::vector<milliseconds> times;
    for (int i = 0; i < 7; ++i) {
      auto waiting = std::async(std::launch::async, [&] { waiter->lock(); });
      EXPECT_TRUE(eventually([&] { return nodes.sum("blocked_clients") == 1; }));
      std::this_thread::sleep_for(20ms);
      const Stopwatch watch;
      holder->unlock(ignored);
      waiting.get();
      times.push_back(std::chrono::duration_cast<milliseconds>(watch.elapsed()));
      std::swap(holder, waiter);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

  const std::string name = "name";
  const std::string key = "lock:" + name;
  QuorumServers nodes{3};
  std::vector<Client> clients = nodes.clients();
};

using QuorumWaiter = UnwillingNode;

TEST_F(QuorumWaiter, WithoutTheRightToWaitQuotesTheNodes) {
  QuorumLock lock{clients_without("-blpop", {0, 1, 2}), name};
  nodes.hold(key, {0, 1, 2});
  count_votes_anew();
  const auto text = message_of([&] { return lock.try_lock_for(1500ms); });
  EXPECT_THAT(text, AllOf(HasSubstr("2 of 3 nodes"), HasSubstr("NOPERM"), HasSubstr("blpop")));
  EXPECT_LE(votes(), 8);
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::server_error);
}

TEST_F(QuorumWaiter, WaitsOnAnotherNodeIfOneRefuses) {
  QuorumLock waiter{clients_without("-blpop", {0}), name}, holder{clients, name};
  holder.lock();
  ASSERT_TRUE(eventually([&] { return nodes.values(key) == std::vector(3, holder.id()); }));
  count_votes_anew();
  EXPECT_FALSE(waiter.try_lock_for(1500ms));
  EXPECT_LE(votes(), 12);
  auto waiting = std::async(std::launch::async, [&] { return waiter.try_lock_for(soon); });
  ASSERT_TRUE(eventually([&] { return nodes.redis(1).info("blocked_clients") == 1; }));
  holder.unlock();
  EXPECT_TRUE(waiting.get());
}

TEST_F(QuorumWaiter, WaitsElsewhereIfTheSignalHasAnotherType) {
  QuorumLock lock{clients, name};
  nodes.hold(key, {0, 1, 2});
  nodes.redis(0).command("SET", "lock-signal:" + name, "string");
  count_votes_anew();
  EXPECT_FALSE(lock.try_lock_for(1500ms));
  EXPECT_LE(votes(), 12);
  EXPECT_THAT(lock.nodes().front().reason, AllOf(HasSubstr("waiting: "), HasSubstr("WRONGTYPE")));
}

TEST(QuorumWaiterOfStrangeNodes, PausesWhateverTheyAnswer) {
  for (const auto* answer :
       {"*-1\r\n", "*2\r\n$1\r\nk\r\n$1\r\n1\r\n", "-UNBLOCKED by force\r\n", "-LOADING now\r\n",
        "-ASK 1 127.0.0.1:1\r\n", "-ERR no\r\n", ":1\r\n", "+OK\r\n", "hang up"}) {
    SCOPED_TRACE(answer);
    std::atomic<int> votes{0};
    const auto say = [&](const Command& command) -> std::optional<std::string> {
      const auto& what = command.front();
      if (what == "SET") ++votes;
      if (what == "BLPOP" && answer == std::string{"hang up"}) return std::nullopt;
      return what == "PING"    ? "+PONG\r\n"
             : what == "SET"   ? "$-1\r\n"
             : what == "GET"   ? "$4\r\nthey\r\n"
             : what == "BLPOP" ? answer
             : what == "PTTL"  ? ":60000\r\n"
                               : ":1\r\n";
    };
    FakeServer one{FakeServer::each_command(say)}, two{FakeServer::each_command(say)},
        three{FakeServer::each_command(say)};
    QuorumLock lock{{one.endpoint(), two.endpoint(), three.endpoint()}, "name"};
    std::error_code error;
    try {
      EXPECT_FALSE(lock.try_lock_for(700ms));
    } catch (const Error&) {  // some of the answers are none
    }
    EXPECT_LE(votes, 150) << "a loop without a pause has thousands";
  }
}

using QuorumHandover = UnwillingNode;

TEST_F(QuorumHandover, IsNoSlowerBesideAForeignKey) {
  nodes.redis(0).command("SET", key, "left over");
  EXPECT_LT(median_handover(clients), 500ms) << "the slice of a waiter at the wrong node is longer";
  EXPECT_EQ(nodes.values(key).front(), "left over");
}

TEST_F(QuorumHandover, IsNoSlowerIfANodeRefusesReleases) {
  EXPECT_LT(median_handover(clients_without("-eval -evalsha", {0})), 500ms);
}

TEST_F(QuorumHandover, ReachesEachThreadBesideAForeignKey) {
  nodes.redis(0).command("SET", key, "left over");
  std::vector<std::thread> workers;
  std::atomic<int> inside{0}, overlaps{0};
  std::atomic<milliseconds> longest{0ms};
  for (int i = 0; i < 4; ++i) {
    workers.emplace_back([&] {
      QuorumLock lock{clients, name};
      for (int round = 0; round < 60; ++round) {
        const Stopwatch watch;
        const std::lock_guard guard{lock};
        const auto waited = std::chrono::duration_cast<milliseconds>(watch.elapsed());
        if (waited > longest.load()) longest = waited;
        if (++inside != 1) ++overlaps;
        std::this_thread::sleep_for(2ms);
        --inside;
      }
    });
  }
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(overlaps, 0);
  EXPECT_LT(longest.load(), 2500ms) << "a whole slice at the wrong node is longer";
}

TEST_F(QuorumHandover, WithRefusedReleasesReusesItsConnections) {
  QuorumLock lock{clients_without("-eval -evalsha", {0}), name};
  for (int i = 0; i < 50; ++i) {
    lock.lock();
    lock.unlock();
  }
  EXPECT_LE(nodes.redis(0).info("connected_clients"), 6);
}

using QuorumStrangeKeys = UnwillingNode;

TEST_F(QuorumStrangeKeys, AreCountedWithoutOverflow) {
  const std::vector<std::vector<std::string>> commands{
      {"SET", key, "persisted"},
      {"LPUSH", key, "1"},
      {"HSET", key, "field", "1"},
      {"SET", key, "for long", "PX", "9000000000000000"},
      {"SET", key, ""}};
  for (const auto& command : commands) {
    SCOPED_TRACE(command.front() + " " + command.back());
    for (const auto& held : {std::vector<std::size_t>{0}, {1}, {0, 1}, {0, 1, 2}}) {
      for (const auto i : held) nodes.redis(i).send(command);
      QuorumLock lock{clients, name};
      std::error_code error;
      const bool is_minority = held.size() == 1;
      for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(lock.try_lock(error), is_minority);
        EXPECT_FALSE(error);
        if (is_minority) lock.unlock(error);
        EXPECT_FALSE(error);
        try {
          const bool locked = lock.try_lock_for(40ms);
          EXPECT_EQ(locked, is_minority);
          if (locked) lock.unlock(error);
        } catch (const Error& thrown) {
          EXPECT_FALSE(is_minority);
          EXPECT_THAT(thrown.what(), HasSubstr("WRONGTYPE"));
        }
      }
      for (std::size_t i = 0; i < nodes.size(); ++i) nodes.redis(i).command("DEL", key);
    }
  }
}

class QuorumSlowWay : public UnwillingNode {
 protected:
  [[nodiscard]] std::vector<Client> delayed_by(milliseconds delay) {
    std::vector<Client> through;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      proxies.push_back(std::make_unique<Proxy>(nodes.server(i).endpoint()));
      proxies.back()->delay_replies(delay);
      through.emplace_back(proxies.back()->endpoint());
    }
    return through;
  }

  std::vector<std::unique_ptr<Proxy>> proxies;
};

TEST_F(QuorumSlowWay, LongerThanTheLeaseFailsAtOnce) {
  const auto slow = delayed_by(15ms);
  QuorumLock lock{slow, name, leased_for(10ms)}, patient{slow, name, leased_for(10s)};
  const Stopwatch watch;
  std::string message;
  // A busy machine may be later than the 20 ms that a round has.
  const auto says_too_short = [&](const auto& acquire) {
    return eventually([&] {
      message = message_of(acquire);
      return message.find("expire is too short") != std::string::npos;
    });
  };
  EXPECT_TRUE(says_too_short([&] { return lock.lock(), 0; })) << message;
  EXPECT_THAT(message, HasSubstr("a lease of 10 ms"));
  EXPECT_TRUE(says_too_short([&] { return lock.try_lock(); })) << message;
  EXPECT_EQ(error_of([&] { return lock.try_lock_for(1h); }), errc::timed_out);
  EXPECT_LT(watch.elapsed(), soon);
  EXPECT_TRUE(patient.try_lock_for(soon));
}

TEST_F(QuorumSlowWay, LongerThanARoundNamesTheLease) {
  QuorumLock lock{delayed_by(60ms), name, leased_for(45ms)};
  const Stopwatch watch;
  EXPECT_THAT(message_of([&] { return lock.lock(), 0; }), HasSubstr("with a lease of 45 ms"));
  EXPECT_LT(watch.elapsed(), soon);
}

TEST_F(QuorumSlowWay, PastTheDeadlineGivesTheGrantBack) {
  const auto through = delayed_by(0ms);
  nodes.hold(key, {0, 1, 2});
  QuorumLock lock{through, name};
  const auto deadline = std::chrono::steady_clock::now() + 700ms;
  auto waiting = std::async(std::launch::async, [&] { return lock.try_lock_until(deadline); });
  ASSERT_TRUE(eventually([&] { return nodes.redis(0).info("blocked_clients") == 1; }));
  proxies[0]->pause();
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes.redis(i).command("DEL", key);
  nodes.redis(0).command("LPUSH", "lock-signal:" + name, "1");
  std::this_thread::sleep_until(deadline + 100ms);
  EXPECT_TRUE(nodes.redis(0).exists(key)) << "it was granted meanwhile";
  proxies[0]->resume();
  EXPECT_FALSE(waiting.get());
  EXPECT_TRUE(eventually([&] { return !nodes.redis(0).exists(key); })) << "it went back";
}

class QuorumNodeStatus : public UnwillingNode {
 protected:
  /// What is told of this node, after the lock was taken and freed as often as it needs.
  template <class Condition>
  [[nodiscard]] NodeStatus status_when(QuorumLock& lock, std::size_t i, Condition&& is_good) {
    NodeStatus status;
    EXPECT_TRUE(eventually([&] {
      std::error_code ignored;
      lock.lock(ignored);
      if (!ignored) lock.unlock(ignored);
      status = lock.nodes()[i];
      return is_good(status);
    }));
    return status;
  }
  [[nodiscard]] NodeStatus failing(QuorumLock& lock, std::size_t i) {
    return status_when(lock, i, [](const NodeStatus& status) { return !status.works; });
  }
  [[nodiscard]] NodeStatus working(QuorumLock& lock, std::size_t i) {
    return status_when(lock, i, [](const NodeStatus& status) { return status.works; });
  }
};

TEST_F(QuorumNodeStatus, TellsNothingOfNodesThatWork) {
  QuorumLock lock{clients, name};
  for (int i = 0; i < 2; ++i) {
    for (std::size_t node = 0; node < nodes.size(); ++node) {
      const auto status = lock.nodes().at(node);
      EXPECT_TRUE(status.works);
      EXPECT_EQ(status.address, nodes.server(node).endpoint().unix_socket);
      EXPECT_EQ(status.failing_since, std::chrono::steady_clock::time_point{});
      EXPECT_FALSE(status.error);
      EXPECT_EQ(status.reason, "");
    }
    const std::lock_guard guard{lock};
  }
}

TEST_F(QuorumNodeStatus, NamesAStoppedNodeUntilItIsBack) {
  QuorumLock lock{clients, name};
  const auto before = std::chrono::steady_clock::now();
  nodes.server(1).kill();
  const auto status = failing(lock, 1);
  EXPECT_EQ(status.error, errc::connection_failed);
  EXPECT_THAT(status.reason, HasSubstr("connecting: "));
  EXPECT_GE(status.failing_since, before);
  std::this_thread::sleep_for(20ms);
  EXPECT_LT(failing(lock, 1).failing_since - status.failing_since, 5ms) << "still the same";
  QuorumLock same{clients, "other"};
  EXPECT_FALSE(same.nodes()[1].works);
  EXPECT_TRUE(same.nodes()[0].works);
  nodes.server(1).restart();
  EXPECT_EQ(working(lock, 1).reason, "");
}

TEST_F(QuorumNodeStatus, NamesOneThatIsFrozen) {
  QuorumLock lock{nodes.clients([](Endpoint& endpoint) { endpoint.command_timeout = 100ms; }),
                  name};
  { const std::lock_guard guard{lock}; }
  nodes.server(2).pause();
  EXPECT_EQ(failing(lock, 2).error, errc::timed_out);
  nodes.server(2).resume();
  EXPECT_TRUE(working(lock, 2).works);
}

TEST_F(QuorumNodeStatus, QuotesOneThatRefusesWhatItIsAsked) {
  const auto of_user = clients_without("", {});
  const auto set_user = [&](const std::string& right) { take_right(1, right); };
  const auto send = [&](std::initializer_list<std::string> words) {
    nodes.redis(1).send(std::vector<std::string>{words});
  };
  struct Case {
    std::function<void()> harm, mend;
    std::string words;
  };
  const std::vector<Case> cases{
      {[&] { set_user("-eval -evalsha"); }, [&] { set_user("+@all"); }, "releasing: NOPERM"},
      {[&] { set_user("-set"); }, [&] { set_user("+@all"); }, "asking for a lock: NOPERM"},
      {[&] {
         send({"REPLICAOF", "127.0.0.1", "1"});
       },
       [&] {
         send({"REPLICAOF", "NO", "ONE"});
       },
       "READONLY"},
      {[&] {
         send({"CONFIG", "SET", "maxmemory", "1"});
       },
       [&] {
         send({"CONFIG", "SET", "maxmemory", "0"});
       },
       "OOM"},
      {[&] {
         send({"DEL", key});
         send({"LPUSH", key, "1"});
       },
       [&] {
         send({"DEL", key});
       },
       "releasing: WRONGTYPE"}};
  for (const auto& each : cases) {
    SCOPED_TRACE(each.words);
    QuorumLock lock{of_user, name, leased_for(500ms)};
    EXPECT_TRUE(working(lock, 1).works);
    each.harm();
    const auto status = status_when(lock, 1, [&](const NodeStatus& now) {
      return now.reason.find(each.words) != std::string::npos;
    });
    EXPECT_THAT(status.reason, HasSubstr(each.words));
    EXPECT_EQ(status.error, errc::server_error);
    EXPECT_TRUE(lock.nodes()[0].works && lock.nodes()[2].works);
    each.mend();
    EXPECT_TRUE(working(lock, 1).works);
  }
}

TEST_F(QuorumNodeStatus, NamesOneThatKnowsAnotherPassword) {
  auto some = clients_without("", {});
  auto endpoint = nodes.server(0).endpoint();
  endpoint.username = "user";
  endpoint.password = "guessed";
  some[0] = endpoint;
  QuorumLock lock{some, name};
  const auto status = failing(lock, 0);
  EXPECT_EQ(status.error, errc::authentication_failed);
  EXPECT_THAT(status.reason, ::testing::Not(HasSubstr("guessed")));
}

TEST_F(QuorumNodeStatus, NamesAddresses) {
  QuorumLock lock{{"redis://a:1", "redis://[::1]:2", "redis://c"}, name};
  EXPECT_EQ(lock.nodes()[0].address, "a:1");
  EXPECT_EQ(lock.nodes()[1].address, "[::1]:2");
  EXPECT_EQ(lock.nodes()[2].address, "c:6379");
}

}  // namespace
}  // namespace redis_lock_test
