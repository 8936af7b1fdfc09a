#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "fleet.hpp"
#include "ledgers.hpp"
#include "server.hpp"
#include "support/proxy.hpp"

namespace redis_lock_test::campaign {

/// Does harm, several kinds at a time, as the seed says. In the thread that started server and fleet,
/// as both die with it.
class Nemesis {
 public:
  struct Victims {
    Server& server;
    Fleet& fleet;
    std::vector<Proxy*> proxies;  ///< of Link::first_proxy and Link::second_proxy
    Ledgers& ledgers;
    const Board& board;
    WallClock& workers_clock;
  };

  Nemesis(const Victims& victims, const HistoryFile& history, std::uint64_t seed);
  Nemesis(const Nemesis&) = delete;
  Nemesis& operator=(const Nemesis&) = delete;
  ~Nemesis();

  /// Until then; everything is repaired when this returns. Ends early when `interrupted`.
  void rage_until(Time end, const std::atomic<bool>& interrupted);

 private:
  /// Harm that is not over yet.
  struct Harm {
    std::string victim;  ///< meets no other harm meanwhile
    Record begin;
    Time due;                       ///< when it is repaired
    std::function<bool()> may_end;  ///< also not before this is true
    std::function<void()> repair;
  };

  void strike();
  bool do_harm(const std::string& kind);
  bool harm_worker(const std::string& kind, Doing doing);
  bool harm_server(const std::string& kind);
  bool command_server(const std::string& kind);
  bool move_server_clock(const std::string& kind);
  bool harm_link(const std::string& kind);
  void move_workers_clock();
  void kill_connection();

  void begin(Harm harm, const std::string& kind, const std::string& names, int process = 0);
  void end(Harm& harm);
  void repair_due(Time now);
  [[nodiscard]] bool is_free(const std::string& victim) const;
  [[nodiscard]] int slot_that_is(Doing doing);
  [[nodiscard]] std::size_t draw(std::size_t least, std::size_t most);
  [[nodiscard]] milliseconds draw_time(milliseconds least, milliseconds most);
  [[nodiscard]] milliseconds draw_gap();
  void watch_the_machine();

  Victims victims_;
  const HistoryFile& history_;
  std::mt19937_64 random_;
  std::atomic<std::uint64_t> faults_{0};
  std::vector<Harm> harms_;
  std::atomic<bool> stopping_{false};
  std::thread watch_;
};

}  // namespace redis_lock_test::campaign
