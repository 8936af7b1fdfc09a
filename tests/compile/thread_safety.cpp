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

struct Catalog {
  redis_lock::SharedLock lock{"redis://localhost", "catalog"};
  int prices __attribute__((guarded_by(lock))) = 0;
};

int read(Catalog& catalog) {
  catalog.lock.lock_shared();
  const int prices = catalog.prices;
  catalog.lock.unlock_shared();
  return prices;
}

int read_unless_busy(Catalog& catalog) {
  int prices = 0;
  if (catalog.lock.try_lock_shared()) {
    prices = catalog.prices;
    catalog.lock.unlock_shared();
  }
  if (catalog.lock.try_lock_shared_for(std::chrono::seconds(1))) {
    prices = catalog.prices;
    catalog.lock.unlock_shared();
  }
  if (catalog.lock.try_lock_shared_until(std::chrono::steady_clock::now())) {
    prices = catalog.prices;
    catalog.lock.unlock_shared();
  }
  return prices;
}

void write(Catalog& catalog) {
  catalog.lock.lock();
  ++catalog.prices;
  catalog.lock.unlock();
}

void write_while_reading(Catalog& catalog) {
  catalog.lock.lock_shared();
  ++catalog.prices;  // expected-error {{requires holding mutex 'catalog.lock' exclusively}}
  catalog.lock.unlock_shared();
}

int forget_to_read(Catalog& catalog) {
  return catalog.prices;  // expected-error {{requires holding mutex 'catalog.lock'}}
}

int forget_to_end_a_reading(Catalog& catalog) {
  catalog.lock.lock_shared();
  return catalog.prices;
}  // expected-error {{mutex 'catalog.lock' is still held}}

struct Exports {
  redis_lock::Semaphore slots{"redis://localhost", "exports", 4};
  int running __attribute__((guarded_by(slots))) = 0;
};

void export_one(Exports& exports) {
  exports.slots.acquire();
  ++exports.running;
  exports.slots.release();
  if (exports.slots.try_acquire()) {
    ++exports.running;
    exports.slots.release();
  }
  if (exports.slots.try_acquire_for(std::chrono::seconds(1))) {
    ++exports.running;
    exports.slots.unlock();
  }
}

void export_without_a_permit(Exports& exports) {
  ++exports.running;  // expected-error {{requires holding mutex 'exports.slots'}}
}
