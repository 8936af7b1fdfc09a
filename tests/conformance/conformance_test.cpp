// What [thread.req.lockable], [thread.lock] and [thread.condition.condvarany] ask of a mutex, asked
// of std::timed_mutex, which shows that the case is right, and of redis_lock::Lock and its family.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <redis_lock/redis_lock.hpp>

#include "fixtures.hpp"
#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

/// One mutex of the type under test, as different threads of one process see it.
struct StdMutex {
  using Type = std::timed_mutex;
  Type mutex;
  Type& get() { return mutex; }
};

/// One Lock that all threads share.
struct LockOfAll {
  using Type = redis_lock::Lock;
  Type lock{test_uri(), unique_name("conformance")};
  Type& get() { return lock; }
};

/// The same over a lease that nobody renews.
struct LockOfAllWithoutRenewal {
  using Type = redis_lock::Lock;
  Type lock{test_uri(), unique_name("conformance"), redis_lock::Options::without_renewal()};
  Type& get() { return lock; }
};

/// Three servers of the process's own.
const std::vector<redis_lock::Client>& quorum_nodes() {
  static const QuorumServers servers{3};
  static const auto nodes = servers.clients();
  return nodes;
}

/// One QuorumLock that all threads share.
struct QuorumLockOfAll {
  using Type = redis_lock::QuorumLock;
  Type lock{quorum_nodes(), unique_name("conformance")};
  Type& get() { return lock; }
};

struct LockOfEachThread : OfEachThread<redis_lock::Lock, redis_lock::Client> {
  LockOfEachThread() : OfEachThread(redis_lock::Client{test_uri()}) {}
};
struct QuorumLockOfEachThread
    : OfEachThread<redis_lock::QuorumLock, std::vector<redis_lock::Client>> {
  QuorumLockOfEachThread() : OfEachThread(quorum_nodes()) {}
};

/// A Semaphore with one permit is a mutex, too.
struct PermitOfEachThread : OfEachThread<redis_lock::Semaphore, redis_lock::Client, 1> {
  PermitOfEachThread() : OfEachThread(redis_lock::Client{test_uri()}) {}
};

#define ON_EACH_MUTEX(name)                                                                     \
  TEMPLATE_TEST_CASE(name, "[conformance]", StdMutex, LockOfAll, LockOfAllWithoutRenewal,       \
                     LockOfEachThread, QuorumLockOfAll, QuorumLockOfEachThread, StdSharedMutex, \
                     SharedLockOfAll, SharedLockOfEachThread, PermitOfEachThread)
#define ON_EACH_SHARED_MUTEX(name)                                                        \
  TEMPLATE_TEST_CASE(name, "[conformance]", StdMutex, LockOfAll, LockOfAllWithoutRenewal, \
                     QuorumLockOfAll, StdSharedMutex, SharedLockOfAll)

/// Whether another thread finds the mutex free; leaves it as it was.
template <class Fixture>
bool is_free(Fixture& fixture) {
  return elsewhere([&] {
    const bool taken = fixture.get().try_lock();
    if (taken) fixture.get().unlock();
    return taken;
  });
}

ON_EACH_MUTEX("a mutex is neither copied nor moved") {
  using Mutex = typename TestType::Type;
  STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<Mutex>);
  STATIC_REQUIRE_FALSE(std::is_copy_assignable_v<Mutex>);
  STATIC_REQUIRE_FALSE(std::is_move_constructible_v<Mutex>);
  STATIC_REQUIRE_FALSE(std::is_move_assignable_v<Mutex>);
  STATIC_REQUIRE(std::is_nothrow_destructible_v<Mutex>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Mutex&>().lock()), void>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Mutex&>().unlock()), void>);
  STATIC_REQUIRE(std::is_same_v<decltype(std::declval<Mutex&>().try_lock()), bool>);
  STATIC_REQUIRE(
      std::is_same_v<decltype(std::declval<Mutex&>().try_lock_for(milliseconds{})), bool>);
  STATIC_REQUIRE(
      std::is_same_v<decltype(std::declval<Mutex&>().try_lock_until(steady_clock::now())), bool>);
}

ON_EACH_MUTEX("lock and unlock") {
  TestType fixture;
  CHECK(is_free(fixture));
  fixture.get().lock();
  CHECK_FALSE(is_free(fixture));
  fixture.get().unlock();
  CHECK(is_free(fixture));
  fixture.get().lock();
  fixture.get().unlock();
}

ON_EACH_MUTEX("lock waits for the holder") {
  TestType fixture;
  fixture.get().lock();
  std::atomic<bool> released{false};
  auto waiter = in_background([&] {
    fixture.get().lock();
    const bool after_release = released;
    fixture.get().unlock();
    return after_release;
  });
  CHECK(waiter.wait_for(50ms) == std::future_status::timeout);
  released = true;
  fixture.get().unlock();
  CHECK(waiter.get());
}

ON_EACH_MUTEX("try_lock takes only a free mutex") {
  TestType fixture;
  REQUIRE(fixture.get().try_lock());
  CHECK_FALSE(elsewhere([&] { return fixture.get().try_lock(); }));
  CHECK_FALSE(elsewhere([&] { return fixture.get().try_lock(); }));
  fixture.get().unlock();
  REQUIRE(elsewhere([&] {
    const bool taken = fixture.get().try_lock();
    if (taken) fixture.get().unlock();
    return taken;
  }));
}

ON_EACH_MUTEX("a timed lock gets a free mutex immediately") {
  TestType fixture;
  auto& mutex = fixture.get();
  REQUIRE(mutex.try_lock_for(1s));
  mutex.unlock();
  REQUIRE(mutex.try_lock_until(steady_clock::now() + 1s));
  mutex.unlock();
  REQUIRE(mutex.try_lock_until(system_clock::now() + 1s));
  mutex.unlock();
}

ON_EACH_MUTEX("a timed lock is never early") {
  TestType fixture;
  fixture.get().lock();
  elsewhere([&] {
    for (const auto limit : {1ms, 20ms, 150ms}) {
      const auto start = steady_clock::now();
      CHECK_FALSE(fixture.get().try_lock_for(limit));
      CHECK(steady_clock::now() - start >= limit);
      CHECK(steady_clock::now() - start < limit + soon);
    }
    const auto start = steady_clock::now();
    CHECK_FALSE(fixture.get().try_lock_for(std::chrono::duration<double>{0.0305}));
    CHECK(steady_clock::now() - start >= 30500us);

    const auto steady_deadline = steady_clock::now() + 80ms;
    CHECK_FALSE(fixture.get().try_lock_until(steady_deadline));
    CHECK(steady_clock::now() >= steady_deadline);
    const auto system_deadline = system_clock::now() + 80ms;
    CHECK_FALSE(fixture.get().try_lock_until(system_deadline));
    CHECK(system_clock::now() >= system_deadline);
  });
  fixture.get().unlock();
}

ON_EACH_MUTEX("a time that is over tries once") {
  TestType fixture;
  const auto tries = [&fixture](auto acquire) {
    const bool taken = acquire(fixture.get());
    if (taken) fixture.get().unlock();
    return taken;
  };
  const auto all = [&] {
    const bool results[] = {
        tries([](auto& mutex) { return mutex.try_lock_for(0s); }),
        tries([](auto& mutex) { return mutex.try_lock_for(-1h); }),
        tries([](auto& mutex) { return mutex.try_lock_until(steady_clock::now()); }),
        tries([](auto& mutex) { return mutex.try_lock_until(steady_clock::now() - 1h); }),
        tries([](auto& mutex) { return mutex.try_lock_until(system_clock::now() - 1h); }),
        tries([](auto& mutex) { return mutex.try_lock_until(steady_clock::time_point{}); })};
    int taken = 0;
    for (const bool result : results) taken += result ? 1 : 0;
    return taken;
  };
  CHECK(elsewhere(all) == 6);
  fixture.get().lock();
  const Stopwatch watch;
  CHECK(elsewhere(all) == 0);
  CHECK(watch.elapsed() < soon);
  fixture.get().unlock();
}

ON_EACH_MUTEX("a timed lock is granted by the release") {
  TestType fixture;
  fixture.get().lock();
  auto by_duration = in_background([&] {
    const std::unique_lock guard{fixture.get(), std::chrono::minutes{1}};
    return guard.owns_lock();
  });
  auto by_time = in_background([&] {
    const std::unique_lock guard{fixture.get(), steady_clock::now() + std::chrono::minutes{1}};
    return guard.owns_lock();
  });
  CHECK(by_duration.wait_for(30ms) == std::future_status::timeout);
  const Stopwatch since_release;
  fixture.get().unlock();
  CHECK(by_duration.get());
  CHECK(by_time.get());
  CHECK(since_release.elapsed() < soon);
}

ON_EACH_MUTEX("lock_guard holds for its scope") {
  TestType fixture;
  {
    const std::lock_guard guard{fixture.get()};
    CHECK_FALSE(is_free(fixture));
  }
  CHECK(is_free(fixture));
  fixture.get().lock();
  { const std::lock_guard guard{fixture.get(), std::adopt_lock}; }
  CHECK(is_free(fixture));
}

ON_EACH_MUTEX("lock_guard releases when an exception passes") {
  TestType fixture;
  try {
    const std::lock_guard guard{fixture.get()};
    throw 1;
  } catch (int) {
    CHECK(is_free(fixture));
  }
}

ON_EACH_MUTEX("unique_lock: each constructor") {
  TestType fixture;
  using Mutex = typename TestType::Type;
  auto& mutex = fixture.get();
  SECTION("none") {
    const std::unique_lock<Mutex> guard;
    CHECK_FALSE(guard.owns_lock());
    CHECK(guard.mutex() == nullptr);
  }
  SECTION("locking") {
    const std::unique_lock guard{mutex};
    CHECK(guard.owns_lock());
    CHECK(guard.mutex() == &mutex);
    CHECK_FALSE(is_free(fixture));
  }
  SECTION("deferred") {
    std::unique_lock guard{mutex, std::defer_lock};
    CHECK_FALSE(guard.owns_lock());
    CHECK(is_free(fixture));
    guard.lock();
    CHECK_FALSE(is_free(fixture));
  }
  SECTION("trying") {
    const std::unique_lock guard{mutex, std::try_to_lock};
    CHECK(guard.owns_lock());
    elsewhere([&] {
      const std::unique_lock busy{fixture.get(), std::try_to_lock};
      CHECK_FALSE(busy.owns_lock());
    });
  }
  SECTION("adopting") {
    mutex.lock();
    const std::unique_lock guard{mutex, std::adopt_lock};
    CHECK(guard.owns_lock());
  }
  SECTION("for a duration") {
    const std::unique_lock guard{mutex, 1s};
    CHECK(guard.owns_lock());
    elsewhere([&] {
      const std::unique_lock busy{fixture.get(), 20ms};
      CHECK_FALSE(busy.owns_lock());
    });
  }
  SECTION("until a time") {
    const std::unique_lock guard{mutex, steady_clock::now() + 1s};
    CHECK(guard.owns_lock());
    elsewhere([&] {
      const std::unique_lock busy{fixture.get(), system_clock::now() + 20ms};
      CHECK_FALSE(busy.owns_lock());
    });
  }
  SECTION("moved") {
    std::unique_lock first{mutex};
    const std::unique_lock second{std::move(first)};
    CHECK(second.owns_lock());
    CHECK_FALSE(is_free(fixture));
  }
  CHECK(is_free(fixture));
}

ON_EACH_MUTEX("unique_lock: its members") {
  TestType fixture;
  std::unique_lock guard{fixture.get(), std::defer_lock};
  CHECK(guard.try_lock());
  guard.unlock();
  CHECK(guard.try_lock_for(1s));
  guard.unlock();
  CHECK(guard.try_lock_until(steady_clock::now() + 1s));
  CHECK_FALSE(is_free(fixture));
  CHECK_THROWS_AS(guard.lock(), std::system_error);
  auto* const mutex = guard.release();
  CHECK_FALSE(is_free(fixture));
  mutex->unlock();
  CHECK(is_free(fixture));
  CHECK_THROWS_AS(guard.unlock(), std::system_error);
}

ON_EACH_MUTEX("scoped_lock over none, one, two and three") {
  TestType first, second, third;
  { [[maybe_unused]] const std::scoped_lock<> none; }
  {
    const std::scoped_lock guard{first.get()};
    CHECK_FALSE(is_free(first));
  }
  {
    const std::scoped_lock guard{first.get(), second.get()};
    CHECK_FALSE(is_free(first));
    CHECK_FALSE(is_free(second));
  }
  {
    std::mutex another_kind;
    const std::scoped_lock guard{first.get(), another_kind, second.get(), third.get()};
    CHECK_FALSE(is_free(third));
  }
  CHECK((is_free(first) && is_free(second) && is_free(third)));
}

ON_EACH_MUTEX("std::lock takes all, in whatever order others do") {
  TestType first, second;
  int rounds[2] = {0, 0};
  const auto work = [](TestType& a, TestType& b, int& done) {
    for (; done < 12; ++done) {
      std::lock(a.get(), b.get());
      const std::lock_guard own_a{a.get(), std::adopt_lock};
      const std::lock_guard own_b{b.get(), std::adopt_lock};
    }
  };
  std::thread forwards{[&] { work(first, second, rounds[0]); }},
      backwards{[&] { work(second, first, rounds[1]); }};
  forwards.join();
  backwards.join();
  CHECK(rounds[0] == 12);
  CHECK(rounds[1] == 12);
  CHECK((is_free(first) && is_free(second)));
}

ON_EACH_MUTEX("std::try_lock takes all or none") {
  TestType first, second;
  CHECK(std::try_lock(first.get(), second.get()) == -1);
  second.get().unlock();
  first.get().unlock();
  second.get().lock();
  elsewhere([&] {
    CHECK(std::try_lock(first.get(), second.get()) == 1);
    return 0;
  });
  CHECK(is_free(first));
  second.get().unlock();
}

ON_EACH_MUTEX("only one holds it") {
  TestType fixture;
  std::atomic<int> inside{0}, overlaps{0}, entered{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 12; ++round) {
        auto& mutex = fixture.get();
        if ((i + round) % 3 == 0) {
          mutex.lock();
        } else if ((i + round) % 3 == 1) {
          while (!mutex.try_lock_for(100ms)) {
          }
        } else {
          while (!mutex.try_lock()) std::this_thread::sleep_for(1ms);
        }
        if (++inside != 1) ++overlaps;
        ++entered;
        --inside;
        mutex.unlock();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(overlaps == 0);
  CHECK(entered == 72);
}

// Between different Lock objects there is no order that the language knows of: they may be in
// different processes. Threads that share one object get what std::mutex gives.
ON_EACH_SHARED_MUTEX("the next holder sees what was written") {
  TestType fixture;
  std::string text;  // no atomic: ThreadSanitizer watches
  int entered = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) {
        const std::lock_guard guard{fixture.get()};
        text = "by " + std::to_string(++entered) + " and long enough to be on the heap";
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(entered == 40);
  CHECK(text == "by 40 and long enough to be on the heap");
}

ON_EACH_MUTEX("condition_variable_any waits and is notified") {
  TestType fixture;
  std::condition_variable_any changed;
  std::atomic<int> stage{0};
  auto other = in_background([&] {
    std::unique_lock guard{fixture.get()};
    changed.wait(guard, [&] { return stage == 1; });
    stage = 2;
    changed.notify_all();
    return guard.owns_lock();
  });
  {
    std::unique_lock guard{fixture.get()};
    stage = 1;
    changed.notify_all();
    CHECK(changed.wait_for(guard, patience, [&] { return stage == 2; }));
    CHECK_FALSE(is_free(fixture));
  }
  CHECK(other.get());
  CHECK(is_free(fixture));
}

ON_EACH_MUTEX(
    "condition_variable_any frees the mutex while it waits and has it again when time is over") {
  TestType fixture;
  std::condition_variable_any changed;
  std::unique_lock guard{fixture.get()};
  auto visitor = in_background([&] {
    const std::lock_guard visit{fixture.get()};
    return true;
  });
  CHECK(visitor.wait_for(20ms) == std::future_status::timeout);
  const auto start = steady_clock::now();
  CHECK_FALSE(changed.wait_until(guard, start + 60ms, [] { return false; }));
  CHECK(steady_clock::now() >= start + 60ms);
  CHECK_FALSE(is_free(fixture));
  guard.unlock();
  CHECK(visitor.get());
}

}  // namespace
}  // namespace redis_lock_test
