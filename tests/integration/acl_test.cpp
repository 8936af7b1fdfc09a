#include "integration.hpp"

#include <fstream>
#include <future>
#include <iterator>
#include <sstream>
#include <vector>

#include "support/least_rights.hpp"

// Run with REDIS_LOCK_TEST_ACL, all other tests here show that these rights suffice: see CMakeLists.txt.

namespace redis_lock_test {
namespace {

using redis_lock::Endpoint;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class Rights : public ::testing::Test {
 protected:
  /// A user of these rights.
  Endpoint user_with(const std::string& rights) {
    auto words = words_of(rights);
    words.insert(words.begin(), {"ACL", "SETUSER", "somebody"});
    const auto reply = redis.send(words);
    EXPECT_FALSE(reply.is_error()) << reply.text;
    auto endpoint = server.endpoint();
    endpoint.username = "somebody";
    endpoint.password = least_password;
    return endpoint;
  }

  /// Whatever there is of right words in `all` but the one.
  static std::string without(const std::string& right, const std::string& all) {
    std::string others;
    std::istringstream words{all};
    for (std::string word; words >> word;) {
      if (word != right) others += word + ' ';
    }
    EXPECT_LT(others.size(), all.size()) << "there is no right " << right;
    return others;
  }

  /// The first error that `use` meets, as a user of these rights, on a server that knows no script yet.
  template <class Use>
  std::string first_error(const std::string& rights, const Use& use) {
    redis.command("FLUSHALL");
    redis.command("SCRIPT", "FLUSH");
    std::string words;
    Options options;
    options.expire = 60s;
    options.on_error = [&](const Error& error) {
      EXPECT_EQ(error.code(), errc::server_error);
      if (words.empty()) words = error.what();
    };
    try {
      use(Client{user_with(rights)}, options);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), errc::server_error);
      if (words.empty()) words = error.what();
    }
    return words;
  }

  /// These rights suffice for that use, and none of them can be spared.
  template <class Use>
  void expect_least(const std::string& rights, const std::string& others, const Use& use) {
    EXPECT_EQ(first_error(others + ' ' + rights, use), "");
    std::istringstream words{rights};
    for (std::string right; words >> right;) {
      const auto error = first_error(others + ' ' + without(right, rights), use);
      EXPECT_THAT(error, AnyOf(HasSubstr("NOPERM"), HasSubstr("ermission"), HasSubstr("can't run")))
          << "without " << right;
    }
  }

  /// All that a lock does.
  static void use_locks(const Client& client, const Options& options) {
    Lock lock{client, "x", options};
    Lock other{client, "x", options};
    lock.lock();
    if (other.try_lock_for(20ms)) ADD_FAILURE() << "held twice";
    lock.extend();
    EXPECT_TRUE(lock.locked());
    lock.unlock();
    if (lock.try_lock()) lock.unlock();
    lock.reset();
  }

  const RedisServer server{Transport::tcp};
  Redis redis{server.endpoint()};
};

TEST_F(Rights, AreThoseOfTheDocumentation) {
  std::ifstream file{REDIS_LOCK_DOCS "/deploying.md"};
  const std::string text{std::istreambuf_iterator<char>{file}, {}};
  const auto user = "reset on >password ";
  EXPECT_THAT(text, HasSubstr(user + rights::locks + '\n'));
  EXPECT_THAT(text, HasSubstr(user + rights::operators + '\n'));
  for (const auto& more :
       {rights::shared_locks, rights::semaphores, rights::shared_fencing, rights::shared_operators,
        rights::fencing, rights::replicas, rights::cache, rights::once, rights::reset_all,
        rights::sentinel, rights::cluster, std::string("+select"),
        std::string("+client|setname")}) {
    EXPECT_THAT(text, HasSubstr(" " + more + '\n'));
  }
  EXPECT_EQ(rights::endpoint, "+select +client|setname");
}

TEST_F(Rights, OfALockAreAllNeeded) { expect_least(rights::locks, "", &Rights::use_locks); }

/// All that the readers and the writers of a SharedLock do.
void use_shared_locks(const Client& client, const Options& options) {
  redis_lock::SharedLock lock{client, "x", options}, other{client, "x", options};
  lock.lock_shared();
  if (other.try_lock_for(20ms)) ADD_FAILURE() << "read and written at once";
  lock.unlock_shared();
  if (!other.try_lock_for(1s)) return;  // on_error was told why it is read still
  if (lock.try_lock_shared_for(20ms)) ADD_FAILURE() << "read and written at once";
  other.extend();
  EXPECT_TRUE(other.locked());
  other.unlock();
  if (other.try_lock_shared()) other.unlock_shared();
  if (other.try_lock()) other.unlock();
  lock.reset();
}

TEST_F(Rights, OfASharedLockAreAllNeeded) {
  expect_least(rights::shared_locks, "", use_shared_locks);
}

TEST_F(Rights, OfAFencedSharedLockAreAllNeeded) {
  expect_least(rights::shared_fencing, rights::shared_locks,
               [](const Client& client, Options options) {
                 options.fencing = true;
                 use_shared_locks(client, options);
               });
}

TEST_F(Rights, OfASemaphoreAreAllNeeded) {
  expect_least(rights::semaphores, "", [](const Client& client, const Options& options) {
    redis_lock::Semaphore permit{client, "x", 1, options}, other{client, "x", 1, options};
    permit.acquire();
    if (other.try_acquire_for(20ms)) ADD_FAILURE() << "one permit for two";
    permit.extend();
    EXPECT_EQ(permit.available(), 0U);
    permit.release();
    permit.reset();
    auto defers = options;
    defers.deferred_unlock = true;
    redis_lock::Semaphore deferred{client, "y", 2, defers};
    for (int i = 0; i < 2; ++i) {
      if (deferred.try_acquire()) deferred.release();
    }
  });
}

TEST_F(Rights, OfAnOperatorForReadersAndPermitsAreEnough) {
  const auto list_and_reset = [this](const Client& client, const Options&) {
    redis.command("ZADD", "shared-lock-readers:x", "9e15", "reader");
    redis.command("SET", "shared-lock:x", "writer");
    redis.command("ZADD", "semaphore:x", "9e15", "holder");
    EXPECT_EQ(redis_lock::held_locks(client).size(), 3U);
    EXPECT_EQ(redis_lock::holders(client, "x", redis_lock::LockKind::permit).size(), 1U);
    EXPECT_EQ(redis_lock::reset_all(client), 2U);
  };
  EXPECT_EQ(first_error(rights::operators + ' ' + rights::shared_operators, list_and_reset), "");
}

TEST_F(Rights, OfDeferredSharedReleasesAreEnough) {
  const auto all = rights::shared_locks + ' ' + rights::semaphores + ' ' + rights::shared_fencing;
  EXPECT_EQ(first_error(all,
                        [](const Client& client, Options options) {
                          options.deferred_unlock = true;
                          for (int i = 0; i < 3; ++i) {
                            use_shared_locks(client, options);
                            redis_lock::Semaphore permit{client, "x", 1, options};
                            permit.acquire();
                            permit.release();
                            permit.acquire();
                          }
                        }),
            "");
}

TEST_F(Rights, OfFencingAreAllNeeded) {
  expect_least(rights::fencing, rights::locks, [](const Client& client, Options options) {
    options.fencing = true;
    use_locks(client, options);
  });
}

TEST_F(Rights, OfReplicasAreAllNeeded) {
  const auto lock_with = [this](const std::string& rights) {
    auto options = leased_for(60s);
    options.replicas = {1, 1ms};  // there is none
    Lock lock{user_with(rights), "x", options};
    return message_of<Error>([&] { return lock.try_lock(); });
  };
  EXPECT_THAT(lock_with(rights::locks + ' ' + rights::replicas), HasSubstr("0 of 1 replicas"));
  EXPECT_THAT(lock_with(rights::locks), AllOf(HasSubstr("NOPERM"), HasSubstr("'wait'")));
  EXPECT_FALSE(redis.exists("lock:x"));
  EXPECT_EQ(rights::replicas, "+wait");
}

TEST_F(Rights, OfACacheAreAllNeeded) {
  expect_least(rights::cache, rights::locks, [](const Client& client, const Options& options) {
    redis_lock::Cache cache{client};
    EXPECT_EQ(cache.get_or_create(
                  "x", 60s, [] { return "value"; }, options),
              "value");
    EXPECT_TRUE(cache.erase("x"));
  });
}

TEST_F(Rights, OfCallOnceAreAllNeeded) {
  expect_least(rights::once, rights::locks, [this](const Client& client, const Options& options) {
    redis.command("DEL", "once:x");
    EXPECT_TRUE(redis_lock::call_once(
        client, "x", 60s, [] {}, options));
  });
}

TEST_F(Rights, OfResetAllAreAllNeeded) {
  expect_least(rights::reset_all, rights::locks, [this](const Client& client, const Options&) {
    redis.command("SET", "lock:x", "somebody");
    EXPECT_EQ(redis_lock::reset_all(client), 1U);
  });
}

TEST_F(Rights, OfAnOperatorAreAllNeeded) {
  expect_least(rights::operators, "", [this](const Client& client, const Options& options) {
    for (const auto* name : {"x", "y"}) redis.command("SET", std::string("lock:") + name, "holder");
    EXPECT_EQ(redis_lock::held_locks(client).size(), 2U);
    EXPECT_TRUE(redis_lock::held_lock(client, "x"));
    EXPECT_TRUE(Lock(client, "x", options).reset("holder"));
    EXPECT_EQ(redis_lock::reset_all(client), 1U);
  });
}

TEST_F(Rights, OfAnEndpointAreAllNeeded) {
  expect_least(rights::endpoint, rights::locks, [this](const Client&, const Options& options) {
    auto endpoint = server.endpoint();
    endpoint.username = "somebody";
    endpoint.password = least_password;
    endpoint.database = 1;
    endpoint.client_name = "billing";
    Lock lock{endpoint, "x", options};
    EXPECT_TRUE(lock.try_lock());
  });
}

TEST_F(Rights, OfAMasterBehindSentinelAreAllNeeded) {
  const auto port = std::to_string(server.endpoint().port);
  const FakeServer sentinel{FakeServer::each_command([&](const auto&) {
    return "*2\r\n$9\r\n127.0.0.1\r\n$" + std::to_string(port.size()) + "\r\n" + port + "\r\n";
  })};
  expect_least(rights::sentinel, rights::locks, [&](const Client&, const Options& options) {
    auto endpoint = server.endpoint();
    endpoint.username = "somebody";
    endpoint.password = least_password;
    endpoint.sentinel = {{{"127.0.0.1", sentinel.endpoint().port}}, "m", "", ""};
    use_locks(endpoint, options);
  });
}

TEST_F(Rights, OfAClusterAreNeededToFindServers) {
  const RedisServer member{Transport::tcp, {"--cluster-enabled", "yes"}};
  Redis own{member.endpoint()};
  own.string("CLUSTER", "ADDSLOTSRANGE", 0, 16383);
  auto endpoint = member.endpoint();
  endpoint.username = "somebody";
  endpoint.password = least_password;
  endpoint.cluster = {{endpoint.host, endpoint.port}};
  const auto use_as = [&](const std::string& rights) {
    auto words = words_of(rights);
    words.insert(words.begin(), {"ACL", "SETUSER", "somebody"});
    own.send(words);
    Options options;
    options.on_error = [](const Error& error) { ADD_FAILURE() << error.what(); };
    return message_of<Error>([&] { return use_locks(endpoint, options), true; });
  };
  EXPECT_EQ(use_as(rights::locks + ' ' + rights::cluster), "");
  EXPECT_THAT(use_as(rights::locks), HasSubstr("NOPERM"));
}

TEST_F(Rights, OfGuardedWritesAreThoseOfTheirScripts) {
  const auto write = [](const Client& client, const Options& options) {
    Lock lock{client, "x", options};
    lock.lock();
    lock.guarded_set("balance", "1");
  };
  EXPECT_EQ(first_error(rights::locks + " ~balance", write), "");
  EXPECT_THAT(first_error(rights::locks, write), HasSubstr("NOPERM"));
}

/// What is not allowed is told in the server's words.
class MissingRight : public Rights {
 protected:
  void expect_refusal(const std::string& right, const char* words) {
    EXPECT_THAT(first_error(without(right, rights::locks), &Rights::use_locks),
                AllOf(HasSubstr(words), HasSubstr("\"x\"")));
  }
};

TEST_F(MissingRight, ToSet) { expect_refusal("+set", "NOPERM"); }
TEST_F(MissingRight, ToBlpop) { expect_refusal("+blpop", "NOPERM"); }
TEST_F(MissingRight, ToPttl) { expect_refusal("+pttl", "NOPERM"); }
TEST_F(MissingRight, ToEvalsha) { expect_refusal("+evalsha", "NOPERM"); }

TEST_F(MissingRight, ToSetNamesTheCommand) {
  Lock lock{user_with(without("+set", rights::locks)), "x"};
  EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }),
              AllOf(HasSubstr("try_lock"), HasSubstr("NOPERM"), HasSubstr("'set'")));
}

TEST_F(MissingRight, ToAKeyOutsideThePattern) {
  const auto endpoint = user_with(without("~lock:*", rights::locks) + "~lock:billing-*");
  Lock allowed{endpoint, "billing-7"};
  EXPECT_TRUE(allowed.try_lock());
  allowed.unlock();
  Lock lock{endpoint, "payroll-7"};
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::server_error);
  EXPECT_THAT(message_of<Error>([&] { lock.lock(); }), HasSubstr("NOPERM"));
  EXPECT_THAT(message_of<Error>([&] { return lock.owner(); }), HasSubstr("NOPERM"));
  EXPECT_FALSE(redis.exists("lock:payroll-7"));
}

TEST_F(MissingRight, ToAskForTheLeaseLeavesNoLock) {
  Lock lock{user_with(without("+pttl", rights::locks)), "x"};
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::server_error);
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_FALSE(redis.exists("lock:x")) << "what SET acquired is given back";
}

TEST_F(MissingRight, ToReleaseIsReportedAndTheLockExpires) {
  auto options = leased_for(300ms);
  std::error_code code;
  options.on_error = [&](const Error& error) { code = error.code(); };
  Lock lock{user_with(without("+evalsha", rights::locks)), "x", options};
  lock.lock();
  lock.unlock();
  EXPECT_EQ(code, errc::server_error);
  EXPECT_TRUE(eventually([&] { return !redis.exists("lock:x"); }));
}

}  // namespace
}  // namespace redis_lock_test
