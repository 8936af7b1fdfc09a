// A holder that comes late: its lease ended while it was paused, somebody else holds the lock by now,
// and it is about to write what it had worked out. Two ways to make that harmless.
// In Redis: a guarded write is refused. In another store: a fencing token, which it compares.
//
// Prints:
//   first holder has token 1
//   second holder has token 2
//   second holder writes: accepted by Redis, accepted by the store
//   first holder writes: refused by Redis (lease lost), refused by the store
//   Redis keeps "second", the store keeps "second"

#include <cstdint>
#include <iostream>
#include <string>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

/// Stands for a table with a column for the token:
///   UPDATE account SET value = ?, fence = ? WHERE id = ? AND fence <= ?
struct Store {
  bool write(const std::string& new_value, std::uint64_t token) {
    if (token < fence) return false;
    value = new_value;
    fence = token;
    return true;
  }
  std::string value;
  std::uint64_t fence = 0;
};

int main(int argc, char** argv) try {
  redis_lock::Client client{redis_url(argc, argv)};
  redis_lock::Options options;
  options.fencing = true;
  redis_lock::Lock first{client, "example:fencing", options};
  redis_lock::Lock second{client, "example:fencing", options};
  Store store;

  const auto write = [&store](redis_lock::Lock& lock, const std::string& who) {
    std::cout << who << " holder writes: ";
    try {
      lock.guarded_set("example:fencing:data", who);
      std::cout << "accepted by Redis, ";
    } catch (const redis_lock::Error& error) {
      if (error.code() != redis_lock::errc::lease_lost) throw;
      std::cout << "refused by Redis (lease lost), ";
    }
    const bool accepted = store.write(who, lock.fencing_token());
    std::cout << (accepted ? "accepted" : "refused") << " by the store\n";
  };

  first.lock();
  std::cout << "first holder has token " << first.fencing_token() << '\n';
  first.reset();  // what the end of its lease would do, if this process were stopped now
  second.lock();
  std::cout << "second holder has token " << second.fencing_token() << '\n';

  write(second, "second");
  write(first, "first");
  const auto kept =
      second.guarded_eval("return redis.call('GET', KEYS[1])", {"example:fencing:data"});
  std::cout << "Redis keeps \"" << kept.text << "\", the store keeps \"" << store.value << "\"\n";
  second.unlock();
  first.unlock();  // still due, although there is nothing left to free
} catch (const std::exception& error) {
  std::cerr << "fencing: " << error.what() << '\n';
  return 1;
}
