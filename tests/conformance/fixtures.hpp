#pragma once

#include <chrono>
#include <cstddef>
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

#if __has_include(<catch2/catch_test_macros.hpp>)  // Catch2 3
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include <redis_lock/redis_lock.hpp>

#include "support/eventually.hpp"
#include "support/no_lock_analysis.hpp"
#include "support/redis_server.hpp"
#include "support/unique_name.hpp"

/// What the cases of mutexes, shared mutexes and semaphores have in common.
namespace redis_lock_test {

/// One name, for which each thread has a lock of its own, as the threads of different processes have. `arguments`: of
/// its constructor, behind the name.
template <class Lock, class Nodes, std::size_t... arguments>
struct OfEachThread {
  using Type = Lock;
  explicit OfEachThread(Nodes made_over) : nodes(std::move(made_over)) {}

  const Nodes nodes;
  const std::string name = unique_name("conformance");
  std::mutex mutex;
  std::vector<std::pair<std::thread::id, std::unique_ptr<Type>>> locks;

  Type& get() {
    const std::lock_guard guard{mutex};
    for (auto& [thread, lock] : locks) {
      if (thread == std::this_thread::get_id()) return *lock;
    }
    locks.emplace_back(std::this_thread::get_id(),
                       std::make_unique<Type>(nodes, name, arguments...));
    return *locks.back().second;
  }
};
/// The oracle of SharedLock.
struct StdSharedMutex {
  using Type = std::shared_timed_mutex;
  Type mutex;
  Type& get() { return mutex; }
};

/// One SharedLock that all threads share.
struct SharedLockOfAll {
  using Type = redis_lock::SharedLock;
  Type lock{test_uri(), unique_name("conformance")};
  Type& get() { return lock; }
};

struct SharedLockOfEachThread : OfEachThread<redis_lock::SharedLock, redis_lock::Client> {
  SharedLockOfEachThread() : OfEachThread(redis_lock::Client{test_uri()}) {}
};

inline constexpr std::chrono::seconds soon{10};

/// std::async on a thread of its own: compiled once for each result, and not for each lambda of each mutex.
template <class Function>
auto in_background(Function&& function) {
  using Result = std::invoke_result_t<Function>;
  return std::async(std::launch::async, std::function<Result()>{std::forward<Function>(function)});
}

/// What another thread gets.
template <class Function>
auto elsewhere(Function&& function) {
  return in_background(std::forward<Function>(function)).get();
}

}  // namespace redis_lock_test
