// For clang -Wthread-safety -verify: what the analysis refuses, and what it does not.

#include <chrono>
#include <redis_lock/redis_lock.hpp>

struct Account {
  redis_lock::Lock lock{"redis://localhost", "account"};
  int balance __attribute__((guarded_by(lock))) = 0;
};

void deposit(Account& account) {
  account.lock.lock();
  ++account.balance;
  account.lock.unlock();
}

void deposit_unless_busy(Account& account) {
  if (account.lock.try_lock()) {
    ++account.balance;
    account.lock.unlock();
  }
}

void deposit_in_time(Account& account) {
  if (account.lock.try_lock_for(std::chrono::seconds(1))) {
    ++account.balance;
    account.lock.unlock();
  }
  if (account.lock.try_lock_until(std::chrono::steady_clock::now())) {
    ++account.balance;
    account.lock.unlock();
  }
}

void forget_to_lock(Account& account) {
  ++account.balance;  // expected-error {{requires holding mutex 'account.lock'}}
}

void forget_to_unlock(Account& account) {
  account.lock.lock();
  ++account.balance;
}  // expected-error {{mutex 'account.lock' is still held}}

void ignore_a_failure(Account& account) {
  static_cast<void>(account.lock.try_lock());
  ++account.balance;  // expected-error {{requires holding mutex 'account.lock'}}
}
