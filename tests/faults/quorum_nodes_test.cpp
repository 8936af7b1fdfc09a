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

using QuorumHandover = UnwillingNode;

TEST_F(QuorumHandover, OfARefusedReleaseOpensNoConnectionEachTime) {
  QuorumLock lock{clients_without("-eval -evalsha", {0}), name};
  for (int i = 0; i < 50; ++i) {
    lock.lock();
    lock.unlock();
  }
  EXPECT_LE(nodes.redis(0).info("connected_clients"), 6);
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

TEST_F(QuorumNodeStatus, NamesOneThatIsDownUntilItIsBack) {
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
