// What SharedLock and Semaphore refuse: arguments, keys of other types, servers that are too old, garbage.

#include <future>
#include <limits>
#include <stdexcept>

#include "family.hpp"

namespace redis_lock_test {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

/// Returns what std::invalid_argument says if these options are refused.
std::string refusal_to_share(const Options& options, const std::string& name = "x") {
  return message_of<std::invalid_argument>([&] { return SharedLock(Client{}, name, options), 0; });
}
std::string refusal_of_permits(std::size_t permits, const Options& options = {},
                               const std::string& name = "x") {
  return message_of<std::invalid_argument>(
      [&] { return Semaphore(Client{}, name, permits, options), 0; });
}

TEST(SharedArguments, WithoutANameAreRefused) {
  EXPECT_THAT(refusal_to_share({}, ""), HasSubstr("name"));
  EXPECT_THAT(refusal_of_permits(1, {}, ""), HasSubstr("name"));
}

TEST(SharedArguments, WithNumbersOutOfRangeAreRefused) {
  EXPECT_THAT(refusal_of_permits(0), HasSubstr("permits"));
  EXPECT_THAT(refusal_of_permits((std::size_t{1} << 31U) + 1), HasSubstr("permits"));
  EXPECT_THAT(refusal_of_permits(std::numeric_limits<std::size_t>::max()), HasSubstr("permits"));
  EXPECT_EQ(refusal_of_permits(1), "");
  EXPECT_EQ(refusal_of_permits(std::size_t{1} << 31U), "");
}

TEST(SharedArguments, WithoutAnExpiryAreRefused) {
  const auto endless = leased_for(redis_lock::no_expiry);
  EXPECT_THAT(refusal_to_share(endless), HasSubstr("expire"));
  EXPECT_THAT(refusal_of_permits(1, endless), HasSubstr("expire"));
  for (const auto expire : {0ms, -1ms}) {
    EXPECT_THAT(refusal_to_share(leased_for(expire)), HasSubstr("expire"));
    EXPECT_THAT(refusal_of_permits(1, leased_for(expire)), HasSubstr("expire"));
  }
}

TEST(SharedArguments, WithAFixedIdAreRefused) {
  Options options;
  options.id = "mine";
  EXPECT_THAT(refusal_to_share(options), HasSubstr("id"));
  EXPECT_THAT(refusal_of_permits(1, options), HasSubstr("id"));
}

TEST(SharedArguments, WithPrefixesAreRefused) {
  for (const auto prefix :
       {&Options::key_prefix, &Options::signal_prefix, &Options::fence_prefix}) {
    Options options;
    options.*prefix = "other:";
    EXPECT_THAT(refusal_to_share(options), HasSubstr("prefix"));
    EXPECT_THAT(refusal_of_permits(1, options), HasSubstr("prefix"));
  }
}

TEST(SharedArguments, OfPermitsWithFencingAreRefused) {
  Options options;
  options.fencing = true;
  EXPECT_THAT(refusal_of_permits(1, options), HasSubstr("fencing"));
  EXPECT_EQ(refusal_to_share(options), "");
}

TEST(SharedArguments, ThatContradictEachOtherAreRefused) {
  Options options;
  options.fencing = true;
  options.local_handoffs = 1;
  EXPECT_THAT(refusal_to_share(options), HasSubstr("local_handoffs"));
  options.fencing = false;
  options.min_hold = 1s;
  EXPECT_THAT(refusal_to_share(options), HasSubstr("min_hold"));
  EXPECT_THAT(refusal_of_permits(1, options), HasSubstr("min_hold"));
}

TEST(SharedArguments, OnAClusterNeedOneSlot) {
  const Client cluster{"redis+cluster://127.0.0.1:1"};
  const auto refusal = [&](const std::string& name) {
    return std::pair{
        message_of<std::invalid_argument>([&] { return SharedLock(cluster, name), 0; }),
        message_of<std::invalid_argument>([&] { return Semaphore(cluster, name, 1), 0; })};
  };
  for (const auto* name : {"}", "}x", "}{a}"}) {
    const auto [shared, permits] = refusal(name);
    if (std::string(name) == "}{a}") {
      EXPECT_EQ(shared + permits, "") << "it has a tag of its own";
    } else {
      EXPECT_THAT(shared, HasSubstr("'}'")) << name;
      EXPECT_THAT(permits, HasSubstr("'}'")) << name;
    }
  }
  for (const auto* name : {"x", "{a}b", "a{b}", "{x", "x}"}) {
    const auto [shared, permits] = refusal(name);
    EXPECT_EQ(shared + permits, "") << name;
  }
}

TEST(SharedOnAOneServerCluster, KeysAreInOneSlot) {
  const RedisServer server{Transport::tcp, {"--cluster-enabled", "yes"}};
  Redis redis{server.endpoint()};
  redis.string("CLUSTER", "ADDSLOTSRANGE", 0, 16383);
  if (as_least_user()) redis.command("ACL", "SETUSER", least_user, "+cluster|slots", "+asking");
  auto endpoint = server.endpoint();
  endpoint.cluster = {{endpoint.host, endpoint.port}};
  ASSERT_TRUE(eventually([&] {
    return redis.string("CLUSTER", "INFO")->find("cluster_state:ok") != std::string::npos;
  }));
  const Client client{endpoint};
  Options options;
  options.fencing = true;
  for (const auto* name : {"x", "{a}b", "a{b}"}) {
    SharedLock lock{client, name, options}, other{client, name, options};
    const bool has_tag = std::string(name) != "x";
    const SharedKeys keys{has_tag ? name : "{x}"};
    lock.lock_shared();
    EXPECT_EQ(redis.integer("ZCARD", keys.readers), 1) << name;
    auto writer = writing_by_thread(other);
    ASSERT_TRUE(eventually([&] { return redis.exists(keys.gate); })) << name;
    lock.unlock_shared();
    EXPECT_TRUE(writer.gets_inside());
    EXPECT_EQ(other.fencing_token(), 1U);
    EXPECT_FALSE(lock.try_lock_shared_for(10ms));
    writer.leave();
    EXPECT_FALSE(lock.reset());

    Semaphore permit{client, name, 1}, next{client, name, 1};
    const PermitKeys permits{has_tag ? name : "{x}"};
    permit.acquire();
    EXPECT_EQ(redis.integer("ZCARD", permits.set), 1) << name;
    EXPECT_FALSE(next.try_acquire_for(10ms));
    permit.release();
    EXPECT_EQ(permit.available(), 1U);
  }
}

// ---------------------------------------------------------------------------------------------------
// Servers that are too old.

/// A server before Redis 5: a script that has asked for the time may not write.
FakeServer::Answer before_redis_5() {
  return FakeServer::each_command([](const Command& command) -> std::optional<std::string> {
    if (command.front() == "EVALSHA") return "-NOSCRIPT No matching script. Please use EVAL.\r\n";
    if (command.front() == "BLPOP") return "*-1\r\n";
    return "-ERR Error running script (call to f_0): @user_script:3: @user_script: 3: Write "
           "commands not allowed after non deterministic commands\r\n";
  });
}

TEST(SharedOnAnOldServer, FirstUseSaysWhatIsNeeded) {
  const FakeServer server{before_redis_5()};
  const Client client{server.uri()};
  SharedLock lock{client, "x"};
  Semaphore semaphore{client, "x", 1};
  const auto expect_told = [](const std::string& message) {
    EXPECT_THAT(message, AllOf(HasSubstr("Redis 5"), HasSubstr("\"x\"")));
  };
  expect_told(message_of<Error>([&] { return lock.try_lock(); }));
  expect_told(message_of<Error>([&] { return lock.lock(), 0; }));
  expect_told(message_of<Error>([&] { return lock.try_lock_shared(); }));
  expect_told(message_of<Error>([&] { return lock.lock_shared(), 0; }));
  expect_told(message_of<Error>([&] { return semaphore.try_acquire_for(1s); }));
  expect_told(message_of<Error>([&] { return semaphore.acquire(), 0; }));
  EXPECT_EQ(error_of([&] { lock.lock_shared(); }), errc::server_error);
  EXPECT_FALSE(lock.owns_lock() || lock.owns_lock_shared() || semaphore.owns_lock());
}

// ---------------------------------------------------------------------------------------------------
// Keys of other types.

class SharedKeyOfAnotherType : public OnFamily {
 protected:
  void make_list(const std::string& at) { ASSERT_EQ(redis.integer("RPUSH", at, "x"), 1); }
  void make_string(const std::string& at) { ASSERT_EQ(redis.string("SET", at, "x"), "OK"); }

  template <class Use>
  void expect_refusal(const char* use, const Use& call) {
    EXPECT_THAT(message_of<Error>(call), HasSubstr("WRONGTYPE")) << use;
    EXPECT_EQ(error_of(call), errc::server_error) << use;
  }

  SharedLock lock{client, name}, other{client, name};
  Semaphore semaphore{client, name, 1};
};

TEST_F(SharedKeyOfAnotherType, AtTheGateIsRefused) {
  make_list(shared.gate);
  expect_refusal("try_lock", [&] { return lock.try_lock(); });
  expect_refusal("lock", [&] { return lock.lock(), 0; });
  expect_refusal("try_lock_shared", [&] { return lock.try_lock_shared(); });
  expect_refusal("timed", [&] { return lock.try_lock_shared_for(100ms); });
  expect_refusal("reset", [&] { return lock.reset(); });
  EXPECT_EQ(redis.integer("LLEN", shared.gate), 1) << "it is left alone";
}

TEST_F(SharedKeyOfAnotherType, AtTheReadersIsRefused) {
  make_string(shared.readers);
  expect_refusal("try_lock", [&] { return lock.try_lock(); });
  expect_refusal("lock", [&] { return lock.lock(), 0; });
  expect_refusal("lock_shared", [&] { return lock.lock_shared(), 0; });
  expect_refusal("try_lock_shared", [&] { return lock.try_lock_shared(); });
  expect_refusal("reset", [&] { return lock.reset(); });
  EXPECT_EQ(redis.string("GET", shared.readers), "x");
  EXPECT_FALSE(redis.exists(shared.gate));
}

TEST_F(SharedKeyOfAnotherType, AtTheSignalIsRefused) {
  lock.lock();
  make_string(shared.signal);
  expect_refusal("timed reader", [&] { return other.try_lock_shared_for(5s); });
  expect_refusal("timed writer", [&] { return other.try_lock_for(5s); });
  EXPECT_EQ(lock.owner(), lock.id());
  lock.unlock();
  EXPECT_EQ(redis.integer("LLEN", shared.signal), 1) << "a release sets it right";
}

TEST_F(SharedKeyOfAnotherType, AtTheDrainedSignalIsRefused) {
  make_string(shared.drained);
  lock.lock_shared();
  expect_refusal("timed writer", [&] { return other.try_lock_for(5s); });
  EXPECT_FALSE(redis.exists(shared.gate)) << "its gate is open again";
  EXPECT_TRUE(other.try_lock_shared());
}

TEST_F(SharedKeyOfAnotherType, AtTheFenceIsRefused) {
  make_list(shared.fence);
  Options options;
  options.fencing = true;
  SharedLock fenced{client, name, options};
  expect_refusal("try_lock", [&] { return fenced.try_lock(); });
  expect_refusal("lock", [&] { return fenced.lock(), 0; });
  EXPECT_FALSE(redis.exists(shared.gate));
  EXPECT_TRUE(fenced.try_lock_shared()) << "readers do not count";
}

TEST_F(SharedKeyOfAnotherType, AtTheFenceGivesTheGateBack) {
  Options options;
  options.fencing = true;
  SharedLock fenced{client, name, options};
  lock.lock_shared();
  auto writer = std::async(std::launch::async,
                           [&] { return message_of<Error>([&] { return fenced.lock(), 0; }); });
  ASSERT_TRUE(eventually([&] { return redis.exists(shared.gate); }));
  make_list(shared.fence);
  lock.unlock_shared();
  EXPECT_THAT(writer.get(), HasSubstr("WRONGTYPE"));
  EXPECT_FALSE(redis.exists(shared.gate));
}

TEST_F(SharedKeyOfAnotherType, AtThePermitsIsRefused) {
  make_string(permits.set);
  expect_refusal("try_acquire", [&] { return semaphore.try_acquire(); });
  expect_refusal("acquire", [&] { return semaphore.acquire(), 0; });
  expect_refusal("available", [&] { return semaphore.available(); });
  expect_refusal("reset", [&] { return semaphore.reset(); });
  EXPECT_EQ(redis.string("GET", permits.set), "x");
}

TEST_F(SharedKeyOfAnotherType, AtThePermitSignalIsRefused) {
  Semaphore next{client, name, 1};
  semaphore.acquire();
  make_string(permits.signal);
  expect_refusal("timed", [&] { return next.try_acquire_for(5s); });
  redis.command("DEL", permits.signal);
  semaphore.release();
  EXPECT_TRUE(next.try_acquire());
}

TEST_F(SharedKeyOfAnotherType, AtThePermitSignalCostsNoPermit) {
  make_string(permits.signal);
  Semaphore one_of_two{client, name, 2};
  expect_refusal("try_acquire", [&] { return one_of_two.try_acquire(); });
  EXPECT_EQ(one_of_two.available(), 2U);
}

TEST_F(SharedKeyOfAnotherType, AfterAWriteOfTheScriptLeavesNoPermit) {
  redis.command("ZADD", permits.set, "inf", "somebody");  // PEXPIREAT refuses that end
  Semaphore one_of_nine{client, name, 9};
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(error_of([&] { (void)one_of_nine.try_acquire(); }), errc::server_error);
  EXPECT_EQ(one_of_nine.available(), 8U);
}

TEST_F(SharedKeyOfAnotherType, IsReportedByAnUnlock) {
  std::vector<std::error_code> told;
  auto options = leased_for(60s);
  options.on_error = [&](const Error& error) { told.push_back(error.code()); };
  SharedLock reader{client, name, options};
  Semaphore holder{client, name, 1, options};
  reader.lock_shared();
  holder.acquire();
  make_string(shared.readers + "-x");
  redis.command("RENAME", shared.readers + "-x", shared.readers);
  redis.command("SET", permits.set, "x");
  reader.unlock_shared();
  holder.release();
  EXPECT_THAT(told, ::testing::ElementsAre(errc::server_error, errc::server_error));
  EXPECT_FALSE(reader.owns_lock_shared() || holder.owns_lock());
}

// ---------------------------------------------------------------------------------------------------
// Garbage.

class SharedGarbage : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(, SharedGarbage,
                         ::testing::Values("+OK\r\n", ":1\r\n", "$2\r\nOK\r\n", "$-1\r\n",
                                           "*-1\r\n", "*0\r\n", "*1\r\n:1\r\n",
                                           "*2\r\n$1\r\n1\r\n:9\r\n", "*2\r\n:3\r\n:9\r\n",
                                           "*2\r\n:-1\r\n:9\r\n", "*2\r\n:1\r\n$1\r\n9\r\n",
                                           "*2\r\n:1\r\n*0\r\n", "*2\r\n*0\r\n*0\r\n", "?\r\n",
                                           "*2\r\n:0\r\n$1\r\n9\r\n"));

TEST_P(SharedGarbage, IsAProtocolError) {
  const FakeServer server{FakeServer::always(GetParam())};
  const Client client{server.uri("retry_for=0&command_timeout=500")};
  const auto options = leased_for(60s);
  SharedLock lock{client, "x", options};
  Semaphore semaphore{client, "x", 1, options};
  const auto is_told =
      AnyOf(make_error_code(errc::protocol_error), make_error_code(errc::connection_failed));
  EXPECT_THAT(error_of([&] { (void)lock.try_lock(); }), is_told);
  EXPECT_THAT(error_of([&] { lock.lock(); }), is_told);
  EXPECT_THAT(error_of([&] { (void)lock.try_lock_shared(); }), is_told);
  EXPECT_THAT(error_of([&] { lock.lock_shared(); }), is_told);
  EXPECT_THAT(error_of([&] { (void)semaphore.try_acquire(); }), is_told);
  EXPECT_THAT(error_of([&] { semaphore.acquire(); }), is_told);
  EXPECT_FALSE(lock.owns_lock() || lock.owns_lock_shared() || semaphore.owns_lock());
}

}  // namespace
}  // namespace redis_lock_test
