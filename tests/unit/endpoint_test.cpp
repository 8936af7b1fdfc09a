#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/endpoint.hpp>
#include <redis_lock/error.hpp>

namespace redis_lock_test {
namespace {

using namespace std::chrono_literals;
using redis_lock::Address;
using redis_lock::Endpoint;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// What parse() complains of; empty if it does not.
std::string complaint(std::string_view uri) {
  try {
    static_cast<void>(Endpoint::parse(uri));
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return {};
}

TEST(Uri, OfAHostHasDefaultsForTheRest) {
  const auto endpoint = Endpoint::parse("redis://example.org");
  EXPECT_EQ(endpoint.host, "example.org");
  EXPECT_EQ(endpoint.port, 6379);
  EXPECT_EQ(endpoint.unix_socket, "");
  EXPECT_EQ(endpoint.username, "");
  EXPECT_EQ(endpoint.password, "");
  EXPECT_EQ(endpoint.database, 0);
  EXPECT_EQ(endpoint.client_name, "");
  EXPECT_EQ(endpoint.connect_timeout, Endpoint{}.connect_timeout);
  EXPECT_EQ(endpoint.command_timeout, Endpoint{}.command_timeout);
  EXPECT_EQ(endpoint.retry_for, Endpoint{}.retry_for);
}

TEST(Uri, NamesUserPasswordHostPortAndDatabase) {
  const auto endpoint = Endpoint::parse("redis://ann:s3cr3t@example.org:6380/7");
  EXPECT_EQ(endpoint.username, "ann");
  EXPECT_EQ(endpoint.password, "s3cr3t");
  EXPECT_EQ(endpoint.host, "example.org");
  EXPECT_EQ(endpoint.port, 6380);
  EXPECT_EQ(endpoint.database, 7);
}

TEST(Uri, MayHaveAPasswordOrAUserAlone) {
  EXPECT_EQ(Endpoint::parse("redis://:s3cr3t@h").password, "s3cr3t");
  EXPECT_EQ(Endpoint::parse("redis://:s3cr3t@h").username, "");
  EXPECT_EQ(Endpoint::parse("redis://ann@h").username, "ann");
  EXPECT_EQ(Endpoint::parse("redis://ann@h").password, "");
  EXPECT_EQ(Endpoint::parse("redis://@h").username, "");
}

TEST(Uri, SplitsAtLastAtSignAndFirstColon) {
  const auto endpoint = Endpoint::parse("redis://ann:a@b:c@h:1");
  EXPECT_EQ(endpoint.username, "ann");
  EXPECT_EQ(endpoint.password, "a@b:c");
  EXPECT_EQ(endpoint.host, "h");
  EXPECT_EQ(endpoint.port, 1);
}

TEST(Uri, IsPercentDecoded) {
  const auto endpoint =
      Endpoint::parse("redis://a%3An:%40%2f%3F%25%00%fF+@h%2Ex/0?client_name=a%2Db");
  EXPECT_EQ(endpoint.username, "a:n");
  EXPECT_EQ(endpoint.password, (std::string{"@/?%\0\xff+", 7}));
  EXPECT_EQ(endpoint.host, "h.x");
  EXPECT_EQ(endpoint.client_name, "a-b");
}

TEST(Uri, TakesIpv6AddressesInBrackets) {
  EXPECT_EQ(Endpoint::parse("redis://[::1]").host, "::1");
  EXPECT_EQ(Endpoint::parse("redis://[::1]").port, 6379);
  EXPECT_EQ(Endpoint::parse("redis://u:p@[2001:db8::7]:6380/2").host, "2001:db8::7");
  EXPECT_EQ(Endpoint::parse("redis://u:p@[2001:db8::7]:6380/2").port, 6380);
  EXPECT_EQ(Endpoint::parse("redis://u:p@[2001:db8::7]:6380/2").database, 2);
  EXPECT_EQ(Endpoint::parse("redis://[fe80::1%25eth0]").host, "fe80::1%eth0");
}

TEST(Uri, TakesAllPortsThereAre) {
  EXPECT_EQ(Endpoint::parse("redis://h:1").port, 1);
  EXPECT_EQ(Endpoint::parse("redis://h:65535").port, 65535);
  EXPECT_EQ(Endpoint::parse("redis://h:065").port, 65);
}

TEST(Uri, MayEndWithSlashOrEmptyQuery) {
  EXPECT_EQ(Endpoint::parse("redis://h/").database, 0);
  EXPECT_EQ(Endpoint::parse("redis://h:1?").port, 1);
  EXPECT_EQ(Endpoint::parse("redis://h/3?").database, 3);
}

TEST(Uri, OfAUnixSocket) {
  const auto endpoint = Endpoint::parse("unix:///run/redis/redis.sock?db=4");
  EXPECT_EQ(endpoint.unix_socket, "/run/redis/redis.sock");
  EXPECT_EQ(endpoint.database, 4);
  EXPECT_EQ(Endpoint::parse("unix:///a%20b@c:d").unix_socket, "/a b@c:d");
}

TEST(Uri, OfAUnixSocketMayHaveCredentials) {
  const auto endpoint = Endpoint::parse("unix://ann:s3cr3t@/run/redis.sock");
  EXPECT_EQ(endpoint.username, "ann");
  EXPECT_EQ(endpoint.password, "s3cr3t");
  EXPECT_EQ(endpoint.unix_socket, "/run/redis.sock");
}

TEST(Uri, AsksForTlsByItsSchemeAlone) {
  EXPECT_FALSE(Endpoint::parse("redis://h").tls);
  EXPECT_FALSE(Endpoint::parse("unix:///s").tls);
  const auto endpoint = Endpoint::parse("rediss://ann:s3cr3t@h:6380/7");
  EXPECT_EQ(endpoint.host, "h");
  EXPECT_EQ(endpoint.port, 6380);
  EXPECT_EQ(endpoint.username, "ann");
  EXPECT_EQ(endpoint.password, "s3cr3t");
  EXPECT_EQ(endpoint.database, 7);
  ASSERT_TRUE(endpoint.tls);
  EXPECT_EQ(endpoint.tls->ca_file, "");
  EXPECT_EQ(endpoint.tls->cert_file, "");
  EXPECT_EQ(endpoint.tls->key_file, "");
  EXPECT_EQ(endpoint.tls->server_name, "");
  EXPECT_FALSE(endpoint.tls->insecure) << "certificates are verified unless told otherwise";
}

TEST(Uri, NamesTheFilesOfTls) {
  const auto endpoint = Endpoint::parse(
      "rediss://[::1]?ca_file=/etc/a%26b.pem&cert_file=c.pem&key_file=k.pem&server_name=x.example"
      "&insecure=true&retry_for=1");
  EXPECT_EQ(endpoint.host, "::1");
  EXPECT_EQ(endpoint.retry_for, 1ms);
  ASSERT_TRUE(endpoint.tls);
  EXPECT_EQ(endpoint.tls->ca_file, "/etc/a&b.pem");
  EXPECT_EQ(endpoint.tls->cert_file, "c.pem");
  EXPECT_EQ(endpoint.tls->key_file, "k.pem");
  EXPECT_EQ(endpoint.tls->server_name, "x.example");
  EXPECT_TRUE(endpoint.tls->insecure);
  EXPECT_FALSE(Endpoint::parse("rediss://h?insecure=false").tls->insecure);
}

TEST(Uri, OfSentinelsNamesThemAndTheirMaster) {
  const auto endpoint = Endpoint::parse(
      "redis+sentinel://ann:s3cr3t@s1:5000,s2,[::1]:5001/my%2Fmaster/3"
      "?sentinel_username=bob&sentinel_password=p%40&retry_for=30s");
  ASSERT_TRUE(endpoint.sentinel);
  EXPECT_THAT(endpoint.sentinel->addresses,
              ElementsAre(Address{"s1", 5000}, Address{"s2", 26379}, Address{"::1", 5001}));
  EXPECT_EQ(endpoint.sentinel->master_name, "my/master");
  EXPECT_EQ(endpoint.sentinel->username, "bob");
  EXPECT_EQ(endpoint.sentinel->password, "p@");
  EXPECT_EQ(endpoint.username, "ann");
  EXPECT_EQ(endpoint.password, "s3cr3t");
  EXPECT_EQ(endpoint.database, 3);
  EXPECT_EQ(endpoint.retry_for, 30s);
  EXPECT_FALSE(endpoint.tls);
  EXPECT_TRUE(endpoint.cluster.empty());
}

TEST(Uri, OfSentinelsMayLeaveTheRestOut) {
  const auto endpoint = Endpoint::parse("rediss+sentinel://s1/m?server_name=redis.example");
  ASSERT_TRUE(endpoint.sentinel && endpoint.tls);
  EXPECT_THAT(endpoint.sentinel->addresses, ElementsAre(Address{"s1", 26379}));
  EXPECT_EQ(endpoint.sentinel->master_name, "m");
  EXPECT_EQ(endpoint.sentinel->username + endpoint.sentinel->password, "");
  EXPECT_EQ(endpoint.database, 0);
  EXPECT_EQ(endpoint.tls->server_name, "redis.example");
  EXPECT_EQ(Endpoint::parse("redis+sentinel://s1/m/").sentinel->master_name, "m");
}

TEST(Uri, OfAClusterNamesSomeOfItsServers) {
  const auto endpoint = Endpoint::parse("redis+cluster://:s3cr3t@h1,[2001:db8::1]:7000,h3:7001/");
  EXPECT_THAT(endpoint.cluster,
              ElementsAre(Address{"h1", 6379}, Address{"2001:db8::1", 7000}, Address{"h3", 7001}));
  EXPECT_EQ(endpoint.password, "s3cr3t");
  EXPECT_FALSE(endpoint.sentinel || endpoint.tls);
  EXPECT_TRUE(Endpoint::parse("rediss+cluster://h").tls);
  EXPECT_EQ(Endpoint::parse("redis+cluster://h/0").cluster.size(), 1U);
}

TEST(Uri, HasTimesInMillisecondsOrWithAUnit) {
  const auto endpoint = Endpoint::parse(
      "redis://"
      "h?connect_timeout=250&command_timeout=3s&retry_for=40ms&client_name=web-1&max_idle=8");
  EXPECT_EQ(endpoint.max_idle, 8U);
  EXPECT_EQ(endpoint.connect_timeout, 250ms);
  EXPECT_EQ(endpoint.command_timeout, 3s);
  EXPECT_EQ(endpoint.retry_for, 40ms);
  EXPECT_EQ(endpoint.client_name, "web-1");
}

TEST(Uri, HasTimesInTheFormsOfTheCommand) {
  const auto endpoint =
      Endpoint::parse("redis://h?connect_timeout=1.5s&command_timeout=1m30s&retry_for=1d");
  EXPECT_EQ(endpoint.connect_timeout, 1500ms);
  EXPECT_EQ(endpoint.command_timeout, 90s);
  EXPECT_EQ(endpoint.retry_for, 24h);
}

TEST(Uri, TakesTheLargestTimes) {
  EXPECT_EQ(Endpoint::parse("redis://h?retry_for=2147483647s").retry_for, 2147483647s);
  EXPECT_EQ(Endpoint::parse("unix:///s?retry_for=0").retry_for, 0ms);
  EXPECT_EQ(Endpoint::parse("redis://h?spin=20us").spin, 20us);
  EXPECT_EQ(Endpoint::parse("redis://h?spin=0.5ms").spin, 500us);
  EXPECT_EQ(Endpoint::parse("redis://h?spin=1").spin, 1ms);
  EXPECT_EQ(Endpoint::parse("redis://h?spin=0").spin, 0us);
}

TEST(MalformedUri, IsRefusedWithTheReason) {
  const std::vector<std::pair<std::string, std::string>> table{
      {"", "scheme"},
      {"localhost", "scheme"},
      {"localhost:6379", "scheme"},
      {"redis:", "scheme"},
      {"redis:/h", "scheme"},
      {"://h", "scheme"},
      {"http://h", "scheme"},
      {"redisss://h", "scheme"},
      {"rediss://", "host is missing"},
      {"rediss:///0", "host is missing"},
      {"rediss://h:0", "port must not be 0"},
      {"rediss://h?insecure", "insecure must be true or false"},
      {"rediss://h?insecure=1", "insecure must be true or false"},
      {"rediss://h?ca_file=%", "ca_file: '%'"},
      {"rediss://h?cert_file=%", "cert_file: '%'"},
      {"rediss://h?key_file=%", "key_file: '%'"},
      {"rediss://h?server_name=%", "server_name: '%'"},
      {"rediss://h?ca_path=/", "unknown parameter"},
      {"rediss://h?db=1", "unknown parameter"},
      {"redis://h?max_idle=", "max_idle must be"},
      {"redis://h?max_idle=-1", "max_idle must be"},
      {"redis://h?max_idle=8s", "max_idle must be"},
      {"redis://h?ca_file=/f", "unknown parameter"},
      {"redis://h?insecure=false", "unknown parameter"},
      {"unix:///s?server_name=h", "unknown parameter"},
      {"redis+://h", "scheme"},
      {"redis+sentinels://h/m", "scheme"},
      {"redis+cluster+x://h", "scheme"},
      {"unix+sentinel:///h", "scheme"},
      {"unix+cluster:///h", "scheme"},
      {"+cluster://h", "scheme"},
      {"sentinel://h/m", "scheme"},
      {"redis+cluster:h", "scheme"},
      {"redis+sentinel://h", "name of the master is missing"},
      {"redis+sentinel://h/", "name of the master is missing"},
      {"redis+sentinel://h//0", "name of the master is missing"},
      {"redis+sentinel:///m", "host is missing"},
      {"redis+sentinel://h1,/m", "host is missing"},
      {"redis+sentinel://h1,,h2/m", "host is missing"},
      {"redis+sentinel://h1:0,h2/m", "port must not be 0"},
      {"redis+sentinel://h1,h2:x/m", "port must be"},
      {"redis+sentinel://h/m%", "name of the master: '%'"},
      {"redis+sentinel://h/m/x", "database must be"},
      {"redis+sentinel://h/m?sentinel_username=%", "sentinel_username: '%'"},
      {"redis+sentinel://h/m?sentinel_password=%", "sentinel_password: '%'"},
      {"redis://h?sentinel_password=x", "unknown parameter"},
      {"redis+cluster://h?sentinel_username=x", "unknown parameter"},
      {"redis+sentinel://h/m?ca_file=x", "unknown parameter"},
      {"redis+cluster://", "host is missing"},
      {"redis+cluster://,h", "host is missing"},
      {"redis+cluster://h1:1,h2:65536", "port must be"},
      {"redis+cluster://h/x", "database must be"},
      {"redis://h1,h2:x", "port must be"},
      {"REDIS://h", "scheme"},
      {" redis://h", "scheme"},
      {"redis://", "host is missing"},
      {"redis:///0", "host is missing"},
      {"redis://:6379", "host is missing"},
      {"redis://u:p@", "host is missing"},
      {"redis://u:p@:6379/0", "host is missing"},
      {"redis://[]", "host is missing"},
      {"redis://::1", "host is missing"},
      {"redis://[::1", "']'"},
      {"redis://[::1]x", "after the IPv6 address"},
      {"redis://[::1]6379", "after the IPv6 address"},
      {"redis://h:0", "port must not be 0"},
      {"redis://[::1]:0", "port must not be 0"},
      {"redis://h:65536", "port must be a number from 0 to 65535"},
      {"redis://h:-1", "port must be"},
      {"redis://h:+1", "port must be"},
      {"redis://h:abc", "port must be"},
      {"redis://h:", "port must be"},
      {"redis://h: 1", "port must be"},
      {"redis://h:1x", "port must be"},
      {"redis://h:0x10", "port must be"},
      {"redis://h:1:2", "port must be"},
      {"redis://h:99999999999999999999", "port must be"},
      {"redis://h/abc", "database must be a number from 0 to 2147483647"},
      {"redis://h/-1", "database must be"},
      {"redis://h/1/2", "database must be"},
      {"redis://h/2147483648", "database must be"},
      {"redis://h/0#x", "'#'"},
      {"redis://h#", "'#'"},
      {"redis://h?#x", "'#'"},
      {"redis://h?client_name=a#b", "'#'"},
      {"redis://u:p@h:1/0?retry_for=1#x", "'#'"},
      {"redis+sentinel://h/m#x", "'#'"},
      {"redis+cluster://h1,h2#x", "'#'"},
      {"unix:///s#x", "'#'"},
      {"redis://h?retry_for=1&retry_for=1", "parameter given twice: retry_for"},
      {"redis://h?retry_for=1&client_name=a&retry_for=2", "parameter given twice: retry_for"},
      {"rediss://h?insecure=true&insecure=false", "parameter given twice: insecure"},
      {"unix:///s?db=1&db=1", "parameter given twice: db"},
      {"redis+sentinel://h/m?sentinel_password=a&sentinel_password=b",
       "parameter given twice: sentinel_password"},
      {"redis://h?retry_for=1&x=1", "unknown parameter: number 2"},
      {"redis://u:%@h", "password: '%'"},
      {"redis://u:%4@h", "password: '%'"},
      {"redis://u:%zz@h", "password: '%'"},
      {"redis://u:%4g@h", "password: '%'"},
      {"redis://u:%-1@h", "password: '%'"},
      {"redis://%x@h", "user name: '%'"},
      {"redis://h%", "host: '%'"},
      {"redis://h?client_name=%1", "client_name: '%'"},
      {"unix:///a%", "path: '%'"},
      {"unix://", "path"},
      {"unix:///", "path"},
      {"unix://u:p@", "path"},
      {"unix://host/path", "no host"},
      {"unix://path", "no host"},
      {"unix:///s?db=-1", "db must be"},
      {"unix:///s?db=", "db must be"},
      {"redis://h?db=1", "unknown parameter"},
      {"redis://h?timeout=1", "unknown parameter"},
      {"redis://h?&", "unknown parameter"},
      {"redis://h?retry_for=1&&", "unknown parameter"},
      {"redis://h?Retry_for=1", "unknown parameter"},
      {"redis://h?retry_for", "retry_for must be"},
      {"redis://h?retry_for=", "retry_for must be"},
      {"redis://h?retry_for=ms", "retry_for must be"},
      {"redis://h?retry_for=-1", "retry_for must be"},
      {"redis://h?retry_for=1m30", "retry_for must be a duration of 100 years at most"},
      {"redis://h?spin=-1us", "spin must be"},
      {"redis://h?spin=1001us", "spin must be"},
      {"redis://h?spin=50", "spin must be"},
      {"redis://h?spin=soon", "spin must be"},
      {"redis://h?spin=", "spin must be"},
      {"redis://h?connect_timeout=1 s", "connect_timeout must be"},
      {"redis://h?command_timeout=999999999d", "command_timeout must be"}};
  for (const auto& [uri, reason] : table) EXPECT_THAT(complaint(uri), HasSubstr(reason)) << uri;
}

TEST(MalformedUri, IsQuoted) {
  EXPECT_THAT(complaint("redis://example.org:65536/3"), HasSubstr("\"redis://example.org:***\""))
      << "it may be a user and a password";
  EXPECT_THAT(complaint("redis://example.org/x"), HasSubstr("\"redis://example.org/x\""));
  EXPECT_THAT(complaint("redis://ann:s3cr3t@example.org:65536/3"),
              HasSubstr("\"redis://***@example.org:65536/3\""));
  EXPECT_THAT(complaint("http://example.org"), HasSubstr("\"http://example.org\""));
  EXPECT_THAT(complaint("redis+sentinel://ann:s3cr3t@h1,h2"),
              HasSubstr("\"redis+sentinel://***@h1,h2\""));
}

TEST(MalformedUri, IsQuotedWithoutItsParameters) {
  EXPECT_THAT(complaint("redis://h:x?client_name=s3cr3t"), Not(HasSubstr("s3cr3t")));
  EXPECT_THAT(complaint("redis://h?password=s3cr3t"), Not(HasSubstr("s3cr3t")));
  EXPECT_THAT(complaint("redis://h?client_name=s3cr3t%"), Not(HasSubstr("s3cr3t")));
  EXPECT_THAT(complaint("redis://h?client_name=a@b&c=s3cr3t"), Not(HasSubstr("s3cr3t")));
}

/// Passwords that are, or are not, fit to stand in a URI as they are.
const std::vector<std::string> passwords{
    "s3cr3t",
    "%s3cr3t",
    "s3cr3t%",
    "s3cr3t%zz",
    "a@s3cr3t",
    "s3cr3t@a",
    "@s3cr3t@",
    "a@s3cr3t@b",
    "a:s3cr3t",
    "s3cr3t:a",
    ":s3cr3t",
    "1:s3cr3t",
    "a/s3cr3t",
    "s3cr3t/a",
    "/s3cr3t",
    "1/s3cr3t",
    "//s3cr3t",
    "1/2/s3cr3t",
    "a#s3cr3t",
    "[s3cr3t",
    "]s3cr3t",
    "[::1]s3cr3t",
    "a?s3cr3t",
    "?s3cr3t",
    "1?s3cr3t",
    "1/2?s3cr3t",
    "1?a=s3cr3t",
    "1?db=s3cr3t",
    "1?s3cr3t=1",
    "1?a&s3cr3t",
    "1?retry_for=1&s3cr3t",
    "s3cr3t://",
    "a://s3cr3t",
    "s3cr3t://a@b",
    "s3cr3t?a@b",
    " s3cr3t",
    "s3cr3t ",
    "a s3cr3t",
    "s3cr3t\n",
    "&s3cr3t",
    "=s3cr3t",
    "a\\s3cr3t",
    "\xff s3cr3t",
    "65536s3cr3t",
    "1@2/s3cr3t@3",
    "%40s3cr3t:%",
};

/// Where a password (P) stands between user and host, with whatever else is wrong.
const std::vector<std::string> with_user_and_host{
    "redis://ann:P@h:65536",
    "redis://ann:P@h:0",
    "redis://:P@h:x",
    "redis://ann:P@",
    "redis://ann:P@h/x",
    "redis://ann:P@h:1/x",
    "redis://ann:P@h?x",
    "redis://ann:P@h?x=1",
    "redis://ann:P@h?retry_for=x",
    "redis://ann:P@[::1",
    "redis://ann:P@[::1]x",
    "redis://ann:P@@h:x",
    "redis://ann:P@h@i:x",
    "redis://ann:P@h:1:2",
    "redis://ann:P@h:x/0?client_name=a@b",
    "redis://a@b:P@h:x",
    "redis://ann%:P@h",
    "redis://ann:P%@h",
    "redis://:P@",
    "redis://ann:P@:1",
    "redis://ann:P@/0",
    "http://ann:P@h",
    "rediss://ann:P@h:1/0",
    "redis:/ann:P@h",
    "redis:ann:P@h",
    "redis//ann:P@h",
    "ann:P@h",
    "ann:P@h:6379/0",
    ":P@h",
    "//ann:P@h",
    "unix://ann:P@h/s",
    "unix://ann:P@",
    "unix://ann:P@/",
    "unix://ann:P@/s?db=x",
    "unix://ann:P@/s%",
    "unix:/ann:P@/s",
};

/// Where somebody forgot the '@' and the host, or the scheme too. What then follows an '@' or "//" in
/// the password cannot be told from a host, nor what follows a '?' from the name of a parameter.
const std::vector<std::string> without_host{
    "redis://ann:P",
    "redis://:P",
    "redis://:P/0",
    "redis://ann:P/0",
    "redis://ann:P:1",
    "redis://ann:P?retry_for=x",
    "http://ann:P",
    "unix://ann:P",
    "unix://:P",
    "redis:ann:P",
    "redis:/ann:P",
    "ann:P",
    ":P",
    "//ann:P",
};

std::string with_password(std::string uri, const std::string& password) {
  return uri.replace(uri.find('P'), 1, password);
}

TEST(MalformedUri, NeverShowsItsPassword) {
  for (const auto& uri : with_user_and_host) {
    for (const auto& password : passwords) {
      const auto whole = with_password(uri, password);
      EXPECT_THAT(complaint(whole), Not(HasSubstr("s3cr3t"))) << whole;
    }
  }
}

TEST(MalformedUri, NeverShowsAPasswordWithoutAHost) {
  for (const auto& uri : without_host) {
    for (const auto& password : passwords) {
      if (password.find_first_of("@?") != password.npos) continue;
      if (password.find("//") != password.npos) continue;
      const auto whole = with_password(uri, password);
      EXPECT_THAT(complaint(whole), Not(HasSubstr("s3cr3t"))) << whole;
    }
  }
}

TEST(MalformedUri, TakesNoPasswordOfDigitsForAPort) {
  for (const auto uri :
       {"redis://ann:1234?x", "redis://ann:1234/x", "redis://ann:1234567", "rediss://ann:1234/0/0",
        "redis+sentinel://ann:1234", "redis+cluster://ann:1234/x", "redis://ann:1234?x@h",
        "redis://:1234", "redis://:1234/0", "redis:/:1234", "redis://ann:1234@",
        "redis://ann:1234@h@", "redis://ann:1234?a=b@h"}) {
    EXPECT_THAT(complaint(uri), HasSubstr("malformed")) << uri;
    EXPECT_THAT(complaint(uri), Not(HasSubstr("1234"))) << uri;
  }
}

/// Passwords that contain a '?' and have no host behind them, and a text that is a password and nothing else.
TEST(MalformedUri, NeverShowsWhatFollowsAQuestionMark) {
  for (const std::string uri :
       {"redis://ann:P", "redis://:P", "redis://ann:1234P", "redis://P", "unix://:P", "unix:///s?P",
        "redis://h?P", "redis://h?retry_for=1&P", "redis://h?P=1", "redis+sentinel://h/m?P",
        "redis+cluster://h?P", "rediss://h?P", "P", ":P", "//P", "http:P"}) {
    for (const std::string password : {"a?s3cr3t", "a?s3cr3t=1", "a?x&s3cr3t", "a?x=1&s3cr3t=2"}) {
      const auto whole = with_password(uri, password);
      EXPECT_THAT(complaint(whole), HasSubstr("malformed")) << whole;
      EXPECT_THAT(complaint(whole), Not(HasSubstr("s3cr3t"))) << whole;
    }
  }
}

TEST(MalformedUri, NeverShowsATextWithoutAScheme) {
  for (const auto* text : {"s3cr3t", "a s3cr3t", "s3cr3t/", "/s3cr3t", "s3cr3t://x", "s3cr3t//x"})
    EXPECT_THAT(complaint(text), Not(HasSubstr("s3cr3t"))) << text;
}

/// An environment variable for one test.
class EnvironmentVariable : public ::testing::Test {
 protected:
  static constexpr const char* name = "REDIS_LOCK_TEST_URL";
  void TearDown() override { ::unsetenv(name); }
  static void set(const std::string& value) { ::setenv(name, value.c_str(), 1); }

  /// What from_env() says of this value.
  static std::string complaint() {
    try {
      static_cast<void>(Endpoint::from_env(name));
    } catch (const redis_lock::Error& error) {
      EXPECT_EQ(error.code(), redis_lock::errc::not_configured);
      return error.what();
    }
    return {};
  }
};

TEST_F(EnvironmentVariable, HoldsAUri) {
  set("redis://ann:s3cr3t@h:1/2?retry_for=3");
  const auto endpoint = Endpoint::from_env(name);
  EXPECT_EQ(endpoint.host, "h");
  EXPECT_EQ(endpoint.password, "s3cr3t");
  EXPECT_EQ(endpoint.retry_for, 3ms);
  EXPECT_EQ(endpoint.origin, name);
  EXPECT_EQ(Endpoint::parse("redis://h").origin, "");
}

TEST_F(EnvironmentVariable, IsRedisUrlUnlessAnotherIsNamed) {
  const char* const before = std::getenv("REDIS_URL");
  const std::string saved = before != nullptr ? before : "";
  ::setenv("REDIS_URL", "redis://default.example", 1);
  EXPECT_EQ(Endpoint::from_env().host, "default.example");
  ::setenv("REDIS_URL", saved.c_str(), 1);
  if (before == nullptr) ::unsetenv("REDIS_URL");
}

TEST_F(EnvironmentVariable, ThatIsUnsetOrEmptyIsNamed) {
  EXPECT_THAT(complaint(), HasSubstr("environment variable REDIS_LOCK_TEST_URL: it is not set"));
  set("");
  EXPECT_THAT(complaint(), HasSubstr("environment variable REDIS_LOCK_TEST_URL: it is empty"));
}

TEST_F(EnvironmentVariable, ThatIsMalformedIsNamedButNotQuoted) {
  for (const auto& [value, reason] : std::vector<std::pair<std::string, std::string>>{
           {"s3cr3t", "scheme"},
           {"redis://ann:pw@s3cr3t:x", "port must be"},
           {"redis://s3cr3t/x", "database must be"},
           {"redis://s3cr3t?retry_for=1&x", "unknown parameter"}}) {
    set(value);
    EXPECT_THAT(complaint(), HasSubstr("environment variable REDIS_LOCK_TEST_URL: malformed URI"));
    EXPECT_THAT(complaint(), HasSubstr(reason));
    EXPECT_THAT(complaint(), Not(HasSubstr("s3cr3t"))) << value;
  }
  EXPECT_THROW(static_cast<void>(Endpoint::from_env(nullptr)), std::invalid_argument);
}

TEST(MalformedUri, NeverShowsItsPasswordWhenCutAnywhere) {
  const std::string whole = "redis://ann:s3cr3t@example.org:65536/x?retry_for=x";
  for (std::size_t length = 0; length <= whole.size(); ++length) {
    EXPECT_THAT(complaint(whole.substr(0, length)), Not(HasSubstr("s3c"))) << length;
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    if (at >= whole.find("s3c") && at < whole.find("@")) continue;
    auto cut = whole;
    EXPECT_THAT(complaint(cut.erase(at, 1)), Not(HasSubstr("s3c"))) << cut;
  }
}

TEST(MalformedUri, NeverShowsItsPasswordWithAnyByteInserted) {
  const std::string whole = "redis://ann:s3cr3t@h:65536/x?x";
  for (std::size_t at = 0; at <= whole.size(); ++at) {
    for (const char byte : std::string{"@:/?#%[]&= \n\0\xff"}) {
      auto changed = whole;
      changed.insert(at, 1, byte);
      const auto words = complaint(changed);
      EXPECT_THAT(words, Not(HasSubstr("cr3t"))) << changed;
      EXPECT_THAT(words, Not(HasSubstr("s3cr"))) << changed;
    }
  }
}

}  // namespace
}  // namespace redis_lock_test
