#include "integration.hpp"

#include <future>
#include <mutex>

#include <sys/socket.h>
#include <sys/time.h>

namespace redis_lock_test {
namespace {

using std::chrono::steady_clock;

class BorrowedContext : public OnRedis {
 protected:
  void SetUp() override {
    context = connect_hiredis(redis_lock::Endpoint::parse(test_uri()));
    redisSetTimeout(context.get(), timeval{7, 250'000});
  }

  /// After each test: the owner uses its context as if nobody had borrowed it.
  void TearDown() override {
    if (broken) return;
    EXPECT_EQ(context->err, 0) << context->errstr;
    const std::unique_ptr<void, decltype(&freeReplyObject)> reply{
        redisCommand(context.get(), "ECHO %s", name.c_str()), freeReplyObject};
    ASSERT_NE(reply, nullptr);
    EXPECT_STREQ(static_cast<redisReply*>(reply.get())->str, name.c_str())
        << "no reply was left unread";
    for (const auto option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
      timeval timeout{};
      socklen_t size = sizeof timeout;
      ASSERT_EQ(::getsockopt(context->fd, SOL_SOCKET, option, &timeout, &size), 0);
      EXPECT_EQ(timeout.tv_sec, 7);
      EXPECT_NEAR(static_cast<double>(timeout.tv_usec), 250'000, 10'000)
          << "the kernel counts in ticks";
    }
  }

  Context context{nullptr, redisFree};
  bool broken = false;
};

TEST_F(BorrowedContext, LocksAndUnlocks) {
  Lock lock{context.get(), name};
  lock.lock();
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(redis.string("GET", key), lock.id());
  EXPECT_LE(redis.integer("PTTL", key), 30'000);
  EXPECT_TRUE(lock.locked());
  EXPECT_EQ(lock.owner(), lock.id());
  EXPECT_EQ(lock.name(), name);
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
  EXPECT_EQ(redis.integer("LLEN", signal), 1);
}

TEST_F(BorrowedContext, WithCommandsUnderWayIsRefused) {
  redisAppendCommand(context.get(), "PING");
  Lock lock{context.get(), name};
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::protocol_error);
  redisReply* reply = nullptr;
  ASSERT_EQ(redisGetReply(context.get(), reinterpret_cast<void**>(&reply)), REDIS_OK);
  EXPECT_STREQ(reply->str, "PONG") << "its owner finds it as it was";
  freeReplyObject(reply);
  lock.lock();
}

/// A context whose owner did something to it that does not show in the context.
class MisusedContext : public BorrowedContext {
 protected:
  MisusedContext() { broken = true; }

  /// A new one, whose user may send any command.
  void connect() {
    context = connect_hiredis(with_all_rights(redis_lock::Endpoint::parse(test_uri())));
  }

  void send(const std::string& command) {
    redisAppendCommand(context.get(), command.c_str());
    int done = 0;
    while (done == 0) ASSERT_EQ(redisBufferWrite(context.get(), &done), REDIS_OK);
  }
  /// The next command of the owner fails, rather than getting a reply to another one.
  void expect_useless() {
    EXPECT_EQ(redisCommand(context.get(), "PING"), nullptr);
    EXPECT_NE(context->err, 0);
  }
};

TEST_F(MisusedContext, WithAPartOfAReplyIsRefused) {
  connect();
  for (const std::string part : {"*2\r\n:1\r\n", "$"}) {
    redisReaderFeed(context->reader, part.data(), part.size());
    void* reply = nullptr;
    ASSERT_EQ(redisReaderGetReply(context->reader, &reply), REDIS_OK);
    ASSERT_EQ(reply, nullptr);
    Lock lock{context.get(), name, Options::without_renewal()};
    EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::protocol_error);
    connect();
  }
}

TEST_F(MisusedContext, InsideMultiIsRefusedAndNothingRuns) {
  for (const bool for_good : {false, true}) {
    connect();
    freeReplyObject(redisCommand(context.get(), "MULTI"));
    auto options = Options::without_renewal();
    if (for_good) options.expire = redis_lock::no_expiry;
    Lock lock{context.get(), name, options};
    EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::protocol_error);
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_EQ(redisCommand(context.get(), "EXEC"), nullptr) << "its transaction is gone";
    EXPECT_FALSE(redis.exists(key));
  }
}

TEST_F(MisusedContext, WithRepliesUnderWayNeverHoldsTheLock) {
  for (const std::string reply : {"SET x 1", "PING", "INCR y", "GET nothing", "NO-SUCH-COMMAND"}) {
    for (int count = 1; count <= 5; ++count) {
      held_by_somebody();
      connect();
      for (int i = 0; i < count; ++i) send(reply);
      Lock lock{context.get(), name};
      const auto message = message_of<Error>([&] { return lock.try_lock(); });
      EXPECT_THAT(message, ::testing::HasSubstr("replies of its owner under way"));
      EXPECT_FALSE(lock.owns_lock());
      EXPECT_EQ(redis.string("GET", key), "somebody");
      expect_useless();
      redis.integer("DEL", key);
    }
  }
}

TEST_F(MisusedContext, WithRepliesUnderWayLeavesNothingBehind) {
  for (int count = 1; count <= 5; ++count) {
    connect();
    for (int i = 0; i < count; ++i) send("PING");
    auto options = Options::without_renewal();
    options.expire = redis_lock::no_expiry;
    Lock lock{context.get(), name, options};
    EXPECT_EQ(error_of([&] { lock.lock(); }), errc::protocol_error);
    EXPECT_FALSE(redis.exists(key));
    expect_useless();
  }
}

TEST_F(MisusedContext, WithASubscriptionIsRefused) {
  connect();
  freeReplyObject(redisCommand(context.get(), "SUBSCRIBE news"));
  Lock lock{context.get(), name};
  EXPECT_THAT(message_of<Error>([&] { return lock.try_lock(); }), ::testing::HasSubstr("echo"));
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(BorrowedContext, ReleasesInTheDestructorAndStaysOpen) {
  {
    Lock lock{context.get(), name};
    lock.lock();
  }
  EXPECT_FALSE(redis.exists(key));
  Lock again{context.get(), name};
  EXPECT_TRUE(again.try_lock());
}

TEST_F(BorrowedContext, TriesAndTellsBusy) {
  held_by_somebody();
  Lock lock{context.get(), name};
  EXPECT_FALSE(lock.try_lock());
  std::error_code error;
  EXPECT_FALSE(lock.try_lock(error));
  EXPECT_FALSE(error);
}

TEST_F(BorrowedContext, KeepsItsDeadlines) {
  held_by_somebody();
  Lock lock{context.get(), name};
  for (const auto limit : {0ms, 20ms, 300ms}) {
    const auto before = steady_clock::now();
    EXPECT_FALSE(lock.try_lock_for(limit));
    EXPECT_GE(steady_clock::now() - before, limit);
    EXPECT_LT(steady_clock::now() - before, limit + soon);
  }
}

TEST_F(BorrowedContext, IsWokenByARelease) {
  Lock holder{client, name};
  holder.lock();
  auto release = std::async(std::launch::async, [&] {
    Redis watching{test_uri()};
    const bool blocked = eventually([&] { return watching.info("blocked_clients") > 0; });
    holder.unlock();
    return blocked;
  });
  Lock lock{context.get(), name};
  lock.lock();
  EXPECT_TRUE(release.get());
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(BorrowedContext, TakesTheLockOfACrashedHolder) {
  const Stopwatch watch;
  held_by_somebody(300ms);
  Lock lock{context.get(), name};
  EXPECT_TRUE(lock.try_lock_for(std::chrono::minutes{1}));
  EXPECT_GE(watch.elapsed(), 300ms - clock_error);
}

TEST_F(BorrowedContext, ExtendsAndTellsLoss) {
  std::vector<std::error_code> lost;
  auto options = leased_for(60s);
  options.on_lost = [&lost](std::error_code error) { lost.push_back(error); };
  Lock lock{context.get(), name, options};
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::not_owned);
  lock.lock();
  lock.extend(90s);
  EXPECT_GT(redis.integer("PTTL", key), 60'000);
  redis.command("DEL", key);
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_THAT(lost, ::testing::ElementsAre(errc::lease_lost))
      << "there is no thread that could have told earlier";
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
}

TEST_F(BorrowedContext, Resets) {
  held_by_somebody();
  Lock lock{context.get(), name};
  EXPECT_TRUE(lock.reset());
  EXPECT_FALSE(lock.reset());
}

TEST_F(BorrowedContext, WorksInTheDatabaseThatTheOwnerSelected) {
  freeReplyObject(redisCommand(context.get(), "SELECT 2"));
  Lock lock{context.get(), name};
  lock.lock();
  EXPECT_FALSE(redis.exists(key));
  redis.string("SELECT", 2);
  EXPECT_TRUE(redis.exists(key));
}

TEST_F(BorrowedContext, SurvivesAFlushedScriptCache) {
  Lock lock{context.get(), name};
  lock.lock();
  redis.string("SCRIPT", "FLUSH");
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(BorrowedContext, ServesSeveralLocks) {
  Lock first{context.get(), name + "-1"}, second{context.get(), name + "-2"};
  const std::scoped_lock guard{first, second};
  EXPECT_TRUE(first.owns_lock() && second.owns_lock());
}

TEST_F(BorrowedContext, LeavesNoReplyUnreadAfterAnError) {
  held_by_somebody();
  redis.command("SET", signal, "a string");
  Lock lock{context.get(), name};
  EXPECT_EQ(error_of([&] { return lock.try_lock_for(1s); }), errc::server_error);
}

TEST_F(BorrowedContext, TakesAnyBytes) {
  auto options = leased_for(60s);
  options.id = std::string("\0%s\r\n", 5);
  Lock lock{context.get(), name + options.id, options};
  lock.lock();
  EXPECT_EQ(redis.string("GET", key + options.id), options.id);
}

TEST_F(BorrowedContext, IsNeitherReconnectedNorFreedAfterClosing) {
  broken = true;
  const RedisServer server;
  context = connect_hiredis(server.endpoint());
  Lock lock{context.get(), name, leased_for(60s)};
  lock.lock();
  const auto descriptor = context->fd;
  Redis{server.endpoint()}.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::connection_failed);
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::connection_failed);
  EXPECT_NE(context->err, 0) << "the error flag is the owner's to see";
  EXPECT_EQ(context->fd, descriptor);
  std::error_code error;
  lock.unlock(error);
  EXPECT_EQ(error, errc::connection_failed);
}

TEST_F(BorrowedContext, OfAFrozenServerTimesOut) {
  broken = true;
  RedisServer server;
  context = connect_hiredis(server.endpoint());
  redisSetTimeout(context.get(), timeval{0, 200'000});
  Lock lock{context.get(), name};
  server.pause();
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { return lock.try_lock(); }), errc::timed_out);
  EXPECT_LT(watch.elapsed(), soon);
  server.resume();
  EXPECT_THAT(error_of([&] { return lock.try_lock(); }),
              ::testing::AnyOf(errc::timed_out, errc::connection_failed))
      << "a context that owes replies is not used again";
}

}  // namespace
}  // namespace redis_lock_test
