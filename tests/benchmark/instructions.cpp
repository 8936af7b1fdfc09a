/// instructions [<ceiling file>]
///
/// Instructions of the client for one uncontended lock+unlock, the kernel excluded: callgrind runs N and 2N
/// cycles, and what they differ by is N cycles, without start-up and without polling for replies. Reports the count;
/// with a ceiling file, fails when it is above the number in there. One number is worth it: unlike any time, it is
/// the same within a few tenths of a percent on a busy machine.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

#include "measure.hpp"

namespace {

using redis_lock_benchmark::RedisServer;

double collected(const RedisServer& server, const std::string& what, int cycles) {
  std::string output = (std::filesystem::temp_directory_path() / "callgrind.XXXXXX").string();
  ::close(::mkstemp(output.data()));
  const auto command = "valgrind --tool=callgrind --callgrind-out-file='" + output + "' '" +
                       REDIS_LOCK_CYCLE "' '" + server.uri("spin=0") + "' " + what + " " +
                       std::to_string(cycles) + " >'" + output + ".log' 2>&1";
  const int status = std::system(command.c_str());
  double instructions = 0;
  std::ifstream file{output};
  for (std::string word; file >> word;) {
    if (word == "summary:" || word == "totals:") file >> instructions;
  }
  if (status != 0 || instructions == 0) {
    std::ifstream log{output + ".log"};
    throw std::runtime_error("callgrind failed:\n" +
                             std::string(std::istreambuf_iterator<char>{log}, {}));
  }
  std::filesystem::remove(output);
  std::filesystem::remove(output + ".log");
  return instructions;
}

/// What disturbs a run, such as a connection that had to be made anew, only ever adds instructions.
double least_collected(const RedisServer& server, const std::string& what, int cycles) {
  double least = collected(server, what, cycles);
  for (int i = 0; i < 2; ++i) least = std::min(least, collected(server, what, cycles));
  return least;
}

double per_cycle(const RedisServer& server, const std::string& what) {
  constexpr int cycles = 1000;
  return (least_collected(server, what, 2 * cycles) - least_collected(server, what, cycles)) /
         cycles;
}

}  // namespace

int main(int argc, char** argv) {
  const RedisServer server;
  const double count = per_cycle(server, "library");
  redis_lock_benchmark::report("instructions", "library", {count});
  if (argc < 2) {
    redis_lock_benchmark::report("instructions", "deferred", {per_cycle(server, "deferred")});
    redis_lock_benchmark::report("instructions", "floor", {per_cycle(server, "floor")});
    return 0;
  }
  std::ifstream file{argv[1]};
  for (std::string line; file.peek() == '#';) std::getline(file, line);
  double ceiling = 0;
  if (!(file >> ceiling)) throw std::runtime_error(std::string("no number in ") + argv[1]);
  std::printf("%.0f instructions for each lock+unlock, at most %.0f\n", count, ceiling);
  return count <= ceiling ? 0 : 1;
}
