#include <stdexcept>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/checked.hpp>

namespace redis_lock_test {
namespace {

using redis_lock::Endpoint;
using redis_lock::Options;
using redis_lock::Tls;
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
