/// cycle <uri> <library|deferred|floor> <count> [profile]
///
/// So many uncontended lock+unlock: what callgrind and strace look at. With "profile" it reports where the
/// microseconds of one went, as the kernel and the server count them.

#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <sys/resource.h>

#include <redis_lock/lock.hpp>

#include "floor.hpp"
#include "measure.hpp"

namespace {

using namespace redis_lock_benchmark;

/// Sums of what was used up to now, in microseconds.
std::map<std::string, double> used(redis_lock_test::Redis& redis) {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  std::map<std::string, double> sums{
      {"wall", microseconds(Clock::now().time_since_epoch())},
      // Together only: the kernel tells user mode from its own by ticks, which are too few here.
      {"client, CPU", microseconds(usage.ru_utime) + microseconds(usage.ru_stime)},
      {"client, voluntary switches", static_cast<double>(usage.ru_nvcsw)},
  };
  const auto info = redis.string("INFO", "all").value_or("");
  const auto number = [&info](const std::string& field, std::size_t from = 0) {
    const auto at = info.find(field, from);
    return at == std::string::npos ? 0 : std::atof(info.c_str() + at + field.size());
  };
  sums["server, CPU"] =
      (number("used_cpu_user_main_thread:") + number("used_cpu_sys_main_thread:")) * 1e6;
  for (const std::string command : {"set", "pttl", "evalsha"}) {
    const auto at = info.find("cmdstat_" + command + ":");
    sums["server, in " + command] = at == std::string::npos ? 0 : number("usec=", at);
  }
  return sums;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const auto endpoint = redis_lock::Endpoint::parse(argv[1]);
  const std::string_view what = argv[2];
  const int count = std::atoi(argv[3]);
  const bool profile = argc > 4;

  std::optional<RawLock> floor;
  std::optional<redis_lock::Lock> lock;
  if (what == "floor") {
    floor.emplace(endpoint, RawTerms{"cycle"});
  } else {
    redis_lock::Options options;
    options.deferred_unlock = what == "deferred";
    lock.emplace(redis_lock::Client{endpoint}, "cycle", options);
  }
  const auto cycles = [&](int n) { floor ? cycle(*floor, n) : cycle(*lock, n); };
  if (!profile) {
    cycles(count);
    return 0;
  }
  redis_lock_test::Redis redis{endpoint};
  cycles(count / 10);
  const auto before = used(redis);
  cycles(count);
  for (const auto& [part, sum] : used(redis)) {
    report("profile", std::string(what) + ": " + part, {(sum - before.at(part)) / count});
  }
}
