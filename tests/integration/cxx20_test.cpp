#include "integration.hpp"

#include <future>
#include <stop_token>
#include <thread>

#ifndef __cpp_lib_jthread
#error "this test needs a standard library with std::jthread"
#endif

namespace redis_lock_test {
namespace {

using LockStoppable = OnRedis;

TEST_F(LockStoppable, AcquiresWhenNothingStopsIt) {
  Lock lock{client, name};
  std::stop_source source;
  EXPECT_TRUE(lock.lock(source.get_token()));
  EXPECT_TRUE(lock.owns_lock());
  lock.unlock();
  EXPECT_TRUE(lock.lock(std::stop_token{})) << "a token that nobody can stop";
  EXPECT_EQ(redis.string("GET", key), lock.id());
  source.request_stop();
  EXPECT_TRUE(lock.owns_lock()) << "a stop after the grant changes nothing";
}

TEST_F(LockStoppable, StoppedBeforeTakesNothing) {
  Lock lock{client, name};
  std::stop_source source;
  source.request_stop();
  EXPECT_FALSE(lock.lock(source.get_token()));
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LockStoppable, StoppedWhileWaitingTakesNothing) {
  held_by_somebody();
  Lock lock{client, name};
  std::stop_source source;
  auto waiter = std::async(std::launch::async, [&] { return lock.lock(source.get_token()); });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  const Stopwatch since_stop;
  source.request_stop();
  EXPECT_FALSE(waiter.get());
  EXPECT_LT(since_stop.elapsed(), soon);
  EXPECT_EQ(redis.string("GET", key), "somebody");

  ASSERT_EQ(released_by("somebody"), 0);
  EXPECT_EQ(redis.integer("LLEN", signal), 1) << "no BLPOP was left behind";
  EXPECT_FALSE(redis.exists(key)) << "nor a SET behind it";
  EXPECT_TRUE(lock.try_lock());
}

TEST_F(LockStoppable, StoppedWhileReplicasAreWaitedForTakesNothing) {
  auto options = Options::without_renewal();
  options.replicas = {1, soon};  // there is none
  Lock lock{client, name, options};
  std::stop_source source;
  auto waiter = std::async(std::launch::async, [&] { return lock.lock(source.get_token()); });
  ASSERT_TRUE(eventually([this] { return redis.exists(key) && somebody_waits(); }));
  const Stopwatch since_stop;
  source.request_stop();
  EXPECT_FALSE(waiter.get());
  EXPECT_LT(since_stop.elapsed(), soon);
  EXPECT_FALSE(redis.exists(key));
  EXPECT_FALSE(lock.owns_lock());
}

TEST_F(LockStoppable, GrantedWhileWaiting) {
  held_by_somebody();
  Lock lock{client, name};
  std::stop_source source;
  auto waiter = std::async(std::launch::async, [&] { return lock.lock(source.get_token()); });
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  ASSERT_EQ(released_by("somebody"), 0);
  EXPECT_TRUE(waiter.get());
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_F(LockStoppable, StoppedBehindAnotherThreadOfTheSameObject) {
  Lock lock{client, name};
  lock.lock();
  std::jthread waiter{[&](std::stop_token token) { EXPECT_FALSE(lock.lock(token)); }};
  std::this_thread::sleep_for(20ms);
  waiter.request_stop();
  waiter.join();
  EXPECT_TRUE(lock.owns_lock());
  lock.unlock();
  EXPECT_TRUE(lock.try_lock());
}

TEST_F(LockStoppable, StopRacesWithTheGrant) {
  for (int round = 0; round < 30; ++round) {
    Lock holder{client, name}, lock{client, name};
    holder.lock();
    std::stop_source source;
    auto waiter = std::async(std::launch::async, [&] { return lock.lock(source.get_token()); });
    std::this_thread::sleep_for(std::chrono::microseconds{200 * round});
    std::thread releasing{[&] { holder.unlock(); }};
    source.request_stop();
    releasing.join();
    const bool granted = waiter.get();
    EXPECT_EQ(lock.owns_lock(), granted);
    if (granted) {
      EXPECT_EQ(redis.string("GET", key), lock.id());
    } else {
      EXPECT_TRUE(eventually([this] { return !redis.exists(key); }, 5s))
          << "a cancelled grant is given back";
    }
  }
}

TEST_F(LockStoppable, ByTheHolderThreadIsADeadlockTold) {
  Lock lock{client, name};
  lock.lock();
  std::stop_source source;
  EXPECT_EQ(error_of([&] { return lock.lock(source.get_token()); }),
            std::errc::resource_deadlock_would_occur);
}

TEST_F(LockStoppable, OverABorrowedContext) {
  held_by_somebody();
  const auto context = connect_hiredis(redis_lock::Endpoint::parse(test_uri()));
  Lock lock{context.get(), name};
  std::stop_source source;
  std::jthread stopper{[&] {
    Redis watching{test_uri()};
    EXPECT_TRUE(eventually([&] { return watching.info("blocked_clients") > 0; }));
    source.request_stop();
  }};
  EXPECT_FALSE(lock.lock(source.get_token()));
  EXPECT_EQ(context->err, 0) << context->errstr;
  EXPECT_EQ(redis.string("GET", key), "somebody");
  EXPECT_FALSE(lock.try_lock()) << "the context is still good";
}

using LockLostToken = OnRedis;

TEST_F(LockLostToken, IsStoppedWhenTheLockIsLost) {
  Options options;
  options.expire = 300ms;
  Lock lock{client, name, options};
  lock.lock();
  const auto token = lock.lost_token();
  EXPECT_TRUE(token.stop_possible());
  EXPECT_FALSE(token.stop_requested());
  redis.command("DEL", key);
  EXPECT_TRUE(eventually([&] { return token.stop_requested(); }));
  EXPECT_FALSE(lock.owns_lock());
}

TEST_F(LockLostToken, IsStoppedWhenALeaseWithoutRenewalEnds) {
  Lock lock{client, name, leased_for(300ms)};
  lock.lock();
  const auto token = lock.lost_token();
  EXPECT_TRUE(eventually([&] { return token.stop_requested(); }));
}

TEST_F(LockLostToken, BelongsToOneAcquisition) {
  Lock lock{client, name};
  lock.lock();
  const auto first = lock.lost_token();
  lock.unlock();
  EXPECT_FALSE(first.stop_requested()) << "released is not lost";
  lock.lock();
  const auto second = lock.lost_token();
  EXPECT_FALSE(first == second);
  EXPECT_TRUE(second == lock.lost_token());
}

TEST_F(LockLostToken, OfALockNotHeldIsNeverStopped) {
  Lock lock{client, name};
  EXPECT_FALSE(lock.lost_token().stop_requested());
}

TEST_F(LockLostToken, IsHadInCallbacksAboutTheLoss) {
  Options options;
  options.expire = 300ms;
  Lock lock{client, name, options};
  lock.lock();
  std::atomic<bool> stopped{false};
  const auto look = [&] { stopped = lock.lost_token().stop_requested(); };
  const std::stop_callback callback{lock.lost_token(), look};
  redis.command("DEL", key);
  // Whichever is first finds out: the extension, the token that is asked for behind it, or the thread that renews.
  EXPECT_EQ(error_of([&] { lock.extend(); }), errc::lease_lost);
  EXPECT_TRUE(lock.lost_token().stop_requested());
  EXPECT_TRUE(eventually([&] { return stopped.load(); }));
}

TEST_F(LockLostToken, AskedForInACallbackReportsLossOnce) {
  std::atomic<int> losses{0};
  auto options = leased_for(300ms);
  Lock second{client, name + "-2", [&] {
                auto each = options;
                each.on_lost = [&](std::error_code) { ++losses; };
                return each;
              }()};
  const auto ask = [&](std::error_code) { (void)second.lost_token(); };
  Lock first{client, name + "-1", [&] {
               auto each = options;
               each.on_lost = ask;
               return each;
             }()};
  std::atomic<bool> all_lost{false};
  auto early = leased_for(100ms);
  early.on_lost = [&](std::error_code) { (void)eventually([&] { return all_lost.load(); }); };
  Lock blocking{client, name, early};
  first.lock();
  second.lock();
  blocking.lock();
  EXPECT_TRUE(eventually([&] { return !first.owns_lock() && !second.owns_lock(); }));
  all_lost = true;
  EXPECT_TRUE(eventually([&] { return losses == 1; }));
  std::this_thread::sleep_for(50ms);  // nothing more comes
  EXPECT_EQ(losses, 1);
}

TEST_F(LockLostToken, StopsWorkThatWaits) {
  Options options;
  options.expire = 300ms;
  Lock lock{client, name, options};
  lock.lock();
  std::atomic<bool> stopped{false};
  std::stop_callback callback{lock.lost_token(), [&] { stopped = true; }};
  redis.command("SET", key, "somebody");
  EXPECT_TRUE(eventually([&] { return stopped.load(); }));
}

}  // namespace
}  // namespace redis_lock_test
