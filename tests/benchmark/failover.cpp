/// What a failover costs those who want a lock: from the end of the master to the next acquisition, less the
/// time that the fleet itself takes to have a new master. In milliseconds, one sample for each failover. The
/// next acquisition is that of a client that takes and frees the lock all the time; and that of one that has
/// waited since before, for a lock that its holder frees on the new master at once.

#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include <redis_lock/lock.hpp>

#include "measure.hpp"
#include "support/cluster.hpp"
#include "support/no_lock_analysis.hpp"
#include "support/sentinel.hpp"

namespace {

using namespace redis_lock_benchmark;
using redis_lock_test::ClusterFleet;
using redis_lock_test::Harm;
using redis_lock_test::Index;
using redis_lock_test::Moment;
using redis_lock_test::SentinelFleet;

constexpr int rounds = 7;
const std::string patient = "retry_for=60s";

[[nodiscard]] double milliseconds(Clock::duration time) { return microseconds(time) / 1000; }

/// Takes and frees a lock, without a pause, and knows when it got it first after the fault.
class Worker {
 public:
  /// `name_of(i)` is the name of the i-th lock that it takes.
  template <class NameOf>
  Worker(const std::string& uri, NameOf name_of)
      : thread_{[this, uri, name_of] {
          const redis_lock::Client client{uri};
          for (int i = 0; !stopping_; ++i) {
            redis_lock::Lock lock{client, name_of(i)};
            lock.lock();
            const auto now = Clock::now();
            if (now > since_.load() && first_.load() == Clock::time_point{}) first_ = now;
            lock.unlock();
          }
        }} {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    stopping_ = true;
    thread_.join();
  }

  /// From now on the first acquisition counts.
  void start_to_look() {
    first_ = Clock::time_point{};
    since_ = Clock::now();
  }
  [[nodiscard]] Clock::time_point first_acquisition() const {
    while (first_.load() == Clock::time_point{}) std::this_thread::sleep_for(1ms);
    return first_;
  }

 private:
  std::atomic<Clock::time_point> since_{Clock::time_point::max()}, first_{Clock::time_point{}};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

const std::string awaited = "{busy}-awaited";
/// New ones, on the same master: a release that was not replicated leaves a name locked for its lease.
[[nodiscard]] std::string busy(int number) { return "{busy}-" + std::to_string(number); }

struct Fleet {
  std::string name, uri;
  std::function<redis_lock_test::Redis&()> redis;  // of the present master
  std::function<void()> replicate;
  std::function<std::unique_ptr<Moment>()> next_switch;
  std::function<void(Harm)> harm_master;
  std::function<void()> restore;
};

void measure(const Fleet& fleet, Harm harm) {
  Samples failovers, gaps, gaps_of_waiter;
  for (int round = 0; round < rounds; ++round) {
    fleet.restore();
    Worker worker{fleet.uri, &busy};
    worker.start_to_look();
    (void)worker.first_acquisition();
    fleet.redis().command("SET", "lock:" + awaited, "somebody");
    Worker waiter{fleet.uri, [](int) { return awaited; }};
    while (fleet.redis().info("blocked_clients") == 0) std::this_thread::sleep_for(1ms);
    fleet.replicate();

    const auto next_switch = fleet.next_switch();
    fleet.harm_master(harm);
    const auto harmed = Clock::now();
    worker.start_to_look();
    waiter.start_to_look();
    const auto switched = next_switch->wait();
    // A new master of a cluster refuses commands at first: CLUSTERDOWN.
    const auto succeed = [&fleet](const auto&... words) {
      while (fleet.redis().command(words...).is_error()) std::this_thread::sleep_for(1ms);
    };
    succeed("DEL", "lock:" + awaited);
    succeed("LPUSH", "lock-signal:" + awaited, "1");
    failovers.push_back(milliseconds(switched - harmed));
    gaps.push_back(milliseconds(worker.first_acquisition() - switched));
    gaps_of_waiter.push_back(milliseconds(waiter.first_acquisition() - switched));
  }
  fleet.restore();
  const auto where = fleet.name + (harm == Harm::kill ? ", master killed" : ", master frozen");
  report("failover_ms", where, failovers);
  const auto tell = [&where](const char* figure, const Samples& samples) {
    report(figure, where, samples);
    std::fprintf(stderr, "%s, %s: %.0f ms, %.0f ms at worst\n", where.c_str(), figure,
                 median(samples), quantile(samples, 1));
  };
  tell("failover_gap_ms", gaps);
  tell("failover_gap_of_waiter_ms", gaps_of_waiter);
}

}  // namespace

int main() {
  SentinelFleet sentinels;
  const Fleet with_sentinels{"Sentinel",
                             sentinels.uri(patient),
                             [&]() -> redis_lock_test::Redis& { return sentinels.redis(); },
                             [&] { sentinels.replicate(); },
                             [&] { return sentinels.next_switch(); },
                             [&](Harm harm) { sentinels.harm_master(harm); },
                             [&] { sentinels.restore(); }};
  ClusterFleet cluster;
  const auto master = [&cluster] { return cluster.owner_of("lock:{busy}"); };
  const Fleet with_cluster{
      "Cluster",
      cluster.uri(patient),
      [&]() -> redis_lock_test::Redis& { return cluster.member(master()).redis(); },
      [&] { cluster.replicate(master()); },
      [&] { return cluster.next_promotion(master()); },
      [&](Harm harm) { cluster.member(master()).suffer(harm); },
      [&] { cluster.restore(); }};
  for (const auto& fleet : {with_sentinels, with_cluster}) {
    for (const auto harm : {Harm::kill, Harm::freeze}) measure(fleet, harm);
  }
}
