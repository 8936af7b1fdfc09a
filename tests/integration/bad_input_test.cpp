#include "integration.hpp"

#include <future>

namespace redis_lock_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// What std::invalid_argument says that `function` throws; anything else fails the test.
template <class Function>
std::string complaint(Function&& function) {
  try {
    function();
  } catch (const std::invalid_argument& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("not std::invalid_argument: ") + error.what();
  }
  return "nothing was thrown";
}

std::string complaint_about(const std::string& name, const Options& options) {
  return complaint([&] { const Lock lock{Client{}, name, options}; });
}

TEST(BadArguments, AnEmptyName) { EXPECT_THAT(complaint_about("", {}), HasSubstr("name")); }

TEST(BadArguments, ALookForNothing) {
  EXPECT_THAT(complaint([] { (void)redis_lock::held_lock(Client{}, ""); }), HasSubstr("name"));
  EXPECT_THAT(complaint([] { (void)redis_lock::held_locks(Client{}, ""); }), HasSubstr("prefix"));
  const std::function<void(const redis_lock::HeldLock&)> nothing;
  EXPECT_THAT(complaint([&] { redis_lock::held_locks(Client{}, nothing); }), HasSubstr("each"));
}

TEST(BadArguments, AnExpireThatIsNoTime) {
  for (const auto expire : {0ms, -1ms, milliseconds::min()}) {
    EXPECT_THAT(complaint_about("x", leased_for(expire)), HasSubstr("expire"));
  }
}

TEST(BadArguments, RenewalWithoutExpiry) {
  Options options;
  options.expire = redis_lock::no_expiry;
  EXPECT_THAT(complaint_about("x", options), AllOf(HasSubstr("auto_renewal"), HasSubstr("expire")));
}

TEST(BadArguments, RenewalOnABorrowedContext) {
  const auto context = connect_hiredis(redis_lock::Endpoint::parse(test_uri()));
  EXPECT_THAT(complaint([&] {
                const Lock lock{context.get(), "x", Options{}};
              }),
              HasSubstr("auto_renewal"));
}

TEST(BadArguments, APrefixOfAFixedId) {
  Options options;
  options.id = "one";
  options.id_prefix = "host:";
  EXPECT_THAT(complaint_about("x", options), HasSubstr("id_prefix"));
}

TEST(BadArguments, ANullContext) {
  redisContext* const none = nullptr;
  EXPECT_THAT(complaint([&] { const Lock lock{none, "x"}; }), HasSubstr("context"));
}

TEST(BadArguments, AreCheckedOnABorrowedContextToo) {
  const auto context = connect_hiredis(redis_lock::Endpoint::parse(test_uri()));
  EXPECT_THAT(complaint([&] { const Lock lock{context.get(), ""}; }), HasSubstr("name"));
  EXPECT_THAT(complaint([&] {
                const Lock lock{context.get(), "x", leased_for(0ms)};
              }),
              HasSubstr("expire"));
}

TEST(BadArguments, AMalformedUri) {
  for (const auto* uri : {"",
                          "localhost",
                          "redis:",
                          "redis://",
                          "http://localhost",
                          "redis:/localhost",
                          "redis://localhost:",
                          "redis://localhost/x",
                          "redis://localhost/-1",
                          "redis://localhost/99999999999",
                          "redis://[::1",
                          "redis://[::1]x",
                          "unix://",
                          "unix:///",
                          "unix://host/path",
                          "redis://localhost?nonsense=1",
                          "redis://localhost?retry_for=soon",
                          "redis://localhost?retry_for=-1",
                          "redis://lo%zzcal",
                          "redis://localhost%4"}) {
    EXPECT_THAT(complaint([&] { const Client client{uri}; }), HasSubstr("URI")) << uri;
    EXPECT_THAT(complaint([&] { const Client client{std::string(uri)}; }), HasSubstr("URI")) << uri;
    EXPECT_THAT(complaint([&] { static_cast<void>(redis_lock::Endpoint::parse(uri)); }),
                HasSubstr("URI"))
        << uri;
  }
  EXPECT_THAT(complaint([] { const Client client{"redis://localhost/x"}; }),
              HasSubstr("redis://localhost/x"));
}

TEST(BadArguments, APortOutOfRange) {
  for (const auto* port : {"0", "65536", "-1", "99999999999999999999", "6379x", "0x10", " 1"}) {
    const auto uri = std::string("redis://localhost:") + port;
    EXPECT_THAT(complaint([&] { const Client client{uri}; }), HasSubstr("port")) << uri;
  }
  EXPECT_EQ(redis_lock::Endpoint::parse("redis://localhost:65535").port, 65535);
}

TEST(BadArguments, ASpinOutOfRange) {
  for (const auto spin : {-1us, 1001us, std::chrono::microseconds::max()}) {
    redis_lock::Endpoint endpoint;
    endpoint.spin = spin;
    EXPECT_THAT(complaint([&] { const Client client{endpoint}; }), HasSubstr("spin must be"));
  }
  for (const auto* spin : {"-1us", "2ms", "50", "soon"}) {
    const auto uri = std::string("redis://localhost?spin=") + spin;
    EXPECT_THAT(complaint([&] { const Client client{uri}; }), HasSubstr("spin must be")) << uri;
  }
}

TEST(BadArguments, TheConstructorsDoNotConnect) {
  const Client nowhere{"redis://127.0.0.1:1"};
  const Lock lock{nowhere, "x"};
  const redis_lock::Cache cache{nowhere};
  EXPECT_FALSE(lock.owns_lock());
}

using WrongTypes = OnRedis;

TEST_F(WrongTypes, UnderTheLockKeyAreErrorsAndStay) {
  redis.command("RPUSH", key, "precious");
  Lock lock{client, name};
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::server_error);
  EXPECT_EQ(error_of([&] { return lock.try_lock_for(1s); }), errc::server_error);
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::server_error);
  EXPECT_EQ(error_of([&] { return lock.owner(); }), errc::server_error);
  EXPECT_EQ(error_of([&] { return lock.reset(); }), errc::server_error);
  EXPECT_THAT(message_of<Error>([&] { return lock.owner(); }), HasSubstr("WRONGTYPE"))
      << "the server's own words";
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_EQ(redis.string("LINDEX", key, 0), "precious");
}

TEST_F(WrongTypes, UnderAHeldKeyFailUnlockAndStay) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  redis.command("DEL", key);
  redis.command("RPUSH", key, "precious");
  EXPECT_EQ(error_of([&] { lock.extend(); }).category(), redis_lock::category());
  std::error_code error;
  lock.unlock(error);
  EXPECT_TRUE(error);
  EXPECT_EQ(redis.string("LINDEX", key, 0), "precious");
}

TEST_F(WrongTypes, UnderTheSignalKeyFailWaitersAndStay) {
  held_by_somebody();
  redis.command("SET", signal, "precious");
  Lock lock{client, name};
  EXPECT_EQ(error_of([&] { return lock.try_lock_for(1s); }), errc::server_error);
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::server_error);
  EXPECT_THAT(message_of<Error>([&] { lock.lock(); }), HasSubstr("WRONGTYPE"));
  EXPECT_EQ(redis.string("GET", signal), "precious");
  EXPECT_EQ(redis.string("GET", key), "somebody");
}

const std::vector<std::string>& odd_texts() {
  static const std::vector<std::string> texts{std::string("a\0b", 3),
                                              std::string("\0", 1),
                                              "line\nbreak\r\n",
                                              "%s%n%d%b",
                                              "\xff\xfe\x80",
                                              "$5\r\nhello\r\n",
                                              " ",
                                              "{a}:b*[c]?",
                                              "\"'`\\",
                                              std::string(1 << 20, 'x')};
  return texts;
}

/// The parameter is a number, as test runners print it.
class AnyBytesIn : public OnRedis, public ::testing::WithParamInterface<std::size_t> {
 protected:
  const std::string& text = odd_texts().at(GetParam());
};

INSTANTIATE_TEST_SUITE_P(OddText, AnyBytesIn, ::testing::Range<std::size_t>(0, odd_texts().size()));

TEST_P(AnyBytesIn, ANameWorks) {
  const auto odd = text + name;
  Lock lock{client, odd}, other{client, odd};
  lock.lock();
  EXPECT_EQ(redis.string("GET", "lock:" + odd), lock.id());
  EXPECT_EQ(lock.name(), odd);
  EXPECT_FALSE(other.try_lock());
  EXPECT_FALSE(other.try_lock_for(20ms));
  EXPECT_EQ(other.owner(), lock.id());
  lock.extend();
  lock.unlock();
  EXPECT_FALSE(redis.exists("lock:" + odd));
  EXPECT_EQ(redis.string("LINDEX", "lock-signal:" + odd, 0), "1");
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::not_owned) << "a message can be made of it";
}

TEST_P(AnyBytesIn, AnIdWorks) {
  Options options;
  options.id = text;
  Lock lock{client, name, options};
  lock.lock();
  EXPECT_EQ(redis.string("GET", key), text);
  EXPECT_EQ(lock.id(), text);
  EXPECT_EQ(lock.owner(), text);
  lock.extend();
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
}

TEST_P(AnyBytesIn, APrefixWorks) {
  auto options = leased_for(60s);
  options.key_prefix = text + name;
  options.signal_prefix = "s" + text + name;
  Lock lock{client, "x", options};
  lock.lock();
  EXPECT_EQ(redis.string("GET", options.key_prefix + "x"), lock.id());
  lock.unlock();
  EXPECT_EQ(redis.integer("LLEN", options.signal_prefix + "x"), 1);
}

/// A password with everything that can go wrong, as it is and as a URI has it.
constexpr const char* secret = "hunter2 %/:@?#&\"x";
constexpr const char* encoded_secret = "hunter2%20%25%2F%3A%40%3F%23%26%22x";

auto has_no_secret() { return AllOf(Not(HasSubstr("hunter2")), Not(HasSubstr(secret))); }

TEST(Passwords, AreInNoComplaintAboutAUri) {
  const auto credentials = std::string(":") + encoded_secret + "@";
  for (const auto& uri :
       {"redis://" + credentials + "host:0", "redis://" + credentials + "host:99999",
        "redis://" + credentials, "redis://user" + credentials + "host/x",
        "http://" + credentials + "h", "redis://" + credentials + "host?what=1",
        "unix://" + credentials + "host/path", std::string("redis://:hunter2%zz@host"),
        std::string("redis://:hunter2"), std::string("redis://user:hunter2"),
        std::string("redis://:hunter2/x@host:1"), std::string("redis://:hunter2?x@host:1"),
        std::string("redis://:hunter2#@host:x"), std::string("redis://host?password=hunter2"),
        "redis:" + credentials + "host", std::string(":hunter2@host")}) {
    const auto text = complaint([&] { const Client client{uri}; });
    EXPECT_THAT(text, AllOf(HasSubstr("URI"), has_no_secret())) << uri;
  }
}

TEST(Passwords, MayBePercentEncoded) {
  const auto endpoint =
      redis_lock::Endpoint::parse("redis://us%3Aer:" + std::string(encoded_secret) + "@host");
  EXPECT_EQ(endpoint.password, secret);
  EXPECT_EQ(endpoint.username, "us:er");
  const RedisServer server{Transport::unix_socket};
  // Not as an argument: Valkey 8.1 takes no quotation mark in one.
  Redis{server.endpoint()}.command("CONFIG", "SET", "requirepass", secret);
  Lock lock{"unix://:" + std::string(encoded_secret) + "@" + server.endpoint().unix_socket, "x"};
  EXPECT_TRUE(lock.try_lock());
}

TEST(Passwords, AreHiddenWhenTheServerRefusesThem) {
  const RedisServer server{Transport::unix_socket, {"--requirepass", "right"}, "right"};
  for (const auto* user : {"", "somebody"}) {
    auto endpoint = server.endpoint();
    endpoint.username = user;
    endpoint.password = secret;
    Lock lock{endpoint, "x"};
    const auto text = message_of<Error>([&] { return lock.try_lock(); });
    EXPECT_THAT(text, AllOf(HasSubstr("try_lock"), has_no_secret()));
  }
}

TEST(Passwords, AreHiddenWhenTheServerRepeatsThem) {
  const FakeServer server{FakeServer::each_command([](const Command& command) {
    return std::optional<std::string>("-ERR unknown command '" + command.front() +
                                      "', with args beginning with: '" + command.back() + "'\r\n");
  })};
  for (const auto* user : {"", "somebody"}) {
    auto endpoint = server.endpoint();
    endpoint.username = user;
    endpoint.password = secret;
    endpoint.retry_for = 0ms;
    Lock lock{endpoint, "x"};
    EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }),
                AllOf(HasSubstr("try_lock"), has_no_secret()));
    EXPECT_THAT(message_of<Error>([&] { return lock.owner(); }),
                AllOf(HasSubstr("owner"), has_no_secret()));
  }
}

TEST(Passwords, AreInNoErrorOfAnUnreachableServer) {
  auto endpoint =
      redis_lock::Endpoint::parse("redis://user:" + std::string(encoded_secret) + "@127.0.0.1");
  endpoint.port = free_port();
  endpoint.retry_for = 0ms;
  Lock lock{endpoint, "x"};
  EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }),
              AllOf(HasSubstr("try_lock"), has_no_secret()));
}

}  // namespace
}  // namespace redis_lock_test
