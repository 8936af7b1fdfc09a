#include <stdexcept>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/checked.hpp>

namespace redis_lock_test {
namespace {

using redis_lock::Endpoint;
using redis_lock::Tls;
using ::testing::HasSubstr;

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

}  // namespace
}  // namespace redis_lock_test
