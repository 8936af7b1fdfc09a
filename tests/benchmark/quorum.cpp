/// An uncontended lock+unlock of a QuorumLock over that of one Lock on one server, in the same run, and over
/// its floor: the same commands sent to the same servers at once, whose answers of a majority are awaited
/// by poll(). Then with one of five frozen, over all five; and how long eight threads wait for their turn.
/// Pauses between the cycles, as a program that does nothing but lock and unlock measures how many servers
/// fit on the machine's cores.

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>

#include <redis_lock/lock.hpp>
#include <redis_lock/quorum.hpp>

#include "floor.hpp"
#include "measure.hpp"

namespace {

using namespace redis_lock_benchmark;
using redis_lock::Client;
using redis_lock::Lock;
using redis_lock::QuorumLock;
using Servers = std::vector<std::unique_ptr<RedisServer>>;

constexpr int repetitions = 15;
constexpr int rounds = 20;  // in a repetition
constexpr int cycles = 10;  // of each in a round

/// The floor: no ids, leases, errors or late answers are minded.
class RawQuorum {
 public:
  RawQuorum(const Servers& servers, std::size_t count, const RawTerms& terms)
      : set_(terms.set()), release_(terms.release()) {
    for (std::size_t i = 0; i < count; ++i) {
      RawConnection loader{servers[i]->endpoint()};
      RawTerms::load_scripts(loader);
      nodes_.push_back({redis_lock_test::connect_hiredis(servers[i]->endpoint()), 0});
    }
  }
  void lock() { ask(set_); }
  void unlock() { ask(release_); }

 private:
  struct Node {
    redis_lock_test::Context context;
    int owed;
  };

  void ask(const std::string& command) {
    for (auto& node : nodes_) {
      ::send(node.context->fd, command.data(), command.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      ++node.owed;
    }
    const auto behind = [](const Node& node) { return node.owed > 0; };
    while (static_cast<std::size_t>(std::count_if(nodes_.begin(), nodes_.end(), behind)) >
           nodes_.size() / 2) {
      std::vector<pollfd> polled;
      for (const auto& node : nodes_) polled.push_back({node.context->fd, POLLIN, 0});
      ::poll(polled.data(), polled.size(), -1);
      for (std::size_t i = 0; i < nodes_.size(); ++i) {
        if (polled[i].revents != 0) receive(nodes_[i]);
      }
    }
  }

  static void receive(Node& node) {
    char bytes[256];
    const auto count = ::recv(node.context->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count > 0) node.owed -= static_cast<int>(std::count(bytes, bytes + count, '\n'));
  }

  std::string set_, release_;
  std::vector<Node> nodes_;
};

std::vector<Client> clients(const Servers& servers, std::size_t count) {
  std::vector<Client> clients;
  for (std::size_t i = 0; i < count; ++i) clients.emplace_back(servers[i]->endpoint());
  return clients;
}

template <class Mutex>
void time_cycles(Mutex& mutex, Samples& times, std::chrono::microseconds pause) {
  for (int i = 0; i < cycles; ++i) {
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
    const auto start = Clock::now();
    mutex.lock();
    mutex.unlock();
    times.push_back(microseconds(Clock::now() - start));
  }
}

/// What was measured in one repetition, by turns: medians.
struct Figures {
  Samples one, three, five, raw_three, raw_five;
};

Figures measure(const Servers& servers, std::chrono::microseconds pause) {
  Lock one{Client{servers[0]->endpoint()}, "one"};
  QuorumLock three{clients(servers, 3), "three"}, five{clients(servers, 5), "five"};
  RawQuorum raw_three{servers, 3, RawTerms{"raw-three"}},
      raw_five{servers, 5, RawTerms{"raw-five"}};
  Figures figures;
  for (int i = 0; i < repetitions; ++i) {
    Figures times;
    for (int round = 0; round < rounds; ++round) {
      time_cycles(one, times.one, pause);
      time_cycles(three, times.three, pause);
      time_cycles(raw_three, times.raw_three, pause);
      time_cycles(five, times.five, pause);
      time_cycles(raw_five, times.raw_five, pause);
    }
    figures.one.push_back(median(times.one));
    figures.three.push_back(median(times.three));
    figures.five.push_back(median(times.five));
    figures.raw_three.push_back(median(times.raw_three));
    figures.raw_five.push_back(median(times.raw_five));
  }
  return figures;
}

Samples ratios(const Samples& of, const Samples& over) {
  Samples ratios;
  for (std::size_t i = 0; i < of.size(); ++i) ratios.push_back(of[i] / over[i]);
  return ratios;
}

/// In steady state: the node has been found silent before it is measured.
Samples with_one_frozen(const Servers& servers, std::chrono::microseconds pause) {
  QuorumLock all{clients(servers, 5), "all"}, rest{clients(servers, 5), "rest"};
  Samples frozen_over_all;
  for (int i = 0; i < repetitions; ++i) {
    Samples with_all, with_four, ignored;
    for (int round = 0; round < rounds; ++round) time_cycles(all, with_all, pause);
    servers[i % 2 == 0 ? 0 : 4]->pause();
    for (const auto end = Clock::now() + 1200ms; Clock::now() < end;)
      time_cycles(rest, ignored, pause);
    for (int round = 0; round < rounds; ++round) time_cycles(rest, with_four, pause);
    servers[i % 2 == 0 ? 0 : 4]->resume();
    for (const auto end = Clock::now() + 600ms; Clock::now() < end;) {
      time_cycles(all, ignored, pause);
      time_cycles(rest, ignored, pause);
    }
    frozen_over_all.push_back(median(with_four) / median(with_all));
  }
  return frozen_over_all;
}

/// Eight threads, each with a QuorumLock of its own and a section of 2 ms, over 7 × the section.
Samples waits(const Servers& servers, double quantile_of_waits) {
  const auto nodes = clients(servers, 5);
  Samples samples;
  for (int i = 0; i < 5; ++i) {
    std::vector<Samples> waited(8);
    std::vector<std::thread> threads;
    for (auto& own : waited) {
      threads.emplace_back([&nodes, &own] {
        QuorumLock lock{nodes, "contended"};
        for (int round = 0; round < 30; ++round) {
          const auto start = Clock::now();
          lock.lock();
          if (round > 2) own.push_back(microseconds(Clock::now() - start));
          std::this_thread::sleep_for(2ms);
          lock.unlock();
        }
      });
    }
    for (auto& thread : threads) thread.join();
    Samples all;
    for (const auto& own : waited) all.insert(all.end(), own.begin(), own.end());
    samples.push_back(quantile(all, quantile_of_waits) / 14'000);
  }
  return samples;
}

}  // namespace

int main() {
  for (const auto transport : transports) {
    Servers servers;
    for (int i = 0; i < 5; ++i) servers.push_back(std::make_unique<RedisServer>(transport));
    for (const auto pause : {300us, 0us}) {
      const std::string where =
          name_of(transport) + std::string(pause.count() > 0 ? "" : ", no pause");
      const auto figures = measure(servers, pause);
      report("quorum_3_over_lock", where, ratios(figures.three, figures.one));
      report("quorum_5_over_lock", where, ratios(figures.five, figures.one));
      report("quorum_3_over_raw", where, ratios(figures.three, figures.raw_three));
      report("quorum_5_over_raw", where, ratios(figures.five, figures.raw_five));
      report("quorum_raw_3_over_lock", where, ratios(figures.raw_three, figures.one));
      report("quorum_raw_5_over_lock", where, ratios(figures.raw_five, figures.one));
      report("quorum_one_frozen", where, with_one_frozen(servers, pause));
    }
    report("quorum_median_wait", name_of(transport), waits(servers, 0.5));
    report("quorum_p99_wait", name_of(transport), waits(servers, 0.99));
  }
}
