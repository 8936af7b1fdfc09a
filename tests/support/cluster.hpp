#pragma once

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "fleet.hpp"
#include "redis.hpp"

namespace redis_lock_test {

/// Three masters with a replica each: a Redis Cluster, which is up when the constructor returns.
class ClusterFleet {
 public:
  static constexpr Index master_count = 3;
  static constexpr int slot_count = 16384;
  static constexpr auto node_timeout = 1000ms;

  explicit ClusterFleet(std::string password = {}) : password_(std::move(password)) {
    while (members_.size() < 2 * master_count) {
      members_.push_back(despite_taken_ports([&] {
        return std::make_unique<Member>(
            password_, std::vector<std::string>{
                           "--cluster-enabled", "yes", "--cluster-node-timeout",
                           std::to_string(milliseconds{node_timeout}.count()),
                           // However long ago a replica heard of its master: it takes over.
                           "--cluster-replica-validity-factor", "0"});
      }));
    }
    introduce();
    await_stability();
  }

  /// redis+cluster://… with all members, or those in this order.
  [[nodiscard]] std::string uri(const std::string& parameters = {},
                                const std::vector<Index>& members = {0, 1, 2, 3, 4, 5}) const {
    std::string uri = "redis+cluster://";
    if (!password_.empty()) uri += ":" + password_ + "@";
    std::string separator;
    for (const auto member : members)
      uri += std::exchange(separator, ",") + members_.at(member)->address();
    return parameters.empty() ? uri : uri + "?" + parameters;
  }

  [[nodiscard]] Member& member(Index index) { return *members_.at(index); }
  [[nodiscard]] Index size() const { return members_.size(); }

  [[nodiscard]] int slot_of(const std::string& key) {
    return static_cast<int>(some_running().redis().integer("CLUSTER", "KEYSLOT", key));
  }

  /// The master of this slot, as the masters that run agree about it.
  [[nodiscard]] Index owner_of(int slot) {
    std::optional<Index> owner;
    require_soon("no owner of slot " + std::to_string(slot), [&]() -> std::string {
      owner.reset();
      for (auto& member : members_) {
        if (!member->is_running() || !member->is_master()) continue;
        const auto named = owner_of(slot, member->redis());
        if (owner.value_or(named) != named) return "the masters name different ones";
        owner = named;
      }
      return owner ? "" : "no master runs";
    });
    return *owner;
  }
  [[nodiscard]] Index owner_of(const std::string& key) { return owner_of(slot_of(key)); }

  /// The test's own client of the master of this key.
  [[nodiscard]] Redis& redis(const std::string& key) { return member(owner_of(key)).redis(); }

  /// The members that are masters now.
  [[nodiscard]] std::vector<Index> masters() {
    std::vector<Index> masters;
    for (Index i = 0; i < members_.size(); ++i) {
      if (members_[i]->is_running() && members_[i]->is_master()) masters.push_back(i);
    }
    return masters;
  }
  /// A master that is not this one.
  [[nodiscard]] Index another_master(Index than) {
    for (const auto index : masters()) {
      if (index != than) return index;
    }
    throw std::runtime_error("there is one master only");
  }
  /// The replicas of this master.
  [[nodiscard]] std::vector<Index> replicas_of(Index master) {
    const auto port = std::to_string(member(master).port());
    std::vector<Index> replicas;
    for (Index i = 0; i < members_.size(); ++i) {
      if (i != master && members_[i]->is_running() && members_[i]->info("master_port") == port)
        replicas.push_back(i);
    }
    return replicas;
  }

  /// Waits until the replicas of this master have all that was written so far.
  void replicate(Index master) {
    for (const auto replica : replicas_of(master)) member(replica).catch_up_with(member(master));
  }

  /// A name that begins so, whose slot this master has.
  [[nodiscard]] std::string name_at(Index master, const std::string& beginning) {
    for (int i = 0;; ++i) {
      auto name = beginning + std::to_string(i);
      if (owner_of(name) == master) return name;
    }
  }

  /// When a replica of this master takes over from it.
  [[nodiscard]] std::unique_ptr<Moment> next_promotion(Index master) {
    auto replicas = std::make_shared<std::vector<Redis>>();
    for (const auto replica : replicas_of(master)) replicas->push_back(members_[replica]->client());
    return std::make_unique<Moment>([replicas] {
      return std::any_of(replicas->begin(), replicas->end(), [](Redis& replica) {
        return replica.command("ROLE").elements.at(0).text == "master";
      });
    });
  }

  /// A slot that moves from the master that has it to another one.
  class Migration {
   public:
    /// Source and target know of it, and no key has moved: the half-migrated state.
    Migration(ClusterFleet& fleet, int slot, Index to)
        : fleet_(fleet), slot_(slot), from_(fleet.owner_of(slot)), to_(to) {
      fleet.set_slot(to_, slot_, "IMPORTING", from_);
      fleet.set_slot(from_, slot_, "MIGRATING", to_);
    }

    [[nodiscard]] Index from() const { return from_; }
    [[nodiscard]] Index to() const { return to_; }

    /// Moves this key, if it is there.
    void move_key(const std::string& key) {
      const auto& target = fleet_.member(to_);
      std::vector<std::string> words{"MIGRATE", target.host(), std::to_string(target.port()),
                                     "",        "0",           "5000"};
      if (!fleet_.password_.empty()) words.insert(words.end(), {"AUTH", fleet_.password_});
      words.insert(words.end(), {"KEYS", key});
      require_ok(fleet_.member(from_).redis().send(words), "NOKEY");
    }

    /// Moves all keys, and has all masters know the new owner.
    void finish() {
      for (;;) {
        const auto keys =
            fleet_.member(from_).redis().command("CLUSTER", "GETKEYSINSLOT", slot_, 100).elements;
        if (keys.empty()) break;
        for (const auto& key : keys) move_key(key.text);
      }
      // The target first: while it does not own the slot, the source must not send clients to it.
      fleet_.set_slot(to_, slot_, "NODE", to_);
      fleet_.set_slot(from_, slot_, "NODE", to_);
      for (const auto master : fleet_.masters()) {
        if (master != to_ && master != from_) fleet_.set_slot(master, slot_, "NODE", to_);
      }
    }

   private:
    ClusterFleet& fleet_;
    int slot_;
    Index from_, to_;
  };

  void migrate(int slot, Index to) { Migration{*this, slot, to}.finish(); }

  /// Revives all that were killed or frozen, and waits until nothing is left of the fault.
  void restore() {
    for (auto& member : members_) {
      if (!member->is_running()) member->revive();
      member->mend_replication(password_);
    }
    await_stability();
  }

  /// Waits until the fleet could bear a fault of any master.
  void await_stability() {
    require_soon("the cluster does not get stable", [this] { return unrest(); });
  }

 private:
  using milliseconds = std::chrono::milliseconds;

  static void require_ok(const Reply& reply, const std::string& other = "OK") {
    if (reply.text != "OK" && reply.text != other) throw std::runtime_error(reply.text);
  }

  [[nodiscard]] Member& some_running() {
    for (auto& member : members_) {
      if (member->is_running()) return *member;
    }
    throw std::runtime_error("no member runs");
  }

  [[nodiscard]] Index owner_of(int slot, Redis& redis) {
    for (const auto& range : redis.command("CLUSTER", "SLOTS").elements) {
      if (slot < range.elements.at(0).integer || slot > range.elements.at(1).integer) continue;
      return index_of(range.elements.at(2).elements.at(1).integer);
    }
    throw std::runtime_error("nobody has it");
  }

  [[nodiscard]] Index index_of(long long port) const {
    for (Index i = 0; i < members_.size(); ++i) {
      if (members_[i]->port() == port) return i;
    }
    throw std::runtime_error("a stranger in the cluster");
  }

  [[nodiscard]] std::string id_of(Index index) {
    return members_.at(index)->redis().string("CLUSTER", "MYID").value_or("");
  }

  void set_slot(Index at, int slot, const std::string& state, Index other) {
    require_ok(member(at).redis().command("CLUSTER", "SETSLOT", slot, state, id_of(other)));
  }

  /// Makes a cluster of members that know nothing of each other.
  void introduce() {
    for (Index i = 0; i < members_.size(); ++i) {
      auto& redis = members_[i]->redis();
      require_ok(redis.command("CLUSTER", "SET-CONFIG-EPOCH", static_cast<int>(i + 1)));
      if (i < master_count) {
        std::vector<std::string> words{"CLUSTER", "ADDSLOTS"};
        const auto first = static_cast<int>(i) * slot_count / static_cast<int>(master_count);
        const auto end = static_cast<int>(i + 1) * slot_count / static_cast<int>(master_count);
        for (int slot = first; slot < end; ++slot) words.push_back(std::to_string(slot));
        require_ok(redis.send(words));
      }
      for (Index j = 0; j < i; ++j)
        require_ok(redis.command("CLUSTER", "MEET", members_[j]->host(), members_[j]->port()));
    }
    for (Index i = master_count; i < members_.size(); ++i) {
      const auto master = id_of(i - master_count);
      require_soon("a replica", [&] {
        const auto reply = members_[i]->redis().command("CLUSTER", "REPLICATE", master);
        return reply.is_error() ? reply.text : "";
      });
    }
  }

  /// What is not yet as it should be; nothing: all is well.
  [[nodiscard]] std::string unrest() {
    Index masters_seen = 0;
    for (auto& member : members_) {
      const auto state = member->redis().string("CLUSTER", "INFO").value_or("");
      const auto nodes = member->redis().string("CLUSTER", "NODES").value_or("");
      if (state.find("cluster_state:ok") == state.npos)
        return member->address() + ": the cluster is not ok";
      if (state.find("cluster_known_nodes:6") == state.npos ||
          nodes.find("handshake") != nodes.npos)
        return member->address() + ": not all know each other";
      if (nodes.find("fail") != nodes.npos || nodes.find("disconnected") != nodes.npos)
        return member->address() + ": it thinks that somebody is not there";
      if (!member->is_master()) continue;
      ++masters_seen;
      if (member->online_replicas() != 1) return member->address() + ": its replica is missing";
    }
    return masters_seen == master_count ? "" : "not so many masters";
  }

  std::string password_;
  std::vector<std::unique_ptr<Member>> members_;
};

}  // namespace redis_lock_test
