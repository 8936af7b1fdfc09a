// What [thread.sharedtimedmutex.requirements] and [thread.lock.shared] ask of a shared mutex, asked of
// std::shared_timed_mutex, which shows that the case is right, and of redis_lock::SharedLock.

#include <atomic>
#include <condition_variable>

#include "fixtures.hpp"

namespace redis_lock_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

#define ON_EACH_READ_MUTEX(name) \
  TEMPLATE_TEST_CASE(name, "[conformance]", StdSharedMutex, SharedLockOfAll, SharedLockOfEachThread)

/// Returns whether another thread can read; leaves the mutex as it was.
template <class Fixture>
bool may_be_read(Fixture& fixture) {
  return elsewhere([&] {
    const bool taken = fixture.get().try_lock_shared();
    if (taken) fixture.get().unlock_shared();
    return taken;
  });
}
/// Returns whether another thread can write; leaves the mutex as it was.
template <class Fixture>
bool may_be_written(Fixture& fixture) {
  return elsewhere([&] {
    const bool taken = fixture.get().try_lock();
    if (taken) fixture.get().unlock();
    return taken;
  });
}

ON_EACH_READ_MUTEX("a shared mutex has the members of std") {
  using Mutex = typename TestType::Type;
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<Mutex>);
  STATIC_REQUIRE_FALSE(std::is_move_constructible_v<Mutex>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Mutex&>().lock_shared()), void>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Mutex&>().unlock_shared()), void>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Mutex&>().try_lock_shared()), bool>);
  STATIC_REQUIRE(
      std::is_same_v<decltype(std::declval<Mutex&>().try_lock_shared_for(milliseconds{})), bool>);
  STATIC_REQUIRE(
      std::is_same_v<decltype(std::declval<Mutex&>().try_lock_shared_until(steady_clock::now())),
                     bool>);
}

ON_EACH_READ_MUTEX("readers share and keep writers out") {
  TestType fixture;
  fixture.get().lock_shared();
  CHECK(may_be_read(fixture));
  CHECK_FALSE(may_be_written(fixture));
  fixture.get().unlock_shared();
  CHECK(may_be_written(fixture));
}

ON_EACH_READ_MUTEX("a writer keeps readers and writers out") {
  TestType fixture;
  fixture.get().lock();
  CHECK_FALSE(may_be_read(fixture));
  CHECK_FALSE(may_be_written(fixture));
  fixture.get().unlock();
  CHECK(may_be_read(fixture));
}

ON_EACH_READ_MUTEX("a reader waits for the writer") {
  TestType fixture;
  fixture.get().lock();
  std::atomic<bool> released{false};
  auto reader = in_background([&] {
    const std::shared_lock reading{fixture.get()};
    return released.load();
  });
  CHECK(reader.wait_for(50ms) == std::future_status::timeout);
  released = true;
  fixture.get().unlock();
  CHECK(reader.get());
}

ON_EACH_READ_MUTEX("a writer waits for the readers") {
  TestType fixture;
  fixture.get().lock_shared();
  std::atomic<bool> released{false};
  auto writer = in_background([&] {
    const std::unique_lock writing{fixture.get()};
    return released.load();
  });
  CHECK(writer.wait_for(50ms) == std::future_status::timeout);
  released = true;
  fixture.get().unlock_shared();
  CHECK(writer.get());
}

ON_EACH_READ_MUTEX("a timed reader is never early") {
  TestType fixture;
  fixture.get().lock();
  elsewhere([&] {
    for (const auto limit : {1ms, 20ms, 100ms}) {
      const auto start = steady_clock::now();
      CHECK_FALSE(fixture.get().try_lock_shared_for(limit));
      CHECK(steady_clock::now() - start >= limit);
      CHECK(steady_clock::now() - start < limit + soon);
    }
    const auto deadline = system_clock::now() + 60ms;
    CHECK_FALSE(fixture.get().try_lock_shared_until(deadline));
    CHECK(system_clock::now() >= deadline);
    return true;
  });
  fixture.get().unlock();
}

ON_EACH_READ_MUTEX("a time that is over tries to read once") {
  TestType fixture;
  const auto all = [&] {
    int taken = 0;
    const auto count = [&](bool acquired) {
      if (acquired) fixture.get().unlock_shared();
      taken += acquired ? 1 : 0;
    };
    count(fixture.get().try_lock_shared_for(0s));
    count(fixture.get().try_lock_shared_for(-1h));
    count(fixture.get().try_lock_shared_until(steady_clock::now() - 1h));
    count(fixture.get().try_lock_shared_until(system_clock::now()));
    return taken;
  };
  CHECK(elsewhere(all) == 4);
  fixture.get().lock();
  CHECK(elsewhere(all) == 0);
  fixture.get().unlock();
}

ON_EACH_READ_MUTEX("a timed reader is granted by the release") {
  TestType fixture;
  fixture.get().lock();
  auto by_duration = in_background([&] {
    return std::shared_lock{fixture.get(), std::chrono::minutes{1}}.owns_lock();
  });
  auto by_time = in_background([&] {
    return std::shared_lock{fixture.get(), steady_clock::now() + std::chrono::minutes{1}}
        .owns_lock();
  });
  CHECK(by_duration.wait_for(30ms) == std::future_status::timeout);
  fixture.get().unlock();
  CHECK(by_duration.get());
  CHECK(by_time.get());
}

ON_EACH_READ_MUTEX("shared_lock: each constructor") {
  TestType fixture;
  using Mutex = typename TestType::Type;
  auto& mutex = fixture.get();
  SECTION("none") { CHECK_FALSE(std::shared_lock<Mutex>{}.owns_lock()); }
  SECTION("locking") {
    const std::shared_lock guard{mutex};
    CHECK(guard.owns_lock());
    CHECK_FALSE(may_be_written(fixture));
  }
  SECTION("deferred") {
    std::shared_lock guard{mutex, std::defer_lock};
    CHECK(may_be_written(fixture));
    guard.lock();
    CHECK_FALSE(may_be_written(fixture));
  }
  SECTION("trying") { CHECK(std::shared_lock{mutex, std::try_to_lock}.owns_lock()); }
  SECTION("adopting") {
    mutex.lock_shared();
    const std::shared_lock guard{mutex, std::adopt_lock};
    CHECK(guard.owns_lock());
  }
  SECTION("for a duration") { CHECK(std::shared_lock{mutex, 1s}.owns_lock()); }
  SECTION("until a time") { CHECK(std::shared_lock{mutex, steady_clock::now() + 1s}.owns_lock()); }
  SECTION("moved") {
    std::shared_lock first{mutex};
    const std::shared_lock second{std::move(first)};
    CHECK(second.owns_lock());
    CHECK_FALSE(may_be_written(fixture));
  }
  CHECK(may_be_written(fixture));
}

ON_EACH_READ_MUTEX("shared_lock: its members") {
  TestType fixture;
  std::shared_lock guard{fixture.get(), std::defer_lock};
  CHECK(guard.try_lock());
  guard.unlock();
  CHECK(guard.try_lock_for(1s));
  guard.unlock();
  CHECK(guard.try_lock_until(steady_clock::now() + 1s));
  CHECK_THROWS_AS(guard.lock(), std::system_error);
  auto* const mutex = guard.release();
  CHECK_FALSE(may_be_written(fixture));
  mutex->unlock_shared();
  CHECK(may_be_written(fixture));
  CHECK_THROWS_AS(guard.unlock(), std::system_error);
}

ON_EACH_READ_MUTEX("condition_variable_any waits with a reading") {
  TestType fixture;
  std::condition_variable_any changed;
  std::atomic<bool> ready{false};
  auto waiter = in_background([&] {
    std::shared_lock reading{fixture.get()};
    while (!ready) changed.wait_for(reading, 20ms);
    return reading.owns_lock();
  });
  {
    const std::unique_lock writing{fixture.get()};  // while the waiter waits, it does not read
    ready = true;
    changed.notify_all();
  }
  CHECK(waiter.get());
  CHECK(may_be_written(fixture));
}

ON_EACH_READ_MUTEX("writers are alone and readers are not") {
  TestType fixture;
  std::atomic<int> reading{0}, writing{0}, overlaps{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 5; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 15; ++round) {
        if ((i + round) % 3 == 0) {
          const std::unique_lock guard{fixture.get()};
          if (++writing != 1 || reading != 0) ++overlaps;
          --writing;
        } else {
          const std::shared_lock guard{fixture.get()};
          ++reading;
          if (writing != 0) ++overlaps;
          --reading;
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  threads.clear();
  std::atomic<int> beside{0};
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      const std::shared_lock guard{fixture.get()};
      ++beside;
      if (!eventually([&] { return beside == 2; })) ++overlaps;  // both read at once
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(overlaps == 0);
}

}  // namespace
}  // namespace redis_lock_test
