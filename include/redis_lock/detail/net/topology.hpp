#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/counters.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/resolve.hpp>
#include <redis_lock/detail/net/server_text.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/endpoint.hpp>

namespace redis_lock::detail {

/// Places of the keys, as known at one time.
struct Places {
  bool is_cluster = false;
  SlotMap slots{};                  // of a cluster
  std::optional<Address> master{};  // reported by Sentinel

  /// Returns one slot of each server that has keys.
  [[nodiscard]] std::vector<Slot> one_slot_of_each() const {
    return is_cluster ? slots.one_slot_of_each() : std::vector<Slot>{0};
  }
  friend bool operator==(const Places& a, const Places& b) {
    return a.slots == b.slots && a.master == b.master;
  }
};

/// The servers behind one endpoint: which of them an operation must go to, and the way there. Safe to share between
/// threads.
class Topology final : public Redirector {
 public:
  Topology(Endpoint endpoint, std::shared_ptr<Counters> counters)
      : endpoint_(std::move(endpoint)), counters_(std::move(counters)) {}

  [[nodiscard]] bool is_cluster() const noexcept { return !endpoint_.cluster.empty(); }
  /// Returns whether another server may take the place of one that fails.
  [[nodiscard]] bool fail_over() const noexcept { return is_cluster() || endpoint_.sentinel; }

  /// Returns the slot of a key; 0 if there is no cluster.
  [[nodiscard]] Slot slot_of(std::string_view key) const {
    return is_cluster() ? detail::slot_of(key) : Slot{0};
  }

  /// Returns where an operation on this slot must go, as far as is known. Empty if that is unknown or suspect, or if
  /// there is only one server at all. No I/O.
  [[nodiscard]] Address server_of(Slot slot) const {
    if (!fail_over()) return {};
    const std::lock_guard guard{mutex_};
    const auto server = known_server(slot);
    return server && !is_suspect(*server) ? *server : Address{};
  }
  /// Returns where an operation on this slot must go, even if that server is suspect. No I/O.
  [[nodiscard]] Address presumed_server_of(Slot slot) const {
    if (!fail_over()) return {};
    const std::lock_guard guard{mutex_};
    return known_server(slot).value_or(Address{});
  }

  /// Marks the server as suspect: the next operation finds out whether it is still the one to go to.
  void suspect(const Address& server) {
    if (!fail_over()) return;
    const std::lock_guard guard{mutex_};
    if (!is_suspect(server)) suspects_.push_back(server);
  }

  /// Counts a connection that was closed because it failed. One that is opened later takes its place.
  void count_broken() noexcept { ++broken_; }

  /// Connects to the server of this slot, and asks other servers for the way if needed. Blocks up to twice
  /// connect_timeout and command_timeout together, but not past `deadline`.
  [[nodiscard]] std::unique_ptr<Connection> connect(
      Slot slot, Time deadline, Connection::Greeting greeting = Connection::Greeting::now) {
    auto connection = open(slot, deadline, greeting);
    auto broken = broken_.load();
    while (broken > 0 && !broken_.compare_exchange_weak(broken, broken - 1)) {
    }
    if (broken > 0) counters_->reconnected();
    return connection;
  }

  /// Adds the server's name to the failure of an open connection, unless the server replied with the error.
  [[nodiscard]] Failure named(const Connection& connection, const Failure& failure) const {
    if (failure.code() == errc::server_error || failure.code() == errc::too_few_replicas)
      return failure;
    if (!fail_over()) return named(failure);
    return named(is_cluster() ? "server" : "master", connection.server(), failure);
  }

  /// Asks where the keys are now. Blocks as long as connect().
  [[nodiscard]] Places survey() {
    if (!fail_over()) return {};
    learn(after(Time::clock::now(), longest_way()));
    const std::lock_guard guard{mutex_};
    return {is_cluster(), slots_, master_};
  }

  /// Follows keys that are about to move (ASK). Leaves those that have moved for good (MOVED) to a retry.
  bool redirect(const Address& asked, const Commands& commands, Replies& replies, Time deadline,
                bool independent) override {
    bool elsewhere = false;
    for (std::size_t i = 0; i < replies.size(); ++i) {
      auto& reply = replies[i];
      const bool has_moved = reply.is_error("MOVED");
      if (!has_moved && !reply.is_error("ASK")) continue;
      const auto redirection = redirection_of(reply, asked);
      if (!redirection) continue;
      const auto to = target(*redirection, asked, has_moved);
      if (has_moved || to == Address{}) {
        reply.text.insert(0, "TRYAGAIN ");
      } else if (*commands.begin(i) != "BLPOP") {  // it would wait there while replies are due here
        Commands asking;
        asking.add({"ASKING"}).add({});
        for (auto word = commands.begin(i); word != commands.end(i); ++word) asking.append(*word);
        elsewhere = true;
        try {
          Connection there{at(endpoint_, to), resolver_, deadline};
          reply = std::move(there.exchange_by(asking, deadline).back());
        } catch (const Failure& failure) {
          suspect(to);
          if (!independent) throw named("server", to, failure);
          reply = {};
          reply.kind = Reply::Kind::other;
        }
      }
    }
    return elsewhere;
  }

 private:
  /// Returns the server that `asked` redirects to, if it is known. Records what has moved there for good. If the
  /// server is unknown, the next operation asks for the map.
  [[nodiscard]] Address target(const Redirection& redirection, const Address& asked,
                               bool has_moved) {
    const std::lock_guard guard{mutex_};
    auto to = slots_.target(redirection, asked);
    if (has_moved) slots_.move(redirection.slot, to);
    return to;
  }

  [[nodiscard]] std::unique_ptr<Connection> open(Slot slot, Time deadline,
                                                 Connection::Greeting greeting) {
    if (!fail_over()) {
      try {
        return std::make_unique<Connection>(endpoint_, resolver_, deadline, greeting);
      } catch (const Failure& failure) {
        throw named(failure);
      }
    }
    deadline = std::min(deadline, after(Time::clock::now(), longest_way()));
    // Sentinel may know of a failover before all others.
    if (!is_cluster() || server_of(slot) == Address{}) learn(deadline);
    const auto server = [&] {
      const std::lock_guard guard{mutex_};
      return known_server(slot);
    }();
    if (!server) {
      throw Failure{errc::server_error,
                    "no server of the cluster has the slot " + std::to_string(slot),
                    Failure::Kind::transient};
    }
    try {
      auto connection =
          std::make_unique<Connection>(at(endpoint_, *server), resolver_, deadline, greeting);
      if (!is_cluster() && greeting == Connection::Greeting::now) check_role(*connection, deadline);
      connection->belong_to(*server, is_cluster() ? this : nullptr);
      trust(*server);
      return connection;
    } catch (const Failure& failure) {
      suspect(*server);
      throw named(is_cluster() ? "server" : "master", *server, failure);
    }
  }

  [[nodiscard]] milliseconds longest_way() const {
    return 2 * (endpoint_.connect_timeout + endpoint_.command_timeout);
  }

  /// Returns the endpoint of one server.
  [[nodiscard]] static Endpoint at(Endpoint endpoint, const Address& server) {
    endpoint.host = server.host;
    endpoint.port = server.port;
    endpoint.sentinel.reset();
    endpoint.cluster.clear();
    return endpoint;
  }

  /// Adds the name of the only server to a failure.
  [[nodiscard]] Failure named(const Failure& failure) const {
    return detail::named("server " + text_of(endpoint_) + origin_of(endpoint_), failure);
  }
  [[nodiscard]] Failure named(const char* role, const Address& server,
                              const Failure& failure) const {
    return detail::named(std::string(role) + ' ' + text_of(server) + origin_of(endpoint_), failure);
  }

  [[nodiscard]] bool is_suspect(const Address& server) const {
    return std::find(suspects_.begin(), suspects_.end(), server) != suspects_.end();
  }
  void trust(const Address& server) {
    const std::lock_guard guard{mutex_};
    suspects_.erase(std::remove(suspects_.begin(), suspects_.end(), server), suspects_.end());
  }

  [[nodiscard]] std::optional<Address> known_server(Slot slot) const {
    return is_cluster() ? slots_.owner(slot) : master_;
  }

  /// Returns the reply of the first of `candidates` that answers. Suspect ones are asked last. Another one is the
  /// first each time, because one may be cut off and out of date. None may use up the time of the others, or of
  /// what comes after.
  template <class Ask>
  [[nodiscard]] auto ask_any(const char* role, std::vector<Address> candidates,
                             const Endpoint& endpoint, Time deadline, const Ask& ask) {
    std::vector<Address> in_order;
    in_order.reserve(candidates.size());
    {
      const std::lock_guard guard{mutex_};
      const auto first = static_cast<std::ptrdiff_t>(turn_++ % candidates.size());
      std::rotate(candidates.begin(), candidates.begin() + first, candidates.end());
      // std::stable_partition would allocate by a function of libstdc++ that is deprecated, which clang 19 warns about.
      for (const bool suspected : {false, true}) {
        std::copy_if(candidates.begin(), candidates.end(), std::back_inserter(in_order),
                     [&](const Address& server) { return is_suspect(server) == suspected; });
      }
    }
    std::optional<Failure> worst;
    auto shares = static_cast<Time::rep>(candidates.size()) + 1;
    for (const auto& candidate : in_order) {
      const auto now = Time::clock::now();
      const auto by = now + (std::max(deadline, now) - now) / shares--;
      try {
        Connection connection{at(endpoint, candidate), resolver_, by};
        return ask(connection, candidate, by);
      } catch (const Failure& failure) {
        suspect(candidate);
        if (!worst || (worst->is_transient() && !failure.is_transient()))
          worst = named(role, candidate, failure);
      }
    }
    throw *worst;
  }

  void learn(Time deadline) {
    if (is_cluster()) {
      auto slots = ask_any("server", known_servers(), endpoint_, deadline, &read_slots);
      const std::lock_guard guard{mutex_};
      slots_ = std::move(slots);
    } else {
      auto endpoint = endpoint_;
      endpoint.username = endpoint_.sentinel->username;
      endpoint.password = endpoint_.sentinel->password;
      endpoint.database = 0;
      endpoint.client_name.clear();
      auto master = ask_any("sentinel", endpoint_.sentinel->addresses, endpoint, deadline,
                            [&](Connection& sentinel, const Address& address, Time by) {
                              return read_master(sentinel, address, by);
                            });
      const std::lock_guard guard{mutex_};
      master_ = std::move(master);
    }
  }

  [[nodiscard]] std::vector<Address> known_servers() const {
    const std::lock_guard guard{mutex_};
    auto all = slots_.servers();
    for (const auto& seed : endpoint_.cluster) {
      if (std::find(all.begin(), all.end(), seed) == all.end()) all.push_back(seed);
    }
    return all;
  }

  [[nodiscard]] static SlotMap read_slots(Connection& server, const Address& address,
                                          Time deadline) {
    return {server.exchange_by(Commands{}.add({"CLUSTER", "SLOTS"}), deadline).front(), address};
  }

  [[nodiscard]] Address read_master(Connection& sentinel, const Address& address,
                                    Time deadline) const {
    const auto& name = endpoint_.sentinel->master_name;
    const auto reply =
        sentinel
            .exchange_by(Commands{}.add({"SENTINEL", "get-master-addr-by-name", name}), deadline)
            .front();
    if (reply.is_nil()) {
      throw Failure{errc::server_error, "it knows no master of the name \"" + name + '"'};
    }
    expect(reply, reply.kind == Reply::Kind::array, "SENTINEL get-master-addr-by-name");
    return address_of(reply.elements, address, "SENTINEL get-master-addr-by-name");
  }

  static void check_role(Connection& connection, Time deadline) {
    const auto reply = connection.exchange_by(Commands{}.add({"ROLE"}), deadline).front();
    expect(reply, !reply.elements.empty(), "ROLE");
    if (reply.elements.front().text != "master") {
      throw Failure{errc::connection_failed, "it is a replica, by now or still",
                    Failure::Kind::transient};
    }
  }

  const Endpoint endpoint_;
  Resolver resolver_;
  const std::shared_ptr<Counters> counters_;
  std::atomic<unsigned> broken_{0};  // failed and not replaced yet
  mutable std::mutex mutex_;         // guards all below
  SlotMap slots_;                    // of a cluster
  std::optional<Address> master_;    // reported by Sentinel
  std::vector<Address> suspects_;    // suspect: failed when they were last used
  std::size_t turn_ = 0;             // of ask_any(): which candidate is first
};

}  // namespace redis_lock::detail
