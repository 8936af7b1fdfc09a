// A program without memory. In a program of its own, whose operator new fails on demand: at the n-th allocation of a
// thread, for n = 1, 2, … until an operation runs through.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <malloc.h>

#include <redis_lock/detail/lock/renewer.hpp>

#include "faults.hpp"
#include "support/quorum.hpp"

namespace {

/// Which allocations of a thread fail.
struct Plan {
  long good = -1;           // how many succeed before; -1: all
  bool fails_once = false;  // and those behind succeed again
  bool has_failed = false;
};
thread_local Plan plan;
thread_local bool is_spared = false;
std::atomic<bool> others_fail{false};  // all threads that are not spared

[[nodiscard]] bool fails() {
  if (others_fail.load(std::memory_order_relaxed) && !is_spared) return true;
  if (plan.good < 0 || plan.good-- > 0) return false;
  plan.has_failed = true;
  plan.good = plan.fails_once ? -1 : 0;
  return true;
}

std::atomic<long long> bytes_in_use{0};
thread_local long allocations = 0;

[[nodiscard]] void* allocate(std::size_t size) noexcept {
  ++allocations;
  void* const memory = fails() ? nullptr : std::malloc(size == 0 ? 1 : size);
  bytes_in_use += static_cast<long long>(::malloc_usable_size(memory));
  return memory;
}

void deallocate(void* memory) noexcept {
  bytes_in_use -= static_cast<long long>(::malloc_usable_size(memory));
  std::free(memory);
}

[[nodiscard]] void* allocate_or_throw(std::size_t size) {
  void* const memory = allocate(size);
  if (memory == nullptr) throw std::bad_alloc{};
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return allocate_or_throw(size); }
void* operator new[](std::size_t size) { return allocate_or_throw(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* memory) noexcept { deallocate(memory); }
void operator delete[](void* memory) noexcept { deallocate(memory); }
void operator delete(void* memory, std::size_t) noexcept { deallocate(memory); }
void operator delete[](void* memory, std::size_t) noexcept { deallocate(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { deallocate(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { deallocate(memory); }

namespace redis_lock_test {
namespace {

using redis_lock::Cache;
using redis_lock::QuorumLock;

enum class Memory { short_once, gone };

/// While it lives, this thread's allocations fail after so many.
class Shortage {
 public:
  Shortage(long good, Memory memory) { plan = {good, memory == Memory::short_once, false}; }
  ~Shortage() { plan = {}; }
  Shortage(const Shortage&) = delete;
  Shortage& operator=(const Shortage&) = delete;
};

/// While it lives, all allocations of other threads fail.
class ShortageElsewhere {
 public:
  ShortageElsewhere() {
    is_spared = true;
    others_fail = true;
  }
  ~ShortageElsewhere() { others_fail = false; }
  ShortageElsewhere(const ShortageElsewhere&) = delete;
  ShortageElsewhere& operator=(const ShortageElsewhere&) = delete;
};

/// Runs `work` again and again, each time with one more allocation that succeeds, until none fails. Before, `prepare()`,
/// and behind, `check()`.
template <class Prepare, class Work, class Check>
void at_each_allocation(const Prepare& prepare, const Work& work, const Check& check) {
  for (const auto memory : {Memory::short_once, Memory::gone}) {
    bool has_failed = true;
    for (long good = 0; has_failed && good < 5000; ++good) {
      SCOPED_TRACE((memory == Memory::gone ? "all but the first " : "the one behind ") +
                   std::to_string(good));
      prepare();
      {
        const Shortage shortage{good, memory};
        try {
          work();
        } catch (const std::bad_alloc&) {
        } catch (const Error&) {
        }
        has_failed = plan.has_failed;
      }
      check();
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_FALSE(has_failed);
  }
}

inline void nothing() {}

/// The ways to use a lock whose memory may give out.
template <class AnyLock>
struct Uses {
  const char* name;
  std::function<void(AnyLock&)> before, use;
};

template <class AnyLock>
[[nodiscard]] std::vector<Uses<AnyLock>> uses() {
  const auto is_free = [](AnyLock&) {};
  const auto is_held = [](AnyLock& lock) { lock.lock(); };
  return {
      {"lock", is_free, [](AnyLock& lock) { lock.lock(); }},
      {"try_lock", is_free, [](AnyLock& lock) { (void)lock.try_lock(); }},
      {"try_lock_for", is_free, [](AnyLock& lock) { (void)lock.try_lock_for(1s); }},
      {"lock(token)", is_free, [](AnyLock& lock) { (void)lock.lock(std::stop_token{}); }},
      {"lock(error)", is_free,
       [](AnyLock& lock) {
         std::error_code error;
         lock.lock(error);
         EXPECT_EQ(lock.owns_lock(), !error);
       }},
      {"try_lock(error)", is_free,
       [](AnyLock& lock) {
         std::error_code error;
         const bool acquired = lock.try_lock(error);
         EXPECT_EQ(acquired, !error);
         EXPECT_EQ(lock.owns_lock(), acquired);
       }},
      {"extend", is_held, [](AnyLock& lock) { lock.extend(); }},
      {"owner", is_held, [](AnyLock& lock) { (void)lock.owner(); }},
      {"locked", is_held, [](AnyLock& lock) { (void)lock.locked(); }},
      {"lost_token", is_held, [](AnyLock& lock) { (void)lock.lost_token(); }},
      {"unlock", is_held, [](AnyLock& lock) { lock.unlock(); }},
      {"unlock(error)", is_held,
       [](AnyLock& lock) {
         std::error_code error;
         lock.unlock(error);
       }},
      {"unlock of none", is_free, [](AnyLock& lock) { lock.unlock(); }},
      {"lock and unlock", is_free,
       [](AnyLock& lock) {
         lock.lock();
         lock.unlock();
       }},
      {"lock and unlock, twice", is_free,
       [](AnyLock& lock) {
         for (int i = 0; i < 2; ++i) {
           lock.lock();
           lock.unlock();
         }
       }},
  };
}

class WithoutMemory : public OnOwnServer {
 protected:
  WithoutMemory() {
    options.push_back(leased_for(10s));
    options.push_back({});
    options.back().on_lost = [](std::error_code) {};
    options.back().on_event = [](const redis_lock::Event&) {};
    options.push_back(leased_for(10s));
    options.back().deferred_unlock = true;
    options.push_back(leased_for(10s));
    options.back().local_handoffs = 3;
    options.push_back(leased_for(10s));
    options.back().fencing = true;
    for (auto& each : options) each.on_error = [](const Error&) {};
  }

  /// What was acquired has ended, and was counted once.
  void expect_balance(const Client& client) {
    EXPECT_TRUE(eventually([&] {
      const auto stats = client.stats();
      return stats.acquired == stats.released + stats.lost + stats.abandoned;
    })) << client.stats().acquired
        << " " << client.stats().released << " " << client.stats().lost << " "
        << client.stats().abandoned;
  }

  /// Ends the leases that may stay behind. What a closed connection has sent may still run.
  void end_leases() { (void)redis.integer("DEL", key); }

  /// The lock works, as soon as the leases that may stay behind are over.
  void expect_works(Lock& lock) {
    std::error_code error;
    if (lock.owns_lock()) lock.unlock(error);
    ASSERT_TRUE(eventually([&] {
      end_leases();
      return lock.try_lock();
    }));
    EXPECT_EQ(redis.string("GET", key), lock.id());
    lock.unlock(error);
    EXPECT_FALSE(error) << error.message();
    EXPECT_TRUE(eventually([&] { return !redis.exists(key); }));
  }

  void expect_another_works() {
    Lock another{server.uri(), name, leased_for(10s)};
    expect_works(another);
  }

  std::vector<Options> options;
};

TEST_F(WithoutMemory, AnOperationFailsAndTheNextOneWorks) {
  for (const auto& each : options) {
    for (const auto& use : uses<Lock>()) {
      SCOPED_TRACE(use.name);
      Client client{server.uri()};
      {
        Lock lock{client, name, each};
        const auto prepare = [&] { use.before(lock); };
        at_each_allocation(
            prepare, [&] { use.use(lock); }, [&] { expect_works(lock); });
      }
      expect_balance(client);
      if (HasFailure()) return;
    }
  }
}

TEST_F(WithoutMemory, ANewLockFailsAndTheNextWorks) {
  for (const auto& each : options) {
    at_each_allocation(
        nothing,
        [&] {
          Lock lock{Client{server.uri()}, name, each};
          lock.lock();
        },
        [&] { expect_another_works(); });
  }
}

TEST_F(WithoutMemory, ALockThatIsHeldIsDestroyed) {
  for (const auto& each : options) {
    Client client{server.uri()};
    std::unique_ptr<Lock> lock;
    at_each_allocation(
        [&] {
          lock = std::make_unique<Lock>(client, name, each);
          lock->lock();
        },
        [&] { lock.reset(); }, [&] { expect_another_works(); });
    expect_balance(client);
  }
}

TEST_F(WithoutMemory, TheLastCopyOfAClientIsDestroyed) {
  for (const auto& each : options) {
    std::optional<Client> client;
    at_each_allocation(
        [&] {
          client.emplace(server.uri());
          Lock lock{*client, name, each};
          lock.lock();
        },
        [&] { client.reset(); }, [&] { expect_another_works(); });
  }
}

TEST_F(WithoutMemory, ATimedWaitFailsOrEnds) {
  held_by_somebody();
  for (const auto& each : options) {
    Lock lock{server.uri(), name, each};
    at_each_allocation(
        nothing, [&] { EXPECT_FALSE(lock.try_lock_for(5ms)); },
        [&] {
          EXPECT_FALSE(lock.owns_lock());
          EXPECT_EQ(redis.string("GET", key), "somebody");
        });
  }
}

TEST_F(WithoutMemory, AFailedExtensionAssumesTheShorterLease) {
  Lock lock{server.uri(), name, leased_for(60s)};
  at_each_allocation([&] { lock.lock(); }, [&] { lock.extend(5s); },
                     [&] {
                       expect_owned(lock);
                       expect_works(lock);
                     });
}

TEST_F(WithoutMemory, ALossIsTold) {
  Complaints complaints;
  Options renewed;
  renewed.on_lost = complaints.on_lost();
  Client client{server.uri()};
  Lock lock{client, name, renewed};
  at_each_allocation(
      [&] {
        lock.lock();
        (void)redis.integer("DEL", key);
      },
      [&] { lock.extend(); },
      [&] {
        if (!lock.owns_lock()) lock.unlock();
        expect_works(lock);
      });
  expect_balance(client);
}

TEST_F(WithoutMemory, UnlockWithoutRedisDoesNotEndTheProcess) {
  auto endpoint = server.endpoint();
  endpoint.retry_for = 0ms;
  options.resize(3);
  for (const auto& each : options) {
    at_each_allocation([&] { server.restart(); },
                       [&] {
                         Client client{endpoint};
                         Lock lock{client, name, each};
                         lock.lock();
                         server.kill();
                         lock.unlock();
                       },
                       nothing);
    if (HasFailure()) return;
  }
}

TEST_F(WithoutMemory, ACacheReturnsWhatWasCreated) {
  Cache cache{server.uri()};
  bool created = false;
  std::string value;
  const std::string expected(100, 'x');
  at_each_allocation(
      [&] {
        (void)redis.integer("DEL", "cache:key", "lock:cache:key");
        created = false;
        value.clear();
      },
      [&] {
        value = cache.get_or_create("key", 1min, [&] {
          auto result = expected;
          created = true;
          return result;
        });
      },
      [&] { EXPECT_EQ(value, created ? expected : std::string{}); });
}

TEST_F(WithoutMemory, RenewalsGoOnAfterwards) {
  Complaints complaints;
  Options renewed;
  renewed.expire = 3s;
  renewed.on_lost = complaints.on_lost();
  renewed.on_event = [](const redis_lock::Event&) {};
  Client client{server.uri()};
  Lock lock{client, name, renewed};
  Lock other{client, name + "-2", renewed};
  lock.lock();
  other.lock();
  {
    const ShortageElsewhere shortage;
    const auto middle = lock.expires_at() - 1500ms;
    std::this_thread::sleep_until(middle);  // the first renewal is due
  }
  const auto renewals = client.stats().renewed;
  EXPECT_TRUE(eventually([&] { return client.stats().renewed >= renewals + 4; }));
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_TRUE(other.owns_lock());
  EXPECT_EQ(complaints.count(), 0U);
  release(lock);
}

TEST_F(WithoutMemory, ALossIsToldAfterwards) {
  Complaints complaints;
  Options renewed;
  renewed.expire = 600ms;
  renewed.on_lost = complaints.on_lost();
  Client client{server.uri()};
  Lock lock{client, name, renewed};
  lock.lock();
  const auto token = lock.lost_token();
  {
    const ShortageElsewhere shortage;
    std::this_thread::sleep_until(lock.expires_at() + 50ms);
    EXPECT_FALSE(lock.owns_lock());
  }
  EXPECT_TRUE(eventually([&] { return complaints.count() == 1 && token.stop_requested(); }));
  lock.unlock();
  expect_works(lock);
}

TEST_F(WithoutMemory, ALeaderLeadsAgainAfterwards) {
  Complaints complaints;
  Options told;
  told.on_error = complaints.on_error();
  std::atomic<int> terms{0};
  const redis_lock::Leader leader{server.uri(), name,
                                  [&](std::stop_token, std::uint64_t) {
                                    ++terms;
                                    throw 42;
                                  },
                                  told};
  ASSERT_TRUE(eventually([&] { return terms >= 2; }));
  {
    const ShortageElsewhere shortage;
    const auto begun = terms.load();
    std::this_thread::sleep_for(600ms);  // the pause is of 200 ms at most: a campaign fails
    EXPECT_LE(terms, begun + 1);
  }
  const auto before = terms.load();
  EXPECT_TRUE(eventually([&] { return terms >= before + 2; }));
  EXPECT_GE(complaints.count(), 2U);
}

TEST(RenewalWithoutMemory, LeavesNoLeaseInFlight) {
  using redis_lock::detail::Lease;
  using redis_lock::detail::Observer;
  using redis_lock::detail::Renewals;
  using redis_lock::detail::Renewer;
  const auto extend = [](const redis_lock::detail::Leases&, redis_lock::detail::Time) -> Renewals {
    others_fail = true;  // until the lease is over
    throw std::bad_alloc{};
  };
  const auto renewer = std::make_shared<Renewer>(1s, Renewer::Work{extend, {}, {}});
  const auto lease = std::make_shared<Lease>();
  lease->observer = std::make_shared<const Observer>(
      std::make_shared<redis_lock::detail::Counters>(), "name", Options{});
  lease->expire = 300ms;
  lease->expires_at = redis_lock::detail::Time::clock::now() + lease->expire;
  lease->renewed_until = redis_lock::detail::never;
  {
    const ShortageElsewhere shortage;
    others_fail = false;
    renewer->start();
    renewer->watch(lease);
    std::this_thread::sleep_for(2 * lease->expire);
    EXPECT_TRUE(others_fail);
  }
  EXPECT_TRUE(eventually([&] { return lease->lost.load(); }));
  EXPECT_FALSE(lease->in_flight) << "unlock() would wait for ever";
  EXPECT_NE(lease->shortest_in_doubt.load(), milliseconds::max());
  renewer->stop();
}

class QuorumWithoutMemory : public ::testing::Test {
 protected:
  QuorumWithoutMemory() {
    options.push_back(leased_for(10s));
    options.push_back({});
    options.back().on_lost = [](std::error_code) {};
    options.back().on_event = [](const redis_lock::Event&) {};
    for (auto& each : options) each.on_error = [](const Error&) {};
  }

  void expect_works(QuorumLock& lock) {
    std::error_code error;
    if (lock.owns_lock()) lock.unlock(error);
    ASSERT_TRUE(eventually([&] {
      for (std::size_t i = 0; i < servers.size(); ++i) (void)servers.redis(i).integer("DEL", key);
      return lock.try_lock();
    }));
    const auto id = lock.id();
    EXPECT_EQ(lock.owner(), id);
    lock.unlock(error);
    EXPECT_FALSE(error) << error.message();
    // A key of an operation that failed may come late to a minority. It goes with its lease.
    EXPECT_TRUE(eventually([&] {
      const auto values = servers.values(key);
      return std::find(values.begin(), values.end(), id) == values.end();
    }));
  }

  const std::string name = "name";
  const std::string key = "lock:" + name;
  QuorumServers servers{3};
  std::vector<Options> options;
};

TEST_F(QuorumWithoutMemory, AnOperationFailsAndTheNextOneWorks) {
  for (const auto& each : options) {
    for (const auto& use : uses<QuorumLock>()) {
      SCOPED_TRACE(use.name);
      QuorumLock lock{servers.clients(), name, each};
      const auto prepare = [&] { use.before(lock); };
      at_each_allocation(
          prepare, [&] { use.use(lock); }, [&] { expect_works(lock); });
      if (HasFailure()) return;
    }
  }
}

TEST_F(QuorumWithoutMemory, ANewLockFailsAndTheNextWorks) {
  for (const auto& each : options) {
    const auto clients = servers.clients();
    at_each_allocation(
        nothing,
        [&] {
          QuorumLock lock{clients, name, each};
          lock.lock();
        },
        [&] {
          QuorumLock lock{clients, name, each};
          expect_works(lock);
        });
  }
}

TEST_F(QuorumWithoutMemory, ATimedWaitFailsOrEnds) {
  servers.hold(key, {0, 1, 2});
  QuorumLock lock{servers.clients(), name, leased_for(10s)};
  at_each_allocation(
      nothing, [&] { EXPECT_FALSE(lock.try_lock_for(5ms)); },
      [&] { EXPECT_FALSE(lock.owns_lock()); });
  EXPECT_EQ(servers.values(key), std::vector<std::string>(3, "somebody"));
}

TEST_F(QuorumWithoutMemory, AFailedExtensionAssumesTheShorterLease) {
  QuorumLock lock{servers.clients(), name, leased_for(10s)};
  at_each_allocation([&] { lock.lock(); }, [&] { lock.extend(5s); },
                     [&] {
                       std::vector<long long> left;
                       for (std::size_t i = 0; i < servers.size(); ++i)
                         left.push_back(servers.redis(i).integer("PTTL", key));
                       std::sort(left.begin(), left.end());
                       const milliseconds majority{left[1]};  // two of three have it for so long
                       EXPECT_TRUE(lock.owns_lock());
                       EXPECT_LE(lock.expires_at(), steady_clock::now() + majority + clock_error);
                       expect_works(lock);
                     });
}

TEST_F(QuorumWithoutMemory, RenewalsGoOnAfterwards) {
  Complaints complaints;
  Options renewed;
  renewed.expire = 3s;
  renewed.on_lost = complaints.on_lost();
  renewed.on_event = [](const redis_lock::Event&) {};
  auto clients = servers.clients();
  QuorumLock lock{clients, name, renewed};
  lock.lock();
  {
    const ShortageElsewhere shortage;
    std::this_thread::sleep_until(lock.expires_at() - 1500ms);  // the first renewal is due
  }
  const auto renewals = clients.front().stats().renewed;
  EXPECT_TRUE(eventually([&] { return clients.front().stats().renewed >= renewals + 2; }));
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(complaints.count(), 0U);
}

TEST_F(QuorumWithoutMemory, LinesAreOpenedAfterwards) {
  const auto at_once = [](redis_lock::Endpoint& endpoint) { endpoint.retry_for = 0ms; };
  for (auto time = 0ms; time < 40ms; time += 5ms) {
    QuorumLock lock{servers.clients(at_once), name, leased_for(10s)};
    {
      const ShortageElsewhere shortage;
      std::error_code error;
      EXPECT_FALSE(lock.try_lock(error));
      EXPECT_TRUE(error);
      std::this_thread::sleep_for(
          time);  // the threads that open lines go on trying, or begin to pause
    }
    ASSERT_TRUE(eventually([&] {
      std::error_code error;
      return lock.try_lock(error);
    }));
    expect_works(lock);
  }
}

/// How many cycles there are: REDIS_LOCK_TEST_CYCLES, or enough to see growth.
[[nodiscard]] int cycles() {
  const char* const text = std::getenv("REDIS_LOCK_TEST_CYCLES");
  return text == nullptr ? 3000 : std::atoi(text);
}

/// Neither memory nor connections grow with the number of cycles.
template <class Cycle>
void expect_no_growth(const char* name, const std::function<long long()>& connections,
                      const Cycle& cycle) {
  SCOPED_TRACE(name);
  constexpr int settling = 300;
  constexpr long long slack = 16 * 1024;  // of buffers and queues
  const auto used = [] { return bytes_in_use.load(); };
  for (int i = 0; i < settling; ++i) cycle();
  const auto before = used();
  const auto of_malloc = ::mallinfo2().uordblks;
  const auto connected = connections();
  const Stopwatch stopwatch;
  for (int i = 0; i < cycles(); ++i) cycle();
  EXPECT_TRUE(eventually([&] { return used() <= before + slack; })) << used() - before;
  EXPECT_LE(connections(), connected);
  if (std::getenv("REDIS_LOCK_TEST_CYCLES") != nullptr) {
    std::printf(
        "%s: %d cycles in %lld ms, %lld bytes more of new, %lld of malloc, %lld connections\n",
        name, cycles(), static_cast<long long>(stopwatch.elapsed().count()), used() - before,
        static_cast<long long>(::mallinfo2().uordblks - of_malloc), connections());
  }
}

class Allocations : public OnOwnServer {
 protected:
  /// Returns how many allocations one lock+unlock of a warm connection takes, on this thread.
  double for_each_cycle(const Options& options) {
    Lock lock{Client{server.uri()}, "a name that does not fit into a std::string itself", options};
    constexpr int cycles = 100;
    for (int i = 0; i < 2 * cycles; ++i) {
      if (i == cycles) allocations = 0;
      lock.lock();
      lock.unlock();
    }
    return static_cast<double>(allocations) / cycles;
  }
};

TEST_F(Allocations, OfOneCycleAreTwoAtMost) {
  EXPECT_LE(for_each_cycle({}), 2);
  EXPECT_LE(for_each_cycle(leased_for(60s)), 2);
  auto options = leased_for(60s);
  options.fencing = true;
  EXPECT_LE(for_each_cycle(options), 2);
}

TEST_F(Allocations, OfADeferredCycleAreFiveAtMost) {
  Options options;
  options.deferred_unlock = true;
  EXPECT_LE(for_each_cycle(options), 5);
}

class ManyCycles : public OnOwnServer {
 protected:
  void expect_no_growth_with(const char* title, const Options& options) {
    const Client client{server.uri()};
    Lock lock{client, name, options};
    const auto connections = [this] { return redis.info("connected_clients"); };
    expect_no_growth(title, connections, [&] {
      lock.lock();
      lock.unlock();
    });
  }
};

TEST_F(ManyCycles, NeedNoMoreMemoryOrConnections) {
  expect_no_growth_with("plain", leased_for(60s));
  expect_no_growth_with("renewed", {});
  auto options = leased_for(60s);
  options.fencing = true;
  expect_no_growth_with("fenced", options);
  options = {};
  options.deferred_unlock = true;
  expect_no_growth_with("deferred", options);
}

TEST_F(ManyCycles, OfNewLocksLeakNoMemoryOrConnections) {
  const Client client{server.uri()};
  const auto connections = [this] { return redis.info("connected_clients"); };
  expect_no_growth("new locks", connections, [&] {
    Lock lock{client, name, {}};
    lock.lock();
    (void)lock.lost_token();
  });
}

TEST_F(ManyCycles, ThatFailNeedNoMoreMemoryOrConnections) {
  held_by_somebody();
  const Client client{server.uri()};
  Lock lock{client, name, {}};
  const auto connections = [this] { return redis.info("connected_clients"); };
  expect_no_growth("busy", connections, [&] { EXPECT_FALSE(lock.try_lock()); });
  expect_no_growth("refused", connections, [&] {
    std::error_code error;
    Lock{redis_lock::Endpoint::parse("unix:///nowhere?retry_for=0"), name}.lock(error);
    EXPECT_TRUE(error);
  });
}

TEST(ManyCyclesOfAQuorumLock, NeedNoMoreMemoryOrConnections) {
  QuorumServers servers{3};
  const auto clients = servers.clients();
  QuorumLock lock{clients, "name", {}};
  const auto connections = [&] { return servers.sum("connected_clients"); };
  expect_no_growth("quorum", connections, [&] {
    lock.lock();
    lock.unlock();
  });
}

}  // namespace
}  // namespace redis_lock_test
