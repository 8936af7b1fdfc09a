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

void construct_the_family(redis_lock::SharedLock& lock, redis_lock::Semaphore& semaphore) {
  redis_lock::SharedLock& same = lock;
  same.lock();
  redis_lock::SharedLock copied = lock;                    // expected-error {{deleted}}
  redis_lock::SharedLock moved = std::move(lock);          // expected-error {{deleted}}
  redis_lock::Semaphore copied_too = semaphore;            // expected-error {{deleted}}
  redis_lock::Semaphore moved_too = std::move(semaphore);  // expected-error {{deleted}}
  const redis_lock::Client client;
  redis_lock::Semaphore uncounted(client, "n");  // expected-error {{no matching constructor}}
  redisContext* borrowed = nullptr;
  redis_lock::SharedLock shared(borrowed, "n");     // expected-error {{no matching constructor}}
  redis_lock::Semaphore permits(borrowed, "n", 1);  // expected-error {{no matching constructor}}
}

void assign_the_family(redis_lock::SharedLock& lock, redis_lock::SharedLock& other,
                       redis_lock::Semaphore& semaphore, redis_lock::Semaphore& another) {
  lock.reset();
  semaphore.reset();
  lock = other;                    // expected-error {{deleted}}
  lock = std::move(other);         // expected-error {{deleted}}
  semaphore = another;             // expected-error {{deleted}}
  semaphore = std::move(another);  // expected-error {{deleted}}
}

void use_what_permits_have_not(redis_lock::Semaphore& semaphore) {
  semaphore.release();
  semaphore.guarded_set("key", "value");  // expected-error {{no member}}
  semaphore.fencing_token();              // expected-error {{no member}}
  static_cast<void>(semaphore.owner());   // expected-error {{private}}
  static_cast<void>(semaphore.locked());  // expected-error {{private}}
}

void ignore_a_result_of_the_family(redis_lock::SharedLock& lock, redis_lock::Semaphore& semaphore) {
  if (lock.try_lock_shared()) lock.unlock_shared();
  lock.try_lock_shared();                                         // expected-error {{nodiscard}}
  lock.try_lock_shared_for(1s);                                   // expected-error {{nodiscard}}
  lock.try_lock_shared_until(std::chrono::steady_clock::now());   // expected-error {{nodiscard}}
  lock.owns_lock_shared();                                        // expected-error {{nodiscard}}
  semaphore.try_acquire();                                        // expected-error {{nodiscard}}
  semaphore.try_acquire_for(1s);                                  // expected-error {{nodiscard}}
  semaphore.try_acquire_until(std::chrono::steady_clock::now());  // expected-error {{nodiscard}}
  semaphore.available();                                          // expected-error {{nodiscard}}
}
