#include <optional>
#include <string>

#include <gtest/gtest.h>

#include <redis_lock/detail/quorum/extend.hpp>

namespace redis_lock_test {
namespace {

using namespace std::chrono_literals;
using redis_lock::detail::Extension;
using redis_lock::detail::QuorumExtension;

/// One letter for each server: e has extended, p holds it without expiry, n says "not ours", g that the key is gone,
/// ? says nothing.
std::optional<Extension> verdict(const std::string& servers) {
  QuorumExtension::Vote vote;
  for (const char server : servers) {
    if (server == 'e' || server == 'p') vote.held.push_back(1s);
    if (server == 'e') ++vote.extended;
    if (server == 'n') ++vote.not_ours;
    if (server == 'g') ++vote.gone;
  }
  return vote.verdict(servers.size());
}

TEST(QuorumVerdict, IsExtendedIfAMajorityHasExtended) {
  for (const auto* servers : {"eee", "een", "ee?", "eep", "eeenn", "eee??", "eeepp"})
    EXPECT_EQ(verdict(servers), Extension::extended) << servers;
}

TEST(QuorumVerdict, IsNotExpirableIfPersistentKeysDecide) {
  for (const auto* servers : {"ppp", "ppn", "pp?", "epn", "ep?", "epp", "eppnn", "eep??"})
    EXPECT_EQ(verdict(servers), Extension::not_expirable) << servers;
}

TEST(QuorumVerdict, IsNotOursIfNoMajorityIsPossible) {
  for (const auto* servers : {"nnn", "nne", "nnp", "nn?", "nnnee", "nnnpp", "nnn??", "ng?", "gne"})
    EXPECT_EQ(verdict(servers), Extension::not_ours) << servers;
}

TEST(QuorumVerdict, IsGoneIfNoServerNamesAnotherHolder) {
  for (const auto* servers : {"ggg", "gge", "ggp", "gg?", "gggee", "ggg??"})
    EXPECT_EQ(verdict(servers), Extension::gone) << servers;
}

TEST(QuorumVerdict, IsUnknownWhereServersThatSaidNothingDecide) {
  for (const auto* servers :
       {"???", "g??", "eg?", "e??", "en?", "pn?", "p??", "n??", "eenn?", "ppnn?", "epnn?"})
    EXPECT_EQ(verdict(servers), std::nullopt) << servers;
}

}  // namespace
}  // namespace redis_lock_test
