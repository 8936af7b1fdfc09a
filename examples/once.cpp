// Once in a period: every process starts the same job, and one of them runs it. The others wait
// until it has run. If it fails, the turn passes on to the next one.
//
// Prints:
//   the first attempt failed: no paper
//   8 processes wanted the report; it was printed 1 time, and all saw it
//   and none prints it again today

#include <atomic>
#include <chrono>
#include <iostream>
#include <stdexcept>
#include <thread>
#include <vector>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  const redis_lock::Client client{redis_url(argc, argv)};
  const auto* const name = "example:report";
  redis_lock::Cache{client, "once:"}.erase(name);  // the marker of an earlier run of this example

  try {
    redis_lock::call_once(client, name, 20h, [] { throw std::runtime_error{"no paper"}; });
  } catch (const std::runtime_error& error) {
    std::cout << "the first attempt failed: " << error.what() << '\n';
  }

  std::atomic<int> printed{0}, saw{0};
  const auto process = [&] {  // a thread of this program stands for it
    redis_lock::call_once(client, name, 20h, [&printed] {
      std::this_thread::sleep_for(200ms);  // a slow printer
      ++printed;
    });
    if (printed > 0) ++saw;
  };
  std::vector<std::thread> processes;
  for (int i = 0; i < 8; ++i) processes.emplace_back(process);
  for (auto& one : processes) one.join();
  std::cout << processes.size() << " processes wanted the report; it was printed " << printed
            << " time" << (saw == 8 ? ", and all saw it\n" : ", and some did not wait\n");

  if (!redis_lock::try_call_once(client, name, 20h, [&printed] { ++printed; }))
    std::cout << "and none prints it again today\n";
} catch (const std::exception& error) {
  std::cerr << "once: " << error.what() << '\n';
  return 1;
}
