#include <cstdint>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/protocol/checked.hpp>

namespace redis_lock_test {
namespace {

using redis_lock::Address;
using redis_lock::Endpoint;
using redis_lock::Options;
using redis_lock::Tls;
using redis_lock::detail::keys_on_cluster;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
using namespace std::chrono_literals;

/// What checked() complains of; empty if it does not.
std::string complaint(Endpoint endpoint) {
  try {
    static_cast<void>(redis_lock::detail::checked(std::move(endpoint)));
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return {};
}

Endpoint over_tls(Tls tls = {}) {
  Endpoint endpoint;
  endpoint.tls = std::move(tls);
  return endpoint;
}

TEST(CheckedTls, TakesDefaultsAndWhateverFilesThereAre) {
  EXPECT_EQ(complaint(over_tls()), "");
  Tls tls;
  tls.ca_file = "ca.pem";
  EXPECT_EQ(complaint(over_tls(tls)), "");
  tls.cert_file = "c.pem";
  tls.key_file = "k.pem";
  tls.server_name = "redis.example";
  tls.insecure = true;
  EXPECT_EQ(complaint(over_tls(tls)), "");
}

TEST(CheckedTls, WantsTheKeyWithTheCertificate) {
  Tls without_key, without_certificate;
  without_key.cert_file = "c.pem";
  without_certificate.key_file = "k.pem";
  EXPECT_THAT(complaint(over_tls(without_key)), HasSubstr("cert_file and key_file"));
  EXPECT_THAT(complaint(over_tls(without_certificate)), HasSubstr("cert_file and key_file"));
}

TEST(CheckedTls, IsNotForUnixSockets) {
  auto endpoint = over_tls();
  endpoint.unix_socket = "/run/redis.sock";
  EXPECT_THAT(complaint(endpoint), HasSubstr("unix_socket"));
}

TEST(CheckedTls, RefusesNulWhichWouldCutANameShort) {
  const std::string cut{"redis.example\0.evil.example", 26};
  for (auto member : {&Tls::ca_file, &Tls::cert_file, &Tls::key_file, &Tls::server_name}) {
    Tls tls;
    tls.cert_file = "c.pem";
    tls.key_file = "k.pem";
    tls.*member = cut;
    EXPECT_THAT(complaint(over_tls(tls)), HasSubstr("NUL"));
  }
}

Endpoint with_sentinel() {
  Endpoint endpoint;
  endpoint.sentinel = {{{"s1", 26379}, {"s2", 26379}}, "m", "", ""};
  return endpoint;
}

Endpoint of_cluster() {
  Endpoint endpoint;
  endpoint.cluster = {{"h1", 6379}, {"h2", 6379}};
  return endpoint;
}

TEST(CheckedFleet, IsReachedInOneWayOnly) {
  EXPECT_EQ(complaint(with_sentinel()), "");
  EXPECT_EQ(complaint(of_cluster()), "");
  auto both = with_sentinel();
  both.cluster = of_cluster().cluster;
  EXPECT_THAT(complaint(both), HasSubstr("only one of"));
  for (auto endpoint : {with_sentinel(), of_cluster()}) {
    endpoint.unix_socket = "/run/redis.sock";
    EXPECT_THAT(complaint(endpoint), HasSubstr("unix_socket"));
  }
}

TEST(CheckedFleet, DoesNotNeedTheHostOfOneServer) {
  for (auto endpoint : {with_sentinel(), of_cluster()}) {
    endpoint.host.clear();
    endpoint.port = 0;
    EXPECT_EQ(complaint(endpoint), "");
  }
}

TEST(CheckedFleet, HasAddressesAndNames) {
  auto endpoint = with_sentinel();
  endpoint.sentinel->master_name.clear();
  EXPECT_THAT(complaint(endpoint), HasSubstr("master_name"));
  endpoint = with_sentinel();
  endpoint.sentinel->addresses.clear();
  EXPECT_THAT(complaint(endpoint), HasSubstr("addresses"));
  for (const auto& [host, port, complaint_of] :
       {std::tuple{"", 1, "host"}, std::tuple{"h", 0, "port"}}) {
    const Address bad{host, static_cast<std::uint16_t>(port)};
    endpoint = with_sentinel();
    endpoint.sentinel->addresses.push_back(bad);
    EXPECT_THAT(complaint(endpoint), HasSubstr(complaint_of));
    endpoint = of_cluster();
    endpoint.cluster.push_back(bad);
    EXPECT_THAT(complaint(endpoint), HasSubstr(complaint_of));
  }
}

TEST(CheckedFleet, OfAClusterHasNoOtherDatabase) {
  auto endpoint = of_cluster();
  endpoint.database = 1;
  EXPECT_THAT(complaint(endpoint), HasSubstr("database"));
}

TEST(KeysOnCluster, AreInOneSlot) {
  Options options;
  options.fencing = true;
  const auto plain = keys_on_cluster("job", options);
  EXPECT_EQ(plain.lock, "lock:{job}");
  EXPECT_EQ(plain.signal, "lock-signal:{job}");
  EXPECT_EQ(plain.fence, "lock-fence:{job}");
  for (const auto* name : {"{job}", "a{job}b", "{a}{b}"}) {
    EXPECT_EQ(keys_on_cluster(name, options).lock, std::string("lock:") + name);
  }
  // No hash tags, by the rules: nothing between the first braces, or one of them is missing.
  for (const std::string name : {"{}job", "{job", "jo}b", "{", "{}{job}"}) {
    EXPECT_EQ(keys_on_cluster(name, options).lock, "lock:{" + name + "}");
  }
}

TEST(KeysOnCluster, MayHaveAHashTagInTheirPrefixes) {
  Options options;
  options.key_prefix = "{app}lock:";
  EXPECT_THROW((void)keys_on_cluster("job", options), std::invalid_argument);
  options.signal_prefix = "{app}signal:";
  EXPECT_EQ(keys_on_cluster("job", options).signal, "{app}signal:job");
  options.fencing = true;
  EXPECT_THROW((void)keys_on_cluster("job", options), std::invalid_argument);
  EXPECT_THROW((void)keys_on_cluster("}job", Options{}), std::invalid_argument);
}

Options with_replicas(unsigned min_acks, std::chrono::milliseconds timeout) {
  auto options = Options::without_renewal();
  options.replicas = {min_acks, timeout};
  return redis_lock::detail::checked("name", options, false);
}

TEST(CheckedReplicas, WantATimeoutWhereTheyAreWaitedFor) {
  for (const auto timeout : {0ms, -1ms, std::chrono::milliseconds::min()}) {
    EXPECT_THAT([&] { with_replicas(1, timeout); },
                ThrowsMessage<std::invalid_argument>(HasSubstr("replicas.timeout")));
    EXPECT_EQ(with_replicas(0, timeout).replicas.min_acks, 0U);
  }
  EXPECT_EQ(with_replicas(1, 1ms).replicas.timeout, 1ms);
}

TEST(CheckedReplicas, AreWaitedForForACenturyAtMost) {
  EXPECT_EQ(with_replicas(1, redis_lock::no_expiry).replicas.timeout, redis_lock::detail::longest);
}

}  // namespace
}  // namespace redis_lock_test
