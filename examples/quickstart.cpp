// Several processes share one lock on a real Redis. Started by quickstart.sh; prints what happens,
// with the time since the start, and fails if the outcome is not what it should be.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int workers = 3, turns = 3;
constexpr auto lease = 2s;
const auto start = Clock::now();  // of the first process; the others are its children

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

/// One line, in one write, so that the lines of several processes do not mix.
void say(const std::string& who, const std::string& what) {
  char time[32];
  std::snprintf(time, sizeof time, "%7.3f s  ", seconds(Clock::now() - start));
  const auto line =
      time + who + std::string(10 - std::min<std::size_t>(who.size(), 9), ' ') + what + '\n';
  [[maybe_unused]] const auto written = write(STDOUT_FILENO, line.data(), line.size());
}

void headline(const std::string& text) {
  std::printf("\n%s\n\n", text.c_str());
  std::fflush(stdout);  // before fork(): or each child would print it again
}

/// What the processes share besides the lock: how they prove that it kept them apart.
struct Proof {
  std::atomic<int> inside{0}, overlaps{0};
  std::atomic<int> counter{0};  // read, then written back: an overlap would lose a count
  std::atomic<int> busy{0};
  std::atomic<bool> victim_holds{false};
  std::atomic<int> waiting{0};
  std::atomic<Clock::rep> killed_at{0}, taken_over_at{0};

  void critical_section(std::chrono::milliseconds work) {
    if (++inside != 1) ++overlaps;
    const int read = counter;
    std::this_thread::sleep_for(work);
    counter = read + 1;
    --inside;
  }
};

/// No process outlives a minute, whatever happens.
constexpr unsigned time_limit_s = 60;

/// Runs `play` in a process of its own.
pid_t process(const std::string& who, const std::function<void()>& play) {
  const auto pid = fork();
  if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid > 0) return pid;
  alarm(time_limit_s);
  try {
    play();
    _exit(EXIT_SUCCESS);
  } catch (const std::exception& error) {
    say(who, error.what());
    _exit(EXIT_FAILURE);
  }
}

int failures = 0;

void check(bool holds, const std::string& claim) {
  std::printf("%s  %s\n", holds ? "ok     " : "FAILED ", claim.c_str());
  if (!holds) ++failures;
}

void wait_for(const std::vector<pid_t>& processes) {
  for (const auto pid : processes) {
    int status = 0;
    waitpid(pid, &status, 0);
    if (status != 0)
      check(false,
            "process " + std::to_string(pid) + " ended with status " + std::to_string(status));
  }
}

void contention(const redis_lock::Client& client, const std::string& name, Proof& proof) {
  headline(
      "1. Three processes want the same lock three times each, under std::lock_guard.\n"
      "   A fourth one never waits: it polls with try_lock.");
  std::vector<pid_t> processes;
  for (int i = 1; i <= workers; ++i) {
    const auto who = "worker-" + std::to_string(i);
    processes.push_back(process(who, [&] {
      redis_lock::Lock lock{client, name};
      for (int turn = 1; turn <= turns; ++turn) {
        std::lock_guard guard{lock};
        say(who, "has the lock, turn " + std::to_string(turn) + " of " + std::to_string(turns));
        proof.critical_section(100ms);
      }
    }));
  }
  processes.push_back(process("poller", [&] {
    redis_lock::Lock lock{client, name};
    while (proof.inside == 0 && proof.counter < workers * turns) std::this_thread::sleep_for(1ms);
    std::unique_lock turn{lock, std::try_to_lock};
    while (!turn) {
      if (++proof.busy == 1)
        say("poller", "busy: does something else, and tries again every 50 ms");
      std::this_thread::sleep_for(50ms);
      turn = std::unique_lock{lock, std::try_to_lock};
    }
    say("poller", "has the lock, after " + std::to_string(proof.busy) + " times busy");
    proof.critical_section(100ms);
  }));
  wait_for(processes);
}

void crash(const redis_lock::Client& client, const std::string& name, Proof& proof) {
  headline(
      "2. A process is killed while it holds the lock. It had a lease of 2 s, renewed while it\n"
      "   lived; two others wait.");
  redis_lock::Options options;
  options.expire = lease;
  const auto victim = process("victim", [&] {
    redis_lock::Lock lock{client, name, options};
    std::lock_guard guard{lock};
    say("victim", "has the lock, and works for hours");
    proof.victim_holds = true;
    while (true) pause();
  });
  while (!proof.victim_holds) std::this_thread::sleep_for(1ms);

  std::vector<pid_t> heirs;
  for (const auto* who : {"heir-1", "heir-2"}) {
    heirs.push_back(process(who, [&, who] {
      redis_lock::Lock lock{client, name, options};
      say(who, "waits for the lock");
      ++proof.waiting;
      std::lock_guard guard{lock};
      Clock::rep nobody = 0;
      proof.taken_over_at.compare_exchange_strong(nobody, Clock::now().time_since_epoch().count());
      say(who, "has the lock");
      proof.critical_section(100ms);
    }));
  }
  while (proof.waiting < 2) std::this_thread::sleep_for(1ms);
  std::this_thread::sleep_for(1s);  // more than one renewal

  proof.killed_at = Clock::now().time_since_epoch().count();
  kill(victim, SIGKILL);
  waitpid(victim, nullptr, 0);
  say("victim", "is killed with SIGKILL: it cannot unlock, and nobody renews its lease");
  wait_for(heirs);
}

}  // namespace

int main(int argc, char** argv) try {
  alarm(time_limit_s);
  void* shared =
      mmap(nullptr, sizeof(Proof), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap");
  auto& proof = *new (shared) Proof;
  const redis_lock::Client client{redis_url(argc, argv)};
  const auto name = "quickstart-" + std::to_string(getpid());
  (void)redis_lock::Lock{client, name}.locked();  // tells at once when there is no Redis

  contention(client, name, proof);
  const int first_count = proof.counter;
  crash(client, name, proof);

  headline("What that showed:");
  const auto gap = Clock::duration{proof.taken_over_at - proof.killed_at};
  char took[16];
  std::snprintf(took, sizeof took, "%.2f", seconds(gap));
  check(proof.overlaps == 0, "no two processes ever held the lock at the same time");
  check(first_count == workers * turns + 1,
        "no turn was lost: the counter is " + std::to_string(first_count));
  check(proof.busy > 0, "try_lock said \"busy\" " + std::to_string(proof.busy) + " times");
  check(gap > lease / 2 && gap < lease + 1s,
        std::string("the lock went on ") + took + " s after its holder was killed");
  check(proof.counter == first_count + 2, "both waiting processes got their turn");
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (const std::exception& error) {
  std::fprintf(stderr, "quickstart: %s\n", error.what());
  return EXIT_FAILURE;
}
