// Eyes on a running program: what its locks have done, for Prometheus to scrape. This one is a worker: it does the
// job that each line of its standard input names, under a lock of that name, until there are no more.
// The alerts worth having are in docs/observing.md.
//
// Prints the address to scrape, which the system has chosen, and then how each job went:
//   http://127.0.0.1:41235/metrics
//   nightly-report: done
//   import: held by web-1:4711:8c1f…, not done

#include <chrono>
#include <cstdint>
#include <iostream>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

#include <httplib.h>

#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

namespace {

/// One program's numbers in the text format of Prometheus: counters end in _total, times are in seconds.
/// https://prometheus.io/docs/instrumenting/exposition_formats/
std::string exposition(const redis_lock::Stats& stats) {
  std::ostringstream text;
  text.precision(12);
  const auto write = [&text](const char* name, const char* type, const char* help, auto value) {
    text << "# HELP " << name << ' ' << help << "\n# TYPE " << name << ' ' << type << '\n'
         << name << ' ' << value << '\n';
  };
  const auto count = [&write](const char* name, const char* help, std::uint64_t value) {
    write(name, "counter", help, value);
  };
  const auto seconds = [](std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
  };
  count("redis_lock_acquired_total", "Locks acquired", stats.acquired);
  count("redis_lock_contended_total", "Attempts that found the lock held", stats.contended);
  count("redis_lock_timed_out_total", "Attempts given up at their deadline", stats.timed_out);
  count("redis_lock_released_total", "Locks released", stats.released);
  count("redis_lock_renewed_total", "Leases extended", stats.renewed);
  count("redis_lock_renewals_failed_total", "Renewals that failed", stats.renewals_failed);
  count("redis_lock_lost_total", "Locks lost while they were held", stats.lost);
  count("redis_lock_abandoned_total", "Locks left to their lease, Redis being away",
        stats.abandoned);
  count("redis_lock_reconnects_total", "Connections opened anew", stats.reconnects);
  write("redis_lock_wait_seconds_total", "counter", "Time from call to acquisition, of all",
        seconds(stats.total_wait));
  write("redis_lock_hold_seconds_total", "counter", "Time from acquisition to its end, of all",
        seconds(stats.total_hold));
  write("redis_lock_longest_wait_seconds", "gauge", "The longest wait since the program began",
        seconds(stats.longest_wait));
  write("redis_lock_longest_hold_seconds", "gauge", "The longest hold since the program began",
        seconds(stats.longest_hold));
  return text.str();
}

/// Serves them on a port of the loopback interface, by a thread, for as long as it lives.
class Exporter {
 public:
  explicit Exporter(redis_lock::Client client) {
    server_.Get("/metrics", [client](const httplib::Request&, httplib::Response& response) {
      response.set_content(exposition(client.stats()), "text/plain; version=0.0.4; charset=utf-8");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    if (port_ < 0) throw std::runtime_error("no port to serve on");
    thread_ = std::thread{[this] { server_.listen_after_bind(); }};
  }
  ~Exporter() {
    while (!server_.is_running())
      std::this_thread::yield();  // before that, stop() would do nothing
    server_.stop();
    thread_.join();
  }
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  [[nodiscard]] int port() const { return port_; }

 private:
  httplib::Server server_;
  int port_ = -1;
  std::thread thread_;
};

}  // namespace

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  const redis_lock::Client client{redis_url(argc, argv)};
  const Exporter exporter{client};
  std::cout << "http://127.0.0.1:" << exporter.port() << "/metrics" << std::endl;

  redis_lock::Options options;
  options.id_prefix = redis_lock::host_and_pid();  // tells a person who holds a lock
  for (std::string job; std::getline(std::cin, job);) {
    redis_lock::Lock lock{client, job, options};
    if (std::unique_lock turn{lock, 2s}) {
      std::this_thread::sleep_for(5ms);  // the job
      turn.unlock();
      std::cout << job << ": done" << std::endl;
    } else {
      std::cout << job << ": held by " << lock.owner().value_or("nobody by now") << ", not done"
                << std::endl;
    }
  }
} catch (const std::exception& error) {
  std::cerr << "prometheus: " << error.what() << '\n';
  return 1;
}
