#include "over_tls.hpp"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <future>
#include <thread>

#include <hiredis/hiredis_ssl.h>

namespace redis_lock_test {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

std::chrono::milliseconds time_of(const std::function<void()>& function) {
  const Stopwatch watch;
  function();
  return watch.elapsed();
}

using TlsCluster = OverTls;

TEST_F(TlsCluster, IsReachedAndAskedOverTls) {
  auto arguments = shows(own, authority);
  arguments.insert(arguments.end(), {"--cluster-enabled", "yes", "--tls-cluster", "yes"});
  const RedisServer alone{Transport::tls, arguments};
  Redis redis_of_cluster{alone.without_tls()};
  ASSERT_EQ(redis_of_cluster.string("CLUSTER", "ADDSLOTSRANGE", 0, 16383), "OK");
  auto endpoint = endpoint_of(alone);
  endpoint.cluster = {{endpoint.host, endpoint.port}};
  endpoint.host = "nowhere.invalid";
  expect_to_work(endpoint);
  endpoint.tls->ca_file.clear();
  EXPECT_THAT(refusal(endpoint), HasSubstr("certificate"));
}

/// What answers is not what was asked for.
class TlsMismatch : public OverTls {
 protected:
  Endpoint over_tls_to(Endpoint endpoint) const {
    endpoint.tls.emplace().ca_file = authority.ca_file();
    endpoint.connect_timeout = 300ms;
    endpoint.retry_for = std::chrono::minutes{10};
    return endpoint;
  }
};

/// Reads and writes without waiting go another way over TLS.
TEST_F(OverTls, AQuorumLockToleratesAFrozenServer) {
  RedisServer second{Transport::tls, shows(own, authority)},
      third{Transport::tls, shows(own, authority)};
  auto frozen = endpoint_of(second);
  frozen.command_timeout = 300ms;
  redis_lock::QuorumLock lock{{endpoint(), frozen, endpoint_of(third)}, "quorum"};
  for (const bool freezes : {false, true}) {
    if (freezes) second.pause();
    for (int i = 0; i < 50; ++i) {
      lock.lock();
      ASSERT_EQ(lock.owner(), lock.id());
      lock.extend();
      std::error_code error;
      lock.unlock(error);
      ASSERT_FALSE(error) << error.message();
    }
  }
  redis_lock::QuorumLock waiter{{endpoint(), frozen, endpoint_of(third)}, "quorum"};
  lock.lock();
  auto waiting = std::async(std::launch::async, [&] { waiter.lock(); });
  ASSERT_TRUE(eventually([&] { return redis.info("blocked_clients") == 1; }));
  lock.unlock();
  waiting.get();
  EXPECT_TRUE(waiter.owns_lock());
  second.resume();
}

TEST_F(TlsMismatch, APlainServerIsNoHang) {
  const RedisServer plain{Transport::tcp};
  Lock lock{over_tls_to(plain.endpoint()), "x"};
  EXPECT_LT(time_of([&] {
              EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }),
                          HasSubstr("does the server speak TLS on this port?"));
            }),
            soon);
}

TEST_F(TlsMismatch, ASilentServerTimesOut) {
  const FakeServer silent{FakeServer::silence()};
  Lock lock{over_tls_to(silent.endpoint()), "x"};
  const auto time =
      time_of([&] { EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::timed_out); });
  EXPECT_GE(time, 300ms);
  EXPECT_LT(time, soon);
}

TEST_F(TlsMismatch, AServerSendingSingleBytesTimesOut) {
  Endpoint at;
  at.port = 0;
  const auto listener = listen_at(at);
  std::atomic<bool> done{false};
  std::thread dribbling{[&] {
    const Socket connection{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
    std::string bytes{"\x16\x03\x03\x3f\xff"};  // the header of a long message
    while (!done) {
      static_cast<void>(::send(connection.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
      bytes = "x";
      std::this_thread::sleep_for(20ms);
    }
  }};
  Lock lock{over_tls_to(at), "x"};
  const auto time =
      time_of([&] { EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::timed_out); });
  done = true;
  dribbling.join();
  EXPECT_GE(time, 300ms);
  EXPECT_LT(time, soon);
}

TEST_F(TlsMismatch, AnythingElseIsToldAtOnce) {
  for (const auto* noise : {"HTTP/1.1 400 Bad Request\r\n\r\n", "-ERR what?\r\n", "\x15\x03\x01"}) {
    const FakeServer other{FakeServer::always(noise)};
    Lock lock{over_tls_to(other.endpoint()), "x"};
    EXPECT_LT(time_of([&] {
                EXPECT_THAT(error_of([&] { return lock.try_lock(); }),
                            AnyOf(errc::connection_failed, errc::timed_out));
              }),
              soon);
  }
}

TEST_F(TlsMismatch, AServerThatHangsUpIsTriedAgain) {
  const FakeServer closing{[](std::string&) { return std::optional<std::string>{}; }};
  auto asked = over_tls_to(closing.endpoint());
  asked.retry_for = 200ms;
  Lock lock{asked, "x"};
  EXPECT_THAT(error_of([&] { return lock.try_lock(); }),
              AnyOf(errc::connection_failed, errc::timed_out))
      << "timed_out if the last attempt had no time left";
  EXPECT_GT(closing.accepted(), 1);
}

TEST_F(TlsMismatch, APlainClientOfATlsPortFails) {
  auto plain = server.endpoint();
  plain.tls.reset();
  plain.retry_for = 100ms;
  Lock lock{plain, "x"};
  EXPECT_LT(time_of([&] {
              EXPECT_THAT(error_of([&] { return lock.try_lock(); }),
                          AnyOf(errc::connection_failed, errc::protocol_error));
            }),
            soon);
}

/// What a lock does, over TLS.
class TlsLock : public OverTls {
 protected:
  const Client client{endpoint()};
};

TEST_F(TlsLock, KeepsItsConnection) {
  const auto before = redis.info("total_connections_received");
  Lock lock{client, "x", leased_for(60s)};
  for (int i = 0; i < 5; ++i) {
    lock.lock();
    lock.unlock();
  }
  std::this_thread::sleep_for(1100ms);  // from then on the client looks at it before it is used
  EXPECT_FALSE(lock.locked());
  EXPECT_EQ(redis.info("total_connections_received"), before + 1);
}

TEST_F(TlsLock, KeepsAConnectionAfterOneAnswer) {
  const auto before = redis.info("total_connections_received");
  Lock lock{client, "x"};
  EXPECT_FALSE(lock.locked());
  std::this_thread::sleep_for(1100ms);
  EXPECT_FALSE(lock.locked());
  EXPECT_EQ(redis.info("total_connections_received"), before + 1);
}

TEST_F(TlsLock, IsHandedOverToAWaiter) {
  auto impatient = endpoint();
  impatient.command_timeout = 200ms;  // a wait is no lost answer
  Lock holder{client, "x"};
  Lock waiter{impatient, "x"};
  holder.lock();
  auto waiting = std::async(std::launch::async, [&] { return waiter.try_lock_for(60s); });
  EXPECT_TRUE(eventually([&] { return redis.info("blocked_clients") == 1; }));
  EXPECT_EQ(waiting.wait_for(700ms), std::future_status::timeout);
  holder.unlock();
  EXPECT_TRUE(waiting.get());
  EXPECT_EQ(redis.string("GET", "lock:x"), waiter.id());
}

TEST_F(TlsLock, KeepsTheDeadlineOfAWaiter) {
  redis.command("SET", "lock:x", "somebody");
  Lock lock{client, "x"};
  const auto time = time_of([&] { EXPECT_FALSE(lock.try_lock_for(300ms)); });
  EXPECT_GE(time, 300ms);
  EXPECT_LT(time, soon);
  EXPECT_LT(median_lateness(lock), hardly_late);
}

TEST_F(TlsLock, IsRenewed) {
  Options options;
  options.expire = 600ms;
  Lock lock{client, "x", options};
  lock.lock();
  const auto id = lock.id();
  std::this_thread::sleep_for(1500ms);
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(redis.string("GET", "lock:x"), id);
}

TEST_F(TlsLock, IsRenewedAfterItsConnectionsWereCut) {
  Options options;
  options.expire = 1500ms;
  Lock lock{client, "x", options};
  lock.lock();
  const auto first = lock.expires_at();
  EXPECT_TRUE(eventually([&] { return lock.expires_at() > first; }));
  redis.integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  const auto cut = lock.expires_at();
  EXPECT_TRUE(eventually([&] { return lock.expires_at() > cut; }));
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(TlsLock, IsReleasedLaterIfItMayBe) {
  Options options;
  options.deferred_unlock = true;
  options.on_error = [](const Error& error) { ADD_FAILURE() << error.what(); };
  const auto before = redis.info("total_connections_received");
  Lock lock{client, "x", options};
  for (int i = 0; i < 100; ++i) {
    lock.lock();
    lock.unlock();
  }
  EXPECT_TRUE(eventually([&] { return !redis.exists("lock:x"); }));
  EXPECT_LE(redis.info("total_connections_received"), before + 2) << "and that of renewals";
}

TEST_F(TlsLock, GuardsTheFirstWriteOnANewConnection) {
  Lock lock{client, "x", leased_for(60s)};
  lock.lock();
  for (int i = 0; i < 30; ++i) {
    // What comes unasked on a new connection (session tickets) does not make it look closed.
    redis.integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    lock.guarded_set("data", std::to_string(i));
    EXPECT_EQ(redis.string("GET", "data"), std::to_string(i));
  }
}

TEST_F(TlsLock, SendsAndReadsMuchAtOnce) {
  std::string big(3'000'001, 'x');
  for (std::size_t i = 0; i < big.size(); i += 7) big[i] = static_cast<char>(i);
  Lock lock{client, "x", leased_for(60s)};
  lock.lock();
  for (const auto size : {std::size_t{16383}, std::size_t{16384}, std::size_t{16385}, big.size()}) {
    const auto part = big.substr(0, size);
    lock.guarded_set("data", part);
    EXPECT_TRUE(lock.guarded_eval("return redis.call('GET', KEYS[1])", {"data"}).text == part);
  }
}

TEST_F(TlsLock, IsSharedByThreads) {
  int count = 0;
  Lock lock{client, "x"};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      Lock another{client, "x"};
      for (int turn = 0; turn < 10; ++turn) {
        const std::lock_guard guard{i < 2 ? lock : another};
        ++count;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(count, 40);
}

TEST_F(TlsLock, InAForkedChildSparesTheParentsConnection) {
  Lock lock{client, "x"};
  lock.lock();
  Child child{[&] {
    Lock other{client, "x"};
    if (lock.owns_lock() || other.try_lock()) return 1;
    Lock inherited{client, "y"};
    inherited.lock();
    return inherited.owner() == inherited.id() ? 0 : 2;
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_EQ(lock.owner(), lock.id());
  lock.unlock();
  EXPECT_FALSE(redis.exists("lock:x"));
}

TEST_F(TlsLock, OfAStaticClientIsReleasedAtExit) {
  // A program of its own: OpenSSL has been used in this one already.
  const auto command = std::string(REDIS_LOCK_STATIC_CLIENT) + ' ' + authority.ca_file() + ' ' +
                       std::to_string(server.endpoint().port);
  auto* const program = ::popen(command.c_str(), "w");
  EXPECT_TRUE(eventually([&] { return redis.exists("lock:static"); }));
  redis.integer("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  EXPECT_EQ(::pclose(program), 0);
  EXPECT_FALSE(redis.exists("lock:static")) << "released, over a new connection";
  EXPECT_TRUE(redis.exists("lock-signal:static"));
}

#ifdef __cpp_lib_jthread
TEST_F(TlsLock, StopsWaitingWhenAskedTo) {
  redis.command("SET", "lock:x", "somebody");
  Lock lock{client, "x"};
  std::stop_source source;
  auto waiting = std::async(std::launch::async, [&] { return lock.lock(source.get_token()); });
  EXPECT_TRUE(eventually([&] { return redis.info("blocked_clients") == 1; }));
  source.request_stop();
  EXPECT_FALSE(waiting.get());
  redis.command("DEL", "lock:x");
  EXPECT_TRUE(lock.try_lock());
}
#endif

using TlsServerGone = TlsLock;

TEST_F(TlsServerGone, IsNoSignalAndNoHang) {
  Child child{[&] {
    std::signal(SIGPIPE, SIG_DFL);
    auto asked = endpoint();
    asked.retry_for = 200ms;
    const Client asker{asked};
    Lock lock{asker, "x", leased_for(60s)};
    lock.lock();
    server.kill();
    for (int i = 0; i < 3; ++i) {
      if (error_of([&] { return lock.locked(); }) != errc::connection_failed) return 1;
    }
    std::error_code error;
    lock.unlock(error);
    return error == errc::connection_failed ? 0 : 2;
  }};
  const auto exit = child.wait().value_or(Exit{});
  EXPECT_EQ(exit.signal, 0);
  EXPECT_EQ(exit.code, 0);
}

TEST_F(TlsServerGone, ForAWhileDoesNotEndAWait) {
  auto asked = endpoint();
  asked.retry_for = 60s;
  redis.command("SET", "lock:x", "somebody");
  Lock lock{asked, "x"};
  auto waiting = std::async(std::launch::async, [&] {
    lock.lock();
    return lock.owns_lock();
  });
  EXPECT_TRUE(eventually([&] { return redis.info("blocked_clients") == 1; }));
  server.restart();
  EXPECT_TRUE(waiting.get());
}

TEST_F(TlsServerGone, FrozenIsTimedOut) {
  auto asked = endpoint();
  asked.command_timeout = asked.connect_timeout = 300ms;
  Lock connected{asked, "x", leased_for(60s)}, fresh{asked, "y", leased_for(60s)};
  connected.lock();
  server.pause();
  const auto time = time_of([&] {
    EXPECT_EQ(error_of([&] { return connected.locked(); }), errc::timed_out);
    EXPECT_EQ(error_of([&] { return fresh.try_lock(); }), errc::timed_out);
  });
  server.resume();
  EXPECT_GE(time, 600ms);
  EXPECT_LT(time, soon);
  connected.unlock();
  EXPECT_FALSE(connected.owns_lock());
}

TEST_F(TlsServerGone, FrozenIsTimedOutWhileItShouldRead) {
  auto asked = endpoint();
  asked.command_timeout = asked.connect_timeout = 300ms;
  Lock lock{asked, "x", leased_for(60s)};
  lock.lock();
  server.pause();
  const std::string more_than_the_sockets_hold(30'000'000, 'x');
  const auto time = time_of([&] {
    EXPECT_EQ(error_of([&] { lock.guarded_set("data", more_than_the_sockets_hold); }),
              errc::timed_out);
  });
  server.resume();
  EXPECT_GE(time, 300ms);
  EXPECT_LT(time, soon);
}

/// A connection of somebody else's that speaks TLS, over hiredis_ssl alone.
class TlsBorrowed : public OverTls {
 protected:
  void SetUp() override {
    redisInitOpenSSL();
    settings.reset(redisCreateSSLContext(authority.ca_file().c_str(), nullptr, nullptr, nullptr,
                                         "localhost", nullptr));
    ASSERT_NE(settings, nullptr);
    const timeval timeout{20, 0};
    context.reset(redisConnectWithTimeout("127.0.0.1", server.endpoint().port, timeout));
    ASSERT_EQ(context->err, 0) << context->errstr;
    redisSetTimeout(context.get(), timeout);
    ASSERT_EQ(redisInitiateSSLWithContext(context.get(), settings.get()), REDIS_OK);
  }

  /// Whether its owner gets its own answer.
  bool answers() const {
    const std::unique_ptr<void, decltype(&freeReplyObject)> reply{
        redisCommand(context.get(), "ECHO %s", "mine"), freeReplyObject};
    return reply && static_cast<redisReply*>(reply.get())->str == std::string("mine");
  }

  std::unique_ptr<redisSSLContext, decltype(&redisFreeSSLContext)> settings{nullptr,
                                                                            redisFreeSSLContext};
  Context context{nullptr, redisFree};
};

TEST_F(TlsBorrowed, LocksWaitsAndUnlocks) {
  Lock lock{context.get(), "x"};
  lock.lock();
  EXPECT_EQ(lock.owner(), lock.id());
  lock.unlock();
  redis.command("SET", "lock:x", "somebody");
  EXPECT_FALSE(lock.try_lock_for(300ms));
  EXPECT_TRUE(answers());
  EXPECT_NE(context->flags & REDIS_BLOCK, 0);
}

TEST_F(TlsBorrowed, IsUselessAfterALostAnswer) {
  redisSetTimeout(context.get(), timeval{0, 300'000});
  Lock lock{context.get(), "x"};
  lock.lock();
  server.pause();
  EXPECT_EQ(error_of([&] { return lock.locked(); }), errc::timed_out);
  server.resume();
  EXPECT_FALSE(answers());
  ::ERR_clear_error();  // what hiredis left behind there
}

TEST_F(TlsBorrowed, OfALostServerRaisesNoSignal) {
  Child child{[&] {
    std::signal(SIGPIPE, SIG_DFL);
    Lock lock{context.get(), "x"};
    lock.lock();
    server.kill();
    for (int i = 0; i < 3; ++i) {
      if (error_of([&] { return lock.locked(); }) != errc::connection_failed) return 1;
    }
    return 0;
  }};
  const auto exit = child.wait().value_or(Exit{});
  EXPECT_EQ(exit.signal, 0);
  EXPECT_EQ(exit.code, 0);
}

}  // namespace
}  // namespace redis_lock_test
