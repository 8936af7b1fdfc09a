#include <condition_variable>
#include <future>
#include <shared_mutex>
#include <stop_token>
#include <thread>

#include "family.hpp"
#include "integration.hpp"

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

// ---------------------------------------------------------------------------------------------------
// SharedLock and Semaphore.

using FamilyStoppable = OnFamily;

TEST_F(FamilyStoppable, AcquiresWhenNothingStopsIt) {
  SharedLock lock{client, name};
  Semaphore semaphore{client, name, 1};
  std::stop_source source;
  EXPECT_TRUE(lock.lock_shared(source.get_token()));
  EXPECT_TRUE(lock.owns_lock_shared());
  lock.unlock_shared();
  EXPECT_TRUE(lock.lock(source.get_token()));
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_TRUE(semaphore.acquire(source.get_token()));
  EXPECT_TRUE(semaphore.owns_lock());
  semaphore.release();
  EXPECT_TRUE(semaphore.lock(std::stop_token{}));
}

TEST_F(FamilyStoppable, StoppedBeforeTakesNothing) {
  SharedLock lock{client, name};
  Semaphore semaphore{client, name, 1};
  std::stop_source source;
  source.request_stop();
  EXPECT_FALSE(lock.lock_shared(source.get_token()));
  EXPECT_FALSE(lock.lock(source.get_token()));
  EXPECT_FALSE(semaphore.acquire(source.get_token()));
  EXPECT_FALSE(lock.owns_lock() || lock.owns_lock_shared() || semaphore.owns_lock());
  EXPECT_FALSE(redis.exists(shared.gate) || redis.exists(shared.readers) ||
               redis.exists(permits.set));
}

TEST_F(FamilyStoppable, StoppedReadersAndPermitsTakeNothing) {
  SharedLock lock{client, name}, other{client, name};
  Semaphore semaphore{client, name, 1}, next{client, name, 1};
  lock.lock();
  semaphore.acquire();
  std::stop_source source;
  const auto token = source.get_token();
  auto reader = std::async(std::launch::async, [&] { return other.lock_shared(token); });
  auto waiter = std::async(std::launch::async, [&] { return next.acquire(token); });
  ASSERT_TRUE(are_waiting(2));
  const Stopwatch since_stop;
  source.request_stop();
  EXPECT_FALSE(reader.get());
  EXPECT_FALSE(waiter.get());
  EXPECT_LT(since_stop.elapsed(), soon);
  lock.unlock();
  semaphore.release();
  EXPECT_EQ(redis.integer("LLEN", shared.signal), 1) << "no BLPOP was left behind";
  EXPECT_EQ(redis.integer("LLEN", permits.signal), 1);
  EXPECT_FALSE(redis.exists(shared.readers) || redis.exists(permits.set)) << "nor a script";
}

TEST_F(FamilyStoppable, AStoppedWriterOpensItsGate) {
  SharedLock lock{client, name}, other{client, name}, third{client, name};
  lock.lock_shared();
  std::stop_source source;
  auto writer = std::async(std::launch::async, [&] { return other.lock(source.get_token()); });
  ASSERT_TRUE(are_waiting(1));
  ASSERT_TRUE(redis.exists(shared.gate));
  auto reader = reading_by_thread(third);
  ASSERT_TRUE(are_waiting(2));
  source.request_stop();
  EXPECT_FALSE(writer.get());
  EXPECT_TRUE(all_are_woken());
  EXPECT_TRUE(reader.gets_inside());
  EXPECT_FALSE(redis.exists(shared.gate));
}

TEST_F(FamilyStoppable, StopRacesWithTheGrant) {
  for (int round = 0; round < 20; ++round) {
    SharedLock holder{client, name}, lock{client, name};
    Semaphore semaphore{client, name, 1}, next{client, name, 1};
    holder.lock_shared();
    semaphore.acquire();
    std::stop_source source;
    const auto token = source.get_token();
    auto writer = std::async(std::launch::async, [&] { return lock.lock(token); });
    auto waiter = std::async(std::launch::async, [&] { return next.acquire(token); });
    std::this_thread::sleep_for(std::chrono::microseconds{200 * round});
    std::thread stopping{[&] { source.request_stop(); }};
    holder.unlock_shared();
    semaphore.release();
    stopping.join();
    const bool writes = writer.get(), has_permit = waiter.get();
    EXPECT_EQ(lock.owns_lock(), writes);
    EXPECT_EQ(next.owns_lock(), has_permit);
    const auto is_as_told = [&] {
      return redis.exists(shared.gate) == writes && redis.exists(permits.set) == has_permit;
    };
    EXPECT_TRUE(eventually(is_as_told, 5s)) << "a cancelled grant is given back";
  }
}

TEST_F(FamilyStoppable, ByTheHolderThreadIsADeadlock) {
  SharedLock lock{client, name};
  const std::stop_source source;
  const auto deadlock = std::errc::resource_deadlock_would_occur;
  lock.lock_shared();
  EXPECT_EQ(error_of([&] { return lock.lock(source.get_token()); }), deadlock);
  EXPECT_EQ(error_of([&] { return lock.lock_shared(source.get_token()); }), deadlock);
  lock.unlock_shared();
  lock.lock();
  EXPECT_EQ(error_of([&] { return lock.lock_shared(source.get_token()); }), deadlock);
}

TEST_F(FamilyStoppable, ConditionVariableWaitsWithAReading) {
  SharedLock lock{client, name};
  std::condition_variable_any changed;
  std::stop_source source;
  std::jthread waiter{[&] {
    std::shared_lock reading{lock};
    EXPECT_FALSE(changed.wait(reading, source.get_token(), [] { return false; }));
    EXPECT_TRUE(lock.owns_lock_shared());
  }};
  source.request_stop();
}

using FamilyLostToken = OnFamily;

TEST_F(FamilyLostToken, OfAReadingIsItsThreads) {
  SharedLock lock{client, name, renewed_for(300ms)};
  EXPECT_FALSE(lock.lost_token_shared().stop_possible()) << "it does not read";
  lock.lock_shared();
  const auto token = lock.lost_token_shared();
  EXPECT_TRUE(token.stop_possible());
  EXPECT_FALSE(lock.lost_token().stop_requested()) << "it does not write";
  std::jthread{[&] {
    EXPECT_FALSE(lock.lost_token_shared().stop_possible());
    lock.lock_shared();
    EXPECT_FALSE(lock.lost_token_shared() == token);
    lock.unlock_shared();
  }}.join();
  EXPECT_FALSE(token.stop_requested()) << "the other thread has released its own";
  redis.command("DEL", shared.readers);
  EXPECT_TRUE(eventually([&] { return token.stop_requested(); }));
  EXPECT_FALSE(lock.owns_lock_shared());
  EXPECT_TRUE(lock.lost_token_shared().stop_requested());
}

TEST_F(FamilyLostToken, OfALeaseWithoutRenewalIsStopped) {
  SharedLock lock{client, name, leased_for(300ms)};
  Semaphore semaphore{client, name, 1, leased_for(300ms)};
  lock.lock_shared();
  semaphore.acquire();
  const auto reading = lock.lost_token_shared(), permit = semaphore.lost_token();
  EXPECT_TRUE(eventually([&] { return reading.stop_requested() && permit.stop_requested(); }));
  EXPECT_FALSE(lock.owns_lock_shared() || semaphore.owns_lock());
}

TEST_F(FamilyLostToken, OfAWriterAndAPermitAreStopped) {
  SharedLock lock{client, name, renewed_for(300ms)};
  Semaphore semaphore{client, name, 1, renewed_for(300ms)};
  lock.lock();
  semaphore.acquire();
  const auto writing = lock.lost_token(), permit = semaphore.lost_token();
  EXPECT_FALSE(writing.stop_requested() || permit.stop_requested());
  redis.command("DEL", shared.gate);
  redis.command("DEL", permits.set);
  EXPECT_TRUE(eventually([&] { return writing.stop_requested() && permit.stop_requested(); }));
}

TEST_F(FamilyLostToken, OfAReleasedReadingIsNotStopped) {
  SharedLock lock{client, name};
  lock.lock_shared();
  const auto first = lock.lost_token_shared();
  lock.unlock_shared();
  lock.lock_shared();
  EXPECT_FALSE(first.stop_requested());
  EXPECT_FALSE(first == lock.lost_token_shared());
}

}  // namespace
}  // namespace redis_lock_test
