// Several locks at once: std::scoped_lock takes all of them or waits, in whatever order they are
// named, and so two transfers in opposite directions cannot block each other for ever.
//
// Prints:
//   checking 100, savings 100: 200 in all

#include <iostream>
#include <mutex>
#include <thread>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

namespace {

struct Account {
  redis_lock::Lock lock;
  int balance = 100;
};

void transfer(Account& from, Account& to, int amount) {
  std::scoped_lock both{from.lock, to.lock};
  from.balance -= amount;
  to.balance += amount;
}

}  // namespace

int main(int argc, char** argv) try {
  redis_lock::Client client{redis_url(argc, argv)};
  Account checking{redis_lock::Lock{client, "example:account:checking"}};
  Account savings{redis_lock::Lock{client, "example:account:savings"}};

  std::thread there{[&] {
    for (int i = 0; i < 20; ++i) transfer(checking, savings, 5);
  }};
  std::thread back{[&] {
    for (int i = 0; i < 20; ++i) transfer(savings, checking, 5);
  }};
  there.join();
  back.join();

  std::scoped_lock both{checking.lock, savings.lock};
  std::cout << "checking " << checking.balance << ", savings " << savings.balance << ": "
            << checking.balance + savings.balance << " in all\n";
} catch (const std::exception& error) {
  std::cerr << "several: " << error.what() << '\n';
  return 1;
}
