#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/protocol/errors.hpp>

#include "fake_redis.hpp"

namespace redis_lock_test {
namespace {

using namespace redis_lock::detail;
using redis_lock::errc;

/// What servers say, in their own words, and what is to come of it. Kept apart from the table in the library, so that a
/// change of that one is a change of two places.
struct Said {
  std::string words;
  Decision decision;
};

std::vector<Said> all_said() {
  const auto transient = Decision::transient, final = Decision::final,
             credentials = Decision::credentials;
  return {
      {"LOADING Redis is loading the dataset in memory", transient},
      {"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
       transient},
      {"BUSY Redis is busy running a module command.", transient},
      {"ERR max number of clients reached", transient},
      {"ERR max number of clients + cluster connections reached", transient},
      {"UNBLOCKED force unblock from blocking operation, instance state changed (master -> "
       "replica?)",
       transient},
      {"READONLY You can't write against a read only replica.", transient},
      {"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
       transient},
      {"NOREPLICAS Not enough good replicas to write.", transient},
      {"CLUSTERDOWN Hash slot not served", transient},
      {"CLUSTERDOWN The cluster is down", transient},
      {"TRYAGAIN Multiple keys request during rehashing of slot", transient},
      {"IDONTKNOW I have not enough information to reply. Please ask another Sentinel.", transient},
      {"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to "
       "disk.",
       final},
      {"MISCONF Errors writing to the AOF file: No space left on device", final},
      {"OOM command not allowed when used memory > 'maxmemory'.", final},
      {"NOAUTH Authentication required.", credentials},
      {"WRONGPASS invalid username-password pair or user is disabled.", credentials},
      {"ERR operation not permitted", credentials},
      {"ERR invalid password", credentials},
      {"ERR Client sent AUTH, but no password is set", credentials},
      {"ERR Client sent AUTH, but no password is set. Did you mean AUTH <username> <password>?",
       credentials},
      {"ERR AUTH <password> called without any password configured for the default user. Are you "
       "sure your configuration is correct?",
       credentials},
      {"ERR Protocol error: unauthenticated bulk length", credentials},
      {"ERR Protocol error: unauthenticated multibulk length", credentials},
      {"DENIED Redis is running in protected mode because protected mode is enabled", final},
      {"NOPERM this user has no permissions to run the 'set' command", final},
      {"NOPERM No permissions to access a key", final},
      {"ERR unknown command 'EVALSHA', with args beginning with: ", final},
      {"ERR unknown subcommand 'SLOTS'. Try CLUSTER HELP.", final},
      {"NOPROTO unsupported protocol version", final},
      {"WRONGTYPE Operation against a key holding the wrong kind of value", final},
      {"ERR Protocol error: invalid multibulk length", final},
      {"EXECABORT Transaction discarded because of previous errors.", final},
      {"BUSYKEY Target key name already exists.", final},
      {"NOSCRIPT No matching script. Please use EVAL.", final},
      {"MOVED 3999 127.0.0.1:6381", final},
      {"ASK 3999 127.0.0.1:6381", final},
      {"CROSSSLOT Keys in request don't hash to the same slot", final},
      {"UNKILLABLE Sorry the script already executed write commands against the dataset.", final},
      {"NOTBUSY No scripts in execution right now.", final},
      {"NOMASTERLINK Can't SYNC while not connected with my master", final},
      {"NOGOODSLAVE No suitable replica to promote", final},
      {"INPROG Failover already in progress", final},
      {"NOQUORUM 1 usable Sentinels. Not enough available Sentinels to reach the majority", final},
  };
}

/// How servers report an error of a command that a script called.
std::vector<std::string> wrapped(const std::string& words) {
  const std::string digest = "a4ebad3e62b3a8eb042be684e9e197779e4d4423";
  const std::string call = "ERR Error running script (call to f_" + digest + "): ";
  return {
      call + "@user_script: 1: -" + words,                    // 2.6
      call + "@user_script:12: @user_script: 12: -" + words,  // 2.8 to 6.2, what was refused
      call + "@user_script:3: " + words,                      // 2.8 to 6.2, what failed
      "@user_script: 2: -" + words,                           // the same, where pcall() returned it
      words + " script: " + digest + ", on @user_script:3.",  // since 7.0
  };
}

TEST(Failures, AreDecidedByTheWordsOfTheServer) {
  for (const auto& [words, decision] : all_said()) EXPECT_EQ(decision_on(words), decision) << words;
}

TEST(Failures, InsideScriptsAreDecidedLikeThoseOutside) {
  for (const auto& [words, decision] : all_said()) {
    for (const auto& text : wrapped(words)) EXPECT_EQ(decision_on(text), decision) << text;
  }
}

TEST(Failures, OfEveryEntryOfTheTableAreTested) {
  const auto said = all_said();
  std::set<std::string_view> entries;
  for (const auto& known : known_errors) {
    EXPECT_TRUE(entries.insert(known.words).second) << known.words << " is there twice";
    EXPECT_TRUE(std::any_of(said.begin(), said.end(), [&known](const Said& one) {
      return one.words.compare(0, known.words.size(), known.words) == 0;
    })) << known.words;
  }
}

TEST(Failures, BecomeFaultsThatKeepTheWords) {
  for (const auto& [words, decision] : all_said()) {
    const auto failure = failure_of(error(words));
    EXPECT_EQ(std::string(failure.what()).compare(0, words.size(), words), 0) << failure.what();
    EXPECT_EQ(failure.code(),
              decision == Decision::credentials ? errc::authentication_failed : errc::server_error);
    EXPECT_EQ(failure.is_transient(), decision == Decision::transient) << words;
    EXPECT_EQ(is_transient_error(error(words)), decision == Decision::transient) << words;
  }
}

TEST(Failures, ThatAreNotKnownAreFinal) {
  for (const std::string words :
       {"", "ERR", "ERR value is not an integer or out of range", "BUSYGROUP Consumer Group name",
        "NOREPLICASATALL", "ERR the key LOADING is no list", "ERR max number of clientss",
        "LEASELOST of a script's own", "@user_script:", "ERR @user_script: 1: "}) {
    EXPECT_EQ(decision_on(words), Decision::final) << words;
  }
}

TEST(Failures, AreNoneWhereTheReplyIsNoError) {
  EXPECT_FALSE(is_transient_error(status("LOADING")));
  EXPECT_FALSE(is_transient_error(string("NOREPLICAS Not enough good replicas to write.")));
}

}  // namespace
}  // namespace redis_lock_test
