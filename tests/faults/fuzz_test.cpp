// All troubles at once, at random, for some seconds.

#include <random>
#include <thread>
#include <vector>

#include "faults.hpp"

namespace redis_lock_test {
namespace {

class Fuzz : public OnOwnServer {
 protected:
  static constexpr auto duration = 5s;
  static constexpr auto lease = 3s;

  /// Increments a counter in Redis as nobody should who is not alone.
  void increment(const Client& client) {
    Redis plain{server.endpoint()};
    Options options;
    options.expire = lease;
    options.on_error = [this](const Error&) { ++errors; };
    Lock lock{client, name, options};
    while (!over) {
      try {
        const std::lock_guard guard{lock};
        const Stopwatch inside;
        const auto value = plain.string("GET", "counter").value_or("0");
        plain.command("SET", "counter", std::stoll(value) + 1);
        ++increments;
        if (inside.elapsed() >= lease / 2) ++stalls;
      } catch (const Error&) {
        ++errors;
      }
    }
  }

  /// Ends a random connection of the library, not those of the test.
  void kill_a_connection() {
    std::vector<std::string> ids;
    const auto list = redis.string("CLIENT", "LIST").value_or("");
    for (std::size_t line = 0; line < list.size(); line = list.find('\n', line) + 1) {
      const auto end = list.find('\n', line);
      if (list.substr(line, end - line).find(" name=locks ") == std::string::npos) continue;
      ids.push_back(list.substr(line + 3, list.find(' ', line) - line - 3));
    }
    if (!ids.empty()) redis.command("CLIENT", "KILL", "ID", ids[random() % ids.size()]);
  }

  std::atomic<bool> over{false};
  std::atomic<int> increments{0}, errors{0}, stalls{0};
  std::minstd_rand random{std::random_device{}()};
};

TEST_F(Fuzz, TheCounterIsExact) {
  Proxy proxy{server.endpoint()};
  const std::string parameters = "client_name=locks&command_timeout=150&retry_for=20s";
  const Client direct{server.uri(parameters)}, through_proxy{proxy.uri(parameters)};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&, i] { increment(i % 3 == 0 ? direct : through_proxy); });
  }

  const Stopwatch watch;
  int harm = 0;
  while (watch.elapsed() < duration) {
    std::this_thread::sleep_for(milliseconds{random() % 40});
    ++harm;
    switch (random() % 8) {
      case 0:
      case 1: kill_a_connection(); break;
      case 2: redis.command("SCRIPT", "FLUSH"); break;
      case 3: proxy.drop_connections(); break;
      case 4: proxy.inject("", Fault::lose_request); break;
      case 5: proxy.inject("", Fault::lose_reply); break;
      case 6: proxy.inject("", Fault::cut_reply); break;
      default:
        if (random() % 4 == 0) proxy.inject("", Fault::lose_reply_and_stall);
    }
  }
  over = true;
  for (auto& thread : threads) thread.join();

  RecordProperty("increments", increments.load());
  RecordProperty("errors", errors.load());
  RecordProperty("harm", harm);
  EXPECT_GT(increments, 100) << "otherwise it proves nothing";
  EXPECT_LT(errors, harm) << "most is mended unseen";
  EXPECT_TRUE(redis.string("GET", "counter") == std::to_string(increments) || stalls > 0)
      << redis.string("GET", "counter").value_or("no counter") << " after " << increments;
  expect_free();
}

}  // namespace
}  // namespace redis_lock_test
