// Readers and a writer: many processes read a catalogue at once, and one rebuilds it now and then.
// The catalogue is two keys in Redis that must belong together. Readers never see one of them old
// and the other new.
//
// Prints:
//   4 readers read version 1 at once
//   the rebuild waits for them, and lets no new reader in
//   version 2 is there
//   it was rebuilt twice more, and no reader has seen half of it

#include <atomic>
#include <chrono>
#include <iostream>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

using namespace std::chrono_literals;

// Each thread of this program stands for a process: it has a lock object of its own.
struct Process {
  redis_lock::SharedLock catalogue;
  redis_lock::Cache redis;

  explicit Process(const redis_lock::Client& client)
      : catalogue{client, "example:catalogue"}, redis{client, "example:catalogue:"} {}

  // The version that both parts have, or "torn".
  [[nodiscard]] std::string read() {
    const auto prices = redis.get("prices"), index = redis.get("index");
    return prices && prices == index ? *prices : "torn";
  }

  // Redis refuses these writes if the lock has been lost meanwhile.
  void rebuild(const std::string& version) {
    catalogue.guarded_set("example:catalogue:prices", version);
    std::this_thread::sleep_for(20ms);  // the index takes its time
    catalogue.guarded_set("example:catalogue:index", version);
  }
};

int main(int argc, char** argv) try {
  redis_lock::Client client{redis_url(argc, argv)};
  Process writer{client};
  {
    const std::lock_guard writing{writer.catalogue};
    writer.rebuild("1");
  }

  std::atomic<int> inside{0};
  std::atomic<bool> leave{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      Process reader{client};
      const std::shared_lock reading{reader.catalogue};
      if (reader.read() == "1") ++inside;
      while (!leave) std::this_thread::sleep_for(1ms);
    });
  }
  while (inside < 4) std::this_thread::sleep_for(1ms);
  std::cout << inside << " readers read version 1 at once\n";

  threads.emplace_back([&] {
    const std::lock_guard writing{writer.catalogue};
    writer.rebuild("2");
  });
  Process newcomer{client};
  while (!newcomer.catalogue.locked()) std::this_thread::sleep_for(1ms);  // the writer's turn
  if (const std::shared_lock reading{newcomer.catalogue, std::try_to_lock}; !reading)
    std::cout << "the rebuild waits for them, and lets no new reader in\n";
  leave = true;
  if (std::shared_lock reading{newcomer.catalogue, 10s})
    std::cout << "version " << newcomer.read() << " is there\n";
  for (auto& thread : threads) thread.join();

  std::atomic<bool> rebuilt{false}, torn{false};
  threads.clear();
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      Process reader{client};
      while (!rebuilt) {
        const std::shared_lock reading{reader.catalogue};
        if (reader.read() == "torn") torn = true;
      }
    });
  }
  for (const auto* version : {"3", "4"}) {
    const std::lock_guard writing{writer.catalogue};
    writer.rebuild(version);
  }
  rebuilt = true;
  for (auto& thread : threads) thread.join();
  std::cout << "it was rebuilt twice more, and " << (torn ? "a reader has" : "no reader has")
            << " seen half of it\n";
} catch (const std::exception& error) {
  std::cerr << "shared: " << error.what() << '\n';
  return 1;
}
