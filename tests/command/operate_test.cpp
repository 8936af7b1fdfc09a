#include "../../tools/redis-lock/waiters.hpp"
#include "command.hpp"

namespace redis_lock_test {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

class OperatorCommand : public CommandTest {
 protected:
  /// Is the output JSON of which this Python expression about `it` holds?
  [[nodiscard]] bool json_is(const std::string& expression) const {
    const auto script =
        "import json; it = json.load(open('" + file("out") + "')); assert " + expression + ", it";
    return Child{[&] { return execute({"/usr/bin/python3", "-c", script}); }}.exit_code() == 0;
  }
  /// A process that waits for the lock.
  [[nodiscard]] Child waiter(const std::string& uri, const std::string& lock,
                             Options options = {}) const {
    return Child{[=] {
      Lock{Client{uri}, lock, options}.lock();
      return 0;
    }};
  }
};

TEST_F(OperatorCommand, ListsWhatIsHeld) {
  EXPECT_EQ(status_of({"list"}), 0);
  EXPECT_EQ(out(), "");
  EXPECT_THAT(err(), HasSubstr("no lock is held"));
  EXPECT_EQ(status_of({"list", "--json"}), 0);
  EXPECT_TRUE(json_is("it == []"));

  Client client{server.uri()};
  Lock lock{client, "import", leased_for(60s)},
      forever{client, "forever", leased_for(redis_lock::no_expiry)};
  lock.lock();
  forever.lock();
  redis.string("SET", "other", "x");
  redis.integer("LPUSH", "lock:list", "x");
  const auto forever_row = "\nforever\t" + forever.id() + "\tno expiry\tlock";
  const auto import_row = "\nimport\t" + lock.id() + "\t[56][0-9]\\.[0-9] s\tlock";
  EXPECT_EQ(status_of({"list"}), 0);
  EXPECT_THAT(out(), AllOf(StartsWith("NAME\tHOLDER\tLEFT\tKIND\n"), HasSubstr(forever_row + "\n"),
                           ContainsRegex(import_row + "\n")));
  EXPECT_EQ(status_of({"list", "--waiters"}), 0);
  EXPECT_THAT(out(), AllOf(StartsWith("NAME\tHOLDER\tLEFT\tKIND\tWAITERS\n"),
                           HasSubstr(forever_row + "\t0\n"), ContainsRegex(import_row + "\t0\n")));
  EXPECT_EQ(status_of({"list", "--json", "--waiters"}), 0);
  EXPECT_TRUE(
      json_is("sorted((i['name'], i['holder'], i['waiters']) for i in it) == [('forever', '" +
              forever.id() + "', 0), ('import', '" + lock.id() + "', 0)]"));
  EXPECT_TRUE(json_is("[i['left_ms'] for i in it if i['name'] == 'forever'] == [None]"));
  EXPECT_TRUE(json_is("[50000 < i['left_ms'] <= 60000 for i in it if i['left_ms']] == [True]"));
  EXPECT_EQ(status_of({"list", "--json"}), 0);
  EXPECT_TRUE(json_is("it[0]['waiters'] is None"));
}

TEST_F(OperatorCommand, ListsASortedTableOnATerminal) {
  redis.string("SET", "lock:longer", "x");
  redis.string("SET", "lock:b", "somebody");
  const auto url = server.uri();
  OnTerminal terminal{[&] { return become({"list"}, url); }};
  EXPECT_TRUE(
      terminal.shows("NAME    HOLDER    LEFT       KIND\r\n"
                     "b       somebody  no expiry  lock\r\n"
                     "longer  x         no expiry  lock\r\n"));
  EXPECT_EQ(terminal.exit_code(), 0);
}

TEST_F(OperatorCommand, PrintsALockBeforeItHasFoundAll) {
  const FakeServer fake{FakeServer::each_command([](const Command& command) -> std::string {
    if (command.front() == "SCAN")
      return command[1] == "0" ? "*2\r\n$1\r\n7\r\n*1\r\n$6\r\nlock:a\r\n" : "";
    return command.front() == "GET" ? "$8\r\nsomebody\r\n" : ":1000\r\n";
  })};
  const auto url =
      "redis://127.0.0.1:" + std::to_string(fake.endpoint().port) + "?command_timeout=1d";
  for (const auto& words : std::vector<Words>{{"list"}, {"list", "--json"}}) {
    auto child = start(words, url);
    EXPECT_TRUE(eventually([&] { return out().find("somebody") != std::string::npos; }));
    EXPECT_TRUE(child.running());
  }
}

TEST_F(OperatorCommand, EscapesNamesAndIdsForTerminals) {
  redis.string("SET", std::string("lock:\x1b[2J\0\"", 11), "\xff\n\\");
  EXPECT_EQ(status_of({"list"}), 0);
  EXPECT_THAT(out(), HasSubstr("\\x1b[2J\\x00\""));
  EXPECT_THAT(out(), HasSubstr("\\xff\\x0a\\\\"));
  EXPECT_EQ(status_of({"list", "--json"}), 0);
  EXPECT_TRUE(json_is("it[0]['name'] == '\\x1b[2J\\0\"' and it[0]['holder'] == '\\ufffd\\n\\\\'"));
}

TEST_F(OperatorCommand, CountsWaitersOverUnixSockets) {
  held_by_somebody();
  redis.string("SET", "lock:other", "somebody");
  std::vector<Child> waiters;
  Options fenced;
  fenced.fencing = true;
  waiters.push_back(waiter(server.uri(), name));
  waiters.push_back(waiter(server.uri(), name, fenced));
  waiters.push_back(waiter(server.uri(), "other"));
  ASSERT_TRUE(gets_waiters(3));
  EXPECT_EQ(status_of({"list", "--json", "--waiters"}), 0);
  EXPECT_TRUE(json_is("{i['name']: i['waiters'] for i in it} == {'the-lock': 2, 'other': 1}"))
      << out() << err();
}

TEST_F(OperatorCommand, CountsWaitersOverTcp) {
  const RedisServer tcp{Transport::tcp};
  Redis own{tcp.uri()};
  own.string("SET", "lock:a", "somebody");
  own.string("SET", "lock:b", "somebody");
  std::vector<Child> waiters;
  for (const std::string lock : {"a", "b", "a"}) waiters.push_back(waiter(tcp.uri(), lock));
  ASSERT_TRUE(eventually([&] { return own.info("blocked_clients") == 3; }));
  EXPECT_EQ(status_of({"list", "--json", "--waiters"}, tcp.uri()), 0);
  EXPECT_TRUE(json_is("{i['name']: i['waiters'] for i in it} == {'a': 2, 'b': 1}"))
      << out() << err();
}

TEST_F(OperatorCommand, SaysWhatItMayNotKnow) {
  redis.command("ACL", "SETUSER", "limited", "on", ">pw", "~*", "+@all", "-client", "-monitor");
  redis.string("SET", "lock:a", "somebody");
  auto url = server.uri();
  url.insert(url.find("://") + 3, "limited:pw@");
  EXPECT_EQ(status_of({"list", "--waiters"}, url), 0);
  EXPECT_THAT(out(), HasSubstr("\na\tsomebody\tno expiry\tlock\t?\n"));
  EXPECT_THAT(err(), HasSubstr("NOPERM"));
  EXPECT_EQ(status_of({"show", "--json", "--waiters", "a"}, url), 0);
  EXPECT_TRUE(json_is("it['waiters'] is None"));
}

TEST_F(OperatorCommand, ListsReadersWritersAndPermits) {
  Client client{server.uri()};
  redis_lock::SharedLock catalog{client, "catalog"}, prices{client, "prices"};
  redis_lock::Semaphore exports{client, "exports", 2};
  catalog.lock_shared();
  prices.lock();
  exports.acquire();
  const auto permit = exports.id();
  EXPECT_EQ(status_of({"list"}), 0);
  EXPECT_THAT(out(), AllOf(ContainsRegex("\ncatalog\t[0-9a-f]+\t[23][0-9]\\.[0-9] s\treading\n"),
                           HasSubstr("\nprices\t" + prices.id() + "\t"), HasSubstr("\twriting\n"),
                           HasSubstr("\nexports\t" + permit + "\t"), HasSubstr("\tpermit\n")));
  EXPECT_EQ(status_of({"list", "--json"}), 0);
  EXPECT_TRUE(
      json_is("sorted((i['name'], i['kind']) for i in it) == [('catalog', 'reading'), "
              "('exports', 'permit'), ('prices', 'writing')]"));
  EXPECT_EQ(status_of({"show", "--semaphore", "--json", "exports"}), 0);
  EXPECT_TRUE(json_is("[i['holder'] for i in it] == ['" + permit + "']"));
  EXPECT_EQ(status_of({"show", "--shared", "catalog"}), 0);
  EXPECT_THAT(out(), HasSubstr("\treading\n"));
  EXPECT_EQ(status_of({"show", "--shared", "exports"}), 1);
  EXPECT_EQ(out(), "exports is free\n");
  EXPECT_EQ(status_of({"list", "--key-prefix", "lock:c"}), 0);
  EXPECT_EQ(out(), "");
}

TEST_F(OperatorCommand, CountsWaitersForReadingsAndPermits) {
  Client client{server.uri()};
  redis_lock::SharedLock catalog{client, "catalog"}, prices{client, "prices"};
  redis_lock::Semaphore exports{client, "exports", 1};
  catalog.lock_shared();
  prices.lock();
  exports.acquire();
  const auto uri = server.uri();
  const auto waits = [&](auto&& acquire) {
    return Child{[=] {
      acquire(Client{uri});
      return 0;
    }};
  };
  std::vector<Child> waiters;
  waiters.push_back(waits([](Client own) { redis_lock::SharedLock{own, "catalog"}.lock(); }));
  for (int i = 0; i < 2; ++i)
    waiters.push_back(waits([](Client own) {
      redis_lock::SharedLock{own, "prices"}.lock_shared();
    }));
  waiters.push_back(waits([](Client own) { redis_lock::Semaphore{own, "exports", 1}.lock(); }));
  ASSERT_TRUE(gets_waiters(4));
  EXPECT_EQ(status_of({"list", "--json", "--waiters"}), 0);
  EXPECT_TRUE(
      json_is("{i['name']: i['waiters'] for i in it if i['kind'] != 'reading'} == "
              "{'catalog': 1, 'prices': 2, 'exports': 1}"))
      << out() << err();
}

TEST_F(OperatorCommand, ResetsReadersWritersAndPermits) {
  Client client{server.uri()};
  redis_lock::SharedLock catalog{client, "catalog"};
  redis_lock::Semaphore exports{client, "exports", 2};
  const auto hold = [&] {
    catalog.lock_shared();
    exports.acquire();
  };
  hold();
  EXPECT_EQ(status_of({"reset", "--shared", "catalog"}), 64);
  EXPECT_EQ(status_of({"reset", "--shared", "--yes", "catalog"}), 0);
  EXPECT_EQ(out(), "catalog was freed\n");
  EXPECT_EQ(status_of({"reset", "--semaphore", "--yes", "exports"}), 0);
  EXPECT_EQ(status_of({"reset", "--semaphore", "--yes", "exports"}), 1);
  EXPECT_EQ(exports.available(), 2U);
  catalog.unlock_shared();
  exports.release();
  hold();
  EXPECT_EQ(status_of({"reset", "--yes", "--all"}), 0);
  EXPECT_EQ(out(), "2 locks were freed\n");
  EXPECT_TRUE(redis_lock::held_locks(client).empty());
}

TEST_F(OperatorCommand, ShowsWhoHoldsALock) {
  EXPECT_EQ(status_of({"show", name}), 1);
  EXPECT_EQ(out(), name + " is free\n");
  EXPECT_EQ(status_of({"show", "--json", name}), 1);
  EXPECT_TRUE(json_is("it is None"));
  held_by_somebody();
  EXPECT_EQ(status_of({"show", "--waiters", name}), 0);
  EXPECT_THAT(
      out(),
      MatchesRegex(
          "name:    the-lock\nholder:  somebody\nleft:    [56][0-9]\\.[0-9] s\nwaiters: 0\n"));
  EXPECT_EQ(status_of({"show", "--json", name}), 0);
  EXPECT_TRUE(json_is("it['holder'] == 'somebody'"));
}

TEST_F(OperatorCommand, ResetsALockAndWakesWhoWaits) {
  EXPECT_EQ(status_of({"reset", "--yes", name}), 1);
  held_by_somebody();
  auto next = waiter(server.uri(), name);
  ASSERT_TRUE(gets_waiters());
  EXPECT_EQ(status_of({"reset", "--yes", name}), 0);
  EXPECT_EQ(next.exit_code(), 0);
}

TEST_F(OperatorCommand, ResetsAllLocks) {
  redis.string("SET", "lock:a", "x");
  redis.string("SET", "lock:b", "x");
  redis.string("SET", "mine:c", "x");
  EXPECT_EQ(status_of({"reset", "--yes", "--all"}), 0);
  EXPECT_EQ(out(), "2 locks were freed\n");
  EXPECT_TRUE(redis.exists("mine:c"));
  EXPECT_EQ(status_of({"reset", "--yes", "--all"}), 1);
}

TEST_F(OperatorCommand, LooksUnderTheGivenPrefixes) {
  redis.string("SET", "lock:a", "x");
  for (const std::string lock : {"b", "c"}) redis.string("SET", "k:" + lock, "x");
  const auto prefixed = [&](Words words) {
    words.insert(words.end(), {"--key-prefix", "k:"});
    return status_of(words);
  };
  EXPECT_EQ(prefixed({"list", "--json"}), 0);
  EXPECT_TRUE(json_is("sorted(i['name'] for i in it) == ['b', 'c']"));
  EXPECT_EQ(prefixed({"show", "a"}), 1);
  EXPECT_EQ(prefixed({"show", "b"}), 0);
  EXPECT_EQ(prefixed({"reset", "--yes", "--signal-prefix", "s:", "b"}), 0);
  EXPECT_TRUE(redis.exists("s:b"));
  EXPECT_EQ(prefixed({"reset", "--yes", "--signal-prefix", "s:", "--all"}), 0);
  EXPECT_TRUE(redis.exists("s:c"));
  EXPECT_FALSE(redis.exists("k:c"));
  EXPECT_TRUE(redis.exists("lock:a"));
}

TEST_F(OperatorCommand, ResetsNothingWithoutAnAnswer) {
  held_by_somebody();
  EXPECT_EQ(status_of({"reset", name}), 64);
  EXPECT_THAT(err(), HasSubstr("--yes"));
  EXPECT_EQ(status_of({"reset", "--all"}), 64);
  const auto url = server.uri();
  for (const std::string answer : {"n\n", "\n", "\x04"}) {
    OnTerminal terminal{[&] { return become({"reset", name}, url); }};
    ASSERT_TRUE(terminal.shows("Free \"the-lock\", which somebody holds? [y/N]"));
    terminal.type(answer);
    EXPECT_EQ(terminal.exit_code(), 1);
    EXPECT_FALSE(is_free());
  }
  OnTerminal terminal{[&] { return become({"reset", name}, url); }};
  ASSERT_TRUE(terminal.shows("[y/N]"));
  terminal.type("y\n");
  EXPECT_EQ(terminal.exit_code(), 0);
  EXPECT_TRUE(is_free());
}

TEST_F(OperatorCommand, DoesNotResetWhoCameMeanwhile) {
  held_by_somebody();
  const auto url = server.uri();
  OnTerminal terminal{[&] { return become({"reset", name}, url); }};
  ASSERT_TRUE(terminal.shows("which somebody holds? [y/N]"));
  redis.command("SET", key, "another");
  terminal.type("y\n");
  EXPECT_EQ(terminal.exit_code(), 1);
  EXPECT_TRUE(terminal.shows("somebody does not hold the-lock any more"));
  EXPECT_EQ(redis.string("GET", key), "another");
}

TEST_F(OperatorCommand, SaysThatRedisIsAway) {
  const auto nowhere = "unix://" + folder + "/none?retry_for=0ms";
  for (const auto& words : std::vector<Words>{
           {"list"}, {"show", "a"}, {"reset", "--yes", "a"}, {"reset", "--yes", "--all"}}) {
    EXPECT_EQ(status_of(words, nowhere), 69);
    EXPECT_THAT(err(), HasSubstr("redis-lock: "));
    EXPECT_EQ(out(), "");
  }
  Words words{"list", "--uri", nowhere};
  EXPECT_EQ(status_of(words), 69) << "the option counts, not REDIS_URL";
}

TEST_F(OperatorCommand, ShowsLettersThatTheLocaleHas) {
  const std::string letters = "\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87";        // Cyrillic
  redis.string("SET", "lock:" + letters, "x\xe2\x80\xae\xc2\x9by\x7f");  // bidi, C1, DEL
  ::setenv("LC_ALL", "C.UTF-8", 1);
  EXPECT_EQ(status_of({"list"}), 0);
  EXPECT_THAT(out(),
              HasSubstr("\n" + letters + "\tx\\xe2\\x80\\xae\\xc2\\x9by\\x7f\tno expiry\tlock\n"));
  EXPECT_EQ(status_of({"list", "--json"}), 0);
  EXPECT_THAT(out(), HasSubstr("\\u043a\\u043b\\u044e\\u0447"));
  ::setenv("LC_ALL", "C", 1);
  EXPECT_EQ(status_of({"list"}), 0);
  EXPECT_THAT(out(), HasSubstr("\\xd0\\xba"));
  ::unsetenv("LC_ALL");
}

TEST_F(OperatorCommand, SaysThatItsOutputWasNotWritten) {
  held_by_somebody();
  for (const auto& words : std::vector<Words>{{"list"}, {"show", name}, {"list", "--json"}}) {
    Child child{[&] {
      const int full = ::open("/dev/full", O_WRONLY);
      ::dup2(full, STDOUT_FILENO);
      return become(words, server.uri());
    }};
    EXPECT_EQ(child.exit_code(), 74);
  }
}

TEST_F(OperatorCommand, RefusesAKeyOfAnotherType) {
  redis.integer("LPUSH", "lock:list", "x");
  EXPECT_EQ(status_of({"show", "list"}), 69);
  EXPECT_THAT(err(), HasSubstr("WRONGTYPE"));
  EXPECT_EQ(out(), "");
}

TEST_F(OperatorCommand, TakesNamesThatBeginWithADash) {
  redis.string("SET", "lock:-x", "somebody");
  EXPECT_EQ(status_of({"show", "--", "-x"}), 0);
  EXPECT_EQ(status_of({"run", "-n", "--", "-x", "--", "true"}), 1);
  EXPECT_EQ(status_of({"run", "-n", "--", "-y", "--", "/bin/sh", "-c", "exit 3"}), 3);
  EXPECT_EQ(status_of({"reset", "--yes", "--", "-x"}), 0);
}

TEST_F(OperatorCommand, SaysWhereAWrongUriCameFrom) {
  EXPECT_EQ(status_of({"list", "--uri", ""}), 64);
  EXPECT_THAT(err(), HasSubstr("--uri is empty"));
  EXPECT_EQ(status_of({"list"}, ""), 64);
  EXPECT_THAT(err(), HasSubstr("REDIS_URL is empty"));
  EXPECT_EQ(status_of({"list"}, "gopher://x"), 64);
  EXPECT_THAT(err(), HasSubstr("REDIS_URL: "));
  EXPECT_EQ(status_of({"list", "--uri-file", file("none")}), 64);
  EXPECT_THAT(err(), HasSubstr("No such file"));
  std::ofstream{file("uri")} << server.uri() << "\n";
  EXPECT_EQ(status_of({"list", "--uri-file", file("uri")}, "gopher://x"), 0);
}

TEST_F(OperatorCommand, ShowsNoPasswordToOtherUsers) {
  const RedisServer guarded{Transport::tcp, {"--requirepass", "s3cret"}, "s3cret"};
  for (const bool is_one_word : {false, true}) {
    std::filesystem::remove(file("ready"));
    Words words{"run", "--uri",   guarded.uri(), name,
                "--",  "/bin/sh", "-c",          "touch " + file("ready") + "; sleep 60"};
    if (is_one_word) {
      words[1] += "=" + words[2];
      words.erase(words.begin() + 2);
    }
    auto child = start(words);
    ASSERT_TRUE(exists("ready"));
    const auto shown = content_of("/proc/" + std::to_string(child.pid()) + "/cmdline");
    EXPECT_THAT(shown, HasSubstr("the-lock"));
    EXPECT_THAT(shown, Not(HasSubstr("s3cret")));
    child.kill(SIGTERM);
    EXPECT_EQ(death_of(child), SIGTERM);
  }
}

TEST_F(OperatorCommand, LeavesTheUrlOutOfTheCommandsEnvironment) {
  EXPECT_EQ(status_of({"run", name, "--", "/bin/sh", "-c", "echo url: $REDIS_URL"}), 0);
  EXPECT_EQ(out(), "url:\n");
  EXPECT_EQ(status_of({"run", "--pass-url", name, "--", "/bin/sh", "-c", "echo url: $REDIS_URL"}),
            0);
  EXPECT_EQ(out(), "url: " + server.uri() + "\n");
}

TEST_F(OperatorCommand, HelpsWhoMistypes) {
  EXPECT_EQ(status_of({"run", name, "echo", "hi"}), 64);
  EXPECT_THAT(err(), HasSubstr("redis-lock run NAME -- echo"));
  EXPECT_EQ(status_of({"runn"}), 64);
  EXPECT_THAT(err(), HasSubstr("do you mean \"run\"?"));
  EXPECT_EQ(status_of({"run", "--help"}), 0);
  EXPECT_THAT(out(), HasSubstr("Usage: redis-lock run [OPTIONS] NAME -- COMMAND [ARG...]"));
  for (const std::string duration : {"1d", "1m30s", "500ms", "0.5", "2h"})
    EXPECT_EQ(status_of({"run", "-w", duration, name, "--", "true"}), 0) << duration;
  for (const std::string duration : {"1m30", "30s5", "1x", "m", ".", "1..2s"})
    EXPECT_EQ(status_of({"run", "-w", duration, name, "--", "true"}), 64) << duration;
}

TEST(MonitorLines, AreReadWordByWord) {
  const auto seen = redis_lock_command::monitored(
      R"(1339518083.107412 [3 127.0.0.1:60866] "BLPOP" "a\"b\\ \x00\n" "0.25")");
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->database, 3);
  EXPECT_EQ(seen->address, "127.0.0.1:60866");
  EXPECT_THAT(seen->words, ElementsAre("BLPOP", std::string("a\"b\\ \0\n", 7), "0.25"));
  for (const auto* line :
       {"", "OK", "1 [", "1 [0 x", "1 [0 x] \"", "1 [0 x] \"a\\", "1 [0 x] \"a\\x"})
    (void)redis_lock_command::monitored(line);
}

TEST(ClientLines, TellWhoIsBlocked) {
  const std::string list =
      "id=3 addr=127.0.0.1:1 name= db=0 flags=b cmd=blpop\n"
      "id=4 addr=127.0.0.1:2 name= db=0 flags=N cmd=blpop\n"
      "id=5 addr=127.0.0.1:3 name= db=1 flags=b cmd=blpop\n"
      "id=6 addr=127.0.0.1:4 name= db=0 flags=b cmd=xread\n";
  EXPECT_THAT(redis_lock_command::blocked_clients(list, 0), ElementsAre("127.0.0.1:1"));
  EXPECT_THAT(redis_lock_command::blocked_clients("", 0), IsEmpty());
}

}  // namespace
}  // namespace redis_lock_test
