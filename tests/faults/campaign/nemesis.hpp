#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "dice.hpp"
#include "fleet.hpp"
#include "harm.hpp"
#include "ledgers.hpp"
#include "server.hpp"

namespace redis_lock_test::campaign {

/// Does harm, several kinds at a time, as the seed says. In the thread that started server and fleet,
/// as both die with it.
class Nemesis {
 public:
  struct Victims {
    Server& server;
    Fleet& fleet;
    Ledgers& ledgers;
    const Board& board;
    WallClock& workers_clock;
  };

  Nemesis(const Victims& victims, const HistoryFile& history, std::uint64_t seed);
  Nemesis(const Nemesis&) = delete;
  Nemesis& operator=(const Nemesis&) = delete;
  ~Nemesis();

  /// Until then; everything is repaired when this returns. Ends early when `interrupted`. Throws
  /// std::runtime_error when the servers do not get over it.
  void rage_until(Time end, const std::atomic<bool>& interrupted);

  /// To be called all the time, also when no more harm is done.
  void watch();

 private:
  /// Harm that is not over yet.
  struct Begun {
    Harm harm;
    Record record;
  };

  void strike();
  bool do_harm(const std::string& kind);
  bool harm_worker(const std::string& kind, Doing doing);
  bool harm_server(const std::string& kind);
  void move_workers_clock();

  void begin(const Harm& harm, const std::string& kind);
  void end(Begun& begun);
  void repair_due(Time now);
  void write_down(const Server::Noticed& noticed);
  [[nodiscard]] bool is_free(const std::string& victim) const;
  [[nodiscard]] int slot_that_is(Doing doing);
  [[nodiscard]] milliseconds draw_gap();
  void watch_the_machine();

  Victims victims_;
  const HistoryFile& history_;
  Dice dice_;
  const std::vector<std::string> kinds_, aimed_;
  std::string first_kind_;  // empty once it has come
  std::atomic<std::uint64_t> faults_{0};
  std::vector<Begun> harms_;
  std::atomic<bool> stopping_{false};
  std::thread watch_;
};

}  // namespace redis_lock_test::campaign
