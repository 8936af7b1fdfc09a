// What [thread.sema.cnt] asks of a semaphore, asked of std::counting_semaphore, which shows that the case is right, and
// of redis_lock::Semaphore.

#include <atomic>
#include <deque>
#include <semaphore>

#include "fixtures.hpp"

namespace redis_lock_test {
namespace {

using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr int permits = 3;

/// One counter, of which each user takes one at a time.
struct StdSemaphore {
  std::counting_semaphore<permits> semaphore{permits};
  auto& user(std::size_t) { return semaphore; }
};

/// One name, for which each user has an object of its own.
struct SemaphoreOfEachUser {
  redis_lock::Client client{test_uri()};
  const std::string name = unique_name("conformance");
  std::mutex mutex;  // guards `users`
  std::deque<redis_lock::Semaphore> users;

  redis_lock::Semaphore& user(std::size_t number) {
    const std::lock_guard guard{mutex};
    while (users.size() <= number) users.emplace_back(client, name, std::size_t{permits});
    return users[number];
  }
};

#define ON_EACH_SEMAPHORE(name) \
  TEMPLATE_TEST_CASE(name, "[conformance]", StdSemaphore, SemaphoreOfEachUser)

template <class Fixture>
void take_all(Fixture& fixture) {
  for (std::size_t i = 0; i < permits; ++i) fixture.user(i).acquire();
}
template <class Fixture>
void return_all(Fixture& fixture) {
  for (std::size_t i = 0; i < permits; ++i) fixture.user(i).release();
}

ON_EACH_SEMAPHORE("a semaphore has as many permits as it says") {
  TestType fixture;
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < permits; ++i) CHECK(fixture.user(i).try_acquire());
    CHECK_FALSE(fixture.user(permits).try_acquire());
    fixture.user(1).release();
    CHECK(fixture.user(permits).try_acquire());
    CHECK_FALSE(fixture.user(1).try_acquire());
    fixture.user(permits).release();
    fixture.user(0).release();
    fixture.user(2).release();
  }
}

ON_EACH_SEMAPHORE("acquire waits for a release") {
  TestType fixture;
  take_all(fixture);
  std::atomic<bool> released{false};
  auto waiter = in_background([&] {
    fixture.user(permits).acquire();
    return released.load();
  });
  CHECK(waiter.wait_for(50ms) == std::future_status::timeout);
  released = true;
  fixture.user(0).release();
  CHECK(waiter.get());
}

ON_EACH_SEMAPHORE("each release lets one in") {
  TestType fixture;
  take_all(fixture);
  std::atomic<int> inside{0};
  std::vector<std::thread> waiters;
  for (std::size_t i = 0; i < permits; ++i) {
    waiters.emplace_back([&, i] {
      fixture.user(permits + i).acquire();
      ++inside;
    });
  }
  for (int i = 0; i < permits; ++i) {
    CHECK(inside == i);
    fixture.user(static_cast<std::size_t>(i)).release();
    CHECK(eventually([&] { return inside == i + 1; }));
  }
  for (auto& waiter : waiters) waiter.join();
  CHECK_FALSE(fixture.user(0).try_acquire());
}

ON_EACH_SEMAPHORE("a timed acquire is never early") {
  TestType fixture;
  take_all(fixture);
  auto& user = fixture.user(permits);
  for (const auto limit : {1ms, 20ms, 100ms}) {
    const auto start = steady_clock::now();
    CHECK_FALSE(user.try_acquire_for(limit));
    CHECK(steady_clock::now() - start >= limit);
    CHECK(steady_clock::now() - start < limit + soon);
  }
  const auto deadline = system_clock::now() + 60ms;
  CHECK_FALSE(user.try_acquire_until(deadline));
  CHECK(system_clock::now() >= deadline);
  return_all(fixture);
}

ON_EACH_SEMAPHORE("a time that is over tries to acquire once") {
  TestType fixture;
  auto& user = fixture.user(permits);
  const auto all = [&] {
    int taken = 0;
    const auto count = [&](bool acquired) {
      if (acquired) user.release();
      taken += acquired ? 1 : 0;
    };
    count(user.try_acquire_for(0s));
    count(user.try_acquire_for(-1h));
    count(user.try_acquire_until(steady_clock::now() - 1h));
    return taken;
  };
  CHECK(all() == 3);
  take_all(fixture);
  CHECK(all() == 0);
  return_all(fixture);
}

ON_EACH_SEMAPHORE("a timed acquire is granted by a release") {
  TestType fixture;
  take_all(fixture);
  auto waiter =
      in_background([&] { return fixture.user(permits).try_acquire_for(std::chrono::minutes{1}); });
  CHECK(waiter.wait_for(30ms) == std::future_status::timeout);
  fixture.user(2).release();
  CHECK(waiter.get());
}

ON_EACH_SEMAPHORE("any thread may release") {
  TestType fixture;
  take_all(fixture);
  elsewhere([&] {
    fixture.user(0).release();
    return true;
  });
  CHECK(fixture.user(permits).try_acquire());
}

ON_EACH_SEMAPHORE("never more are inside than permits") {
  TestType fixture;
  std::atomic<int> inside{0}, overlaps{0}, entered{0};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] {
      auto& user = fixture.user(i);
      for (int round = 0; round < 15; ++round) {
        if (round % 2 == 0) {
          user.acquire();
        } else {
          while (!user.try_acquire_for(100ms)) {
          }
        }
        if (++inside > permits) ++overlaps;
        ++entered;
        --inside;
        user.release();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(overlaps == 0);
  CHECK(entered == 90);
}

}  // namespace
}  // namespace redis_lock_test
