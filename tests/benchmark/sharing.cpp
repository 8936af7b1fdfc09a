/// SharedLock and Semaphore in contention. Floors, measured in the same run: a LPUSH that wakes a BLPOP, a Lock in
/// their place, and strict order of arrival with the hand-off of raw hiredis.

#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <queue>
#include <string>
#include <thread>
#include <vector>

#include <sys/prctl.h>

#include <redis_lock/lock.hpp>
#include <redis_lock/semaphore.hpp>
#include <redis_lock/shared_lock.hpp>

#include "contend.hpp"
#include "floor.hpp"
#include "measure.hpp"
#include "sharing.hpp"
#include "support/eventually.hpp"

namespace {

using namespace redis_lock_benchmark;
using redis_lock::Client;
using redis_lock::Endpoint;
using redis_lock::Lock;
using redis_lock::Semaphore;
using redis_lock::SharedLock;

constexpr int repetitions = 15;

/// From a LPUSH to the end of the BLPOP that it wakes, between two threads.
double wake_up(const Endpoint& endpoint) {
  redis_lock_test::Redis{endpoint}.command("LPUSH", "token-0", "1");
  const auto times = contend({Workers::threads, 2, 60, 300us}, [&](int self) {
    return std::make_unique<RawWakeUp>(endpoint, "token-" + std::to_string(self),
                                       "token-" + std::to_string(1 - self));
  });
  redis_lock_test::Redis{endpoint}.command("DEL", "token-0", "token-1");
  return median(times.hand_offs);
}

/// A writer holds a lock for which so many readers wait.
class Readers {
 public:
  Readers(const RedisServer& server, const Client& client, int count)
      : writer_(client, "entry"), redis_(server.endpoint()) {
    for (int i = 0; i < count; ++i) readers_.emplace_back(client, "entry");
  }

  /// Microseconds from unlock() of the writer until the last one has entered; and of the server in their scripts.
  struct Times {
    double until_the_last, in_scripts;
  };
  Times let_in() {
    std::vector<Clock::time_point> entered(readers_.size());
    std::atomic<std::size_t> inside{0};
    std::promise<void> all_inside, end;
    const auto leave = end.get_future().share();
    std::vector<std::thread> threads;
    writer_.lock();
    for (std::size_t i = 0; i < readers_.size(); ++i) {
      threads.emplace_back([&, i, leave] {
        readers_[i].lock();
        entered[i] = Clock::now();
        if (++inside == readers_.size()) all_inside.set_value();
        leave.wait();
        readers_[i].unlock();
      });
    }
    const auto count = static_cast<long long>(readers_.size());
    const bool all_wait =
        redis_lock_test::eventually([&] { return redis_.info("blocked_clients") == count; });
    const auto before = microseconds_in_scripts();
    const auto left = Clock::now();
    writer_.unlock();
    all_inside.get_future().wait();
    const auto after = microseconds_in_scripts();
    end.set_value();
    for (auto& thread : threads) thread.join();
    if (!all_wait) throw std::runtime_error("the readers did not come to Redis");
    return {microseconds(*std::max_element(entered.begin(), entered.end()) - left), after - before};
  }

 private:
  double microseconds_in_scripts() {
    const auto info = redis_.string("INFO", "commandstats").value_or("");
    const auto at = info.find("usec=", info.find("cmdstat_evalsha:"));
    return at == std::string::npos ? 0 : std::atof(info.c_str() + at + 5);
  }

  SharedLock writer_;
  std::deque<ReaderLock> readers_;
  redis_lock_test::Redis redis_;
};

void measure_entry(const RedisServer& server, const std::string& where, int count) {
  const Client client{server.endpoint()};
  Readers readers{server, client, count};
  (void)readers.let_in();  // connects
  Samples over_wake_ups, in_scripts, times;
  for (int i = 0; i < repetitions; ++i) {
    const auto floor = wake_up(server.endpoint());
    const auto took = readers.let_in();
    times.push_back(took.until_the_last);
    over_wake_ups.push_back(took.until_the_last / (count * floor));
    in_scripts.push_back(took.in_scripts / (count * floor));
  }
  const auto all = where + ", " + std::to_string(count) + " readers";
  report("entry_over_wake_ups", all, over_wake_ups);
  report("entry_in_scripts", all, in_scripts);
  report("entry_us", all, times);
}

/// Strict order of arrival: a reader that is first in line enters as soon as no writer is inside; a writer enters when
/// all have left. Simulated with the mixtures of the workers, which come again at once.
struct StrictOrder {
  int workers, acquisitions;  // by each worker
  int percent_readers;
  double section, hand_off;  // microseconds

  /// The waits of the writers.
  [[nodiscard]] Samples waits_of_writers() const {
    struct Turn {
      double time;  // of the arrival; inside: of the end
      int worker;
      bool reads;
      bool operator>(const Turn& other) const { return time > other.time; }
    };
    std::vector<Mixture> mixtures;
    std::vector<int> left(static_cast<std::size_t>(workers), acquisitions);
    std::deque<Turn> line;
    std::priority_queue<Turn, std::vector<Turn>, std::greater<>> inside;
    for (int i = 0; i < workers; ++i) {
      mixtures.emplace_back(i, percent_readers);
      line.push_back({0, i, mixtures.back().next_reads()});
    }
    Samples waits;
    for (double now = 0;;) {
      while (!line.empty() && (inside.empty() || (line.front().reads && inside.top().reads))) {
        const auto [arrived, worker, reads] = line.front();
        line.pop_front();
        const auto entered = arrived < now ? now + hand_off : now;
        if (!reads) waits.push_back(entered - arrived);
        inside.push({entered + section, worker, reads});
      }
      if (inside.empty()) return waits;
      const auto [end, worker, reads] = inside.top();
      inside.pop();
      now = end;
      const auto index = static_cast<std::size_t>(worker);
      if (--left[index] > 0) line.push_back({now, worker, mixtures[index].next_reads()});
    }
  }
};

void measure_readers(const RedisServer& server, const std::string& where) {
  constexpr int percent_readers = 90;
  const Contention contention{Workers::threads, 8, 150, 1ms};
  const Client client{server.endpoint()};
  Samples throughput, waits, raw_waits;
  for (int i = 0; i < repetitions; ++i) {
    const RawTerms base{"readers-raw"};
    const auto raw = contend(contention, [&](int self) {
      auto terms = base;
      terms.id.replace(0, 1, std::to_string(self));
      return std::make_unique<RawWaitingLock>(server.endpoint(), terms);
    });
    const auto plain =
        contend(contention, [&](int) { return std::make_unique<Lock>(client, "readers-plain"); });
    const auto shared = contend(contention, [&](int self) {
      return std::make_unique<MixedLock>(client, "readers", Mixture{self, percent_readers});
    });
    throughput.push_back(shared.rate / plain.rate);
    Samples of_writers;
    for (int self = 0, wait = 0; self < contention.workers; ++self) {
      Mixture mixture{self, percent_readers};
      for (int skipped = 0; skipped < warm_up; ++skipped) (void)mixture.next_reads();
      for (int turn = 0; turn < contention.acquisitions; ++turn, ++wait) {
        if (!mixture.next_reads())
          of_writers.push_back(shared.waits[static_cast<std::size_t>(wait)]);
      }
    }
    const StrictOrder ideal{contention.workers, contention.acquisitions + warm_up, percent_readers,
                            median(raw.sections), median(raw.hand_offs)};
    waits.push_back(quantile(of_writers, 0.99) / quantile(ideal.waits_of_writers(), 0.99));
  }
  report("readers_over_lock", where, throughput);
  report("p99_wait_of_writers", where, waits);
}

void measure_permits(const RedisServer& server, const std::string& where) {
  constexpr int permits = 4;
  const Contention contention{Workers::threads, 16, 60, 2ms};
  const auto share = contention.workers / permits;
  const Client client{server.endpoint()};
  Samples throughput, waits, raw_waits;
  for (int i = 0; i < repetitions; ++i) {
    // As many locks as permits, each with its share of the workers: strict order, under the same load.
    const auto raw = contend(contention, [&](int self) {
      return std::make_unique<RawWaitingLock>(
          server.endpoint(), RawTerms{"permits-raw-" + std::to_string(self % permits)});
    });
    const auto one = contend({contention.kind, share, contention.acquisitions, contention.section},
                             [&](int) { return std::make_unique<Lock>(client, "permits-one"); });
    const auto counted = contend(
        contention, [&](int) { return std::make_unique<Semaphore>(client, "permits", permits); });
    const double ideal = median(raw.waits);
    throughput.push_back(counted.rate / (permits * one.rate));
    waits.push_back(quantile(counted.waits, 0.99) / ideal);
    raw_waits.push_back(quantile(raw.waits, 0.99) / ideal);
  }
  report("permits_over_locks", where, throughput);
  report("p99_wait_of_permits", where, waits);
  report("p99_wait_of_permits_raw", where, raw_waits);
}

}  // namespace

int main() {
  ::prctl(PR_SET_TIMERSLACK, 1000);
  for (const auto transport : transports) {
    const RedisServer server{transport};
    const std::string where = name_of(transport);
    for (const int count : {8, 64}) measure_entry(server, where, count);
    measure_readers(server, where);
    measure_permits(server, where);
  }
}
