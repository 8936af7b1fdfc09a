// A lock on the majority of three independent servers: one of them may fail. $REDIS_URLS has their
// addresses, with spaces between; each process names them in the same order.
//
// Prints:
//   held on the majority of 3 nodes
//   somebody else finds it busy
//   an operator frees it on one node: still held
//   an operator frees it on another: lost

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

#include <redis_lock/redis_lock.hpp>

namespace {

std::vector<redis_lock::Client> redis_nodes() {
  const char* const urls = std::getenv("REDIS_URLS");
  std::istringstream stream{
      urls ? urls : "redis://127.0.0.1:6379 redis://127.0.0.1:6380 redis://127.0.0.1:6381"};
  std::vector<redis_lock::Client> nodes;
  for (std::string url; stream >> url;) nodes.emplace_back(url);
  return nodes;
}

}  // namespace

int main() try {
  using namespace std::chrono_literals;
  const auto nodes = redis_nodes();
  redis_lock::Options options;
  options.expire = 10s;
  options.on_error = [](const redis_lock::Error&) {};  // unlock() finds the lock lost, as is shown
  redis_lock::QuorumLock lock{nodes, "example:quorum", options};
  redis_lock::QuorumLock other{nodes, "example:quorum", options};

  std::lock_guard guard{lock};
  std::cout << "held on the majority of " << nodes.size() << " nodes\n";
  if (other.try_lock()) {
    other.unlock();
  } else {
    std::cout << "somebody else finds it busy\n";
  }

  redis_lock::Lock{nodes[0], "example:quorum"}.reset();
  lock.extend();  // asks the nodes
  std::cout << "an operator frees it on one node: "
            << (lock.owns_lock() ? "still held\n" : "lost\n");

  redis_lock::Lock{nodes[1], "example:quorum"}.reset();
  try {
    lock.extend();
  } catch (const redis_lock::Error& error) {
    if (error.code() != redis_lock::errc::lease_lost) throw;
  }
  std::cout << "an operator frees it on another: "
            << (lock.owns_lock() ? "still held\n" : "lost\n");
} catch (const std::exception& error) {
  std::cerr << "quorum: " << error.what() << '\n';
  return 1;
}
