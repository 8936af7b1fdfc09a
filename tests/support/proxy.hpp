#pragma once

#include <algorithm>
#include <cctype>
#include <chrono>
#include <deque>
#include <filesystem>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <redis_lock/endpoint.hpp>

#include "redis_server.hpp"
#include "resp.hpp"
#include "socket.hpp"

namespace redis_lock_test {

/// What befalls one command on its way through a Proxy.
enum class Fault {
  lose_request,          ///< it does not reach the server; the connection is closed
  lose_reply,            ///< it runs; the connection is closed instead of the reply
  lose_reply_and_stall,  ///< it runs; neither its reply nor any later byte comes, and nothing is closed
  cut_reply              ///< it runs; half of the reply comes, then the connection is closed
};

/// Stands between a client and a real server, and breaks what a test wants broken. Commands and
/// replies are matched in order, so that a fault meets one command of a pipeline and no other.
/// All members may be called from any thread.
class Proxy {
 public:
  explicit Proxy(redis_lock::Endpoint server, Transport transport = Transport::unix_socket)
      : server_(std::move(server)), folder_(make_temporary_folder()) {
    endpoint_.port = 0;
    endpoint_.username = server_.username;
    endpoint_.password = server_.password;
    if (transport == Transport::unix_socket) endpoint_.unix_socket = folder_ + "/socket";
    listener_ = listen_at(endpoint_);
    set_non_blocking(listener_);
    thread_ = std::thread{[this] { run(); }};
  }

  Proxy(const Proxy&) = delete;
  Proxy& operator=(const Proxy&) = delete;

  ~Proxy() {
    if (owner_ != ::getpid()) {  // a forked child has the object but not its thread
      thread_.detach();
      listener_.abandon();
      for (auto& link : links_) {
        link.client.abandon();
        link.server.abandon();
      }
      return;
    }
    {
      const std::lock_guard lock{mutex_};
      stopping_ = true;
      wake_up_.ring();
    }
    thread_.join();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  [[nodiscard]] const redis_lock::Endpoint& endpoint() const { return endpoint_; }
  [[nodiscard]] std::string uri(const std::string& parameters = {}) const {
    const auto user =
        endpoint_.password.empty() ? "" : endpoint_.username + ":" + endpoint_.password + "@";
    const auto query = parameters.empty() ? "" : "?" + parameters;
    if (!endpoint_.unix_socket.empty()) return "unix://" + user + endpoint_.unix_socket + query;
    return "redis://" + user + endpoint_.host + ":" + std::to_string(endpoint_.port) + query;
  }

  /// The next `times` commands of that name (in upper case; empty: of any) meet `fault`.
  void inject(const std::string& command, Fault fault, int times = 1) {
    change([&] {
      for (int i = 0; i < times; ++i) faults_.push_back({command, fault});
    });
  }

  /// Injected faults that have not met their command yet.
  [[nodiscard]] std::size_t faults_left() const {
    const std::lock_guard lock{mutex_};
    return faults_.size();
  }
  /// Those that have met no command do not come any more.
  void withdraw_faults() {
    const std::lock_guard lock{mutex_};
    faults_.clear();
  }

  /// Closes every connection that is open now.
  void drop_connections() {
    change([this] { links_.clear(); });
  }

  /// While on, new connections are closed as soon as they are accepted: the server is gone, until it
  /// is switched off again. Open connections stay.
  void refuse_connections(bool on = true) {
    change([&] { refusing_ = on; });
  }

  /// While paused nothing moves in either direction and nothing is closed: a network that stalls.
  void pause() {
    change([this] { paused_ = true; });
  }
  void resume() {
    change([this] { paused_ = false; });
  }

  /// From now on each reply reaches the client that much later.
  void delay_replies(std::chrono::milliseconds delay) {
    change([&] { delay_ = delay; });
  }

  /// While on, answers BLPOP as a server before Redis 6 does: only whole seconds are timeouts.
  void reject_fractional_timeouts(bool on = true) {
    change([&] { old_server_ = on; });
  }

  /// Client connections accepted so far.
  [[nodiscard]] int accepted() const {
    const std::lock_guard lock{mutex_};
    return accepted_;
  }

  /// Client connections open now.
  [[nodiscard]] std::size_t open() const {
    const std::lock_guard lock{mutex_};
    return links_.size();
  }

  /// Commands of that name (in upper case; empty: of any) that clients have sent so far.
  [[nodiscard]] int seen(const std::string& command = {}) const {
    const std::lock_guard lock{mutex_};
    const auto found = seen_.find(command);
    return found == seen_.end() ? 0 : found->second;
  }

  /// All commands that clients have sent so far, in order.
  [[nodiscard]] std::vector<Command> commands() const {
    const std::lock_guard lock{mutex_};
    return commands_;
  }
  void forget_commands() {
    change([this] { commands_.clear(); });
  }

 private:
  using Clock = std::chrono::steady_clock;

  struct PlannedFault {
    std::string command;
    Fault fault;
  };
  /// A command whose reply has not been passed on yet.
  struct Pending {
    std::optional<Fault> fault;
    std::optional<std::string>
        own_reply;  ///< the proxy answers; the server has not seen the command
  };
  struct Late {
    Clock::time_point due;
    std::string bytes;
  };
  struct Link {
    Socket client, server;
    std::string requests, to_server, replies;  ///< unread, unsent, unread
    std::deque<Late> to_client;
    std::deque<Pending> pending;
    bool stalled = false;  ///< the client hears no more
    bool closing = false;  ///< once the client has all that is meant for it
    bool lost = false;     ///< at once
  };

  template <class Change>
  void change(Change&& change) {
    const std::lock_guard lock{mutex_};
    change();
    wake_up_.ring();
  }

  static void set_non_blocking(const Socket& socket) {
    ::fcntl(socket.get(), F_SETFL, ::fcntl(socket.get(), F_GETFL) | O_NONBLOCK);
  }

  /// Everything is non-blocking, so each round just tries all that could be ready.
  void run() {
    std::unique_lock lock{mutex_};
    while (!stopping_) {
      auto watched = what_to_watch();
      const auto timeout = until_next_due();
      lock.unlock();
      ::poll(watched.data(), watched.size(), timeout);
      lock.lock();
      wake_up_.quiet();
      if (paused_) continue;
      accept_clients();
      for (auto link = links_.begin(); link != links_.end();) {
        move_bytes(*link);
        link = link->lost || (link->closing && link->to_client.empty()) ? links_.erase(link)
                                                                        : std::next(link);
      }
    }
    links_.clear();
  }

  std::vector<pollfd> what_to_watch() const {
    std::vector<pollfd> watched{{wake_up_.descriptor(), POLLIN, 0}};
    if (paused_) return watched;
    const auto now = Clock::now();
    watched.push_back({listener_.get(), POLLIN, 0});
    for (const auto& link : links_) {
      const bool sendable = !link.to_client.empty() && link.to_client.front().due <= now;
      watched.push_back(
          {link.client.get(), static_cast<short>(sendable ? POLLIN | POLLOUT : POLLIN), 0});
      watched.push_back({link.server.get(),
                         static_cast<short>(link.to_server.empty() ? POLLIN : POLLIN | POLLOUT),
                         0});
    }
    return watched;
  }

  int until_next_due() const {
    auto timeout = Clock::duration::max();
    if (paused_) return -1;
    for (const auto& link : links_) {
      if (!link.to_client.empty())
        timeout = std::min(timeout, link.to_client.front().due - Clock::now());
    }
    if (timeout == Clock::duration::max()) return -1;
    const auto whole = std::chrono::ceil<std::chrono::milliseconds>(timeout);
    return static_cast<int>(std::max(whole, std::chrono::milliseconds{1}).count());
  }

  void accept_clients() {
    while (true) {
      Socket client{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
      if (client.get() < 0) return;
      ++accepted_;
      if (refusing_) continue;
      auto server = connect_to(server_);
      if (server.get() < 0) continue;
      set_non_blocking(server);
      auto& link = links_.emplace_back();
      link.client = std::move(client);
      link.server = std::move(server);
    }
  }

  void move_bytes(Link& link) {
    if (!receive(link.client, link.requests)) {
      link.lost = true;
      return;
    }
    forward_requests(link);
    const bool server_open =
        receive(link.server, link.replies) && send(link.server, link.to_server);
    forward_replies(link);
    while (!link.to_client.empty() && link.to_client.front().due <= Clock::now()) {
      auto& bytes = link.to_client.front().bytes;
      if (!send(link.client, bytes)) link.lost = true;
      if (!bytes.empty()) break;
      link.to_client.pop_front();
    }
    if (!server_open && !link.stalled) link.closing = true;
  }

  void forward_requests(Link& link) {
    while (!link.closing) {
      const auto command = take_command(link.requests);
      if (!command) return;
      auto name = command->front();
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char letter) { return static_cast<char>(std::toupper(letter)); });
      ++seen_[name];
      ++seen_[""];
      commands_.push_back(*command);
      const auto fault = take_fault(name);
      if (fault == Fault::lose_request) {
        link.closing = true;
        return;
      }
      Pending pending{fault, std::nullopt};
      if (old_server_ && name == "BLPOP" &&
          command->back().find_first_not_of("0123456789") != std::string::npos) {
        pending.own_reply = "-ERR timeout is not an integer or out of range\r\n";
      } else {
        link.to_server += encode(*command);
      }
      link.pending.push_back(std::move(pending));
    }
  }

  std::optional<Fault> take_fault(const std::string& name) {
    const auto found =
        std::find_if(faults_.begin(), faults_.end(), [&name](const PlannedFault& planned) {
          return planned.command.empty() || planned.command == name;
        });
    if (found == faults_.end()) return std::nullopt;
    const auto fault = found->fault;
    faults_.erase(found);
    return fault;
  }

  void forward_replies(Link& link) {
    while (!link.pending.empty() && !link.closing) {
      auto& pending = link.pending.front();
      std::string reply;
      if (pending.own_reply) {
        reply = std::move(*pending.own_reply);
      } else {
        const auto length = reply_length(link.replies);
        if (!length) return;
        reply = link.replies.substr(0, *length);
        link.replies.erase(0, *length);
      }
      const auto fault = pending.fault;
      link.pending.pop_front();
      if (fault == Fault::lose_reply_and_stall) link.stalled = true;
      if (fault == Fault::cut_reply) reply.resize(reply.size() / 2);
      if (fault == Fault::lose_reply || fault == Fault::cut_reply) link.closing = true;
      if (!link.stalled && fault != Fault::lose_reply) {
        link.to_client.push_back({Clock::now() + delay_, std::move(reply)});
      }
    }
  }

  /// Reads all there is. False: the other side is gone.
  static bool receive(const Socket& from, std::string& into) {
    char buffer[65536];
    while (true) {
      const auto count = ::recv(from.get(), buffer, sizeof buffer, 0);
      if (count < 0) return errno == EAGAIN || errno == EINTR;
      if (count == 0) return false;
      into.append(buffer, static_cast<std::size_t>(count));
    }
  }

  /// Sends what can be sent, and takes it off `bytes`. False: the other side is gone.
  static bool send(const Socket& to, std::string& bytes) {
    while (!bytes.empty()) {
      const auto count = ::send(to.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count < 0) return errno == EAGAIN || errno == EINTR;
      bytes.erase(0, static_cast<std::size_t>(count));
    }
    return true;
  }

  redis_lock::Endpoint server_, endpoint_;
  std::string folder_;
  Socket listener_;
  WakeUp wake_up_;
  mutable std::mutex mutex_;  // guards all below
  std::list<Link> links_;
  std::deque<PlannedFault> faults_;
  std::map<std::string, int> seen_;
  std::vector<Command> commands_;
  std::chrono::milliseconds delay_{0};
  int accepted_ = 0;
  bool refusing_ = false, paused_ = false, old_server_ = false, stopping_ = false;
  pid_t owner_ = ::getpid();
  std::thread thread_;
};

}  // namespace redis_lock_test
