#pragma once

#include <algorithm>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fleet.hpp"
#include "redis.hpp"
#include "server_process.hpp"
#include "socket.hpp"

namespace redis_lock_test {

/// One Redis Sentinel.
class SentinelProcess {
 public:
  struct Settings {
    std::string master_name, master_host;
    std::uint16_t master_port = 0;
    std::string password_of_master, password;
    int quorum = 2;
    std::chrono::milliseconds down_after{};
  };

  explicit SentinelProcess(Settings settings) : settings_(std::move(settings)) {
    endpoint_.port = lasting_port();
    endpoint_.password = settings_.password;
    redis_.emplace(endpoint_);
    write_configuration();
    start();
  }

  /// The test's own client of it, for one thread at a time. Not while it is frozen.
  [[nodiscard]] Redis& redis() { return *redis_; }
  [[nodiscard]] Redis client() const { return Redis{endpoint_}; }
  [[nodiscard]] const redis_lock::Endpoint& endpoint() const { return endpoint_; }
  [[nodiscard]] std::string address() const {
    return endpoint_.host + ":" + std::to_string(endpoint_.port);
  }

  [[nodiscard]] bool is_running() const { return state_ == State::running; }
  void kill() {
    process_.kill();
    state_ = State::killed;
  }
  void freeze() {
    process_.pause();
    state_ = State::frozen;
  }
  void suffer(Harm harm) { harm == Harm::kill ? kill() : freeze(); }
  void revive() {
    if (state_ == State::frozen) process_.resume();
    if (state_ == State::killed) start();
    state_ = State::running;
  }

  /// Where it says that the master is.
  [[nodiscard]] std::string named_master() { return named_master(*redis_, settings_.master_name); }
  static std::string named_master(Redis& redis, const std::string& name) {
    const auto reply = redis.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name);
    if (reply.elements.size() != 2) throw std::runtime_error("the sentinel knows no master");
    return reply.elements[0].text + ":" + reply.elements[1].text;
  }

  /// A word of what it says about the master, such as "flags".
  [[nodiscard]] std::string about_master(const std::string& field) {
    return word(redis_->command("SENTINEL", "MASTER", settings_.master_name), field);
  }
  [[nodiscard]] std::vector<std::string> flags_of(const std::string& kind) {
    std::vector<std::string> flags;
    for (const auto& one : redis_->command("SENTINEL", kind, settings_.master_name).elements)
      flags.push_back(word(one, "flags"));
    return flags;
  }

 private:
  enum class State { running, frozen, killed };

  static std::string word(const Reply& fields, const std::string& field) {
    for (std::size_t i = 0; i + 1 < fields.elements.size(); i += 2) {
      if (fields.elements[i].text == field) return fields.elements[i + 1].text;
    }
    return {};
  }

  void write_configuration() const {
    const auto& name = settings_.master_name;
    std::ofstream file{configuration_};
    file << "port " << endpoint_.port << "\nbind " << endpoint_.host << "\ndir " << folder_.path()
         << "\nlogfile " << log_ << "\nsentinel monitor " << name << ' ' << settings_.master_host
         << ' ' << settings_.master_port << ' ' << settings_.quorum
         << "\nsentinel down-after-milliseconds " << name << ' ' << settings_.down_after.count()
         << "\nsentinel failover-timeout " << name << " 2000\nsentinel parallel-syncs " << name
         << " 2\n";
    if (!settings_.password_of_master.empty())
      file << "sentinel auth-pass " << name << ' ' << settings_.password_of_master << '\n';
    if (!settings_.password.empty()) file << "requirepass " << settings_.password << '\n';
  }

  void start() {
    process_.start({configuration_, "--sentinel"}, log_,
                   [this] { return Redis{endpoint_}.string("PING") == "PONG"; });
    // Faster than with the periods of real life, of several seconds each. Where a server does not know
    // this command, all is only slower. A lost link is made again after a ping-period, which must be
    // shorter than down-after. A sentinel that was frozen holds back for tilt-period.
    redis_->command("SENTINEL", "DEBUG", "INFO-PERIOD", "500", "PING-PERIOD", "400", "ASK-PERIOD",
                    "200", "PUBLISH-PERIOD", "200", "TILT-PERIOD", "500");
  }

  Settings settings_;
  TemporaryFolder folder_;
  const std::string configuration_ = folder_.path() + "/sentinel.conf",
                    log_ = folder_.path() + "/log";
  redis_lock::Endpoint endpoint_;
  std::optional<Redis> redis_;
  ServerProcess process_;
  State state_ = State::running;
};

/// A master with two replicas, and three sentinels that watch over them. All are up and know each other
/// when the constructor returns.
class SentinelFleet {
 public:
  struct Passwords {
    std::string servers, sentinels;
  };

  explicit SentinelFleet(Passwords passwords = {}) : passwords_(std::move(passwords)) {
    members_.push_back(make_member({}));
    auto& first = *members_.front();
    while (members_.size() < 3)
      members_.push_back(make_member({"--replicaof", first.host(), std::to_string(first.port())}));
    // A sentinel that has not heard of the replicas could not fail over to them.
    require_soon("replicas", [&] { return first.online_replicas() == 2 ? "" : "not connected"; });
    for (int i = 0; i < 3; ++i)
      sentinels_.push_back(despite_taken_ports([&] {
        return std::make_unique<SentinelProcess>(
            SentinelProcess::Settings{master_name, first.host(), first.port(), passwords_.servers,
                                      passwords_.sentinels, 2, down_after});
      }));
    await_stability();
  }

  [[nodiscard]] const Passwords& passwords() const { return passwords_; }

  /// redis+sentinel://… with all sentinels, or those in this order.
  [[nodiscard]] std::string uri(const std::string& parameters = {},
                                const std::vector<Index>& sentinels = {0, 1, 2}) const {
    std::string uri = "redis+sentinel://";
    if (!passwords_.servers.empty()) uri += ":" + passwords_.servers + "@";
    std::string separator;
    for (const auto sentinel : sentinels)
      uri += std::exchange(separator, ",") + sentinels_.at(sentinel)->address();
    uri += "/" + master_name;
    separator = "?";
    if (!passwords_.sentinels.empty())
      uri += std::exchange(separator, "&") + "sentinel_password=" + passwords_.sentinels;
    if (!parameters.empty()) uri += separator + parameters;
    return uri;
  }

  [[nodiscard]] Member& member(Index index) { return *members_.at(index); }
  [[nodiscard]] SentinelProcess& sentinel(Index index) { return *sentinels_.at(index); }
  [[nodiscard]] Index size() const { return members_.size(); }

  /// The present master, as the sentinel says that has the latest news.
  [[nodiscard]] Index master_index() {
    std::optional<std::pair<long long, Index>> latest;
    for (auto& sentinel : sentinels_) {
      if (!sentinel->is_running()) continue;
      const auto epoch = std::stoll(sentinel->about_master("config-epoch"));
      const std::pair news{epoch, index_of(sentinel->named_master())};
      latest = std::max(latest.value_or(news), news);
    }
    if (!latest) throw std::runtime_error("no sentinel runs");
    return latest->second;
  }
  [[nodiscard]] Member& master() { return *members_.at(master_index()); }
  /// The test's own client of it.
  [[nodiscard]] Redis& redis() { return master().redis(); }

  /// The present replicas, as far as they run.
  [[nodiscard]] std::vector<Index> replicas() {
    std::vector<Index> replicas;
    for (Index i = 0; i < members_.size(); ++i) {
      if (members_[i]->is_running() && i != master_index()) replicas.push_back(i);
    }
    return replicas;
  }

  /// Waits until the replicas have all that was written so far.
  void replicate() {
    for (const auto replica : replicas()) members_[replica]->catch_up_with(master());
  }

  /// Does it to the present master, and says which one that was.
  Index harm_master(Harm harm) {
    const auto index = master_index();
    members_[index]->suffer(harm);
    return index;
  }

  /// A failover without any need: the old master runs on, and gets told later.
  void fail_over() {
    for (auto& sentinel : sentinels_) {
      if (!sentinel->is_running()) continue;
      const auto reply = sentinel->redis().command("SENTINEL", "FAILOVER", master_name);
      if (reply.is_error()) throw std::runtime_error(reply.text);
      return;
    }
  }

  /// When a sentinel that runs now names another master than the present one (+switch-master).
  [[nodiscard]] std::unique_ptr<Moment> next_switch() {
    auto clients = std::make_shared<std::vector<Redis>>();
    for (auto& sentinel : sentinels_) {
      if (sentinel->is_running()) clients->push_back(sentinel->client());
    }
    const auto before = members_.at(master_index())->address();
    return std::make_unique<Moment>([clients, before, name = master_name] {
      for (auto& client : *clients) {
        if (SentinelProcess::named_master(client, name) != before) return true;
      }
      return false;
    });
  }

  /// Revives all that were killed or frozen, and waits until nothing is left of the fault: the sentinels
  /// agree on a master that is one, with two replicas.
  void restore() {
    const auto present = master_index();
    for (auto& sentinel : sentinels_) {
      if (!sentinel->is_running()) sentinel->revive();
    }
    for (Index i = 0; i < members_.size(); ++i) {
      auto& member = *members_[i];
      if (!member.is_running()) member.revive();
      member.mend_replication(passwords_.servers);
    }
    // The sentinels would do it too, but take their time.
    for (Index i = 0; i < members_.size(); ++i) {
      if (i != present && members_[i]->is_master())
        members_[i]->redis().command("REPLICAOF", members_[present]->host(),
                                     members_[present]->port());
    }
    await_stability();
  }

  /// Waits until the fleet could bear a fault.
  void await_stability() {
    require_soon("the fleet does not get stable", [this] { return unrest(); });
  }

  const std::string master_name = "fleet";
  static constexpr auto down_after = 500ms;

 private:
  std::unique_ptr<Member> make_member(const std::vector<std::string>& arguments) {
    return despite_taken_ports(
        [&] { return std::make_unique<Member>(passwords_.servers, arguments); });
  }

  [[nodiscard]] Index index_of(const std::string& address) const {
    for (Index i = 0; i < members_.size(); ++i) {
      if (members_[i]->address() == address) return i;
    }
    throw std::runtime_error("the sentinels name a stranger: " + address);
  }

  /// What is not yet as it should be; nothing: all is well.
  [[nodiscard]] std::string unrest() {
    std::optional<Index> named;
    for (auto& sentinel : sentinels_) {
      if (!sentinel->is_running()) continue;
      const auto master = index_of(sentinel->named_master());
      if (named.value_or(master) != master) return "the sentinels name different masters";
      named = master;
      if (const auto flags = sentinel->about_master("flags"); flags != "master")
        return "the sentinel says of the master: " + flags;
      for (const auto& flags : sentinel->flags_of("SENTINELS"))
        if (flags != "sentinel") return "the sentinel says of a sentinel: " + flags;
      const auto replicas = sentinel->flags_of("REPLICAS");
      for (const auto& flags : replicas)
        if (flags != "slave") return "the sentinel says of a replica: " + flags;
      if (sentinel->about_master("num-other-sentinels") != "2") return "a sentinel is not known";
      if (replicas.size() != 2) return "a replica is not known";
    }
    if (!named) return "no sentinel runs";
    for (Index i = 0; i < members_.size(); ++i) {
      if (members_[i]->is_master() != (i == *named)) return members_[i]->address() + ": role";
    }
    if (members_[*named]->online_replicas() != 2) return "the replicas are not connected";
    return {};
  }

  Passwords passwords_;
  std::vector<std::unique_ptr<Member>> members_;
  std::vector<std::unique_ptr<SentinelProcess>> sentinels_;
};

}  // namespace redis_lock_test
