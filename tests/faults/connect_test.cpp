// How a connection comes about: names that are looked up for long or not at all, addresses that refuse or do not answer,
// signals meanwhile, and servers that hang up with an error.

#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "faults.hpp"
#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

/// What the resolver of this process says of the names of the tests.
class Names {
 public:
  /// The name has these addresses, in this order; with none, it is unknown.
  void set(const std::string& name, std::vector<std::string> addresses) {
    const std::lock_guard guard{mutex_};
    names_[name] = std::move(addresses);
  }
  /// From now on, nothing is answered about any name, until answer_again().
  void hang() {
    const std::lock_guard guard{mutex_};
    hangs_ = true;
  }
  void answer_again() {
    const std::lock_guard guard{mutex_};
    hangs_ = false;
    changed_.notify_all();
  }
  [[nodiscard]] int under_way() const { return under_way_; }

  /// Nothing: not a name of the tests. Blocks while the resolver hangs.
  [[nodiscard]] std::optional<std::vector<std::string>> look_up(const std::string& name) {
    std::unique_lock guard{mutex_};
    if (names_.count(name) == 0) return std::nullopt;
    ++under_way_;
    changed_.wait(guard, [this] { return !hangs_; });
    --under_way_;
    return names_[name];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool hangs_ = false;
  std::atomic<int> under_way_{0};
  std::map<std::string, std::vector<std::string>> names_;
};

Names& names() {
  static auto& instance = *new Names;  // a look-up may outlive main()
  return instance;
}

/// The sockets of the calling thread that were connected without close-on-exec, while this lives.
class InheritedSockets {
 public:
  InheritedSockets() { count_ = 0; }
  ~InheritedSockets() { count_ = -1; }
  InheritedSockets(const InheritedSockets&) = delete;
  InheritedSockets& operator=(const InheritedSockets&) = delete;
  [[nodiscard]] int count() const { return count_; }
  [[nodiscard]] int connects() const { return connects_; }

  static void see(int descriptor) {
    ++connects_;
    if (count_ >= 0 && (::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) == 0) ++count_;
  }

 private:
  static inline thread_local int count_ = -1, connects_ = 0;
};

template <class Function>
Function* real(Function*, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace
}  // namespace redis_lock_test

// The library calls these instead of those of the system.
extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** result) {
  static auto* const real = redis_lock_test::real(&::getaddrinfo, "getaddrinfo");
  const bool is_numeric = hints && (hints->ai_flags & AI_NUMERICHOST) != 0;
  const auto addresses = is_numeric ? std::nullopt : redis_lock_test::names().look_up(node);
  if (!addresses) return real(node, service, hints, result);
  *result = nullptr;
  auto** next = result;
  for (const auto& address : *addresses) {
    if (const int error = real(address.c_str(), service, hints, next); error != 0) return error;
    next = &(*next)->ai_next;
  }
  return *result ? 0 : EAI_NONAME;
}

extern "C" int connect(int descriptor, const sockaddr* address, socklen_t length) {
  static auto* const real = redis_lock_test::real(&::connect, "connect");
  redis_lock_test::InheritedSockets::see(descriptor);
  return real(descriptor, address, length);
}

namespace redis_lock_test {
namespace {

using ::testing::HasSubstr;

/// A server on TCP that the name "redis.test" leads to.
class NamedServer : public ::testing::Test {
 protected:
  NamedServer() { names().set(host, {"127.0.0.1"}); }
  ~NamedServer() override { names().answer_again(); }

  [[nodiscard]] std::string uri(const std::string& parameters = {}) const {
    return "redis://" + host + ':' + std::to_string(server.endpoint().port) + '?' + parameters;
  }
  void kill_connections() { redis.integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"); }

  const std::string host = "redis.test";
  const std::string name = "name";
  const std::string key = "lock:" + name;
  RedisServer server{Transport::tcp};
  Redis redis{server.endpoint()};
};

/// A place where connects get no answer, as its queue is full.
class FullPlace {
 public:
  explicit FullPlace(const std::string& address, std::uint16_t port) {
    redis_lock::Endpoint endpoint;
    endpoint.host = address;
    endpoint.port = port;
    listener_ = listen_at(endpoint, 0);
    for (auto& filler : fillers_) filler = begin_to_connect(endpoint);
  }

 private:
  static Socket begin_to_connect(const redis_lock::Endpoint& endpoint) {
    detail::SocketAddress address;
    const auto length = detail::fill(address, endpoint);
    auto socket = detail::open_socket(endpoint);
    ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
    ::connect(socket.get(), &address.any, length);
    return socket;
  }

  Socket listener_;
  std::array<Socket, 4> fillers_;
};

using AddressesOfAName = NamedServer;

TEST_F(AddressesOfAName, AreTriedUntilOneTakesTheConnection) {
  names().set(host, {"127.0.0.3", "127.0.0.2", "127.0.0.1"});
  Lock lock{uri("retry_for=0"), name};
  EXPECT_TRUE(lock.try_lock());
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_F(AddressesOfAName, ThatDoNotAnswerLeaveTimeForOthers) {
  const FullPlace first{"127.0.0.2", server.endpoint().port};
  const FullPlace second{"127.0.0.3", server.endpoint().port};
  names().set(host, {"127.0.0.2", "127.0.0.3", "127.0.0.1"});
  Lock lock{uri("retry_for=0&connect_timeout=900"), name};
  const Stopwatch watch;
  EXPECT_TRUE(lock.try_lock());
  EXPECT_GE(watch.elapsed(), 500ms) << "a third of the time each";
}

TEST_F(AddressesOfAName, AreAllWithinOneTimeLimit) {
  const FullPlace first{"127.0.0.2", server.endpoint().port};
  const FullPlace second{"127.0.0.3", server.endpoint().port};
  names().set(host, {"127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"});
  Lock lock{uri("retry_for=0&connect_timeout=400"), name};
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::connection_failed);
  EXPECT_GE(watch.elapsed(), 400ms);
  EXPECT_LT(watch.elapsed(), 1400ms);
}

TEST_F(AddressesOfAName, ThatRefuseAreReportedWithTheName) {
  names().set(host, {"127.0.0.2", "127.0.0.3"});
  Lock lock{uri("retry_for=0"), name};
  EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }),
              HasSubstr("server redis.test:" + std::to_string(server.endpoint().port) +
                        ": Connection refused"));
}

TEST_F(AddressesOfAName, ThatIsUnknownIsReportedWithTheName) {
  names().set(host, {});
  Lock lock{uri("retry_for=0"), name};
  EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }),
              HasSubstr("server redis.test:" + std::to_string(server.endpoint().port) +
                        ": Name or service not known"));
}

TEST_F(AddressesOfAName, AreLookedUpAnewForEachConnection) {
  Lock lock{uri("retry_for=0"), name};
  lock.lock();
  lock.unlock();
  kill_connections();
  names().set(host, {"127.0.0.2"});  // as if it had moved
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::connection_failed);
}

/// A resolver that does not answer.
using HangingResolver = NamedServer;

TEST_F(HangingResolver, IsWaitedForUntilTheConnectTimeout) {
  names().hang();
  Lock lock{uri("retry_for=0&connect_timeout=300"), name};
  const Stopwatch watch;
  EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }),
              HasSubstr("server redis.test:" + std::to_string(server.endpoint().port) +
                        ": the address of the host was not found in time"));
  EXPECT_GE(watch.elapsed(), 300ms);
  EXPECT_EQ(names().under_way(), 1);
}

TEST_F(HangingResolver, IsWaitedForUpToTheDeadline) {
  Lock lock{uri("retry_for=0&connect_timeout=60s"), name};
  names().hang();
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { return lock.try_lock_for(200ms); }), errc::connection_failed);
  EXPECT_GE(watch.elapsed(), 200ms);
  EXPECT_LT(watch.elapsed(), soon);
}

TEST_F(HangingResolver, IsAskedOnceForAName) {
  names().hang();
  const Client client{uri("retry_for=0&connect_timeout=50")};
  for (int i = 0; i < 5; ++i) {
    Lock lock{client, name};
    EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::connection_failed);
  }
  EXPECT_EQ(names().under_way(), 1);
  names().answer_again();
  Lock lock{client, name};
  EXPECT_TRUE(eventually([&] { return !error_of([&] { lock.lock(); }); }));
}

TEST_F(HangingResolver, ThatAnsweredTooLateIsAskedAgain) {
  names().set(host, {"127.0.0.2"});  // where nobody listens
  names().hang();
  Lock lock{uri("retry_for=0&connect_timeout=50"), name};
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::connection_failed);
  names().answer_again();
  ASSERT_TRUE(eventually([] { return names().under_way() == 0; }));
  std::this_thread::sleep_for(50ms);  // the look-up goes on to tell its answer
  names().set(host, {"127.0.0.1"});
  EXPECT_TRUE(lock.try_lock_for(soon));
}

TEST_F(HangingResolver, DoesNotCostAHolderItsLock) {
  Complaints losses;
  Options options;
  options.expire = 600ms;
  options.on_lost = losses.on_lost();
  Lock lock{uri(), name, options};
  lock.lock();
  names().hang();
  for (int i = 0; i < 10; ++i) {
    kill_connections();
    std::this_thread::sleep_for(200ms);
  }
  EXPECT_EQ(losses.count(), 0U);
  EXPECT_TRUE(lock.owns_lock());
  kill_connections();
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(HangingResolver, DelaysNeitherLossReportsNorUnlockNorDestruction) {
  Complaints losses;
  Options options;
  options.expire = 600ms;
  options.on_lost = losses.on_lost();
  {
    Lock lock{uri("connect_timeout=60s"), name, options};
    lock.lock();
    names().hang();
    server.kill();
    ASSERT_TRUE(eventually([&] { return losses.count() == 1; }, soon));
    EXPECT_FALSE(lock.owns_lock());
    std::error_code error;
    lock.unlock(error);
    EXPECT_EQ(error, errc::lease_lost);
    EXPECT_NE(error_of([&] { return lock.try_lock_for(100ms); }), std::error_code{});
  }
  EXPECT_LE(names().under_way(), 1) << "nothing waited for the resolver's answer";
}

TEST_F(HangingResolver, LetsUnlockUseTheLastGoodAddress) {
  Lock lock{uri("retry_for=100&connect_timeout=300"), name, leased_for(60s)};
  lock.lock();
  names().hang();
  kill_connections();
  lock.unlock();
  EXPECT_FALSE(redis.exists(key)) << "by the last good address";
}

TEST_F(HangingResolver, OfOneNodeLeavesTheMajority) {
  QuorumServers nodes{2};
  auto clients = nodes.clients();
  names().hang();
  clients.emplace_back(uri("connect_timeout=3s"));
  const Stopwatch watch;
  redis_lock::QuorumLock lock{clients, name};
  for (int i = 0; i < 3; ++i) {
    lock.lock();
    EXPECT_TRUE(lock.owns_lock());
    lock.unlock();
  }
  EXPECT_LT(watch.elapsed(), 3s) << "not waited for";
  EXPECT_EQ(names().under_way(), 1);
}

TEST_F(HangingResolver, OfOneSentinelLeavesTheOthers) {
  const FakeServer sentinel{FakeServer::each_command([this](const Command&) {
    const auto port = std::to_string(server.endpoint().port);
    return "*2\r\n$9\r\n127.0.0.1\r\n$" + std::to_string(port.size()) + "\r\n" + port + "\r\n";
  })};
  names().hang();
  Lock lock{"redis+sentinel://" + host + ":1,127.0.0.1:" +
                std::to_string(sentinel.endpoint().port) + "/mymaster?connect_timeout=300",
            name};
  EXPECT_TRUE(lock.try_lock_for(soon));
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_F(HangingResolver, OfOneClusterSeedLeavesTheOthers) {
  const FakeServer seed{FakeServer::each_command([this](const Command&) {
    return "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:" +
           std::to_string(server.endpoint().port) + "\r\n";
  })};
  names().hang();
  Lock lock{"redis+cluster://" + host + ":1,127.0.0.1:" + std::to_string(seed.endpoint().port) +
                "?connect_timeout=300",
            name};
  EXPECT_TRUE(lock.try_lock_for(soon));
  EXPECT_EQ(redis.string("GET", "lock:{" + name + '}'), lock.id());
}

using UnknownName = NamedServer;

TEST_F(UnknownName, OnceKnownUsesTheLastGoodAddress) {
  Lock lock{uri("retry_for=0"), name, leased_for(60s)};
  lock.lock();
  names().set(host, {});
  kill_connections();
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
}

/// A signal handler that does nothing, called every two milliseconds in the thread of the test.
class Alarms {
 public:
  Alarms() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    ::sigaction(SIGALRM, &action, &before_);
    set(2000);
  }
  ~Alarms() {
    set(0);
    ::sigaction(SIGALRM, &before_, nullptr);
  }
  Alarms(const Alarms&) = delete;
  Alarms& operator=(const Alarms&) = delete;

 private:
  static void set(suseconds_t interval) {
    const itimerval timer{{0, interval}, {0, interval}};
    ::setitimer(ITIMER_REAL, &timer, nullptr);
  }

  struct sigaction before_ {};
};

TEST(SignalsWhileConnecting, DoNotEndTheAttempt) {
  RedisServer server{Transport::tcp, {"--tcp-backlog", "1"}};
  server.pause();
  std::vector<Socket> fillers;
  auto endpoint = server.endpoint();
  // They fill the queue of the server: those who come later get no answer before it works again.
  detail::SocketAddress address;
  const auto length = detail::fill(address, endpoint);
  for (int i = 0; i < 8; ++i) {
    fillers.push_back(detail::open_socket(endpoint));
    ::fcntl(fillers.back().get(), F_SETFL, O_NONBLOCK);
    ::connect(fillers.back().get(), &address.any, length);
  }
  sigset_t alarm, before;
  ::sigemptyset(&alarm);
  ::sigaddset(&alarm, SIGALRM);
  ::pthread_sigmask(SIG_BLOCK, &alarm, &before);
  std::thread mender{[&] {
    std::this_thread::sleep_for(300ms);
    fillers.clear();
    server.resume();
  }};
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  Lock lock{server.uri("connect_timeout=15s&command_timeout=15s&retry_for=0"), "name",
            leased_for(60s)};
  {
    const Alarms alarms;
    EXPECT_EQ(error_of([&] { return lock.try_lock(); }), std::error_code{});
  }
  EXPECT_TRUE(lock.owns_lock());
  mender.join();
}

TEST(SocketOfTheLibrary, IsClosedByExecFromItsCreationOn) {
  for (const auto transport : {Transport::tcp, Transport::unix_socket}) {
    RedisServer server{transport};
    Lock lock{server.uri(), "name", leased_for(60s)};
    const InheritedSockets inherited;
    const int before = inherited.connects();
    lock.lock();
    EXPECT_GT(inherited.connects(), before);
    EXPECT_EQ(inherited.count(), 0);
    lock.unlock();
  }
}

/// Says its words to each client that connects, and hangs up.
class PartingServer {
 public:
  explicit PartingServer(std::string words) : words_(std::move(words)) {
    endpoint_.port = 0;
    listener_ = listen_at(endpoint_);
    thread_ = std::thread{[this] { run(); }};
  }
  ~PartingServer() {
    stopping_ = true;
    (void)connect_to(endpoint_);
    thread_.join();
  }
  PartingServer(const PartingServer&) = delete;
  PartingServer& operator=(const PartingServer&) = delete;

  [[nodiscard]] std::string address() const {
    return endpoint_.host + ':' + std::to_string(endpoint_.port);
  }
  [[nodiscard]] int accepted() const { return accepted_; }

 private:
  void run() {
    while (!stopping_) {
      const Socket socket{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
      ++accepted_;
      const auto line = words_ + "\r\n";
      ::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL);
    }
  }

  std::string words_;
  redis_lock::Endpoint endpoint_;
  Socket listener_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> accepted_{0};
  std::thread thread_;
};

struct LastWords {
  std::string words;
  errc code;
  bool is_final;
};
void PrintTo(const LastWords& last, std::ostream* stream) { *stream << last.words; }

class LastWordsOfAServer : public ::testing::TestWithParam<LastWords> {};

TEST_P(LastWordsOfAServer, AreReportedAndAtOnceIfFinal) {
  const auto& [words, code, is_final] = GetParam();
  for (const std::string user : {"", ":password@"}) {
    PartingServer server{'-' + words};
    const auto uri = "redis://" + user + server.address();
    Lock lock{uri + (is_final ? "?retry_for=60s" : "?retry_for=200"), "name", leased_for(60s)};
    try {
      (void)lock.try_lock();
      FAIL() << "locked";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(words));
    }
    // The second makes sure that nothing was acquired.
    EXPECT_TRUE(!is_final || server.accepted() <= 2) << server.accepted();
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, LastWordsOfAServer,
    ::testing::Values(
        LastWords{"DENIED Redis is running in protected mode because protected mode is enabled",
                  errc::server_error, true},
        LastWords{"NOAUTH Authentication required.", errc::authentication_failed, true},
        LastWords{"ERR Protocol error: invalid multibulk length", errc::server_error, true},
        LastWords{"ERR Protocol error: unauthenticated bulk length", errc::authentication_failed,
                  true},
        LastWords{"ERR max number of clients reached", errc::server_error, false}),
    [](const auto& parameter) { return "Case" + std::to_string(parameter.index); });

TEST(MessageOfAFailure, NamesTheServer) {
  const auto port = std::to_string(free_port());
  const auto told = [](const std::string& uri) {
    Lock lock{uri, "name"};
    return message_of<Error>([&] { return lock.try_lock(); });
  };
  EXPECT_THAT(told("redis://:secret@127.0.0.1:" + port + "?retry_for=0"),
              HasSubstr("server 127.0.0.1:" + port + ": Connection refused"));
  EXPECT_THAT(told("redis://:secret@127.0.0.1:" + port + "?retry_for=0"),
              ::testing::Not(HasSubstr("secret")));
  EXPECT_THAT(told("redis://[::1]:" + port + "?retry_for=0"),
              HasSubstr("server [::1]:" + port + ": "));
  EXPECT_THAT(told("unix:///nowhere/socket?retry_for=0"), HasSubstr("server /nowhere/socket: "));
}

TEST(MessageOfAFailure, NamesTheServerThatStoppedAnswering) {
  RedisServer server;
  Lock lock{server.uri("command_timeout=100&retry_for=0"), "name", leased_for(60s)};
  lock.lock();
  server.pause();
  const auto complaint = "server " + server.endpoint().unix_socket + ": ";
  EXPECT_THAT(message_of<Error>([&] {
                lock.extend();
                return 0;
              }),
              HasSubstr(complaint));
  server.resume();
}

}  // namespace
}  // namespace redis_lock_test
