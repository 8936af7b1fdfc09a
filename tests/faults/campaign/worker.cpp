#include "worker.hpp"

#include <atomic>
#include <deque>
#include <iostream>
#include <optional>
#include <random>
#include <sstream>
#include <thread>
#include <type_traits>
#include <vector>

#include <redis_lock/lock.hpp>
#include <redis_lock/quorum.hpp>
#include <redis_lock/semaphore.hpp>
#include <redis_lock/shared_lock.hpp>

#include "history.hpp"
#include "roles.hpp"
#include "shared_file.hpp"
#include "support/no_lock_analysis.hpp"

namespace redis_lock_test::campaign {

namespace {

using redis_lock::Lock;
using redis_lock::SharedLock;
using std::chrono::steady_clock;

std::string name_of(const std::error_code& code) {
  if (!code) return "ok";
  if (code.category() != redis_lock::category()) return "exception";
  switch (static_cast<redis_lock::errc>(code.value())) {
    case redis_lock::errc::not_owned: return "not_owned";
    case redis_lock::errc::lease_lost: return "lease_lost";
    case redis_lock::errc::connection_failed: return "connection_failed";
    case redis_lock::errc::timed_out: return "timed_out";
    case redis_lock::errc::authentication_failed: return "authentication_failed";
    case redis_lock::errc::server_error: return "server_error";
    case redis_lock::errc::protocol_error: return "protocol_error";
    case redis_lock::errc::not_expirable: return "not_expirable";
    case redis_lock::errc::too_few_replicas: return "too_few_replicas";
    case redis_lock::errc::no_thread: return "no_thread";
    case redis_lock::errc::not_configured: return "not_configured";
    case redis_lock::errc::term_failed: return "term_failed";
  }
  return "exception";
}

/// The same; but refusals that pass are told from others.
std::string outcome_of(const std::system_error& error) {
  const std::string text = error.what();
  if (error.code() == redis_lock::errc::server_error) {
    if (text.find("LOADING") != text.npos) return "loading";
    for (const auto* const words :
         {"READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "no server of the cluster"}) {
      if (text.find(words) != text.npos) return "no-master";
    }
  }
  // Kept beside the history, but for what is common.
  if (error.code() != redis_lock::errc::lease_lost) std::cerr << text + '\n';
  return name_of(error.code());
}

/// Of this thread's latest unlock() or unlock_shared().
thread_local std::string unlock_outcome;

/// The readers' side of a SharedLock, under the names of the writer's. The library does not say when a reading's lease
/// is over; but it is not before a lease has passed since it was asked for.
class Reading {
 public:
  Reading(SharedLock& lock, const Role& role)
      : lock_(lock),
        lease_(role.renewed ? role.lease - std::min<milliseconds>(role.lease / 10, 100ms)
                            : role.lease) {}

  void lock() {
    begun_ = steady_clock::now();
    lock_.lock_shared();
  }
  [[nodiscard]] bool try_lock() {
    begun_ = steady_clock::now();
    return lock_.try_lock_shared();
  }
  [[nodiscard]] bool try_lock_for(milliseconds patience) {
    begun_ = steady_clock::now();
    return lock_.try_lock_shared_for(patience);
  }
  void unlock() { lock_.unlock_shared(); }
  void unlock(std::error_code& error) { lock_.unlock_shared(error); }
  [[nodiscard]] const std::string& name() const { return lock_.name(); }
  [[nodiscard]] bool owns_lock() const { return lock_.owns_lock_shared(); }
  /// Of the lease as it was acquired.
  [[nodiscard]] Time expires_at() const { return begun_ + lease_; }

 private:
  SharedLock& lock_;
  milliseconds lease_;  // without the time by which a loss is told early, if the lease is watched
  Time begun_{};
};

/// How the history calls the operations of a lock.
struct Names {
  const char *lock, *try_lock, *try_lock_for, *unlock, *deferred_unlock;
};
template <class AnyLock>
inline constexpr Names names_for{"lock", "try_lock", "try_lock_for", "unlock", "deferred_unlock"};
template <>
inline constexpr Names names_for<Reading>{"lock_shared", "try_lock_shared", "try_lock_shared_for",
                                          "unlock_shared", "deferred_unlock_shared"};

/// What the threads of a worker have in common.
struct Common {
  const WorkerPlace& place;
  const Role role;
  const HistoryFile& history;
  Board& board;
  std::atomic<std::uint64_t> operations{0};
};

/// One thread that locks, works and unlocks; of a SharedLock it is a reader or a writer, by turns.
template <class AnyLock>
class Contender {
 public:
  Contender(Common& common, int thread, std::deque<AnyLock>& locks)
      : common_(common),
        thread_(thread),
        locks_(locks),
        random_(common.place.seed + static_cast<std::uint64_t>(thread)) {}

  void run() {
    while (!common_.board.finish) {
      auto& lock = locks_[draw(0, locks_.size() - 1)];
      if constexpr (std::is_same_v<AnyLock, SharedLock>) {
        if (chance(70)) {
          Reading reading{lock, common_.role};
          take_turn(reading);
        } else {
          take_turn(lock);
        }
      } else {
        take_turn(lock);
      }
      const bool pauses = common_.role.leisurely && chance(30);
      sleep(pauses ? milliseconds{draw(2000, 3000)} : milliseconds{draw(0, 8)});
    }
  }

 private:
  template <class Side>
  void take_turn(Side& lock) {
    doing(Doing::waiting);
    if (const auto hold = acquire(lock)) {
      doing(Doing::holding);
      section(lock, *hold);
      release(lock, *hold);
    }
    doing(Doing::something_else);
  }

  [[nodiscard]] std::size_t draw(std::size_t least, std::size_t most) {
    return std::uniform_int_distribution<std::size_t>{least, most}(random_);
  }
  [[nodiscard]] bool chance(std::size_t percent) { return draw(1, 100) <= percent; }

  static void sleep(milliseconds time) { std::this_thread::sleep_for(time); }

  void doing(Doing what) { common_.board.doing[common_.place.slot][thread_] = what; }

  template <class Side>
  [[nodiscard]] Record record(Event event, const Side& lock, std::uint64_t hold) const {
    Record record;
    record.event = event;
    record.process = common_.place.process;
    record.thread = thread_;
    record.name = lock.name();
    record.hold = hold;
    record.permits = std::is_same_v<Side, Reading> ? any_number : common_.role.permits;
    return record;
  }

  /// Runs one operation between its two records. `work` gives "ok" or "busy" and may complete the
  /// result, whose time is taken first.
  template <class Side, class Work>
  std::uint64_t operation(const char* what, const Side& lock, std::uint64_t hold,
                          milliseconds patience, Work&& work) {
    auto invoke = record(Event::invoke, lock, hold);
    invoke.operation = ++common_.operations;
    invoke.what = what;
    invoke.duration = patience;
    invoke.at = steady_clock::now();
    common_.history.write(invoke);
    auto result = invoke;
    result.event = Event::result;
    result.duration = common_.role.lease;
    try {
      work(result);
    } catch (const std::system_error& error) {
      result.at = steady_clock::now();
      result.outcome = outcome_of(error);
    }
    common_.history.write(result);
    outcome_ = result.outcome;
    return invoke.operation;
  }

  /// The number of the hold, if it was acquired.
  template <class Side>
  [[nodiscard]] std::optional<std::uint64_t> acquire(Side& lock) {
    const auto kind = draw(1, 100);
    constexpr auto& names = names_for<Side>;
    const auto* const what = kind <= 60   ? names.lock
                             : kind <= 70 ? names.try_lock
                                          : names.try_lock_for;
    const milliseconds patience{kind <= 70               ? 0
                                : common_.role.leisurely ? draw(3000, 8000)
                                                         : draw(0, 2500)};
    const auto hold = operation(what, lock, 0, patience, [&](Record& result) {
      bool acquired = true;
      if (kind <= 60) {
        lock.lock();
      } else {
        acquired = kind <= 70 ? lock.try_lock() : lock.try_lock_for(patience);
      }
      result.at = steady_clock::now();
      result.outcome = acquired ? "ok" : "busy";
      if (!acquired) return;
      result.expires_at = lock.expires_at();
      result.token = token_of(lock);
    });
    if (outcome_ == "ok") return hold;
    if (outcome_ != "busy") sleep(20ms);
    return std::nullopt;
  }

  template <class Side>
  void section(Side& lock, std::uint64_t hold) {
    if (chance(20)) update(lock, hold);
    const auto kind = draw(1, 200);
    const bool is_long =
        kind <= 2;  // past a lease that is not renewed; so most of the time is in these
    if (is_long) {
      // What it writes when the lock has been taken from it meanwhile must be refused.
      const auto end = steady_clock::now() + milliseconds{draw(200, 1500)};
      while (steady_clock::now() < end) {
        sleep(milliseconds{draw(10, 80)});
        if (chance(50)) update(lock, hold);
        if (std::is_same_v<Side, Reading>) claim(lock, hold);
      }
    } else if (common_.role.leisurely) {
      sleep(milliseconds{draw(200, 500)});
    } else {
      sleep(milliseconds{kind <= 8 ? draw(5, 60) : draw(0, 3)});
    }
    const bool owned = claim(lock, hold);
    if constexpr (!std::is_same_v<Side, Reading>) {
      if (chance(3)) {
        operation("extend", lock, hold, 0ms, [&](Record& result) {
          lock.extend();
          result.at = steady_clock::now();
          result.outcome = "ok";
          result.expires_at = lock.expires_at();
        });
      }
    }
    // Above all when it is not owned any more, or may not be: that is what the guard is for.
    if (!owned || is_long || chance(40)) update(lock, hold);
    if (chance(10)) claim(lock, hold);
  }

  /// Writes down what the library says; says whether it owns the lock.
  template <class Side>
  bool claim(const Side& lock, std::uint64_t hold) const {
    auto claim = record(Event::claim, lock, hold);
    claim.at = steady_clock::now();
    const bool owned = lock.owns_lock();
    claim.expires_at = lock.expires_at();
    claim.duration = common_.role.lease;
    if (owned) common_.history.write(claim);
    return owned;
  }

  template <class Side>
  void update(Side& lock, std::uint64_t hold) {
    if constexpr (std::is_base_of_v<Lock, Side>) {
      operation("guarded_eval", lock, hold, 0ms, [&](Record& result) {
        result.token = token_of(lock);
        const auto entry = std::to_string(result.process) + ' ' + std::to_string(result.operation) +
                           ' ' + std::to_string(result.token);
        lock.guarded_eval("return redis.call('RPUSH', KEYS[1], ARGV[1])", {ledger_of(lock.name())},
                          {entry});
        result.at = steady_clock::now();
        result.outcome = "ok";
      });
    }
  }

  template <class Side>
  [[nodiscard]] std::uint64_t token_of(const Side& lock) const {
    if constexpr (std::is_base_of_v<Lock, Side>) {
      if (common_.role.fencing) return lock.fencing_token();
    }
    return 0;
  }

  template <class Side>
  void release(Side& lock, std::uint64_t hold) {
    constexpr auto& names = names_for<Side>;
    const auto* const what = common_.role.deferred_unlock ? names.deferred_unlock : names.unlock;
    operation(what, lock, hold, 0ms, [&](Record& result) {
      unlock_outcome = "ok";
      if (common_.role.deferred_unlock) {  // on_error is told of earlier ones then, too
        std::error_code error;
        lock.unlock(error);
        // Without the server's words: the checker believes "no-master" near a fault only.
        unlock_outcome =
            error == redis_lock::errc::server_error ? std::string("no-master") : name_of(error);
      } else {
        lock.unlock();
      }
      result.at = steady_clock::now();
      result.outcome = unlock_outcome;
    });
  }

  Common& common_;
  int thread_;
  std::deque<AnyLock>& locks_;
  std::mt19937_64 random_;
  std::string outcome_;  ///< of the latest operation
};

/// `where` are the Client, or the Clients of all nodes, that each lock is made with.
template <class AnyLock, class Where>
void contend(Common& common, const Where& where) {
  const auto& role = common.role;
  auto options = role.options();
  options.on_error = [](const redis_lock::Error& error) { unlock_outcome = outcome_of(error); };
  std::deque<std::deque<AnyLock>> locks(role.share_locks ? 1
                                                         : static_cast<std::size_t>(role.threads));
  for (auto& of_thread : locks) {
    for (const auto& name : role.names) {
      if constexpr (std::is_same_v<AnyLock, redis_lock::Semaphore>) {
        of_thread.emplace_back(where, name, role.permits, options);
      } else {
        of_thread.emplace_back(where, name, options);
      }
    }
  }
  std::vector<std::thread> threads;
  for (int thread = 0; thread < role.threads; ++thread) {
    auto& own = locks[role.share_locks ? 0 : static_cast<std::size_t>(thread)];
    threads.emplace_back([&common, &own, thread] {
      Contender<AnyLock>{common, thread, own}.run();
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace

void work(const WorkerPlace& place) {
  const auto& role = roles().at(static_cast<std::size_t>(place.slot));
  const HistoryFile history{place.folder + '/' + std::to_string(place.process) + ".history"};
  const SharedFile<Board> board{place.folder + "/board"};
  std::vector<redis_lock::Client> nodes;
  std::istringstream uris{place.uris};
  for (std::string uri; uris >> uri;) nodes.emplace_back(uri);
  Common common{place, nodes.size() > 1 ? role.without_one_server() : role, history, *board};
  if (nodes.size() > 1) return contend<redis_lock::QuorumLock>(common, nodes);
  const auto& client = nodes.front();
  switch (role.kind) {
    case Kind::lock: return contend<Lock>(common, client);
    case Kind::shared_lock: return contend<SharedLock>(common, client);
    case Kind::semaphore: return contend<redis_lock::Semaphore>(common, client);
  }
}

}  // namespace redis_lock_test::campaign
