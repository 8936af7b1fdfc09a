/// redis-lock: what flock(1) is for the processes of one machine, for those of many. See docs/command.md.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/version.hpp>

#include "operate.hpp"
#include "run.hpp"
#include "status.hpp"

namespace redis_lock_command {
namespace {

using std::chrono::milliseconds;

/// "5s", "500ms", "2m", "1h"; a number alone is seconds. Nothing if it is no such text, or too long a time.
std::optional<milliseconds> duration_of(const std::string& text) {
  static const std::map<std::string, double> units{
      {"", 1e3}, {"s", 1e3}, {"ms", 1}, {"m", 60e3}, {"h", 3600e3}};
  const auto end = text.find_first_not_of("0123456789.");
  const auto digits = text.substr(0, end);
  const auto unit = units.find(end == text.npos ? "" : text.substr(end));
  double number = 0;
  const auto [last, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (digits.empty() || error != std::errc{} || last != digits.data() + digits.size() ||
      unit == units.end()) {
    return std::nullopt;
  }
  constexpr double longest = 3600e3 * 24 * 365 * 100;
  const double time = std::ceil(number * unit->second);
  if (!(time <= longest)) return std::nullopt;
  return milliseconds{static_cast<milliseconds::rep>(time)};
}

/// An option that takes a duration.
CLI::Option* add_duration(CLI::App& app, const std::string& names, const std::string& text,
                          const std::function<void(milliseconds)>& set) {
  return app
      .add_option_function<std::string>(
          names,
          [=](const std::string& given) {
            const auto time = duration_of(given);
            if (!time) {
              throw CLI::ValidationError(
                  names, "\"" + given + "\" is no duration (such as 5s, 500ms, 2m, 1h)");
            }
            set(*time);
          },
          text)
      ->type_name("DURATION");
}

void add_place(CLI::App& app, Place& place) {
  app.add_option("--uri", place.uri,
                 "Where Redis is, as redis://[user[:password]@]host[:port][/db] or unix:///path; "
                 "$REDIS_URL unless given, else redis://127.0.0.1:6379")
      ->type_name("URI");
  app.add_option("--key-prefix", place.key_prefix, "What the keys of locks begin with")
      ->capture_default_str()
      ->type_name("PREFIX");
  app.add_option("--signal-prefix", place.signal_prefix, "The same of their signals")
      ->capture_default_str()
      ->type_name("PREFIX");
}

void add_listing(CLI::App& app, Listing& listing) {
  app.add_flag("--json", listing.json, "Print JSON");
  app.add_flag_callback(
      "--no-waiters", [&listing] { listing.waiters = false; },
      "Do not find out how many wait: that watches the server by MONITOR for up to 3.4 s");
}

/// The address from the environment, if none was given; refused here if it is malformed.
void complete(Place& place) {
  const char* const from_environment = std::getenv("REDIS_URL");
  if (!place.uri.empty() || !from_environment) {
    if (place.uri.empty()) place.uri = "redis://127.0.0.1:6379";
    (void)redis_lock::Endpoint::parse(place.uri);
    return;
  }
  try {
    (void)redis_lock::Endpoint::from_env();  // its complaint names the variable
  } catch (const redis_lock::Error& error) {
    throw std::invalid_argument(error.what());
  }
  place.uri = from_environment;
}

constexpr const char* statuses =
    R"(Exit status of run: the command's; 128+n if signal n ended it; 1 (see -E) if
someone else held the lock; 64 bad usage; 69 Redis cannot be reached, or refuses; 71 the system failed;
75 the lock was lost while the command ran; 126 the command is not executable; 127 it was not found.
Of list: 0. Of show: 0 held, 1 free. Of reset: 0 freed, 1 nothing was freed.)";

int dispatch(int argc, const char* const* argv) {
  // What stands behind "--" is the command's, and nothing of it is an option of ours.
  const auto* const end = argv + argc;
  const auto* const separator = std::find(argv, end, std::string("--"));
  std::vector<std::string> arguments(std::min(argv + 1, separator), separator);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them

  Place place;
  Listing listing;
  Run run;
  std::string name;
  bool yes = false, all = false, no_wait = false;
  CLI::App app{
      "Locks shared by many machines, in Redis: run a command while holding one, see who does."};
  app.footer(statuses);
  app.set_version_flag("--version", "redis-lock " + std::to_string(REDIS_LOCK_VERSION_MAJOR) + '.' +
                                        std::to_string(REDIS_LOCK_VERSION_MINOR) + '.' +
                                        std::to_string(REDIS_LOCK_VERSION_PATCH));
  app.require_subcommand(1);

  auto& run_command = *app.add_subcommand(
      "run", "Run a command while holding the lock: run NAME -- COMMAND [ARG...]");
  auto* const wait =
      add_duration(run_command, "--wait", "Give up after that long (default: wait for ever)",
                   [&](milliseconds time) { run.wait = time; });
  run_command.add_flag("--no-wait", no_wait, "Do not wait: the same as --wait 0")->excludes(wait);
  add_duration(
      run_command, "--expire",
      "The lease, renewed while the command runs: how long the lock outlives a machine that dies "
      "(default 30s)",
      [&](milliseconds time) { run.expire = time; });
  add_duration(run_command, "--grace",
               "When the lock is lost: how long the command has from TERM to KILL (default 10s)",
               [&](milliseconds time) { run.grace = time; });
  run_command.add_flag("--fencing", run.fencing,
                       "Take a fencing token, exported as REDIS_LOCK_FENCE");
  run_command
      .add_option("-E,--conflict-exit-code", run.conflict_status,
                  "The exit status if someone else holds the lock (default 1)")
      ->check(CLI::Range(0, 255))
      ->type_name("N");
  run_command.add_option("NAME", run.name, "The lock's name")->required();
  run_command.footer("COMMAND finds REDIS_LOCK_NAME and REDIS_LOCK_ID in its environment.\n\n" +
                     std::string(statuses));
  add_place(run_command, place);

  auto& list_command = *app.add_subcommand("list", "List the locks that are held");
  add_listing(list_command, listing);
  add_place(list_command, place);

  auto& show_command = *app.add_subcommand("show", "Show who holds a lock");
  show_command.add_option("NAME", name, "The lock's name")->required();
  add_listing(show_command, listing);
  add_place(show_command, place);

  auto& reset_command = *app.add_subcommand(
      "reset", "Free a lock whoever holds it: for clearing up, it breaks mutual exclusion");
  auto* const all_flag = reset_command.add_flag("--all", all, "All locks with the prefix");
  reset_command.add_option("NAME", name, "The lock's name")->excludes(all_flag);
  reset_command.add_flag("--yes", yes, "Do not ask");
  add_place(reset_command, place);

  try {
    app.parse(arguments);
    const bool has_command = separator != end && separator + 1 != end;
    if (run_command.parsed() && !has_command) throw CLI::RequiredError("A command behind \"--\"");
    if (!run_command.parsed() && separator != end) throw CLI::ExtrasError({"--"});
    if (reset_command.parsed() && !all && name.empty()) throw CLI::RequiredError("NAME or --all");
    complete(place);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? Status::done : Status::usage;  // 0: it was a call for help
  }
  if (run_command.parsed()) {
    run.command.assign(separator + 1, end);
    if (no_wait) run.wait = milliseconds::zero();
    return redis_lock_command::run(place, run);
  }
  if (list_command.parsed()) return list(place, listing);
  if (show_command.parsed()) return show(place, name, listing);
  return all ? reset_all(place, yes) : reset(place, name, yes);
}

}  // namespace
}  // namespace redis_lock_command

int main(int argc, char** argv) {
  using redis_lock_command::Status;
  try {
    return redis_lock_command::dispatch(argc, argv);
  } catch (const redis_lock::Error& error) {
    const std::string text = error.what(), prefix = "redis_lock: ";
    const auto from = text.compare(0, prefix.size(), prefix) == 0 ? prefix.size() : 0;
    std::fprintf(stderr, "redis-lock: %s\n", text.c_str() + from);
    return Status::no_redis;
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "redis-lock: %s\n", error.what());
    return Status::usage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "redis-lock: %s\n", error.what());
    return Status::system_failed;
  }
}
