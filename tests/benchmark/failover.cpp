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

/// Takes and frees one lock, without a pause, and knows when it last got it.
class Worker {
 public:
  Worker(const std::string& uri, const std::string& name)
      : thread_{[this, uri, name] {
          redis_lock::Lock lock{uri, name};
          while (!stopping_) {
            lock.lock();
            acquired_ = Clock::now();
            lock.unlock();
          }
        }} {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker() {
    stopping_ = true;
    thread_.join();
  }

  [[nodiscard]] Clock::time_point first_acquisition_after(Clock::time_point time) const {
    for (;;) {
      if (const auto acquired = acquired_.load(); acquired > time) return acquired;
      std::this_thread::sleep_for(50us);
    }
  }

 private:
  std::atomic<Clock::time_point> acquired_{Clock::time_point{}};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

const std::string busy = "busy", awaited = "{busy}-awaited";  // on one master

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
    const Worker worker{fleet.uri, busy};
    (void)worker.first_acquisition_after(Clock::now());
    fleet.redis().command("SET", "lock:" + awaited, "somebody");
    const Worker waiter{fleet.uri, awaited};
    while (fleet.redis().info("blocked_clients") == 0) std::this_thread::sleep_for(1ms);
    fleet.replicate();

    const auto next_switch = fleet.next_switch();
    fleet.harm_master(harm);
    const auto harmed = Clock::now();
    const auto switched = next_switch->wait();
    fleet.redis().command("DEL", "lock:" + awaited);
    fleet.redis().command("LPUSH", "lock-signal:" + awaited, "1");
    const auto acquired = worker.first_acquisition_after(harmed);
    const auto acquired_by_waiter = waiter.first_acquisition_after(harmed);
    failovers.push_back(milliseconds(switched - harmed));
    gaps.push_back(milliseconds(acquired - switched));
    gaps_of_waiter.push_back(milliseconds(acquired_by_waiter - switched));
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
