/// Eight threads with Lock objects of their own: how long the unlucky wait, and whether the turns are
/// shared out evenly. Ideal is strict order: each waits for seven sections and seven hand-offs, as short as
/// those of raw hiredis with the same commands under the same load.

#include <memory>
#include <string>

#include <sys/prctl.h>

#include <redis_lock/lock.hpp>

#include "contend.hpp"
#include "floor.hpp"
#include "measure.hpp"

namespace {

using namespace redis_lock_benchmark;

void measure(const RedisServer& server, const std::string& transport,
             std::chrono::microseconds section, int acquisitions, int repetitions) {
  const Contention contention{Workers::threads, 8, acquisitions, section};
  const auto others = contention.workers - 1;
  const auto where = transport + ", " + std::to_string(section.count()) + " us";
  Samples over_ideal, deferred_over_ideal, first_to_finish, raw_over_ideal, raw_first, all_waits,
      raw_waits;
  for (int i = 0; i < repetitions; ++i) {
    const RawTerms base{"fairness-raw"};
    const auto raw = contend(contention, [&](int self) {
      auto terms = base;
      terms.id.replace(0, 1, std::to_string(self));
      return std::make_unique<RawWaitingLock>(server.endpoint(), terms);
    });
    const redis_lock::Client client{server.endpoint()};
    const auto library = contend(contention, [&](int) {
      return std::make_unique<redis_lock::Lock>(client, "fairness-lib");
    });
    redis_lock::Options options;
    options.deferred_unlock = true;
    const auto deferred = contend(contention, [&](int) {
      return std::make_unique<redis_lock::Lock>(client, "fairness-deferred", options);
    });
    const double ideal = others * (median(raw.sections) + median(raw.hand_offs));
    over_ideal.push_back(quantile(library.waits, 0.99) / ideal);
    deferred_over_ideal.push_back(quantile(deferred.waits, 0.99) / ideal);
    raw_over_ideal.push_back(quantile(raw.waits, 0.99) / ideal);
    first_to_finish.push_back(library.first_to_finish);
    raw_first.push_back(raw.first_to_finish);
    for (const double wait : library.waits) all_waits.push_back(wait / ideal);
    for (const double wait : raw.waits) raw_waits.push_back(wait / ideal);
  }
  report("p99_wait", where, over_ideal);
  report("p99_wait_deferred", where, deferred_over_ideal);
  report("p99_wait_raw", where, raw_over_ideal);
  report("first_to_finish", where, first_to_finish);
  report("first_to_finish_raw", where, raw_first);
  for (const auto& [kind, waits] : {std::pair{"", &all_waits}, {"_raw", &raw_waits}}) {
    Samples quantiles;  // for the plot
    for (int q = 0; q < 200; ++q) quantiles.push_back(quantile(*waits, q / 200.0));
    report(std::string("wait_quantiles") + kind, where, quantiles);
  }
}

}  // namespace

int main() {
  ::prctl(PR_SET_TIMERSLACK, 1000);
  for (const auto transport : transports) {
    const RedisServer server{transport};
    measure(server, name_of(transport), 100us, 200, 15);
    measure(server, name_of(transport), 2ms, 50, 7);
  }
}
