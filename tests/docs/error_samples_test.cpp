// The samples of what() in docs/errors.md are what the library says, and each of them is reached here. Two are left out: a name
// that cannot be looked up depends on the resolver, and a system without threads has a test of its own (no_thread_test.cpp).

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <regex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "integration/integration.hpp"

namespace redis_lock_test {
namespace {

using namespace std::chrono_literals;
using redis_lock::Endpoint;
using redis_lock::no_expiry;
using redis_lock::QuorumLock;

const std::string name = "nightly-report";

/// Times differ from run to run.
std::string without_times(const std::string& text) {
  return std::regex_replace(text, std::regex("failed for [0-9]+ ms"), "failed for some ms");
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

/// The page's samples, and which of them no error has been compared with yet.
class ErrorSamples : public ::testing::Test {
 protected:
  ErrorSamples() {
    std::ifstream page{REDIS_LOCK_DOCS "/errors.md"};
    for (std::string line; std::getline(page, line);) {
      const bool left_out = line.find("redis.invalid") != std::string::npos ||
                            line.find("no background thread") != std::string::npos;
      if (line.rfind("redis_lock: ", 0) == 0 && !left_out) samples.insert(without_times(line));
    }
    unseen = samples;
  }

  /// The page has this message, of an error about `server`.
  void expect_sample(const std::string& message, const Endpoint& server = {}) {
    const auto at = server.host + ":" + std::to_string(server.port);
    const auto sample = without_times(replaced(message, at, "redis.example:6379"));
    EXPECT_EQ(samples.count(sample), 1U) << sample;
    unseen.erase(sample);
  }

  /// What lock(), or else the unlock() behind it, says.
  static std::string locking(Client client, Options options = {}) {
    std::string said;
    options.on_error = [&said](const Error& error) { said = error.what(); };
    try {
      Lock lock{std::move(client), name, std::move(options)};
      lock.lock();
      lock.unlock();
    } catch (const std::exception& error) {
      said = error.what();
    }
    return said;
  }

  /// What unlock() says of a lock that was lost by `loss`.
  static std::string losing(const Client& client, Options options,
                            const std::function<void()>& loss) {
    std::string said;
    options.on_error = [&said](const Error& error) { said = error.what(); };
    Lock lock{client, name, std::move(options)};
    lock.lock();
    loss();
    lock.unlock();
    return said;
  }

  std::set<std::string> samples, unseen;
};

TEST_F(ErrorSamples, AreWhatTheLibrarySays) {
  ASSERT_GT(samples.size(), 30U);
  RedisServer server{Transport::tcp};
  Redis redis{server.endpoint()};
  const auto once = server.uri("retry_for=0");
  const Endpoint gone = Endpoint::parse("redis://127.0.0.1:1?retry_for=0");
  auto impatient = server.endpoint();
  impatient.command_timeout = 500ms;

  // connection_failed
  expect_sample(locking(gone), gone);
  ASSERT_EQ(::setenv("REDIS_URL", "redis://127.0.0.1:1?retry_for=0", 1), 0);
  expect_sample(locking(Endpoint::from_env()), gone);
  expect_sample(locking("unix:///run/redis/none.sock?retry_for=0"));
  expect_sample(locking(replaced(once, "redis://", "rediss://")), server.endpoint());
  const std::vector<Client> nodes{once, "redis://127.0.0.1:1?retry_for=0",
                                  "redis://127.0.0.1:2?retry_for=0"};
  const auto by_nodes = message_of([&] { return QuorumLock{nodes, name}.lock(), true; });
  expect_sample(replaced(replaced(by_nodes, "127.0.0.1:1)", "b.example:6379)"), "127.0.0.1:2)",
                         "c.example:6379)"));

  // authentication_failed
  const auto at = "127.0.0.1:" + std::to_string(server.endpoint().port);
  expect_sample(locking("redis://:secret@" + at), server.endpoint());
  {
    const RedisServer closed{Transport::tcp, {"--requirepass", "secret"}, "secret"};
    for (const auto* const password : {"", "wrong"}) {
      auto endpoint = closed.endpoint();
      endpoint.password = password;
      expect_sample(locking(endpoint), closed.endpoint());
    }
  }

  // server_error
  redis.send({"ACL", "SETUSER", "weak", "reset", "on", ">pw", "~*", "+get"});
  expect_sample(locking("redis://weak:pw@" + at));
  redis.send({"ACL", "SETUSER", "weak", "reset", "on", ">pw", "~other:*", "+@all"});
  expect_sample(locking("redis://weak:pw@" + at));
  redis.command("CONFIG", "SET", "maxmemory", 1);
  expect_sample(locking(once));
  redis.command("CONFIG", "SET", "maxmemory", 0);
  redis.command("REPLICAOF", "127.0.0.1", 1);
  expect_sample(locking(once));
  redis.command("REPLICAOF", "NO", "ONE");
  redis.command("CONFIG", "SET", "min-replicas-to-write", 1);
  expect_sample(locking(once));
  redis.command("CONFIG", "SET", "min-replicas-to-write", 0);
  redis.command("LPUSH", "lock:" + name, 1);
  expect_sample(locking(once));
  redis.command("DEL", "lock:" + name);
  expect_sample(locking("redis://" + at + "/99"), server.endpoint());
  expect_sample(locking("redis+sentinel://" + at + "/mymaster?retry_for=0"), server.endpoint());
  expect_sample(locking("redis+cluster://" + at + "?retry_for=0"), server.endpoint());
  redis.command("CONFIG", "SET", "maxclients", 1);
  expect_sample(locking(once), server.endpoint());
  redis.command("CONFIG", "SET", "maxclients", 1000);
  {
    const RedisServer node{Transport::tcp, {"--cluster-enabled", "yes"}};
    Redis{node.endpoint()}.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383);
    std::string said;
    EXPECT_TRUE(eventually([&] {
      return (said = locking(node.uri("retry_for=0"))).find("CROSSSLOT") != std::string::npos;
    }));
    expect_sample(said);
  }

  // lease_lost
  const Client client{server.uri()};
  const auto free_it = [&] { Lock{client, name}.reset(); };
  Lock lock{client, name};
  lock.lock();
  free_it();
  expect_sample(message_of([&] { return lock.guarded_set("k", "v"), true; }));
  lock.unlock();
  lock.lock();
  redis.command("SET", "lock:" + name, "another");
  expect_sample(message_of([&] { return lock.extend(), true; }));
  lock.unlock();
  redis.command("DEL", "lock:" + name);
  expect_sample(losing(client, leased_for(500ms), [] { std::this_thread::sleep_for(600ms); }));
  auto limited = renewed_for(1500ms);
  limited.max_hold = 1s;
  expect_sample(losing(client, limited, [] { std::this_thread::sleep_for(3s); }));
  redis.command("DEL", "lock:" + name);

  // the other codes, and mistakes
  std::string said;
  auto telling = Options{};
  telling.on_error = [&said](const Error& error) { said = error.what(); };
  Lock idle{client, name, telling};
  idle.unlock();
  expect_sample(said);
  expect_sample(message_of([&] { return idle.fencing_token(); }));
  const FakeServer http{[](std::string&) { return "<html>"; }};
  expect_sample(locking(http.endpoint()), http.endpoint());
  const auto context = connect_hiredis(server.endpoint());
  freeReplyObject(redisCommand(context.get(), "MULTI"));
  expect_sample(message_of([&] { return Lock{context.get(), name}.lock(), true; }));
  Lock endless{client, name, leased_for(no_expiry)};
  endless.lock();
  expect_sample(message_of([&] { return endless.extend(), true; }));
  expect_sample(message_of([&] { return endless.lock(), true; }));
  endless.unlock();
  auto replicated = Options{};
  replicated.replicas = {1, 100ms};
  expect_sample(locking(client, replicated));
  ::unsetenv("REDIS_URL");
  expect_sample(message_of([] { return Endpoint::from_env(); }));
  expect_sample(message_of([&] { return Lock{client, ""}.name(); }));
  auto contradicting = Options{};
  contradicting.expire = no_expiry;
  expect_sample(locking(client, contradicting));
  expect_sample(
      message_of([] { return Endpoint::parse("redis://:pass/word@redis.example:6379"); }));
  expect_sample(message_of([] { return Endpoint::parse("redis://h?retry_for=5x"); }));

  // a server that is frozen, and one that is gone
  expect_sample(losing(impatient, renewed_for(2s), [&] {
    server.pause();
    std::this_thread::sleep_for(3s);
  }));
  expect_sample(locking(impatient), server.endpoint());
  server.resume();
  redis.command("DEL", "lock:" + name);
  const auto by_its_end = losing(client, renewed_for(2s), [&] {
    server.kill();
    std::this_thread::sleep_for(3s);
  });
  // On a busy machine the end of the lease may cut the last attempt to connect short.
  expect_sample(replaced(by_its_end, "Connection timed out", "Connection refused"),
                server.endpoint());

  EXPECT_THAT(unseen, ::testing::IsEmpty());
}

}  // namespace
}  // namespace redis_lock_test
