/// redis-lock: what flock(1) is for the processes of one machine, for those of many. See docs/command.md.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <clocale>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <redis_lock/detail/base/duration.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/inspect.hpp>
#include <redis_lock/options.hpp>
#include <redis_lock/version.hpp>

#include "message.hpp"
#include "operate.hpp"
#include "run.hpp"
#include "signals.hpp"
#include "status.hpp"

namespace redis_lock_command {
namespace {

using redis_lock::LockKind;
using std::chrono::milliseconds;

/// An option that takes a duration.
CLI::Option* add_duration(CLI::App& app, const std::string& names, const std::string& text,
                          const std::function<void(milliseconds)>& set) {
  return app
      .add_option_function<std::string>(
          names,
          [=](const std::string& given) {
            const auto time = redis_lock::detail::duration_of(given, "s");
            if (!time) {
              throw CLI::ValidationError(
                  names, "\"" + given + "\" is not " + redis_lock::detail::duration_forms);
            }
            set(*time);
          },
          text)
      ->type_name("DURATION");
}

void add_place(CLI::App& app, Place& place, std::string& uri_file) {
  auto* const uri =
      app.add_option("--uri", place.uri,
                     "Where Redis is: redis://[user[:password]@]host[:port][/db], rediss://..., "
                     "unix:///path, redis+sentinel://..., redis+cluster://...; else $REDIS_URL, "
                     "else redis://127.0.0.1:6379")
          ->type_name("URI");
  app.add_option("--uri-file", uri_file, "A file whose first line is the URI")
      ->excludes(uri)
      ->type_name("FILE");
  app.add_option("--key-prefix", place.key_prefix, "What the keys of locks begin with")
      ->capture_default_str()
      ->type_name("PREFIX");
  app.add_option("--signal-prefix", place.signal_prefix,
                 "What the keys of their signals begin with")
      ->capture_default_str()
      ->type_name("PREFIX");
}

void add_listing(CLI::App& app, Listing& listing) {
  app.add_flag("--json", listing.json, "Print JSON");
  app.add_flag("--waiters", listing.waiters,
               "Count the waiters: may watch the server with MONITOR for up to 3.4 s");
}

void add_kind(CLI::App& app, LockKind& kind) {
  const auto set = [&kind](LockKind to) { return [&kind, to](std::int64_t) { kind = to; }; };
  auto* const shared =
      app.add_flag_function("--shared", set(LockKind::reading), "NAME is that of a SharedLock");
  app.add_flag_function("--semaphore", set(LockKind::permit), "NAME is that of a Semaphore")
      ->excludes(shared);
}

/// Adds the options that `run` and `once` share.
void add_running(CLI::App& app, Run& run, bool& no_wait) {
  auto* const wait =
      add_duration(app, "-w,--wait", "Give up after that long (default: wait for ever)",
                   [&](milliseconds time) { run.wait = time; });
  app.add_flag("-n,--no-wait", no_wait, "Do not wait, like --wait 0")->excludes(wait);
  add_duration(
      app, "--expire",
      "The lease, renewed while the command runs: how long the lock outlives a machine that dies "
      "(default 30s)",
      [&](milliseconds time) { run.expire = time; });
  add_duration(app, "--grace",
               "Time from TERM to KILL for a command whose lock is lost (default 10s)",
               [&](milliseconds time) { run.grace = time; });
  auto* const fencing =
      app.add_flag("--fencing", run.fencing, "Take a fencing token, exported as REDIS_LOCK_FENCE");
  app.add_option("--fence-prefix", run.fence_prefix,
                 "What the key of the counter of these tokens begins with")
      ->needs(fencing)
      ->capture_default_str()
      ->type_name("PREFIX");
  app.add_flag("--pass-url", run.passes_url, "Leave REDIS_URL in the environment of the command");
  app.add_option("-E,--conflict-exit-code", run.conflict_status,
                 "The exit status if another holder has the lock (default 1)")
      ->check(CLI::Range(0, 255))
      ->type_name("N");
  app.add_option("NAME", run.name, "The lock's name");
  app.allow_extras();
}

/// The address, from wherever it was given. Refused here if it is malformed.
void complete(Place& place, bool is_given, const std::string& uri_file) {
  const auto check = [&](const std::string& from) {
    if (place.uri.empty()) throw std::invalid_argument(from + " is empty");
    try {
      (void)redis_lock::Endpoint::parse(place.uri);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(from + ": " + error.what());
    }
  };
  if (!uri_file.empty()) {
    std::ifstream file{uri_file};
    if (!file) throw std::invalid_argument("--uri-file " + uri_file + ": " + std::strerror(errno));
    std::getline(file, place.uri);
    return check("--uri-file " + uri_file);
  }
  if (is_given) return check("--uri");
  if (const char* const from_environment = std::getenv("REDIS_URL")) {
    place.uri = from_environment;
    return check("REDIS_URL");
  }
  place.uri = "redis://127.0.0.1:6379";
}

/// Takes the value of --uri out of what `ps` shows: there may be a password in it.
void hide_uri(char** argv, char** end) {
  const std::string_view option = "--uri";
  for (char** word = argv; word < end; ++word) {
    const std::string_view text = *word;
    char* value = nullptr;
    if (text == option && word + 1 < end) value = word[1];
    if (text.substr(0, option.size() + 1) == "--uri=") value = *word + option.size() + 1;
    for (; value && *value; ++value) *value = '*';
  }
}

/// The first line of --help, which CLI11 would write without what stands behind "--".
class Usage : public CLI::Formatter {
 public:
  explicit Usage(std::string text) : text_(std::move(text)) {}
  [[nodiscard]] std::string make_usage(const CLI::App* /*app*/,
                                       std::string /*name*/) const override {
    return "Usage: redis-lock " + text_ + "\n";
  }

 private:
  std::string text_;
};

/// How many letters must be changed, left out or put in to make the one of the other.
std::size_t distance(std::string_view one, std::string_view other) {
  std::vector<std::size_t> row(other.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < one.size(); ++i) {
    auto diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < other.size(); ++j) {
      const auto changed = diagonal + (one[i] == other[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({changed, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

constexpr const char* statuses =
    R"(Exit status of run and once: the command's; 128+n if signal n ended it; 1 (see -E) if
another holder had the lock; 64 bad usage; 69 Redis cannot be reached, or refuses a command;
71 the system failed; 74 the output could not be written; 75 the lock was lost while the command ran;
77 the lock was lost, and the command could not be ended; 126 the command is not executable;
127 the command was not found. Of once also: 0 if the command has run in this period.
Of list: 0. Of show: 0 held, 1 free. Of reset: 0 freed, 1 nothing was freed.)";

/// Says so if the first word is no subcommand, and which one is nearest.
void check_subcommand(const std::vector<std::string>& words) {
  if (words.empty() || words.front().compare(0, 1, "-") == 0) return;
  const std::vector<std::string> known{"run", "once", "list", "show", "reset"};
  const auto& given = words.front();
  if (std::find(known.begin(), known.end(), given) != known.end()) return;
  auto text = '"' + printable(given) + "\" is no subcommand";
  for (const auto& one : known) {
    if (distance(given, one) <= 2) text += ": do you mean \"" + one + "\"?";
  }
  throw CLI::ParseError(text, CLI::ExitCodes::ExtrasError);
}

/// What it says, without the name of the library.
std::string words_of(const std::exception& error) {
  const std::string text = error.what(), prefix = "redis_lock: ";
  return text.compare(0, prefix.size(), prefix) == 0 ? text.substr(prefix.size()) : text;
}

int dispatch(int argc, char** argv) {
  // What stands behind "--" is the command's, and nothing of it is an option of ours.
  char** const end = argv + argc;
  char** const separator = std::find(argv, end, std::string_view("--"));
  const std::vector<std::string> words(std::min(argv + 1, separator), separator);
  std::vector<std::string> rest(std::min(separator + 1, end), end);

  Place place;
  Listing listing;
  Run run;
  std::string name, uri_file;
  bool yes = false, all = false, no_wait = false;
  auto kind = LockKind::lock;
  auto period = redis_lock::no_expiry;
  CLI::App app{
      "Locks shared by many machines, in Redis: run a command while holding one, or see who holds "
      "one.",
      "redis-lock"};
  app.footer(statuses);
  app.set_version_flag("--version", "redis-lock " + std::to_string(REDIS_LOCK_VERSION_MAJOR) + '.' +
                                        std::to_string(REDIS_LOCK_VERSION_MINOR) + '.' +
                                        std::to_string(REDIS_LOCK_VERSION_PATCH));
  app.require_subcommand(1);

  auto& run_command = *app.add_subcommand("run", "Run a command while holding the lock");
  run_command.formatter(std::make_shared<Usage>("run [OPTIONS] NAME -- COMMAND [ARG...]"));
  add_running(run_command, run, no_wait);
  add_duration(
      run_command, "--at-least",
      "Keep the lock for at least that time after it was acquired, even if the command ends "
      "earlier (default 0)",
      [&](milliseconds time) { run.at_least = time; });
  run_command
      .add_option(
          "--slots", run.slots,
          "Take one of N permits of a Semaphore instead of the lock: N commands run at once")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 31U))
      ->excludes("--fencing")
      ->type_name("N");
  run_command.footer("COMMAND finds REDIS_LOCK_NAME and REDIS_LOCK_ID in its environment.\n\n" +
                     std::string(statuses));
  add_place(run_command, place, uri_file);

  auto& once_command = *app.add_subcommand(
      "once", "Run a command unless it has run with status 0 in this period, on any machine");
  once_command.formatter(std::make_shared<Usage>("once [OPTIONS] NAME -- COMMAND [ARG...]"));
  add_duration(once_command, "--every",
               "The period, counted from the end of the command: less than the time between two "
               "starts (default: for ever)",
               [&](milliseconds time) {
                 if (time <= time.zero()) throw CLI::ValidationError("--every", "must be positive");
                 period = time;
               });
  add_running(once_command, run, no_wait);
  once_command.footer(run_command.get_footer());
  add_place(once_command, place, uri_file);

  auto& list_command = *app.add_subcommand("list", "List the locks that are held");
  list_command.formatter(std::make_shared<Usage>("list [OPTIONS]"));
  add_listing(list_command, listing);
  add_place(list_command, place, uri_file);

  auto& show_command = *app.add_subcommand("show", "Show who holds a lock");
  show_command.formatter(std::make_shared<Usage>("show [OPTIONS] NAME"));
  show_command.add_option("NAME", name, "The lock's name");
  add_kind(show_command, kind);
  add_listing(show_command, listing);
  add_place(show_command, place, uri_file);

  auto& reset_command = *app.add_subcommand(
      "reset", "Free a lock whatever its holder: for clearing up, it breaks mutual exclusion");
  reset_command.formatter(std::make_shared<Usage>("reset [OPTIONS] (NAME | --all)"));
  auto* const all_flag = reset_command.add_flag("--all", all, "All that list shows");
  reset_command.add_option("NAME", name, "The lock's name")->excludes(all_flag);
  reset_command.add_flag("--yes", yes, "Do not ask");
  add_kind(reset_command, kind);
  add_place(reset_command, place, uri_file);

  const auto runs = [&] { return run_command.parsed() || once_command.parsed(); };
  // A name that begins with "-" stands behind "--".
  const auto take_name = [&rest](CLI::App& command, std::string& into) {
    if (command.count("NAME") > 0 || rest.empty()) return false;
    into = rest.front();
    rest.erase(rest.begin());
    return true;
  };
  try {
    check_subcommand(words);
    app.parse(std::vector<std::string>{words.rbegin(), words.rend()});  // as CLI11 wants them
    if (runs()) {
      CLI::App& runner = *app.get_subcommands().front();
      const bool is_behind = take_name(runner, run.name);
      if (is_behind && !rest.empty() && rest.front() == "--") rest.erase(rest.begin());
      const auto extra = runner.remaining();
      if (!extra.empty() || rest.empty()) {
        throw CLI::RequiredError("\"--\" and the command behind it, as in: redis-lock " +
                                 runner.get_name() + " NAME -- " +
                                 (extra.empty() ? "COMMAND" : printable(extra.front())));
      }
    } else {
      if (show_command.parsed()) (void)take_name(show_command, name);
      if (reset_command.parsed() && !all) (void)take_name(reset_command, name);
      if (!rest.empty()) throw CLI::ExtrasError({rest.front()});
      if (show_command.parsed() && name.empty()) throw CLI::RequiredError("NAME");
      if (reset_command.parsed() && !all && name.empty()) throw CLI::RequiredError("NAME or --all");
    }
    complete(place, app.get_subcommands().front()->count("--uri") > 0, uri_file);
  } catch (const CLI::ParseError& error) {
    std::ostringstream help, complaint;
    const bool is_help = app.exit(error, help, complaint) == 0;
    std::cout << help.str();
    tell(complaint.str());
    return is_help ? Status::done : Status::usage;
  }
  hide_uri(argv, separator);
  if (runs()) {
    run.command = rest;
    if (once_command.parsed()) run.once_in = period;
    if (no_wait) run.wait = milliseconds::zero();
    const auto how = redis_lock_command::run(place, run);
    if (how.signal != 0) die_of(how.signal);
    return how.status;
  }
  if (list_command.parsed()) return list(place, listing);
  if (show_command.parsed()) return show(place, name, listing, kind);
  return all ? reset_all(place, yes) : reset(place, name, yes, kind);
}

}  // namespace
}  // namespace redis_lock_command

int main(int argc, char** argv) {
  using namespace redis_lock_command;
  open_standard_descriptors();
  std::setlocale(LC_CTYPE, "");
  int status = Status::done;
  try {
    status = dispatch(argc, argv);
  } catch (const redis_lock::Error& error) {
    say(printable(words_of(error)));
    status = Status::no_redis;
  } catch (const std::invalid_argument& error) {
    say(printable(words_of(error)));
    status = Status::usage;
  } catch (const std::exception& error) {
    say(printable(words_of(error)));
    status = Status::system_failed;
  }
  if (!flush_output() && status == Status::done) status = Status::no_output;
  std::_Exit(status);
}
