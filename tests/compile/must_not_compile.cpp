// Compiled once as it is, which must succeed, and once with each of these macros, which must not:
// every mistake stands beside its right form.

#include <chrono>
#include <redis_lock/redis_lock.hpp>
#include <string>
#include <utility>

using namespace std::chrono_literals;

void construct(redis_lock::Lock& lock) {
#if defined(COPY)
  redis_lock::Lock other = lock;
#elif defined(MOVE)
  redis_lock::Lock other = std::move(lock);
#elif defined(LOCK_FROM_INT)
  redis_lock::Lock other(42);
#elif defined(LOCK_WITHOUT_NAME)
  redis_lock::Lock other(redis_lock::Client{});
#else
  redis_lock::Lock& other = lock;
#endif
  other.lock();
}

void assign(redis_lock::Lock& lock, redis_lock::Lock& other) {
#if defined(COPY_ASSIGNMENT)
  lock = other;
#elif defined(MOVE_ASSIGNMENT)
  lock = std::move(other);
#else
  lock.reset();
  other.reset();
#endif
}

void give_a_duration(redis_lock::Options& options) {
#if defined(EXPIRE_WITHOUT_UNIT)
  options.expire = 30;
#else
  options.expire = 30s;
#endif
}

void ignore_a_result(redis_lock::Lock& lock, redis_lock::Cache& cache) {
#if defined(IGNORED_TRY_LOCK)
  lock.try_lock();
#elif defined(IGNORED_TRY_LOCK_FOR)
  lock.try_lock_for(1s);
#elif defined(IGNORED_TRY_LOCK_UNTIL)
  lock.try_lock_until(std::chrono::steady_clock::now());
#elif defined(IGNORED_OWNS_LOCK)
  lock.owns_lock();
#elif defined(IGNORED_LOCKED)
  lock.locked();
#elif defined(IGNORED_OWNER)
  lock.owner();
#elif defined(IGNORED_CACHE_LOCK)
  cache.lock("key");
#else
  if (lock.try_lock_for(1s) && lock.owns_lock()) {
    lock.unlock();
  }
  const redis_lock::Lock& elided = cache.lock("key");
  static_cast<void>(elided);
#endif
}
