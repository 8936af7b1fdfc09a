// For clang -verify: the mistakes are refused in these words, and their right forms are not.

#include <chrono>
#include <redis_lock/redis_lock.hpp>
#include <utility>

using namespace std::chrono_literals;

void construct(redis_lock::Lock& lock) {
  redis_lock::Lock& same = lock;
  same.lock();
  redis_lock::Lock copied = lock;                   // expected-error {{deleted}}
  redis_lock::Lock moved = std::move(lock);         // expected-error {{deleted}}
  redis_lock::Lock from_int(42);                    // expected-error {{no matching constructor}}
  redis_lock::Lock nameless(redis_lock::Client{});  // expected-error {{no matching constructor}}
}

void assign(redis_lock::Lock& lock, redis_lock::Lock& other) {
  lock.reset();
  lock = other;             // expected-error {{deleted}}
  lock = std::move(other);  // expected-error {{deleted}}
}

void give_a_duration(redis_lock::Options& options) {
  options.expire = 30s;
  options.expire = 30;  // expected-error {{no viable overloaded}}
}

void ignore_a_result(redis_lock::Lock& lock, redis_lock::Cache& cache) {
  if (lock.try_lock_for(1s) && lock.owns_lock()) lock.unlock();
  lock.try_lock();                                        // expected-error {{nodiscard}}
  lock.try_lock_for(1s);                                  // expected-error {{nodiscard}}
  lock.try_lock_until(std::chrono::steady_clock::now());  // expected-error {{nodiscard}}
  lock.owns_lock();                                       // expected-error {{nodiscard}}
  lock.locked();                                          // expected-error {{nodiscard}}
  lock.owner();                                           // expected-error {{nodiscard}}
  const redis_lock::Lock& elided = cache.lock("key");
  static_cast<void>(elided);
  cache.lock("key");  // expected-error {{nodiscard}}
}
