// SharedLock: each member, guards of std, threads, processes, and what others got wrong.

#include <atomic>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "family.hpp"

namespace redis_lock_test {
namespace {

using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::SizeIs;

/// Two objects of one name, as two processes have them.
class SharedLocking : public OnFamily {
 protected:
  [[nodiscard]] long long readers() { return redis.integer("ZCARD", shared.readers); }

  SharedLock lock{client, name}, other{client, name};
};

// ---------------------------------------------------------------------------------------------------
// Each member.

TEST_F(SharedLocking, ReadersShareAndExcludeAWriter) {
  SharedLock writer{client, name};
  lock.lock_shared();
  other.lock_shared();
  EXPECT_EQ(readers(), 2);
  redis.reset_stats();
  EXPECT_FALSE(writer.try_lock());
  EXPECT_EQ(redis.calls_of("set"), 0) << "try_lock() does not keep newcomers out";
  lock.unlock_shared();
  EXPECT_FALSE(writer.try_lock());
  other.unlock_shared();
  EXPECT_TRUE(writer.try_lock());
}

TEST_F(SharedLocking, AWriterExcludesAllOthers) {
  lock.lock();
  EXPECT_EQ(redis.string("GET", shared.gate), lock.id());
  EXPECT_FALSE(other.try_lock());
  EXPECT_FALSE(other.try_lock_shared());
  EXPECT_FALSE(other.try_lock_for(10ms));
  EXPECT_FALSE(other.try_lock_shared_for(10ms));
  EXPECT_FALSE(other.try_lock_shared_until(steady_clock::now() + 10ms));
  lock.unlock();
  EXPECT_FALSE(redis.exists(shared.gate));
  EXPECT_TRUE(other.try_lock_shared());
}

TEST_F(SharedLocking, EachWayToReadReads) {
  const auto read = [&](bool acquired) {
    EXPECT_TRUE(acquired);
    EXPECT_TRUE(lock.owns_lock_shared());
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_EQ(readers(), 1);
    lock.unlock_shared();
    EXPECT_FALSE(lock.owns_lock_shared());
    EXPECT_EQ(readers(), 0);
  };
  read((lock.lock_shared(), true));
  read(lock.try_lock_shared());
  read(lock.try_lock_shared_for(0s));
  read(lock.try_lock_shared_for(-1h));
  read(lock.try_lock_shared_for(std::chrono::hours::max()));
  read(lock.try_lock_shared_until(steady_clock::now()));
  read(lock.try_lock_shared_until(std::chrono::system_clock::now() + 1h));
  std::error_code error = errc::not_owned;
  read((lock.lock_shared(error), !error));
  error = errc::not_owned;
  read(lock.try_lock_shared(error) && !error);
}

TEST_F(SharedLocking, EachWayToWriteWrites) {
  const auto write = [&](bool acquired) {
    EXPECT_TRUE(acquired);
    EXPECT_TRUE(lock.owns_lock());
    EXPECT_FALSE(lock.owns_lock_shared());
    EXPECT_TRUE(lock.locked());
    EXPECT_EQ(lock.owner(), lock.id());
    EXPECT_GT(lock.expires_at(), steady_clock::now());
    std::error_code error = errc::not_owned;
    lock.unlock(error);
    EXPECT_FALSE(error) << error.message();
    EXPECT_FALSE(lock.owns_lock());
    EXPECT_FALSE(lock.locked());
  };
  write((lock.lock(), true));
  write(lock.try_lock());
  write(lock.try_lock_for(0s));
  write(lock.try_lock_for(std::chrono::hours::max()));
  write(lock.try_lock_until(steady_clock::now() + 1h));
  std::error_code error = errc::not_owned;
  write((lock.lock(error), !error));
  error = errc::not_owned;
  write(lock.try_lock(error) && !error);
}

TEST_F(SharedLocking, TimedReadersAreNeverEarly) {
  lock.lock();
  for (const auto limit : {1ms, 60ms}) {
    const Stopwatch watch;
    EXPECT_FALSE(other.try_lock_shared_for(limit));
    EXPECT_GE(watch.elapsed(), limit);
    EXPECT_LT(watch.elapsed(), limit + soon);
  }
  EXPECT_LE(median_lateness(other), hardly_late);
}

TEST_F(SharedLocking, TimedWritersAreNeverEarly) {
  lock.lock_shared();
  const Stopwatch watch;
  EXPECT_FALSE(other.try_lock_for(60ms));
  EXPECT_GE(watch.elapsed(), 60ms);
  EXPECT_LT(watch.elapsed(), soon);
  EXPECT_LE(median_lateness(other), hardly_late) << "also behind its own gate";
}

TEST_F(SharedLocking, UnlockWithoutHoldingIsNotOwned) {
  std::error_code told;
  Options options;
  options.on_error = [&](const Error& error) { told = error.code(); };
  SharedLock idle{client, name, options};
  idle.unlock_shared();
  EXPECT_EQ(told, errc::not_owned);
  told.clear();
  idle.unlock();
  EXPECT_EQ(told, errc::not_owned);
  std::error_code error;
  idle.unlock_shared(error);
  EXPECT_EQ(error, errc::not_owned);
  idle.lock();
  idle.unlock_shared(error);
  EXPECT_EQ(error, errc::not_owned) << "it writes, and does not read";
  idle.unlock();
  idle.lock_shared();
  idle.unlock(error);
  EXPECT_EQ(error, errc::not_owned) << "it reads, and does not write";
  EXPECT_TRUE(idle.owns_lock_shared());
}

TEST_F(SharedLocking, AReadingIsEndedByItsThread) {
  lock.lock_shared();
  std::thread{[&] {
    std::error_code error;
    lock.unlock_shared(error);
    EXPECT_EQ(error, errc::not_owned);
    EXPECT_FALSE(lock.owns_lock_shared());
  }}.join();
  EXPECT_TRUE(lock.owns_lock_shared());
  EXPECT_EQ(readers(), 1);
}

TEST_F(SharedLocking, AWritingIsEndedByAnyThread) {
  lock.lock();
  std::thread{[&] { lock.unlock(); }}.join();
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_TRUE(other.try_lock());
}

TEST_F(SharedLocking, ReadingAndWritingAtOnceIsADeadlock) {
  const auto deadlock = std::errc::resource_deadlock_would_occur;
  std::error_code error;
  lock.lock_shared();
  EXPECT_EQ(error_of([&] { lock.lock(); }), deadlock);
  EXPECT_EQ(error_of([&] { lock.lock_shared(); }), deadlock);
  EXPECT_THAT(message_of([&] { return lock.lock(), 0; }),
              AllOf(HasSubstr("lock"), HasSubstr(name)));
  lock.lock(error);
  EXPECT_EQ(error, deadlock);
  lock.lock_shared(error);
  EXPECT_EQ(error, deadlock);
  EXPECT_FALSE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock_shared());
  EXPECT_FALSE(lock.try_lock_for(1ms));
  EXPECT_FALSE(lock.try_lock_shared_for(1ms));
  EXPECT_FALSE(redis.exists(shared.gate));
  lock.unlock_shared();
  lock.lock();
  EXPECT_EQ(error_of([&] { lock.lock_shared(); }), deadlock);
  EXPECT_EQ(error_of([&] { lock.lock(); }), deadlock);
  EXPECT_FALSE(lock.try_lock_shared());
  EXPECT_FALSE(lock.try_lock());
  EXPECT_FALSE(lock.try_lock_shared_for(1ms));
  EXPECT_EQ(readers(), 0);
}

TEST_F(SharedLocking, OtherThreadsOfTheObjectReadBesideIt) {
  lock.lock_shared();
  auto second = reading_by_thread(lock), third = reading_by_thread(lock);
  EXPECT_TRUE(second.gets_inside() && third.gets_inside());
  EXPECT_EQ(readers(), 3) << "each thread has a reading of its own";
  second.leave();
  third.leave();
  EXPECT_EQ(readers(), 1);
  EXPECT_TRUE(lock.owns_lock_shared());
}

TEST_F(SharedLocking, ThreadsReuseTheReadingsOfOthers) {
  for (int i = 0; i < 20; ++i) {
    std::thread{[&] {
      const std::shared_lock guard{lock};
      EXPECT_TRUE(lock.owns_lock_shared());
      EXPECT_EQ(readers(), 1);
    }}.join();
    EXPECT_EQ(readers(), 0);
    EXPECT_FALSE(lock.owns_lock_shared());
  }
}

TEST_F(SharedLocking, TheDestructorEndsAllThatIsHeld) {
  {
    SharedLock mine{client, name};
    mine.lock_shared();
    std::thread{[&] { mine.lock_shared(); }}.join();
    EXPECT_EQ(readers(), 2);
  }
  EXPECT_EQ(readers(), 0);
  {
    SharedLock mine{client, name};
    mine.lock();
  }
  EXPECT_FALSE(redis.exists(shared.gate));
}

TEST_F(SharedLocking, ExtendSetsTheLeaseOfTheWriter) {
  SharedLock writer{client, name, leased_for(60s)};
  EXPECT_EQ(error_of([&] { writer.extend(); }), errc::not_owned);
  writer.lock();
  writer.extend(600s);
  EXPECT_GT(redis.integer("PTTL", shared.gate), 500'000);
  writer.extend();
  EXPECT_LE(redis.integer("PTTL", shared.gate), 60'000);
}

TEST_F(SharedLocking, ResetFreesReadersAndWriter) {
  EXPECT_FALSE(other.reset()) << "it is free";
  lock.lock_shared();
  EXPECT_TRUE(other.reset());
  EXPECT_EQ(readers(), 0);
  std::error_code error;
  lock.unlock_shared(error);
  EXPECT_EQ(error, errc::lease_lost);
  lock.lock();
  EXPECT_TRUE(other.reset());
  EXPECT_FALSE(redis.exists(shared.gate));
  lock.unlock(error);
  EXPECT_EQ(error, errc::lease_lost);
}

TEST_F(SharedLocking, ResetWakesAllWhoWait) {
  SharedLock third{client, name};
  lock.lock();
  auto first = reading_by_thread(other), second = reading_by_thread(third);
  ASSERT_TRUE(are_waiting(2));
  EXPECT_TRUE(lock.reset());
  EXPECT_TRUE(all_are_woken());
  EXPECT_TRUE(first.gets_inside() && second.gets_inside());
}

TEST_F(SharedLocking, ResetOfAnIdFreesThatHolderOnly) {
  lock.lock_shared();
  const auto id = ids_in(redis, shared.readers).at(0);
  SharedLock third{client, name};
  third.lock_shared();
  EXPECT_FALSE(other.reset("nobody"));
  EXPECT_TRUE(other.reset(id));
  EXPECT_EQ(readers(), 1);
  EXPECT_EQ(end_of_lease(redis, shared.readers, id), std::nullopt);
  third.unlock_shared();
  std::error_code ignored;
  lock.unlock_shared(ignored);
  lock.lock();
  EXPECT_TRUE(other.reset(lock.id()));
  EXPECT_FALSE(redis.exists(shared.gate));
}

TEST_F(SharedLocking, PlainLocksOfItsNameAreOthers) {
  Lock plain{client, name};
  plain.lock();
  lock.lock();
  EXPECT_TRUE(plain.owns_lock() && lock.owns_lock());
}

TEST_F(SharedLocking, LeavesNoKeysBehind) {
  lock.lock_shared();
  auto writer = writing_by_thread(other);
  ASSERT_TRUE(eventually([&] { return redis.exists(shared.gate); }));
  lock.unlock_shared();
  EXPECT_TRUE(writer.gets_inside());
  writer.leave();
  EXPECT_FALSE(redis.exists(shared.gate) || redis.exists(shared.readers));
  for (const auto& list : {shared.signal, shared.drained})
    EXPECT_TRUE(eventually([&] { return !redis.exists(list); })) << list;
}

// ---------------------------------------------------------------------------------------------------
// Guards of std.

TEST_F(SharedLocking, SharedLockGuardsWorkInEachForm) {
  {
    const std::shared_lock reading{lock};
    EXPECT_EQ(readers(), 1);
  }
  std::shared_lock deferred{lock, std::defer_lock};
  EXPECT_EQ(readers(), 0);
  EXPECT_TRUE(deferred.try_lock());
  deferred.unlock();
  EXPECT_TRUE(deferred.try_lock_for(5s));
  deferred.unlock();
  EXPECT_TRUE(deferred.try_lock_until(steady_clock::now() + 5s));
  const std::shared_lock moved{std::move(deferred)};
  EXPECT_EQ(readers(), 1);
  EXPECT_FALSE((std::unique_lock{other, 10ms}.owns_lock()));
  EXPECT_TRUE((std::shared_lock{other, 5s}.owns_lock()));
}

TEST_F(SharedLocking, UniqueLockAndLockGuardWrite) {
  {
    const std::lock_guard guard{lock};
    EXPECT_FALSE((std::shared_lock{other, std::try_to_lock}.owns_lock()));
  }
  std::unique_lock writing{lock, 5s};
  EXPECT_TRUE(writing.owns_lock() && lock.owns_lock());
  writing.unlock();
  EXPECT_TRUE((std::shared_lock{other, std::try_to_lock}.owns_lock()));
}

TEST_F(SharedLocking, ScopedLockTakesTwoInAnyOrder) {
  SharedLock second{client, name + "-2"}, other_second{client, name + "-2"};
  int rounds = 0;  // guarded by both
  const auto work = [&](SharedLock& one, SharedLock& two) {
    for (int i = 0; i < 10; ++i) {
      const std::scoped_lock both{one, two};
      ++rounds;
    }
  };
  std::thread forwards{[&] { work(lock, second); }};
  work(other_second, other);
  forwards.join();
  EXPECT_EQ(rounds, 20);
}

TEST_F(SharedLocking, ConditionVariableWaitsWithAReading) {
  std::condition_variable_any changed;
  std::atomic<bool> ready{false};
  auto waiter = std::async(std::launch::async, [&] {
    std::shared_lock reading{lock};
    changed.wait(reading, [&] { return ready.load(); });
    return lock.owns_lock_shared();
  });
  ASSERT_TRUE(
      eventually([&] { return readers() == 0 && lock.try_lock() && (lock.unlock(), true); }));
  {
    const std::lock_guard writing{other};
    ready = true;
  }
  EXPECT_TRUE(eventually([&] {
    changed.notify_all();
    return waiter.wait_for(1ms) == std::future_status::ready;
  }));
  EXPECT_TRUE(waiter.get());
  EXPECT_EQ(readers(), 0);
}

TEST_F(SharedLocking, ConditionVariableWaitsWithTheWriting) {
  std::condition_variable_any changed;
  std::unique_lock writing{lock};
  EXPECT_FALSE(changed.wait_for(writing, 20ms, [&] {
    EXPECT_TRUE(lock.owns_lock());
    return false;
  }));
  EXPECT_TRUE(lock.owns_lock());
}

TEST_F(SharedLocking, WritersNeverMeetReaders) {
  std::atomic<int> reading{0}, writing{0}, overlaps{0}, most_readers{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      SharedLock own{client, name};
      auto& used = i % 2 == 0 ? lock : own;  // one object of several threads, and one of each
      for (int round = 0; round < 30; ++round) {
        if ((i + round) % 4 == 0) {
          const std::unique_lock guard{used};
          if (++writing != 1 || reading != 0) ++overlaps;
          --writing;
        } else {
          const std::shared_lock guard{used};
          const int beside = ++reading;
          if (writing != 0) ++overlaps;
          if (beside > most_readers) most_readers = beside;
          std::this_thread::yield();
          --reading;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(overlaps, 0);
  EXPECT_GT(most_readers, 1);
  EXPECT_EQ(readers(), 0);
}

// ---------------------------------------------------------------------------------------------------
// Order, and what others got wrong.

using SharedOrder = SharedLocking;

TEST_F(SharedOrder, ReadersEnterTogetherBehindAWriter) {
  constexpr int count = 64;
  lock.lock();
  std::atomic<int> inside{0};
  std::vector<std::future<bool>> all;
  for (int i = 0; i < count; ++i) {
    all.push_back(std::async(std::launch::async, [&] {
      const std::shared_lock reading{other};
      ++inside;
      return eventually([&] { return inside == count; });  // none leaves before
    }));
  }
  ASSERT_TRUE(are_waiting(count));
  lock.unlock();
  EXPECT_TRUE(all_are_woken());
  for (auto& each : all) EXPECT_TRUE(each.get());
}

TEST_F(SharedOrder, AReaderIsWokenByTheWriter) {
  lock.lock();
  auto reader = reading_by_thread(other);
  ASSERT_TRUE(are_waiting(1));
  lock.unlock();
  EXPECT_TRUE(all_are_woken());
  EXPECT_TRUE(reader.gets_inside());
}

TEST_F(SharedOrder, AWriterIsWokenByTheLastReader) {
  SharedLock third{client, name};
  lock.lock_shared();
  third.lock_shared();
  auto writer = writing_by_thread(other);
  ASSERT_TRUE(are_waiting(1));
  ASSERT_TRUE(redis.exists(shared.gate));
  redis.reset_stats();
  lock.unlock_shared();
  EXPECT_EQ(redis.calls_of("lpush"), 0) << "one still reads";
  EXPECT_FALSE(writer.is_inside());
  third.unlock_shared();
  EXPECT_TRUE(all_are_woken());
  EXPECT_TRUE(writer.gets_inside());
}

TEST_F(SharedOrder, AWriterIsWokenByAWriter) {
  lock.lock();
  auto writer = writing_by_thread(other);
  ASSERT_TRUE(are_waiting(1));
  lock.unlock();
  EXPECT_TRUE(all_are_woken());
  EXPECT_TRUE(writer.gets_inside());
}

TEST_F(SharedOrder, AWaitingWriterKeepsNewReadersOut) {
  SharedLock third{client, name};
  lock.lock_shared();
  auto writer = writing_by_thread(other);
  ASSERT_TRUE(eventually([&] { return redis.exists(shared.gate); }));
  EXPECT_FALSE(third.try_lock_shared());
  EXPECT_FALSE(third.try_lock());
  auto reader = reading_by_thread(third);
  ASSERT_TRUE(are_waiting(2));
  lock.unlock_shared();
  EXPECT_TRUE(writer.gets_inside());
  EXPECT_FALSE(reader.is_inside());
  writer.leave();
  EXPECT_TRUE(reader.gets_inside());
}

TEST_F(SharedOrder, AStreamOfReadersStarvesNoWriter) {
  std::atomic<bool> stops{false};
  std::vector<std::thread> stream;
  for (int i = 0; i < 4; ++i) {
    stream.emplace_back([&] {
      while (!stops) {
        const std::shared_lock reading{lock};
        std::this_thread::sleep_for(3ms);  // so that there is always one inside
      }
    });
  }
  EXPECT_TRUE(eventually([&] { return readers() > 1; }));
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(other.try_lock_for(soon));
    std::error_code error;
    other.unlock(error);
    EXPECT_FALSE(error) << error.message();
  }
  stops = true;
  for (auto& thread : stream) thread.join();
}

TEST_F(SharedOrder, AStreamOfWritersStarvesNoReader) {
  std::atomic<bool> stops{false};
  std::vector<std::thread> stream;
  for (int i = 0; i < 3; ++i) {
    stream.emplace_back([&] {
      SharedLock own{client, name};
      while (!stops) {
        const std::unique_lock writing{own};
        std::this_thread::sleep_for(1ms);
      }
    });
  }
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(other.try_lock_shared_for(soon));
    std::error_code error;
    other.unlock_shared(error);
    EXPECT_FALSE(error) << error.message();
  }
  stops = true;
  for (auto& thread : stream) thread.join();
}

TEST_F(SharedOrder, ReadersAndWritersStandInOneLine) {
  SharedLock third{client, name}, fourth{client, name};
  lock.lock();
  auto reader = reading_by_thread(other);
  ASSERT_TRUE(are_waiting(1));
  auto writer = writing_by_thread(third);
  ASSERT_TRUE(are_waiting(2));
  auto late_reader = reading_by_thread(fourth);
  ASSERT_TRUE(are_waiting(3));
  lock.unlock();
  EXPECT_TRUE(reader.gets_inside());
  ASSERT_TRUE(eventually([&] { return redis.exists(shared.gate); })) << "the writer has entered";
  EXPECT_FALSE(writer.is_inside() || late_reader.is_inside());
  reader.leave();
  EXPECT_TRUE(writer.gets_inside());
  EXPECT_FALSE(late_reader.is_inside());
  writer.leave();
  EXPECT_TRUE(late_reader.gets_inside());
}

TEST_F(SharedOrder, AWriterThatGivesUpOpensItsGate) {
  lock.lock_shared();
  auto giving_up = std::async(std::launch::async, [&] { return other.try_lock_for(400ms); });
  ASSERT_TRUE(eventually([&] { return redis.exists(shared.gate); }));
  SharedLock third{client, name};
  auto reader = reading_by_thread(third);
  ASSERT_TRUE(are_waiting(2));
  EXPECT_FALSE(giving_up.get());
  EXPECT_TRUE(all_are_woken());
  EXPECT_FALSE(redis.exists(shared.gate));
  EXPECT_TRUE(reader.gets_inside());
  EXPECT_TRUE(lock.owns_lock_shared());
}

TEST_F(SharedOrder, ADeadReaderIsNotKeptByLiveOnes) {
  const auto end = add_dead_holder(redis, shared.readers, 500ms);
  SharedLock live{client, name, renewed_for(300ms)};
  live.lock_shared();
  ASSERT_TRUE(eventually([&] {
    const auto dead = end_of_lease(redis, shared.readers, "dead");
    EXPECT_EQ(dead.value_or(end), end) << "it is renewed";
    return !dead;
  }));
  EXPECT_TRUE(live.owns_lock_shared());
  EXPECT_EQ(readers(), 1);
  EXPECT_GE(server_time(redis), end);
}

TEST_F(SharedOrder, ADeadReaderCostsItsOwnLeaseOnly) {
  SharedLock live{client, name, leased_for(60s)};
  const auto end = add_dead_holder(redis, shared.readers, 500ms);
  live.lock_shared();
  live.unlock_shared();
  EXPECT_GT(redis.integer("PTTL", shared.readers), 50'000) << "not the key's expiry ends it";
  ASSERT_TRUE(other.try_lock_for(soon));
  EXPECT_GE(server_time(redis), end);
}

TEST_F(SharedOrder, AShortReadingCutsNoLongOne) {
  SharedLock patient{client, name, leased_for(60s)}, hasty{client, name, leased_for(150ms)};
  patient.lock_shared();
  hasty.lock_shared();
  EXPECT_GT(redis.integer("PTTL", shared.readers), 50'000);
  ASSERT_TRUE(eventually([&] { return !hasty.owns_lock_shared(); }));
  std::this_thread::sleep_for(100ms);  // past its lease on the server
  EXPECT_FALSE(other.try_lock());
  EXPECT_TRUE(patient.owns_lock_shared());
  hasty.lock_shared();
  hasty.unlock_shared();
  EXPECT_GT(redis.integer("PTTL", shared.readers), 50'000);
  std::error_code error;
  patient.unlock_shared(error);
  EXPECT_FALSE(error) << error.message();
}

TEST_F(SharedOrder, AShortRenewalCutsNoLongReading) {
  SharedLock patient{client, name, leased_for(60s)}, hasty{client, name, renewed_for(300ms)};
  patient.lock_shared();
  hasty.lock_shared();
  const auto renewed = client.stats().renewed;
  ASSERT_TRUE(eventually([&] { return client.stats().renewed >= renewed + 2; }));
  EXPECT_GT(redis.integer("PTTL", shared.readers), 50'000);
}

TEST_F(SharedOrder, SignalsHaveOneElementAtMost) {
  for (int i = 0; i < 5; ++i) {
    { const std::unique_lock writing{lock}; }
    { const std::shared_lock reading{lock}, beside{other}; }
    EXPECT_FALSE(lock.reset());
    EXPECT_LE(redis.integer("LLEN", shared.signal), 1);
    EXPECT_LE(redis.integer("LLEN", shared.drained), 1);
  }
  EXPECT_THAT(redis.integer("PTTL", shared.signal), AllOf(Gt(0), Le(1000)));
  EXPECT_THAT(redis.integer("PTTL", shared.drained), AllOf(Gt(0), Le(1000)));
}

TEST_F(SharedOrder, AStaleDrainedSignalAdmitsNoWriter) {
  redis.integer("LPUSH", shared.drained, 1);
  lock.lock_shared();
  auto writer = writing_by_thread(other);
  ASSERT_TRUE(eventually([&] { return !redis.exists(shared.drained); }));
  ASSERT_TRUE(are_waiting(1));
  EXPECT_FALSE(writer.is_inside());
  lock.unlock_shared();
  EXPECT_TRUE(writer.gets_inside());
}

TEST_F(SharedOrder, ScoresAreTheServersTime) {
  Proxy proxy{redis_lock::Endpoint::parse(test_uri())};
  auto options = leased_for(60s);
  SharedLock seen{proxy.uri(), name, options};
  const auto before = server_time(redis);
  seen.lock_shared();
  const auto id = ids_in(redis, shared.readers).at(0);
  const auto score = end_of_lease(redis, shared.readers, id);
  ASSERT_TRUE(score);
  EXPECT_THAT(*score, AllOf(Ge(before + 60'000), Le(server_time(redis) + 60'000)));
  EXPECT_FALSE(other.try_lock());
  seen.unlock_shared();
  seen.lock();
  seen.extend(50s);
  seen.unlock();
  const auto now = server_time(redis);
  for (const auto& command : proxy.commands()) {
    for (const auto& word : command) EXPECT_FALSE(looks_like_time(word, now)) << word;
  }
}

// ---------------------------------------------------------------------------------------------------
// Leases.

using SharedLease = SharedLocking;

TEST_F(SharedLease, ReadingsAreRenewedBeyondTheirLease) {
  SharedLock renewed{client, name, renewed_for(300ms)};
  renewed.lock_shared();
  auto beside = reading_by_thread(renewed);
  ASSERT_TRUE(beside.gets_inside());
  const Stopwatch watch;
  while (watch.elapsed() < 900ms) {
    ASSERT_TRUE(renewed.owns_lock_shared());
    ASSERT_FALSE(other.try_lock());
    std::this_thread::sleep_for(20ms);
  }
  EXPECT_EQ(readers(), 2);
  std::error_code error;
  renewed.unlock_shared(error);
  EXPECT_FALSE(error) << error.message();
}

TEST_F(SharedLease, TheWritingIsRenewedBeyondItsLease) {
  SharedLock renewed{client, name, renewed_for(300ms)};
  renewed.lock();
  const auto first_end = renewed.expires_at();
  ASSERT_TRUE(eventually([&] { return steady_clock::now() > first_end + 300ms; }));
  EXPECT_TRUE(renewed.owns_lock());
  EXPECT_FALSE(other.try_lock_shared());
}

TEST_F(SharedLease, AWaitingWriterKeepsItsGateClosed) {
  lock.lock_shared();
  SharedLock entering{client, name, leased_for(450ms)};
  auto writer = writing_by_thread(entering);
  ASSERT_TRUE(eventually([&] { return redis.exists(shared.gate); }));
  const auto gate = redis.string("GET", shared.gate);
  const Stopwatch watch;
  while (watch.elapsed() < 1500ms) {
    ASSERT_EQ(redis.string("GET", shared.gate), gate);
    std::this_thread::sleep_for(10ms);
  }
  lock.unlock_shared();
  EXPECT_TRUE(writer.gets_inside());
}

TEST_F(SharedLease, ALostReadingIsReported) {
  std::atomic<int> losses{0};
  auto options = renewed_for(300ms);
  options.on_lost = [&](std::error_code code) {
    EXPECT_EQ(code, errc::lease_lost);
    ++losses;
  };
  SharedLock reader{client, name, options};
  reader.lock_shared();
  redis.command("DEL", shared.readers);
  EXPECT_TRUE(eventually([&] { return losses == 1; }));
  EXPECT_FALSE(reader.owns_lock_shared());
  EXPECT_EQ(readers(), 0) << "a renewal never creates it anew";
  std::error_code error;
  reader.unlock_shared(error);
  EXPECT_EQ(error, errc::lease_lost);
  reader.lock_shared();
  EXPECT_TRUE(reader.owns_lock_shared());
}

TEST_F(SharedLease, AReadingThatIsOverIsLost) {
  SharedLock reader{client, name, leased_for(100ms)};
  reader.lock_shared();
  ASSERT_TRUE(eventually([&] { return other.try_lock(); }));
  EXPECT_FALSE(reader.owns_lock_shared());
  std::error_code error;
  reader.unlock_shared(error);
  EXPECT_EQ(error, errc::lease_lost);
  EXPECT_TRUE(other.owns_lock());
}

TEST_F(SharedLease, UnlockOfAVanishedReadingIsLost) {
  SharedLock reader{client, name, leased_for(60s)};
  reader.lock_shared();
  redis.command("DEL", shared.readers);
  std::error_code error;
  reader.unlock_shared(error);
  EXPECT_EQ(error, errc::lease_lost);
}

TEST_F(SharedLease, AfterALossTheThreadReadsAnew) {
  SharedLock reader{client, name, leased_for(50ms)};
  reader.lock_shared();
  ASSERT_TRUE(eventually([&] { return !reader.owns_lock_shared(); }));
  reader.lock_shared();
  EXPECT_EQ(client.stats().lost, 1U);
}

TEST_F(SharedLease, TheLossOfTheWritingIsExplained) {
  SharedLock writer{client, name, leased_for(60s)};
  writer.lock();
  redis.command("DEL", shared.gate);
  EXPECT_EQ(error_of([&] { writer.extend(); }), errc::lease_lost);
  EXPECT_EQ(writer.loss_reason(), redis_lock::LossReason::gone);
}

TEST_F(SharedLease, MinHoldKeepsReadingsForTheRest) {
  auto options = leased_for(60s);
  options.min_hold = 600ms;
  SharedLock reader{client, name, options};
  const Stopwatch watch;
  reader.lock_shared();
  auto writer = writing_by_thread(other);
  ASSERT_TRUE(are_waiting(1));
  reader.unlock_shared();
  EXPECT_FALSE(reader.owns_lock_shared());
  EXPECT_EQ(readers(), 1);
  EXPECT_FALSE(lock.try_lock());
  EXPECT_TRUE(writer.gets_inside());
  EXPECT_GE(watch.elapsed(), 600ms - clock_error);
  EXPECT_LT(watch.elapsed(), soon) << "the writer learned of the new end";
}

TEST_F(SharedLease, MinHoldKeepsTheWritingForTheRest) {
  auto options = leased_for(60s);
  options.min_hold = 600ms;
  SharedLock writer{client, name, options};
  const Stopwatch watch;
  writer.lock();
  auto reader = reading_by_thread(other);
  ASSERT_TRUE(are_waiting(1));
  writer.unlock();
  EXPECT_TRUE(redis.exists(shared.gate));
  EXPECT_TRUE(reader.gets_inside());
  EXPECT_GE(watch.elapsed(), 600ms - clock_error);
  EXPECT_LT(watch.elapsed(), soon);
}

// ---------------------------------------------------------------------------------------------------
// Fencing, stats, events, options.

using SharedFencing = SharedLocking;

TEST_F(SharedFencing, TokensGrowWithEachWriting) {
  Options options;
  options.fencing = true;
  SharedLock first{client, name, options}, second{client, name, options};
  EXPECT_EQ(error_of([&] { return first.fencing_token(); }), errc::not_owned);
  std::uint64_t latest = 0;
  for (int i = 0; i < 4; ++i) {
    for (auto* each : {&first, &second}) {
      const std::unique_lock writing{*each};
      EXPECT_GT(each->fencing_token(), latest);
      latest = each->fencing_token();
      EXPECT_EQ(redis.string("GET", shared.fence), std::to_string(latest));
    }
  }
  EXPECT_EQ(latest, 8U);
}

TEST_F(SharedFencing, AWriterThatWaitedHasOneToken) {
  Options options;
  options.fencing = true;
  SharedLock writer{client, name, options};
  lock.lock_shared();
  auto waits = std::async(std::launch::async, [&] { return writer.try_lock_for(soon); });
  ASSERT_TRUE(eventually([&] { return redis.exists(shared.gate); }));
  EXPECT_FALSE(redis.exists(shared.fence)) << "it counts who writes, not who waits";
  lock.unlock_shared();
  ASSERT_TRUE(waits.get());
  EXPECT_EQ(writer.fencing_token(), 1U);
}

TEST_F(SharedFencing, ReadingsTakeNoToken) {
  Options options;
  options.fencing = true;
  SharedLock reader{client, name, options};
  const std::shared_lock reading{reader};
  EXPECT_FALSE(redis.exists(shared.fence));
}

TEST_F(SharedFencing, GuardedWritesAreTheWriters) {
  lock.lock();
  lock.guarded_set(name, "by the writer");
  EXPECT_EQ(redis.string("GET", name), "by the writer");
  EXPECT_EQ(lock.guarded_eval("return ARGV[1]", {name}, {"x"}).text, "x");
  redis.command("SET", shared.gate, "somebody");
  EXPECT_EQ(error_of([&] { lock.guarded_set(name, "late"); }), errc::lease_lost);
  EXPECT_EQ(redis.string("GET", name), "by the writer");
  other.reset();
  other.lock_shared();
  EXPECT_EQ(error_of([&] { other.guarded_set(name, "by a reader"); }), errc::not_owned);
}

TEST_F(SharedFencing, AWaitingWritersGuardIsShut) {
  lock.lock_shared();
  auto writer = writing_by_thread(other);
  ASSERT_TRUE(eventually([&] { return redis.exists(shared.gate); }));
  EXPECT_EQ(error_of([&] { other.guarded_set(name, "too early"); }), errc::not_owned);
  EXPECT_FALSE(other.owns_lock());
  lock.unlock_shared();
  EXPECT_TRUE(writer.gets_inside());
}

using SharedOptions = SharedLocking;

TEST_F(SharedOptions, StatsCountReadingsAndWritings) {
  const auto before = client.stats();
  lock.lock_shared();
  EXPECT_FALSE(other.try_lock());
  lock.unlock_shared();
  other.lock();
  EXPECT_FALSE(lock.try_lock_shared_for(1ms));
  other.unlock();
  const auto after = client.stats();
  EXPECT_EQ(after.acquired - before.acquired, 2U);
  EXPECT_EQ(after.released - before.released, 2U);
  EXPECT_EQ(after.timed_out - before.timed_out, 2U);
  EXPECT_EQ(after.contended - before.contended, 2U);
  EXPECT_EQ(after.lost, 0U);
}

TEST_F(SharedOptions, EventsTellOfReadingsToo) {
  std::mutex mutex;
  std::vector<redis_lock::Event::Kind> kinds;
  std::vector<std::string> ids;
  auto options = leased_for(60s);
  options.on_event = [&](const redis_lock::Event& event) {
    const std::lock_guard guard{mutex};
    kinds.push_back(event.kind);
    ids.emplace_back(event.id);
    EXPECT_EQ(event.name, name);
  };
  SharedLock told{client, name, options};
  told.lock_shared();
  const auto id = ids_in(redis, shared.readers).at(0);
  told.unlock_shared();
  told.lock();
  told.unlock();
  using Kind = redis_lock::Event::Kind;
  EXPECT_THAT(kinds, ElementsAre(Kind::acquired, Kind::released, Kind::acquired, Kind::released));
  EXPECT_THAT(ids, ElementsAre(id, id, told.id(), told.id()));
}

TEST_F(SharedOptions, IdsBeginWithTheirPrefix) {
  Options options;
  options.id_prefix = "host-1:";
  SharedLock named{client, name, options};
  named.lock_shared();
  EXPECT_THAT(ids_in(redis, shared.readers), ElementsAre(HasSubstr("host-1:")));
}

TEST_F(SharedOptions, DeferredUnlockFreesBoth) {
  Options options;
  options.deferred_unlock = true;
  SharedLock quick{client, name, options};
  for (int i = 0; i < 50; ++i) {
    quick.lock_shared();
    quick.unlock_shared();
    quick.lock();
    quick.unlock();
  }
  EXPECT_TRUE(eventually([&] { return !redis.exists(shared.gate) && readers() == 0; }));
  EXPECT_TRUE(eventually([&] { return client.stats().released == 100; }));
}

TEST_F(SharedOptions, DeferredReadingsCostOneAttemptEach) {
  Options options;
  options.deferred_unlock = true;
  SharedLock quick{client, name, options};
  quick.lock_shared();
  quick.unlock_shared();
  quick.lock_shared();
  quick.unlock_shared();
  redis.reset_stats();
  for (int i = 0; i < 10; ++i) {
    quick.lock_shared();
    quick.unlock_shared();
  }
  EXPECT_FALSE(quick.locked()) << "the releases have run";
  EXPECT_EQ(redis.calls_of("evalsha"), 20);
}

TEST_F(SharedOptions, DeferredUnlockOvertakesNoWaiter) {
  Options options;
  options.deferred_unlock = true;
  SharedLock quick{client, name, options};
  for (int i = 0; i < 10; ++i) {
    quick.lock();
    auto waiter = writing_by_thread(other);
    ASSERT_TRUE(are_waiting(1));
    quick.unlock();
    const bool overtakes = quick.try_lock();
    EXPECT_FALSE(overtakes) << "the waiter was first";
    if (overtakes) quick.unlock();
    EXPECT_TRUE(waiter.gets_inside());
  }
}

TEST_F(SharedOptions, DeferredUnlockReportsALostReading) {
  std::atomic<int> reports{0};
  auto options = leased_for(60s);
  options.deferred_unlock = true;
  options.on_error = [&](const Error& error) { reports += error.code() == errc::lease_lost; };
  SharedLock quick{client, name, options};
  quick.lock_shared();
  redis.command("DEL", shared.readers);
  quick.unlock_shared();
  EXPECT_TRUE(eventually([&] { return reports == 1; }));
}

TEST_F(SharedOptions, LocalHandoffsPassTheWritingOn) {
  Options options;
  options.local_handoffs = 100;
  SharedLock handing{client, name, options};
  handing.lock();
  const auto id = handing.id();
  std::string next_id;
  std::thread next{[&] {
    handing.lock();
    next_id = handing.id();
    handing.unlock();
  }};
  // In a queue inside the process, which shows nowhere: let the thread get there.
  ASSERT_TRUE(eventually([] { return all_others_sleep(); }));
  handing.unlock();
  next.join();
  EXPECT_EQ(next_id, id);
  EXPECT_FALSE(redis.exists(shared.gate));
}

TEST_F(SharedOptions, LocalHandoffsLeaveReadingsAlone) {
  Options options;
  options.local_handoffs = 100;
  SharedLock handing{client, name, options};
  auto first = reading_by_thread(handing), second = reading_by_thread(handing);
  EXPECT_TRUE(first.gets_inside() && second.gets_inside());
  first.leave();
  EXPECT_EQ(readers(), 1);
  second.leave();
  EXPECT_EQ(readers(), 0);
}

// ---------------------------------------------------------------------------------------------------
// Processes.

using SharedProcesses = SharedLocking;

/// In a child a failed expectation would be lost: the first condition that is not met is its exit code.
int first_unmet(std::initializer_list<bool> conditions) {
  int number = 0;
  for (const bool met : conditions) {
    ++number;
    if (!met) return number;
  }
  return 0;
}

TEST_F(SharedProcesses, ReadTogetherAndWriteAlone) {
  lock.lock_shared();
  Child child{[&] {
    SharedLock own{test_uri(), name};
    return first_unmet({own.try_lock_shared(), (own.unlock_shared(), true), !own.try_lock(),
                        !own.try_lock_for(20ms)});
  }};
  EXPECT_EQ(child.exit_code(), 0);
  lock.unlock_shared();
  lock.lock();
  Child second{[&] {
    SharedLock own{test_uri(), name};
    return first_unmet({!own.try_lock_shared(), !own.try_lock()});
  }};
  EXPECT_EQ(second.exit_code(), 0);
}

TEST_F(SharedProcesses, SumsUpUnderWritersAndReaders) {
  std::vector<Child> children;
  for (int i = 0; i < 4; ++i) {
    children.emplace_back([&] {
      SharedLock own{test_uri(), name};
      Redis plain{test_uri()};
      for (int round = 0; round < 20; ++round) {
        {
          const std::unique_lock writing{own};
          const auto value = std::stoi(plain.string("GET", name).value_or("0"));
          plain.command("SET", name, value + 1);
        }
        const std::shared_lock reading{own};
        const auto seen = plain.string("GET", name);
        std::this_thread::sleep_for(1ms);
        if (plain.string("GET", name) != seen) return 2;
      }
      return 0;
    });
  }
  for (auto& child : children) EXPECT_EQ(child.exit_code(), 0);
  EXPECT_EQ(redis.string("GET", name), "80");
}

TEST_F(SharedProcesses, AChildStartsFree) {
  for (const bool reads : {true, false}) {
    reads ? lock.lock_shared() : lock.lock();
    Child child{[&] {
      std::error_code shared_error, error;
      const bool owns = lock.owns_lock_shared() || lock.owns_lock();
      lock.unlock_shared(shared_error);
      lock.unlock(error);
      const bool taken = lock.try_lock_shared();
      if (taken) lock.unlock_shared();
      return first_unmet({!owns, shared_error == errc::not_owned, error == errc::not_owned,
                          taken == reads, !lock.try_lock()});
    }};
    EXPECT_EQ(child.exit_code(), 0);
    EXPECT_EQ(lock.owns_lock_shared(), reads);
    std::error_code error;
    reads ? lock.unlock_shared(error) : lock.unlock(error);
    EXPECT_FALSE(error) << error.message();
  }
}

TEST_F(SharedProcesses, AChildsDestructorEndsNoParentsReading) {
  auto mine = std::make_unique<SharedLock>(client, name);
  mine->lock_shared();
  Child child{[&] {
    mine->lock_shared();
    mine.reset();
    return 0;
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_EQ(readers(), 1) << "the child has ended its own";
  EXPECT_TRUE(mine->owns_lock_shared());
  EXPECT_FALSE(other.try_lock());
}

TEST_F(SharedProcesses, ADeadWaitingWriterCostsItsLease) {
  SharedLock reader{client, name, leased_for(60s)};
  reader.lock_shared();
  Child writer{[&] {
    SharedLock own{test_uri(), name, renewed_for(900ms)};
    own.lock();
    return 0;
  }};
  ASSERT_TRUE(eventually([&] { return redis.exists(shared.gate); }));
  writer.kill();
  ASSERT_TRUE(writer.wait());
  const milliseconds left{redis.integer("PTTL", shared.gate)};
  EXPECT_LE(left, 900ms);
  const Stopwatch watch;
  EXPECT_TRUE(other.try_lock_shared_for(soon));
  EXPECT_GE(watch.elapsed(), left - 10 * clock_error);
  EXPECT_TRUE(reader.owns_lock_shared());
}

TEST_F(SharedProcesses, ADeadReaderFreesAWriter) {
  Child reader{[&] {
    SharedLock own{test_uri(), name, renewed_for(900ms)};
    own.lock_shared();
    for (;;) ::pause();
    return 0;
  }};
  ASSERT_TRUE(eventually([&] { return readers() == 1; }));
  const Stopwatch watch;
  while (watch.elapsed() < 1100ms) {
    ASSERT_FALSE(other.try_lock()) << "it is renewed";
    std::this_thread::sleep_for(20ms);
  }
  reader.kill();
  EXPECT_TRUE(other.try_lock_for(soon));
}

TEST_F(SharedProcesses, ADeadWriterFreesReaders) {
  Child writer{[&] {
    SharedLock own{test_uri(), name, renewed_for(900ms)};
    own.lock();
    for (;;) ::pause();
    return 0;
  }};
  ASSERT_TRUE(eventually([&] { return redis.exists(shared.gate); }));
  SharedLock third{client, name};
  auto first = reading_by_thread(other), second = reading_by_thread(third);
  ASSERT_TRUE(are_waiting(2));
  writer.kill();
  EXPECT_TRUE(first.gets_inside() && second.gets_inside());
}

}  // namespace
}  // namespace redis_lock_test
