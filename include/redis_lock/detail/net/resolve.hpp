#pragma once

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/detail/base/thread.hpp>
#include <redis_lock/detail/net/socket_address.hpp>
#include <redis_lock/error.hpp>

namespace redis_lock::detail {

/// A look-up of host addresses with a time limit. getaddrinfo(3) has none, so a thread calls it, and is left alone if
/// it takes too long. Safe to share between threads, but not with a forked child.
class Resolver {
 public:
  /// Returns all addresses of a host, in the order in which to try them. Blocks until `deadline` at most. If earlier
  /// addresses are known, returns those after `grace`, or if the host cannot be found any more. Throws Failure if the
  /// host is not found, or not in time, or if the system has no thread.
  [[nodiscard]] SocketAddresses resolve(const std::string& host, std::uint16_t port,
                                        Time deadline) {
    if (auto numeric = look_up(host, AI_NUMERICHOST); numeric.code == 0)
      return at(std::move(numeric.addresses), port);
    const auto known = last_good(host);
    std::shared_ptr<LookUp> running;
    try {
      running = start(host);
    } catch (const Failure&) {
      if (known.empty()) throw;
      return at(known, port);
    }
    auto limit = deadline;
    if (!known.empty()) limit = std::min(limit, Time::clock::now() + grace);
    {
      std::unique_lock guard{running->mutex};
      running->answered.wait_until(guard, waitable(limit), [&] { return running->done; });
      if (!running->done && known.empty()) {
        throw Failure{errc::connection_failed, "the address of the host was not found in time",
                      Failure::Kind::transient};
      }
      if (!running->done) return at(known, port);
    }
    const auto& answer = running->answer;  // no thread changes it any more
    finish(host, running);
    if (answer.code == 0) return at(answer.addresses, port);
    if (!known.empty()) return at(known, port);
    throw Failure{errc::connection_failed, ::gai_strerror(answer.code), Failure::Kind::transient};
  }

 private:
  /// How long to wait for an answer if earlier addresses are known.
  static constexpr milliseconds grace{100};

  struct Answer {
    int code = 0;  // of getaddrinfo
    SocketAddresses addresses;
  };
  /// State that the thread and its waiters share; guarded by its mutex.
  struct LookUp {
    std::mutex mutex;
    std::condition_variable answered;
    bool done = false;
    Answer answer;
  };

  [[nodiscard]] static Answer look_up(const std::string& host, int flags) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    addrinfo* found = nullptr;
    Answer answer;
    answer.code = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
    if (answer.code != 0) return answer;
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner{found, ::freeaddrinfo};
    for (const auto* each = found; each; each = each->ai_next) {
      SocketAddress address;
      if (each->ai_addrlen > sizeof address.storage) continue;
      std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
      address.length = each->ai_addrlen;
      answer.addresses.push_back(address);
    }
    if (answer.addresses.empty()) answer.code = EAI_NONAME;
    return answer;
  }

  [[nodiscard]] static SocketAddresses at(SocketAddresses addresses, std::uint16_t port) {
    for (auto& address : addresses) {
      if (address.storage.ss_family == AF_INET6) {
        reinterpret_cast<sockaddr_in6&>(address.storage).sin6_port = htons(port);
      } else {
        reinterpret_cast<sockaddr_in&>(address.storage).sin_port = htons(port);
      }
    }
    return addresses;
  }

  [[nodiscard]] SocketAddresses last_good(const std::string& host) const {
    const std::lock_guard guard{mutex_};
    const auto found = good_.find(host);
    return found == good_.end() ? SocketAddresses{} : found->second;
  }

  /// Returns the look-up of this host that is under way, or starts one.
  [[nodiscard]] std::shared_ptr<LookUp> start(const std::string& host) {
    const std::lock_guard guard{mutex_};
    auto& running = running_[host];
    if (running && !collect(host, *running)) return running;
    auto fresh = std::make_shared<LookUp>();
    without_signals([fresh, host] {
      Answer answer;
      try {
        answer = look_up(host, 0);
      } catch (const std::bad_alloc&) {
        answer.code = EAI_MEMORY;
      }
      const std::lock_guard done_guard{fresh->mutex};
      fresh->answer = std::move(answer);
      fresh->done = true;
      fresh->answered.notify_all();
    }).detach();
    return running = std::move(fresh);
  }

  void finish(const std::string& host, const std::shared_ptr<LookUp>& done) {
    const std::lock_guard guard{mutex_};
    auto& running = running_[host];
    if (running == done) running.reset();
    (void)collect(host, *done);
  }

  /// Keeps the addresses of a look-up that is over, and returns whether it is. They may be old if no thread has
  /// waited.
  [[nodiscard]] bool collect(const std::string& host, LookUp& look_up) {
    const std::lock_guard guard{look_up.mutex};
    if (look_up.done && look_up.answer.code == 0) good_[host] = look_up.answer.addresses;
    return look_up.done;
  }

  mutable std::mutex mutex_;  // guards all below
  std::map<std::string, std::shared_ptr<LookUp>> running_;
  std::map<std::string, SocketAddresses> good_;  // of the latest look-up that found any
};

}  // namespace redis_lock::detail
