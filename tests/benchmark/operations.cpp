/// Single operations of one thread, each against its floor: a few of the two by turns, so that what slows
/// the machine slows both. A sample is the ratio of the medians of one repetition. Each with Endpoint::spin of 0
/// and, under a figure that begins with spin_, with its default; then the CPU of the client, too.

#include <iostream>

#include <benchmark/benchmark.h>
#include <redis_lock/detail/lock/observer.hpp>
#include <redis_lock/detail/protocol/guarded_script.hpp>
#include <redis_lock/lock.hpp>

#include "floor.hpp"
#include "measure.hpp"
#include "sharing.hpp"
#include "support/no_lock_analysis.hpp"

namespace {

using namespace redis_lock_benchmark;
using redis_lock::Client;
using redis_lock::Lock;
using redis_lock::Options;
using redis_lock::detail::Commands;
using redis_lock::detail::GuardedScript;
using redis_lock::detail::Replies;

constexpr int repetitions = 31;
constexpr int rounds = 50;      // in a repetition
constexpr int operations = 10;  // of each of the two in a round

/// Times each operation by itself: the median of many is what an undisturbed one takes, also where the
/// machine has other things to do.
template <class Operation>
void time_operations(Operation& operation, Samples& times, void (*pause)()) {
  for (int i = 0; i < operations; ++i) {
    pause();
    const auto start = Clock::now();
    operation();
    times.push_back(microseconds(Clock::now() - start));
  }
}

/// The same, and returns the CPU time of this thread meanwhile.
template <class Operation>
double weigh_operations(Operation& operation, Samples& times, void (*pause)()) {
  const auto start = cpu_time_of_this_thread();
  time_operations(operation, times, pause);
  return cpu_time_of_this_thread() - start;
}

void no_pause() {}
void work_for_100_us() {
  for (const auto end = Clock::now() + 100us; Clock::now() < end;) {
  }
}

/// `pause` comes before each operation, and is not timed.
template <class Floor, class Library>
void compare(benchmark::State& state, const std::string& figure, const std::string& where,
             Floor floor, Library library, void (*pause)() = no_pause) {
  Samples ratios, cpu_ratios;
  for (auto _ : state) {
    Samples floor_times, library_times;
    double floor_cpu = 0, library_cpu = 0;
    for (int round = 0; round < rounds; ++round) {
      floor_cpu += weigh_operations(floor, floor_times, pause);
      library_cpu += weigh_operations(library, library_times, pause);
    }
    ratios.push_back(median(library_times) / median(floor_times));
    cpu_ratios.push_back(library_cpu / floor_cpu);
    state.SetIterationTime(median(library_times) / 1e6);
    state.counters["floor_us"] = median(floor_times);
  }
  state.counters["ratio"] = median(ratios);
  state.counters["cpu"] = median(cpu_ratios);
  report(figure, where, ratios);
  report(figure + "_cpu", where, cpu_ratios);
}

/// Compares what one lock+unlock takes of each.
template <class Floor, class Library>
void compare_cycles(benchmark::State& state, const std::string& figure, const std::string& where,
                    Floor& floor, Library& lock, void (*pause)() = no_pause) {
  compare(
      state, figure, where, [&] { cycle(floor); }, [&] { cycle(lock); }, pause);
}

Options deferred() {
  Options options;
  options.deferred_unlock = true;
  return options;
}

/// The command of Lock::guarded_set("value", "1").
std::string guarded_set(const std::string& id) {
  struct Listener {
    std::string heard{};
    Replies exchange(const Commands& commands) {
      heard = commands.encode();
      return Replies(1);
    }
    void make_sure() {}
  };
  Listener listener;
  (void)GuardedScript{"redis.call('SET', KEYS[1], ARGV[1])", {"value"}, {"1"}, "lock:floor-2", id}
      .run_once(listener);
  return listener.heard;
}

enum class Waiting { asleep, spinning };

/// Registers one comparison; `make` gets the server's endpoint, and makes the pair when it is run.
template <class Make>
void register_comparison(std::string figure, const RedisServer& server, Transport transport,
                         Make make, Waiting waiting) {
  const std::string where = name_of(transport);
  auto endpoint = server.endpoint();
  if (waiting == Waiting::asleep) {
    endpoint.spin = 0us;
  } else {
    figure.insert(0, "spin_");
  }
  benchmark::RegisterBenchmark(
      (figure + "/" + where).c_str(),
      [=](benchmark::State& state) { make(state, figure, where, endpoint); })
      ->UseManualTime()
      ->Iterations(repetitions)
      ->Unit(benchmark::kMicrosecond);
}

/// What Client::stats() takes of each cycle: the looks at the clock, and the counters.
void count_a_cycle(redis_lock::detail::Counters& counters) {
  const auto called = Clock::now();
  const auto acquired = Clock::now();
  counters.acquired(acquired - called, false);
  counters.ended(redis_lock::Event::Kind::released, Clock::now() - acquired);
}

/// The library's cycle over what would be left of it without the counting, which is always on: that is timed
/// by itself, many at once, as it is shorter than the error of the clock.
void weigh_counting(benchmark::State& state, const std::string& where, Lock& lock) {
  constexpr int counted = 10'000;
  redis_lock::detail::Counters counters;
  Samples ratios;
  for (auto _ : state) {
    Samples cycles;
    const auto measure_cycle = [&] { cycle(lock); };
    for (int round = 0; round < rounds; ++round) time_operations(measure_cycle, cycles, no_pause);
    const auto start = Clock::now();
    for (int i = 0; i < counted; ++i) count_a_cycle(counters);
    const auto counting = microseconds(Clock::now() - start) / counted;
    ratios.push_back(median(cycles) / (median(cycles) - counting));
    state.SetIterationTime(counting / 1e6);
  }
  state.counters["ratio"] = median(ratios);
  report("stats", where, ratios);
}

using redis_lock::Endpoint;
using State = benchmark::State;
using Text = std::string;

/// Figures that depend on how a reply is waited for.
void add_waiting(const RedisServer& server, Transport transport, Waiting waiting) {
  const auto add = [&](const char* figure, auto make) {
    register_comparison(figure, server, transport, make, waiting);
  };
  add("uncontended", [](State& state, Text figure, Text where, Endpoint at) {
    RawLock floor{at, RawTerms{"floor-1"}};
    Lock lock{Client{at}, "floor-2"};
    compare_cycles(state, figure, where, floor, lock);
  });
  add("deferred", [](State& state, Text figure, Text where, Endpoint at) {
    RawLock floor{at, RawTerms{"floor-1"}};
    Lock lock{Client{at}, "floor-2", deferred()};
    compare_cycles(state, figure, where, floor, lock);
  });
  add("try_lock_busy", [](State& state, Text figure, Text where, Endpoint at) {
    RawLock floor{at, RawTerms{"floor-3"}};
    Lock holder{Client{at}, "floor-3"}, lock{Client{at}, "floor-3"};
    holder.lock();
    compare(
        state, figure, where, [&] { (void)floor.try_lock(); }, [&] { (void)lock.try_lock(); });
  });
  add("extend", [](State& state, Text figure, Text where, Endpoint at) {
    RawLock floor{at, RawTerms{"floor-1"}};
    Lock lock{Client{at}, "floor-2"};
    floor.lock();
    lock.lock();
    compare(
        state, figure, where, [&] { floor.extend(); }, [&] { lock.extend(); });
    floor.unlock();
  });
  add("guarded_set", [](State& state, Text figure, Text where, Endpoint at) {
    Lock lock{Client{at}, "floor-2"};
    lock.lock();
    RawConnection floor{at};
    const auto set = guarded_set(lock.id());
    compare(
        state, figure, where, [&] { floor.call(set); }, [&] { lock.guarded_set("value", "1"); });
  });
}

/// A reading and a permit, over the same scripts; the floor always polls, if it does.
void add_sharing(const RedisServer& server, Transport transport, Waiting waiting) {
  const auto add = [&](const char* figure, auto make) {
    register_comparison(figure, server, transport, make, waiting);
  };
  add("reading_over_raw", [](State& state, Text figure, Text where, Endpoint at) {
    RawScripts floor{at, "floor-1", RawScripts::Keys::Kind::reading, 0, at.spin};
    ReaderLock lock{Client{at}, "floor-2"};
    compare_cycles(state, figure, where, floor, lock);
  });
  add("permit_over_raw", [](State& state, Text figure, Text where, Endpoint at) {
    RawScripts floor{at, "floor-1", RawScripts::Keys::Kind::permit, 4, at.spin};
    redis_lock::Semaphore lock{Client{at}, "floor-2", 4};
    compare_cycles(state, figure, where, floor, lock);
  });
}

void add_all(const RedisServer& server, Transport transport) {
  add_waiting(server, transport, Waiting::asleep);
  add_waiting(server, transport, Waiting::spinning);
  add_sharing(server, transport, Waiting::asleep);
  add_sharing(server, transport, Waiting::spinning);
  const auto add = [&](const char* figure, auto make, Waiting waiting = Waiting::asleep) {
    register_comparison(figure, server, transport, make, waiting);
  };
  add(
      "raw",
      [](State& state, Text figure, Text where, Endpoint at) {
        RawLock floor{at, RawTerms{"floor-1"}};
        RawLock lock{at, RawTerms{"floor-2"}, false, at.spin};
        compare_cycles(state, figure, where, floor, lock);
      },
      Waiting::spinning);
  add(
      "over_raw",
      [](State& state, Text figure, Text where, Endpoint at) {
        RawLock floor{at, RawTerms{"floor-1"}, false, at.spin};
        Lock lock{Client{at}, "floor-2"};
        compare_cycles(state, figure, where, floor, lock);
      },
      Waiting::spinning);
  add("uncontended_same_commands", [](State& state, Text figure, Text where, Endpoint at) {
    RawLock floor{at, RawTerms{"floor-1"}, true};
    Lock lock{Client{at}, "floor-2"};
    compare_cycles(state, figure, where, floor, lock);
  });
  add("deferred_raw", [](State& state, Text figure, Text where, Endpoint at) {
    RawLock floor{at, RawTerms{"floor-1"}};
    RawDeferredLock lock{at, RawTerms{"floor-2"}};
    compare_cycles(state, figure, where, floor, lock);
  });
  add("deferred_spaced", [](State& state, Text figure, Text where, Endpoint at) {
    RawLock floor{at, RawTerms{"floor-1"}};
    Lock lock{Client{at}, "floor-2", deferred()};
    compare_cycles(state, figure, where, floor, lock, work_for_100_us);
  });
  add("stats", [](State& state, Text, Text where, Endpoint at) {
    Lock lock{Client{at}, "floor-2"};
    weigh_counting(state, where, lock);
  });
  add("borrowed", [](State& state, Text figure, Text where, Endpoint at) {
    RawLock floor{at, RawTerms{"floor-1"}};
    const auto context = redis_lock_test::connect_hiredis(at);
    Lock lock{context.get(), "floor-2"};
    compare_cycles(state, figure, where, floor, lock);
  });
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const RedisServer unix_server{Transport::unix_socket}, tcp_server{Transport::tcp};
  add_all(unix_server, Transport::unix_socket);
  add_all(tcp_server, Transport::tcp);
  benchmark::ConsoleReporter reporter{
      benchmark::ConsoleReporter::OO_None};  // the standard output is for report()
  reporter.SetOutputStream(&std::cerr);
  reporter.SetErrorStream(&std::cerr);
  benchmark::RunSpecifiedBenchmarks(&reporter);
}
