// Processes and threads contend for a few locks while a nemesis does harm to them, their network and
// their server; then a checker reads what each of them wrote down.
//   campaign [--servers one|sentinel|cluster|quorum] [--seconds N] [--seed S] [--keep FOLDER]
//   campaign [--servers …] --check FOLDER     looks once more at a history that was kept
// Built with faults in the protocol (CMakeLists.txt), it is right if the checker finds them.

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>

#include "checker.hpp"
#include "cluster_servers.hpp"
#include "nemesis.hpp"
#include "one_server.hpp"
#include "quorum_servers.hpp"
#include "roles.hpp"
#include "sentinel_servers.hpp"
#include "server_kind.hpp"
#include "worker.hpp"

namespace {

using namespace redis_lock_test::campaign;

std::atomic<bool> interrupted{false};

struct Arguments {
  ServerKind servers = ServerKind::one;
  std::chrono::seconds time{100};
  std::uint64_t seed = std::random_device{}();
  std::string keep;   ///< where the history stays; empty: nowhere, unless something was found
  std::string check;  ///< a history to check; empty: make one
};

Arguments read(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    if (i + 1 == argc) throw std::invalid_argument(option + " needs a value");
    const std::string value = argv[i + 1];
    if (option == "--servers") {
      arguments.servers = server_kind(value);
    } else if (option == "--seconds") {
      arguments.time = std::chrono::seconds{std::stoul(value)};
    } else if (option == "--seed") {
      arguments.seed = std::stoull(value);
    } else if (option == "--keep") {
      arguments.keep = value;
    } else if (option == "--check") {
      arguments.check = value;
    } else {
      throw std::invalid_argument(
          "there is no " + option +
          ", but --servers one|sentinel|cluster|quorum, --seconds N, --seed S, "
          "--keep FOLDER and --check FOLDER");
    }
  }
  return arguments;
}

/// For the Endpoints of the workers, and for the checker.
Bounds bounds_for(ServerKind servers) {
  Bounds bounds;
  if (servers == ServerKind::sentinel || servers == ServerKind::cluster) {
    bounds.retry_for = 12s;  // a failover that goes wrong at first takes so long
    bounds.longest_way = 4 * bounds.command_timeout;
  }
  return bounds;
}

std::unique_ptr<Server> start_servers(ServerKind servers, WallClock& clock) {
  switch (servers) {
    case ServerKind::one: return std::make_unique<OneServer>(REDIS_LOCK_WALL_CLOCK_LIBRARY, clock);
    case ServerKind::sentinel: return std::make_unique<SentinelServers>();
    case ServerKind::cluster: return std::make_unique<ClusterServers>();
    case ServerKind::quorum:
      return std::make_unique<QuorumServers>(REDIS_LOCK_WALL_CLOCK_LIBRARY, clock);
  }
  return nullptr;
}

void run(const Arguments& arguments, const std::string& folder) {
  WallClock servers_clock{folder + "/servers-clock"}, workers_clock{folder + "/workers-clock"};
  SharedFile<Board> board{folder + "/board"};
  const HistoryFile history{folder + "/0.history"};
  const auto server = start_servers(arguments.servers, servers_clock);
  Ledgers ledgers{
      [&](const std::string& name) -> redis_lock_test::Redis& { return server->redis(name); },
      history};
  const auto bounds = bounds_for(arguments.servers);
  const auto milliseconds_of = [](const char* parameter, milliseconds time) {
    return std::string{parameter} + '=' + std::to_string(time.count()) + "ms";
  };
  Fleet fleet{{folder, REDIS_LOCK_WALL_CLOCK_LIBRARY, workers_clock.path(), arguments.seed,
               milliseconds_of("command_timeout", bounds.command_timeout) + '&' +
                   milliseconds_of("connect_timeout", bounds.command_timeout) + '&' +
                   milliseconds_of("retry_for", bounds.retry_for)},
              *server,
              history,
              *board};
  Nemesis nemesis{{*server, fleet, ledgers, *board, workers_clock}, history, arguments.seed};
  nemesis.rage_until(std::chrono::steady_clock::now() + arguments.time, interrupted);
  if (interrupted) return;
  fleet.finish([&] { nemesis.watch(); });
  ledgers.read();
}

void print(const Report& report, std::size_t cut_lines) {
  const auto line = [](const std::string& what, const auto& value) {
    std::cout << "  " << std::left << std::setw(50) << what << value << '\n';
  };
  std::cout << std::fixed << std::setprecision(1);
  line("acquisitions", report.acquisitions);
  line("  of which readings", report.readings);
  line("  of which permits", report.permits);
  line("waits (lock, try_lock_for)", report.waits);
  line("refused (busy, or not in time)", report.refusals);
  for (const auto& [error, count] : report.errors) line("error of " + error, count);
  std::size_t faults = 0;
  for (const auto& [kind, count] : report.faults) {
    line("fault " + kind, count);
    if (!fault_kind(kind).noticed_only) faults += count;
  }
  line("faults", faults);
  line("faults that free locks (data or time lost)", report.losses);
  line("  of which let two hold one lock: excused", report.excused_losses);
  line("  overlaps: excused", report.excused_overlaps);
  line("fencing tokens compared", report.tokens_compared);
  line("  not compared, as the fence was lost then", report.tokens_not_compared);
  line("guarded updates", report.updates);
  line("  refused", report.updates_refused);
  line("  in doubt", report.updates_in_doubt);
  line("  acknowledged while a ledger was lost", report.updates_with_data_lost);
  for (const auto& [name, time] : report.undisturbed) {
    line("seconds in which \"" + name + "\" was undisturbed",
         std::chrono::duration<double>(time).count());
  }
  line("records cut by SIGKILL", cut_lines);
  for (std::size_t i = 0; i <= static_cast<std::size_t>(Violation::unexpected_error); ++i) {
    const auto violation = static_cast<Violation>(i);
    line("VIOLATIONS: " + std::string{name_of(violation)}, report.count_of(violation));
  }
  std::size_t shown = 0;
  for (const auto& finding : report.findings) {
    if (++shown > 20) break;
    std::cout << name_of(finding.violation) << ": " << finding.text << '\n';
  }
}

#ifdef REDIS_LOCK_FAULTY_PROTOCOL
/// Has the checker found that readers overlap writers, and that there are more holders than permits?
bool is_as_expected(const Report& report) {
  bool all = true;
  for (const auto kind : {Kind::shared_lock, Kind::semaphore}) {
    const auto count = std::count_if(
        report.findings.begin(), report.findings.end(), [kind](const Finding& finding) {
          return finding.violation == Violation::overlap && role_of(finding.name).kind == kind;
        });
    std::cout << count << " overlaps of a "
              << (kind == Kind::semaphore ? "Semaphore" : "SharedLock")
              << ", whose protocol has a fault\n";
    all = all && count > 0;
  }
  const bool of_locks =
      std::any_of(report.findings.begin(), report.findings.end(), [](const Finding& finding) {
        return finding.violation == Violation::overlap && role_of(finding.name).kind == Kind::lock;
      });
  return all && !of_locks;
}
#else
bool is_as_expected(const Report& report) { return report.findings.empty(); }
#endif

/// Says what the history of `folder` tells. Was everything as it should be?
bool is_clean(const std::string& folder, ServerKind servers) {
  const auto history = read_history(folder);
  const auto report = check(history.records, bounds_for(servers));
  print(report, history.cut_lines);
  if (report.acquisitions == 0) throw std::runtime_error("nobody acquired anything");
  std::cout << report.findings.size() << " violations\n";
  return is_as_expected(report);
}

bool campaign(const Arguments& arguments) {
  const auto servers = std::string{server_kind_names[static_cast<std::size_t>(arguments.servers)]};
  std::cout << "servers: " << servers << ", seed " << arguments.seed << ", "
            << arguments.time.count() << " s" << std::endl;
  const auto folder =
      arguments.keep.empty() ? redis_lock_test::make_temporary_folder() : arguments.keep;
  std::filesystem::create_directories(folder);
  if (!std::filesystem::is_empty(folder)) throw std::invalid_argument(folder + " is not empty");
  std::error_code ignored;
  try {
    run(arguments, folder);
    if (interrupted) throw std::runtime_error("interrupted");
    if (is_clean(folder, arguments.servers)) {
      if (arguments.keep.empty()) std::filesystem::remove_all(folder, ignored);
      return true;
    }
  } catch (const std::exception&) {
    if (interrupted && arguments.keep.empty()) std::filesystem::remove_all(folder, ignored);
    throw;
  }
  std::cout << "The history is in " << folder << ": --servers " << servers << " --check " << folder
            << "\nOnce more, with the same choices of the nemesis: --servers " << servers
            << " --seconds " << arguments.time.count() << " --seed " << arguments.seed << '\n';
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc == 7 && std::string{argv[1]} == "--worker") {
      work({std::stoi(argv[2]), std::stoi(argv[3]), argv[4], argv[5], std::stoull(argv[6])});
      return 0;
    }
    std::signal(SIGINT, [](int) { interrupted = true; });
    std::signal(SIGTERM, [](int) { interrupted = true; });
    std::signal(SIGPIPE, SIG_IGN);
    const auto arguments = read(argc, argv);
    const bool good = arguments.check.empty() ? campaign(arguments)
                                              : is_clean(arguments.check, arguments.servers);
    return good ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << "campaign: " << error.what() << '\n';
    return 2;
  }
}
