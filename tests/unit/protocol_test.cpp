#include <string>
#include <tuple>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <redis_lock/detail/protocol/protocol.hpp>

#include "fake_redis.hpp"
#include "sha1.hpp"

namespace redis_lock_test {
namespace {

using namespace redis_lock::detail;
using redis_lock::errc;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

std::vector<Command> texts(const Commands& commands) {
  std::vector<Command> all;
  for (std::size_t i = 0; i < commands.size(); ++i) {
    all.emplace_back(commands.begin(i), commands.end(i));
  }
  return all;
}

std::string text(std::string_view view) { return std::string(view); }

/// As reset_all() does it, for one lock.
bool reset_if_string(FakeRedis& redis, const Keys& keys, std::string_view signal_expire) {
  return was_held(reset_each(redis, {keys}, signal_expire).front());
}

TEST(Sha1, IsThatOfRfc3174) {
  EXPECT_EQ(sha1(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(sha1("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(sha1(std::string(200, 'a')), "e61cfffe0d9195a525fc6cf06ca2d77119c24a40");
}

TEST(Scripts, HaveTheDigestsOfTheirTexts) {
  for (const auto& script :
       {acquire_script, turn_script, acquire_turn_script, release_script, keep_script,
        extend_script, rewrite_script, reset_script, take_permit_script, start_reading_script,
        return_permit_script, stop_reading_script, stay_script, close_gate_script,
        close_gate_fenced_script, reset_permits_script, reset_shared_script, count_script}) {
    EXPECT_EQ(script.digest, sha1(script.text)) << script.text;
  }
}

TEST(Scripts, UseAsManyOperandsAsTheyDeclare) {
  for (const auto& script :
       {acquire_script, turn_script, acquire_turn_script, release_script, keep_script,
        extend_script, rewrite_script, reset_script, start_reading_script, stop_reading_script,
        stay_script, close_gate_fenced_script}) {
    const auto uses = [&](const std::string& operand) {
      return script.text.find(operand) != script.text.npos;
    };
    const auto keys = std::stoul(text(script.key_count));
    const auto arguments = script.operands - keys;
    EXPECT_TRUE(uses("KEYS[" + std::to_string(keys) + "]")) << script.text;
    EXPECT_FALSE(uses("KEYS[" + std::to_string(keys + 1) + "]")) << script.text;
    EXPECT_TRUE(uses("ARGV[" + std::to_string(arguments) + "]")) << script.text;
    EXPECT_FALSE(uses("ARGV[" + std::to_string(arguments + 1) + "]")) << script.text;
  }
}

TEST(Scripts, RunOnAServerOutOfMemory) {
  for (const auto& script : {release_script, keep_script, reset_script}) {
    EXPECT_THAT(text(script.text), Not(StartsWith("#!")));
    EXPECT_LT(script.text.find("'DEL', KEYS[2]"), script.text.find("'LPUSH', KEYS[2]"));
    const auto last = script.text.rfind("KEYS[1]");
    EXPECT_LT(script.text.find("'PEXPIRE', KEYS[2]"), last);
  }
}

TEST(Encoding, HasLengthsSoThatAnyBytesAreSafe) {
  const std::string key{"a\0\r\n%s", 6};
  const auto bytes =
      Commands{}.add({"GET", key}).add({"SET", "", std::string_view{}}).append("12").encode();
  EXPECT_EQ(bytes, "*2\r\n$3\r\nGET\r\n$6\r\n" + key + "\r\n" +
                       "*4\r\n$3\r\nSET\r\n$0\r\n\r\n$0\r\n\r\n$2\r\n12\r\n");
}

TEST(Encoding, OfAMegabyteIsWhole) {
  const std::string big(1 << 20, 'x');
  EXPECT_EQ(Commands{}.add({"GET", big}).encode(),
            "*2\r\n$3\r\nGET\r\n$1048576\r\n" + big + "\r\n");
}

TEST(ScriptCalls, HaveTheKeyCountAndAllOperands) {
  const Keys keys{"lock", "signal"};
  Commands commands;
  add_call(commands, {&release_script, {keys.lock, "signal", "id", "1000"}}, true);
  add_call(commands, extend_call(keys, "id", "30000"), true);
  add_call(commands, {&reset_script, {keys.lock, "signal", "1000", {}}}, false);
  EXPECT_THAT(
      texts(commands),
      ElementsAre(
          Command{"EVALSHA", text(release_script.digest), "2", "lock", "signal", "id", "1000"},
          Command{"EVALSHA", text(extend_script.digest), "1", "lock", "id", "30000"},
          Command{"EVAL", text(reset_script.text), "2", "lock", "signal", "1000"}));
}

/// What a script answers, or an error, in place of the server.
class Answers : public ::testing::Test {
 protected:
  void answer(Replies replies) {
    redis.instead = [replies = std::move(replies)](const Exchange&) { return replies; };
  }
  template <class Function>
  static Failure failure_of_run(Function&& function) {
    try {
      static_cast<void>(function());
    } catch (const Failure& failure) {
      return failure;
    }
    return {errc::not_owned, "nothing was thrown"};
  }

  FakeRedis redis;
};

TEST_F(Answers, OfKnownScriptsTakeOneExchange) {
  answer({integer(0), integer(1)});
  const auto replies = evaluate(
      redis, {extend_call(Keys{"a", ""}, "id", "9"), extend_call(Keys{"b", ""}, "id", "9")});
  EXPECT_EQ(replies.at(1).integer, 1);
  EXPECT_EQ(redis.exchanges.size(), 1U);
}

TEST_F(Answers, OfUnknownScriptsAreAskedForByText) {
  redis.instead = [](const Exchange& exchange) {
    if (exchange.asks("EVAL")) return Replies{integer(10), integer(30)};
    const auto unknown = error("NOSCRIPT No matching script. Please use EVAL.");
    return Replies{unknown, integer(20), unknown, error("ERR NOSCRIPT of another kind")};
  };
  const auto replies = evaluate(redis, {extend_call(Keys{"a", ""}, "id", "9"),
                                        extend_call(Keys{"b", ""}, "id", "9"),
                                        {&release_script, {"c", "s", "id", "9"}},
                                        extend_call(Keys{"d", ""}, "id", "9")});
  ASSERT_EQ(redis.exchanges.size(), 2U);
  EXPECT_THAT(redis.exchanges[1].commands,
              ElementsAre(Command{"EVAL", text(extend_script.text), "1", "a", "id", "9"},
                          Command{"EVAL", text(release_script.text), "2", "c", "s", "id", "9"}));
  ASSERT_EQ(replies.size(), 4U);
  EXPECT_EQ(replies[0].integer, 10);
  EXPECT_EQ(replies[1].integer, 20);
  EXPECT_EQ(replies[2].integer, 30);
  EXPECT_TRUE(replies[3].is_error());
}

TEST_F(Answers, OfReleaseTellWhetherItWasHeld) {
  answer({integer(0)});
  EXPECT_TRUE(release(redis, redis.keys, "id", "1000"));
  answer({integer(1)});
  EXPECT_FALSE(release(redis, redis.keys, "id", "1000"));
  answer({integer(3)});
  EXPECT_FALSE(release(redis, redis.keys, "id", "1000"));
  EXPECT_THAT(redis.exchanges.at(0).commands.at(0),
              ElementsAre("EVALSHA", text(release_script.digest), "2", "lock:n", "lock-signal:n",
                          "id", "1000"));
}

TEST_F(Answers, OfExtendTellWhatBecameOfIt) {
  for (const auto& [answered, meaning] : {std::pair{0, Extension::extended},
                                          {1, Extension::not_ours},
                                          {2, Extension::not_expirable},
                                          {3, Extension::gone}}) {
    answer({integer(answered)});
    EXPECT_EQ(extend(redis, Keys{"lock:n", ""}, "id", "30000"), meaning);
  }
}

TEST_F(Answers, OfResetTellWhetherItWasHeld) {
  answer({integer(1)});
  EXPECT_TRUE(reset(redis, redis.keys, "1000"));
  EXPECT_TRUE(reset_if_string(redis, redis.keys, "1000"));
  answer({integer(0)});
  EXPECT_FALSE(reset(redis, redis.keys, "1000"));
  EXPECT_FALSE(reset_if_string(redis, redis.keys, "1000"));
  EXPECT_THAT(
      redis.exchanges.at(0).commands.at(0),
      ElementsAre("EVALSHA", text(reset_script.digest), "2", "lock:n", "lock-signal:n", "1000"));
}

TEST_F(Answers, ThatTheTypeIsWrongFailOnlyReset) {
  for (const std::string words :
       {"WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR Error running script (call to f_4bcc): @user_script:1: WRONGTYPE Operation against a "
        "key"}) {
    answer({error(words)});
    EXPECT_EQ(failure_of_run([&] { return reset(redis, redis.keys, "1000"); }).what(), words);
    EXPECT_FALSE(reset_if_string(redis, redis.keys, "1000"));
  }
  answer({error("NOPERM this user has no permissions")});
  EXPECT_EQ(failure_of_run([&] { return reset_if_string(redis, redis.keys, "1000"); }).code(),
            errc::server_error);
}

TEST_F(Answers, OfAnotherKindAreErrorsNamingTheCommand) {
  const auto words = [&](auto&& function) {
    const auto failure = failure_of_run(function);
    EXPECT_EQ(failure.code(), errc::protocol_error) << failure.what();
    EXPECT_FALSE(failure.is_transient());
    return std::string(failure.what());
  };
  answer({status("QUEUED")});
  EXPECT_THAT(words([&] { return release(redis, redis.keys, "id", "1"); }), HasSubstr("release"));
  EXPECT_THAT(words([&] { return extend(redis, Keys{"k", ""}, "id", "1"); }), HasSubstr("extend"));
  EXPECT_THAT(words([&] { return reset(redis, redis.keys, "1"); }), HasSubstr("reset"));
  EXPECT_THAT(words([&] { return owner(redis, "k"); }), HasSubstr("GET"));
  EXPECT_THAT(words([&] { return scan(redis, "k", "0"); }), HasSubstr("SCAN"));
  answer({string("WRONGTYPE is what it says, but no error")});
  EXPECT_THAT(words([&] { return reset_if_string(redis, redis.keys, "1"); }), HasSubstr("reset"));
  answer({array({string("0")})});
  EXPECT_THAT(words([&] { return scan(redis, "k", "0"); }), HasSubstr("SCAN"));
  answer({array({string("0"), string("no array")})});
  EXPECT_THAT(words([&] { return scan(redis, "k", "0"); }), HasSubstr("SCAN"));
  answer({array({string("0"), array({string("j")})})});
  EXPECT_THAT(words([&] { return scan(redis, "k", "0"); }), HasSubstr("SCAN"))
      << "what does not match was not asked for";
}

TEST_F(Answers, OfOwnerAreTheIdOrNothing) {
  answer({string(std::string{"\0id", 3})});
  EXPECT_EQ(owner(redis, "lock:n"), (std::string{"\0id", 3}));
  answer({string("")});
  EXPECT_EQ(owner(redis, "lock:n"), "");
  answer({nil()});
  EXPECT_EQ(owner(redis, "lock:n"), std::nullopt);
}

TEST_F(Answers, OfScanAreTheCursorAndKeys) {
  answer({array({string("17"), array({string("lock:a"), string("lock:b")})})});
  const auto scanned = scan(redis, "lock:", "5");
  EXPECT_EQ(scanned.next, "17");
  EXPECT_THAT(scanned.keys, ElementsAre("lock:a", "lock:b"));
  EXPECT_THAT(redis.exchanges.at(0).commands.at(0),
              ElementsAre("SCAN", "5", "MATCH", "lock:*", "COUNT", "1000"));
}

TEST_F(Answers, OfScanMatchThePrefixLiterally) {
  answer({array({string("0"), array({})})});
  const auto pattern = [&](const std::string& prefix) {
    EXPECT_THAT(scan(redis, prefix, "0").keys, IsEmpty());
    return redis.exchanges.back().commands.at(0).at(3);
  };
  EXPECT_EQ(pattern(""), "*");
  EXPECT_EQ(pattern("*"), "\\**");
  EXPECT_EQ(pattern("l?ck[a-z]^:"), "l\\?ck\\[a\\-z\\]\\^:*");
  EXPECT_EQ(pattern("back\\slash"), "back\\\\slash*");
  EXPECT_EQ(pattern(std::string{"n\0ul", 4}), (std::string{"n\0ul*", 5}));
}

TEST(ReplyError, IsKnownByItsFirstWord) {
  EXPECT_TRUE(error("NOSCRIPT No matching script").is_error("NOSCRIPT"));
  EXPECT_TRUE(error("NOSCRIPT").is_error("NOSCRIPT"));
  EXPECT_FALSE(error("NOSCRIPTS at all").is_error("NOSCRIPT"));
  EXPECT_FALSE(error("ERR NOSCRIPT").is_error("NOSCRIPT"));
  EXPECT_FALSE(error("NO").is_error("NOSCRIPT"));
  EXPECT_FALSE(string("NOSCRIPT No matching script").is_error("NOSCRIPT"));
}

TEST(ReplyOk, IsAStatus) {
  EXPECT_TRUE(status("OK").is_ok());
  EXPECT_FALSE(status("QUEUED").is_ok());
  EXPECT_FALSE(string("OK").is_ok());
}

TEST(ServerErrors, AreClassifiedByTheirCode) {
  struct Row {
    std::string words;
    errc code;
    bool passing;
  };
  for (const auto& [words, code, passing] : {
           Row{"NOAUTH Authentication required.", errc::authentication_failed, false},
           Row{"WRONGPASS invalid username-password pair or user is disabled.",
               errc::authentication_failed, false},
           Row{"LOADING Redis is loading the dataset in memory", errc::server_error, true},
           Row{"BUSY Redis is busy running a script.", errc::server_error, true},
           Row{"TRYAGAIN Multiple keys request during rehashing of slot", errc::server_error, true},
           Row{"MASTERDOWN Link with MASTER is down", errc::server_error, true},
           Row{"CLUSTERDOWN Hash slot not served", errc::server_error, true},
           Row{"READONLY You can't write against a read only replica.", errc::server_error, true},
           Row{"UNBLOCKED force unblock from blocking operation", errc::server_error, true},
           Row{"ERR max number of clients reached", errc::server_error, true},
           Row{"ERR Error running script (call to f_a4eb): @user_script: 2: -READONLY You can't "
               "write",
               errc::server_error, true},
           Row{"ERR unknown command `EVALSHA`", errc::server_error, false},
           Row{"WRONGTYPE Operation against a key", errc::server_error, false},
           Row{"OOM command not allowed when used memory > 'maxmemory'.", errc::server_error,
               false},
           Row{"NOPERM this user has no permissions", errc::server_error, false},
           Row{"BUSYKEY Target key name already exists.", errc::server_error, false},
           Row{"BUSYGROUP Consumer Group name already exists", errc::server_error, false},
           Row{"ERR the key LOADING is no list", errc::server_error, false},
           Row{"", errc::server_error, false},
       }) {
    const auto failure = failure_of(error(words));
    EXPECT_EQ(failure.code(), code) << words;
    EXPECT_EQ(failure.is_transient(), passing) << words;
    EXPECT_EQ(failure.what(), words);
  }
}

TEST(ServerErrors, OfAClusterSayWhatItNeeds) {
  for (const std::string words :
       {"MOVED 3999 127.0.0.1:6381", "CROSSSLOT Keys in request don't hash to the same slot"}) {
    const auto failure = failure_of(error(words));
    EXPECT_EQ(failure.code(), errc::server_error);
    EXPECT_FALSE(failure.is_transient());
    EXPECT_THAT(failure.what(), AllOf(StartsWith(words), HasSubstr("redis+cluster://")));
  }
}

TEST(Description, NamesTheOperationAndTheLock) {
  EXPECT_EQ(describe("try_lock", "reports"), "redis_lock: try_lock of \"reports\": ");
}

TEST(Description, ShowsNoBytesThatATerminalWouldObey) {
  EXPECT_EQ(describe("lock", std::string{"a\0b\n\x1b[2J\x7f\xff ~", 12}),
            "redis_lock: lock of \"a?b??[2J?? ~\": ");
  EXPECT_EQ(describe("lock", "%s%n"), "redis_lock: lock of \"%s%n\": ");
}

TEST(Description, CutsLongNames) {
  EXPECT_EQ(describe("lock", std::string(64, 'x')),
            "redis_lock: lock of \"" + std::string(64, 'x') + "\": ");
  EXPECT_EQ(describe("lock", std::string(65, 'x')),
            "redis_lock: lock of \"" + std::string(64, 'x') + "...\": ");
  EXPECT_LT(describe("lock", std::string(1 << 20, 'x')).size(), 100U);
}

TEST(Description, PrecedesTheFailureInAnError) {
  const auto thrown =
      error_of("extend", "n", Failure{errc::server_error, "OOM command not allowed"});
  EXPECT_EQ(thrown.code(), errc::server_error);
  EXPECT_THAT(thrown.what(), StartsWith("redis_lock: extend of \"n\": OOM command not allowed"));
}

}  // namespace
}  // namespace redis_lock_test
