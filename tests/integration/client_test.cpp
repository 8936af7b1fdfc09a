#include "integration.hpp"

#include <cstdlib>
#include <future>
#include <thread>

namespace redis_lock_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

void expect_to_work(const Client& client) {
  Lock lock{client, unique_name()};
  lock.lock();
  EXPECT_EQ(lock.owner(), lock.id());
  lock.unlock();
  EXPECT_FALSE(lock.locked());
}

TEST(ClientConnects, OverAUnixSocket) {
  const RedisServer server{Transport::unix_socket};
  expect_to_work("unix://" + server.endpoint().unix_socket);
  expect_to_work(server.endpoint());
}

TEST(ClientConnects, OverTcpByAddressAndByName) {
  const RedisServer server{Transport::tcp};
  const auto port = std::to_string(server.endpoint().port);
  expect_to_work("redis://127.0.0.1:" + port);
  expect_to_work("redis://localhost:" + port);
  expect_to_work(server.endpoint());
}

TEST(ClientConnects, OverIpv6) {
  const RedisServer server{Transport::tcp, {"--bind", "127.0.0.1", "::1"}};
  expect_to_work("redis://[::1]:" + std::to_string(server.endpoint().port));
}

TEST(ClientConnects, WithAPassword) {
  const RedisServer server{Transport::unix_socket, {"--requirepass", "open sesame"}, "open sesame"};
  const auto path = server.endpoint().unix_socket;
  expect_to_work("unix://:open%20sesame@" + path);
  expect_to_work(server.endpoint());
}

TEST(ClientConnects, AsAUserWithAPassword) {
  const RedisServer server;
  Redis redis{server.endpoint()};
  ASSERT_EQ(redis.string("ACL", "SETUSER", "alice", "on", ">wonderland", "~*", "&*", "+@all"),
            "OK");
  ASSERT_EQ(redis.string("ACL", "SETUSER", "default", "off"), "OK");
  const auto path = server.endpoint().unix_socket;
  expect_to_work("unix://alice:wonderland@" + path);
  Lock lock{"unix://alice:wrong@" + path, "x"};
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::authentication_failed);
}

TEST(ClientConnects, ToTheDatabaseAskedFor) {
  const RedisServer server{Transport::tcp};
  Redis redis{server.endpoint()};
  Lock lock{server.uri() + "/3", "x"};
  lock.lock();
  EXPECT_FALSE(redis.exists("lock:x"));
  redis.string("SELECT", 3);
  EXPECT_TRUE(redis.exists("lock:x"));

  const RedisServer local;
  Lock other{local.uri("db=5"), "x"};
  other.lock();
  Redis seen{local.uri("db=5")};
  EXPECT_TRUE(seen.exists("lock:x"));
}

TEST(ClientConnects, ToNoDatabaseThatIsMissing) {
  const RedisServer server;
  Lock lock{server.uri("db=99999"), "x"};
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::server_error);
}

TEST(ClientConnects, UnderItsName) {
  const RedisServer server;
  Redis redis{server.endpoint()};
  Lock lock{server.uri("client_name=billing-7"), "x"};
  lock.lock();
  EXPECT_THAT(redis.string("CLIENT", "LIST").value_or(""), HasSubstr("name=billing-7"));
}

TEST(ClientConnects, WhenItIsFirstUsedAndNotBefore) {
  const RedisServer server;
  Redis redis{server.endpoint()};
  const auto before = redis.info("total_connections_received");
  const Client client{server.uri()};
  Lock lock{client, "x"};
  EXPECT_EQ(redis.info("total_connections_received"), before);
  EXPECT_TRUE(lock.try_lock());
  EXPECT_GT(redis.info("total_connections_received"), before);
}

TEST(ClientKeeps, ItsConnectionForTheNextOperation) {
  const RedisServer server;
  Redis redis{server.endpoint()};
  const auto before = redis.info("total_connections_received");
  const Client client{server.uri()};
  for (int i = 0; i < 40; ++i) {
    const Client copy = client;
    Lock lock{copy, "x" + std::to_string(i % 3), leased_for(60s)};
    lock.lock();
    EXPECT_TRUE(lock.locked());
  }
  EXPECT_EQ(redis.info("total_connections_received"), before + 1);
}

TEST(ClientKeeps, NoConnectionThatTheServerClosed) {
  const RedisServer server;
  Redis redis{server.endpoint()};
  Lock lock{server.uri(), "x", leased_for(60s)};
  for (int i = 0; i < 5; ++i) {
    lock.lock();
    redis.integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    lock.unlock();
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_FALSE(redis.exists("lock:x"));
  }
}

TEST(ClientKeeps, TheServerOpenWhileAnyCopyLives) {
  const RedisServer server;
  Redis redis{server.endpoint()};
  {
    auto client = std::make_unique<Client>(server.uri());
    Lock lock{*client, "x"};
    client.reset();
    EXPECT_TRUE(lock.try_lock());
  }
  EXPECT_TRUE(eventually([&] { return redis.info("connected_clients") == 1; }))
      << "and closes it with the last";
}

TEST(ClientFails, WithTheWrongPassword) {
  const RedisServer server{Transport::unix_socket, {"--requirepass", "right"}, "right"};
  const Stopwatch watch;
  for (const auto* user : {"", ":wrong@", "default:wrong@", "nobody:right@"}) {
    Lock lock{std::string("unix://") + user + server.endpoint().unix_socket, "x"};
    EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::authentication_failed) << user;
    EXPECT_EQ(error_of([&] { lock.lock(); }), errc::authentication_failed) << user;
  }
  EXPECT_LT(watch.elapsed(), soon) << "not worth a retry";
}

TEST(ClientFails, WhenNobodyListens) {
  auto endpoint = redis_lock::Endpoint{};
  endpoint.port = free_port();
  endpoint.retry_for = 300ms;
  Lock lock{endpoint, "x"};
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::connection_failed);
  EXPECT_LT(watch.elapsed(), 300ms + soon);
}

TEST(ClientFails, WhenTheHostHasNoAddress) {
  redis_lock::Endpoint endpoint;
  endpoint.host = "no-such-host.invalid";
  endpoint.retry_for = 0ms;
  Lock lock{endpoint, "x"};
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::connection_failed);
}

TEST(ClientFails, OverTlsThatIsNotBuiltIn) {
  // This program is linked with redis_lock::redis_lock; tls_test.cpp with redis_lock::tls.
  for (const auto* parameters : {"", "?insecure=true&retry_for=60s"}) {
    const auto uri = "rediss://127.0.0.1:" + std::to_string(free_port()) + parameters;
    const Stopwatch watch;
    Lock lock{uri, "x"};
    EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::connection_failed);
    EXPECT_THAT(message_of<Error>([&] { lock.lock(); }),
                AllOf(HasSubstr("redis_lock::tls"), HasSubstr("hiredis_ssl")));
    EXPECT_LT(watch.elapsed(), soon) << "not worth a retry";
  }
}

TEST(ClientFails, WhenTheServerIsFrozen) {
  for (const auto transport : {Transport::unix_socket, Transport::tcp}) {
    RedisServer server{transport};
    Lock connected{server.uri("command_timeout=200&retry_for=300"), "x", leased_for(60s)};
    connected.lock();
    server.pause();
    Lock fresh{server.uri("command_timeout=200&retry_for=300"), "y"};
    const Stopwatch watch;
    EXPECT_EQ(error_of([&] { return fresh.try_lock(); }), errc::timed_out);
    EXPECT_GE(watch.elapsed(), 200ms);
    EXPECT_EQ(error_of([&] { return connected.locked(); }), errc::timed_out);
    EXPECT_LT(watch.elapsed(), soon);
    server.resume();
    connected.unlock();
    EXPECT_FALSE(connected.owns_lock());
  }
}

TEST(ClientFails, OnAnythingThatIsNotRedis) {
  for (const auto* noise : {"HTTP/1.1 400 Bad Request\r\n\r\n", "\x15\x03\x01", "$x\r\n", ":\r\n",
                            "*-5\r\n", "$3\r\nabcdef"}) {
    const FakeServer server{FakeServer::always(noise)};
    Lock lock{server.uri("command_timeout=200&retry_for=0"), "x"};
    const auto error = error_of([&] { return lock.try_lock(); });
    EXPECT_THAT(error, ::testing::AnyOf(errc::protocol_error, errc::timed_out))
        << noise << ": " << error.message();
    EXPECT_FALSE(lock.owns_lock());
  }
}

TEST(ClientFails, OnAServerThatClosesEveryConnection) {
  const FakeServer server{[](std::string&) { return std::optional<std::string>{}; }};
  Lock lock{server.uri("retry_for=200"), "x"};
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::connection_failed);
  EXPECT_GT(server.accepted(), 1) << "it tried again";
}

TEST(ClientReconnects, WhenTheServerComesBackInTime) {
  RedisServer server;
  const Client client{server.uri("retry_for=60s")};
  Lock lock{client, "x", leased_for(60s)};
  EXPECT_FALSE(lock.locked());
  server.kill();
  auto locking = std::async(std::launch::async, [&] {
    lock.lock();
    return lock.owns_lock();
  });
  EXPECT_EQ(locking.wait_for(100ms), std::future_status::timeout);
  server.restart();
  EXPECT_TRUE(locking.get());
}

TEST(ClientReconnects, WhenTheServerPassesThroughAState) {
  for (const auto* state :
       {"-LOADING Redis is loading the dataset in memory", "-BUSY Redis is busy running a script",
        "-READONLY You can't write against a read only replica.",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "-CLUSTERDOWN The cluster is down",
        "-TRYAGAIN Multiple keys request during rehashing of slot"}) {
    int refusals = 3;
    const FakeServer server{
        FakeServer::each_command([&](const Command& command) -> std::optional<std::string> {
          if (command.front() == "PTTL") return ":30000\r\n";
          if (refusals-- > 0) return std::string(state) + "\r\n";
          return command.front() == "SET" ? "+OK\r\n" : ":0\r\n";
        })};
    Lock lock{server.uri("retry_for=60s"), "x", leased_for(60s)};
    EXPECT_TRUE(lock.try_lock()) << state;
    EXPECT_LE(refusals, 0);
  }
}

TEST(ClientReconnects, NotForOtherErrorsOfTheServer) {
  const FakeServer server{FakeServer::each_command(
      [](const Command&) { return std::optional<std::string>("-ERR the dog ate it\r\n"); })};
  Lock lock{server.uri("retry_for=60s"), "x"};
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::server_error);
  EXPECT_LT(watch.elapsed(), soon);
  EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }), HasSubstr("the dog ate it"));
}

/// A server that the environment names and that is not there.
class UnreachableOfTheEnvironment : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr const char* variable = "REDIS_LOCK_TEST_URL";
  void SetUp() override {
    auto uri = std::string(GetParam());
    ::setenv(variable, uri.replace(uri.find('P'), 1, port).c_str(), 1);
  }
  void TearDown() override { ::unsetenv(variable); }

  const std::string port = std::to_string(free_port());
};
INSTANTIATE_TEST_SUITE_P(, UnreachableOfTheEnvironment,
                         ::testing::Values("redis://:s3cr3t@127.0.0.1:P?retry_for=0",
                                           "redis+sentinel://:s3cr3t@127.0.0.1:P/m?retry_for=0",
                                           "redis+cluster://:s3cr3t@127.0.0.1:P?retry_for=0"),
                         [](const auto& test) {
                           const std::string uri = test.param;
                           return uri.find("sentinel") != uri.npos  ? "Sentinel"
                                  : uri.find("cluster") != uri.npos ? "Cluster"
                                                                    : "Server";
                         });

TEST_P(UnreachableOfTheEnvironment, IsNamedWithTheVariableThatHasIt) {
  const auto where = "127.0.0.1:" + port + " (from REDIS_LOCK_TEST_URL): ";
  Lock lock{redis_lock::Endpoint::from_env(variable), "name"};
  const auto message = message_of<Error>([&] { return lock.try_lock(); });
  EXPECT_THAT(message, AllOf(HasSubstr(where), Not(HasSubstr("s3cr3t"))));
}

TEST(UnreachableNodes, AreNamedWithTheVariableThatHasThem) {
  std::vector<Client> nodes;
  const auto port = std::to_string(free_port());
  for (const auto* host : {"127.0.0.1", "127.0.0.2", "127.0.0.3"}) {
    redis_lock::Endpoint endpoint;
    endpoint.host = host;
    endpoint.port = static_cast<std::uint16_t>(std::stoi(port));
    endpoint.retry_for = 0ms;
    endpoint.origin = "NODES";
    nodes.emplace_back(endpoint);
  }
  redis_lock::QuorumLock lock{nodes, "name"};
  EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }),
              HasSubstr("node 1 (127.0.0.1:" + port + ") (from NODES): "));
}

}  // namespace
}  // namespace redis_lock_test
