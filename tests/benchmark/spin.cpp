/// Where polling for replies cannot pay: Endpoint::spin at its default over 0, by turns. A server that is far away, more
/// threads than processors, one processor, and threads that wait for each other.

#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <redis_lock/lock.hpp>

#include "contend.hpp"
#include "measure.hpp"
#include "support/child.hpp"
#include "support/one_processor.hpp"
#include "support/socket.hpp"

namespace {

using namespace redis_lock_benchmark;
using redis_lock::Client;
using redis_lock::Endpoint;
using redis_lock::Lock;
using redis_lock_test::OneProcessor;

[[nodiscard]] Endpoint asleep(Endpoint endpoint) {
  endpoint.spin = 0us;
  return endpoint;
}

/// Stands between a client and a server that is so far away, there and back.
class FarAway {
 public:
  FarAway(const Endpoint& server, std::chrono::microseconds distance)
      : listener_(redis_lock_test::listen_at(endpoint_)), accepts_([=] {
          for (;;) {
            redis_lock_test::Socket client{::accept(listener_.get(), nullptr, nullptr)};
            std::thread{[=, client = std::move(client)] {
              carry(client, redis_lock_test::connect_to(server), distance / 2);
            }}.detach();
          }
          return 0;
        }) {}

  [[nodiscard]] const Endpoint& endpoint() const { return endpoint_; }

 private:
  static Endpoint on_free_port() {
    Endpoint endpoint;
    endpoint.port = 0;
    return endpoint;
  }

  /// Carries bytes to and fro until one side hangs up.
  static void carry(const redis_lock_test::Socket& client, const redis_lock_test::Socket& server,
                    std::chrono::microseconds way) {
    std::array<char, 4096> bytes;
    for (;;) {
      std::array<pollfd, 2> ends{{{client.get(), POLLIN, 0}, {server.get(), POLLIN, 0}}};
      ::poll(ends.data(), ends.size(), -1);
      for (std::size_t i = 0; i < 2; ++i) {
        if (ends[i].revents == 0) continue;
        const auto count = ::recv(ends[i].fd, bytes.data(), bytes.size(), 0);
        if (count <= 0) return;
        std::this_thread::sleep_for(way);
        ::send(ends[1 - i].fd, bytes.data(), static_cast<std::size_t>(count), MSG_NOSIGNAL);
      }
    }
  }

  Endpoint endpoint_ = on_free_port();
  redis_lock_test::Socket listener_;
  redis_lock_test::Child accepts_;
};

/// Time and CPU of one thread over those with spin off.
void measure_one(const Endpoint& endpoint, const std::string& figure, const std::string& where,
                 int cycles, int repetitions) {
  Lock spinning{Client{endpoint}, "spin-1"}, sleeping{Client{asleep(endpoint)}, "spin-2"};
  cycle(spinning, cycles);
  cycle(sleeping, cycles);
  Samples times, cpu;
  for (int i = 0; i < repetitions; ++i) {
    std::array<double, 2> took{}, used{};
    for (std::size_t turn = 0; turn < 2; ++turn) {
      const auto start = Clock::now();
      const auto cpu_start = cpu_time_of_this_thread();
      cycle(turn == 0 ? spinning : sleeping, cycles);
      used[turn] = cpu_time_of_this_thread() - cpu_start;
      took[turn] = microseconds(Clock::now() - start);
    }
    times.push_back(took[0] / took[1]);
    cpu.push_back(used[0] / used[1]);
  }
  report(figure, where, times);
  report(figure + "_cpu", where, cpu);
}

/// Cycles each second of all threads, each with a lock of its own.
double cycles_per_second(const Endpoint& endpoint, int count, std::chrono::milliseconds time) {
  const Client client{endpoint};
  std::atomic<int> ready{0};
  std::atomic<bool> stop{false};
  std::atomic<long> cycles{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      Lock lock{client, "spin-" + std::to_string(i)};
      cycle(lock, 10);
      ++ready;
      while (ready < count) std::this_thread::yield();
      long done = 0;
      for (; !stop; ++done) cycle(lock, 1);
      cycles += done;
    });
  }
  while (ready < count) std::this_thread::yield();
  const auto start = Clock::now();
  std::this_thread::sleep_for(time);
  stop = true;
  const auto took = microseconds(Clock::now() - start);
  for (auto& thread : threads) thread.join();
  return static_cast<double>(cycles) / took * 1e6;
}

void measure_threads(const RedisServer& server, const std::string& transport, int count) {
  Samples ratios;
  for (int i = 0; i < 11; ++i) {
    const auto spinning = cycles_per_second(server.endpoint(), count, 200ms);
    ratios.push_back(spinning / cycles_per_second(asleep(server.endpoint()), count, 200ms));
  }
  report("spin_threads", transport + ", " + std::to_string(count) + " threads", ratios);
}

/// This process on one processor, and the server as it likes; then the server on that processor, too.
void measure_one_processor(const RedisServer& server, const std::string& transport) {
  const OneProcessor client;
  measure_one(server.endpoint(), "spin_one_processor", transport, 500, 15);
  const OneProcessor same{server.pid()};
  measure_one(server.endpoint(), "spin_one_processor", transport + ", server on it", 500, 15);
}

void measure_contended(const RedisServer& server, const std::string& transport, Workers kind,
                       int workers, std::chrono::microseconds section, int acquisitions) {
  const Contention contention{kind, workers, acquisitions, section};
  const auto run = [&](const Endpoint& endpoint) {
    const Client client{endpoint};
    return contend(contention, [&](int) { return std::make_unique<Lock>(client, "spin"); });
  };
  Samples hand_offs, waits;
  for (int i = 0; i < 21; ++i) {
    const auto spinning = run(server.endpoint());
    const auto sleeping = run(asleep(server.endpoint()));
    hand_offs.push_back(median(spinning.hand_offs) / median(sleeping.hand_offs));
    waits.push_back(quantile(spinning.waits, 0.99) / quantile(sleeping.waits, 0.99));
  }
  const auto where = transport + ", " + std::to_string(workers) +
                     (kind == Workers::threads ? " threads, " : " processes, ") +
                     std::to_string(section.count()) + " us";
  report("spin_handoff", where, hand_offs);
  report("spin_p99_wait", where, waits);
}

}  // namespace

int main() {
  ::prctl(PR_SET_TIMERSLACK, 1000);
  for (const auto transport : transports) {
    const RedisServer server{transport};
    const std::string where = name_of(transport);
    for (const auto distance : {300us, 2000us}) {
      const FarAway far{server.endpoint(), distance};
      measure_one(far.endpoint(), "spin_far",
                  where + ", " + std::to_string(distance.count()) + " us", 200, 15);
    }
    for (const int count : {2, 8, 64}) measure_threads(server, where, count);
    measure_one_processor(server, where);
    measure_contended(server, where, Workers::processes, 2, 300us, 60);
    measure_contended(server, where, Workers::threads, 2, 300us, 60);
    measure_contended(server, where, Workers::threads, 8, 100us, 200);
    measure_contended(server, where, Workers::threads, 8, 2ms, 30);
  }
}
