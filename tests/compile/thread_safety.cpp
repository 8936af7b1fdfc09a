// For clang -Wthread-safety. Compiled once as it is, which must succeed, and once with each of these
// macros, which must not.

#include <chrono>
#include <redis_lock/redis_lock.hpp>

struct Account {
  redis_lock::Lock lock{"redis://localhost", "account"};
  int balance __attribute__((guarded_by(lock))) = 0;
};

void deposit(Account& account) {
#if !defined(FORGOT_TO_LOCK)
  account.lock.lock();
#endif
  ++account.balance;
#if !defined(FORGOT_TO_LOCK) && !defined(FORGOT_TO_UNLOCK)
  account.lock.unlock();
#endif
}

void deposit_unless_busy(Account& account) {
#if defined(IGNORED_FAILURE)
  static_cast<void>(account.lock.try_lock());
  ++account.balance;
#else
  if (account.lock.try_lock()) {
    ++account.balance;
    account.lock.unlock();
  }
#endif
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
