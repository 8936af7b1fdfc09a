#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace redis_lock::detail {

/// A waiter's view of which id holds the lock on each node. The holder releases on the nodes that have its id, and
/// signals there. On the others a key may be left by a release that failed: no signal comes there.
class QuorumView {
 public:
  static constexpr std::size_t nobody = static_cast<std::size_t>(-1);

  /// One node. `told`: it has answered. Without an id, the lock is free there.
  struct Node {
    bool told = false;
    std::optional<std::string> id{};
    [[nodiscard]] bool is_held() const noexcept { return told && id.has_value(); }
  };
  /// For each node, the id that is known to hold the lock on no majority, if there is one.
  using PassedOver = std::vector<std::optional<std::string>>;

  /// The id that seems to hold the lock.
  struct Holder {
    std::string_view id;  // refers to the nodes
    bool is_certain;      // no other id can have a majority
  };

  /// `is_whole`: all nodes were asked, so that those that have not answered are away.
  QuorumView(std::size_t size, bool is_whole) : nodes(size), is_whole_(is_whole) {}

  std::vector<Node> nodes;

  /// Returns the id of most nodes; among equals, the first in their order. Returns nothing if the lock is free
  /// everywhere, but for ids that were passed over.
  [[nodiscard]] std::optional<Holder> holder(const PassedOver& passed_over) const {
    std::size_t most = 0, next = 0, silent = 0;
    const Node* found = nullptr;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (is_whole_ && !nodes[i].told) ++silent;
      if (!nodes[i].is_held() || is_repeated(i)) continue;
      const auto votes = count(*nodes[i].id);
      if (votes == 1 && nodes[i].id == passed_over[i]) continue;
      if (votes > most) {
        next = most;
        most = votes;
        found = &nodes[i];
      } else {
        next = std::max(next, votes);
      }
    }
    if (!found) return std::nullopt;
    return Holder{*found->id, most > next && most + silent >= majority()};
  }

  /// Passes over the ids that were there `before`, too, and cannot have a majority: their keys are left over.
  void remember(const QuorumView& before, PassedOver& passed_over) const {
    if (!is_whole_) return;
    const auto silent = static_cast<std::size_t>(
        std::count_if(nodes.begin(), nodes.end(), [](const Node& node) { return !node.told; }));
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      if (!nodes[i].is_held() || before.nodes[i].id != nodes[i].id) continue;
      if (count(*nodes[i].id) + silent < majority()) passed_over[i] = nodes[i].id;
    }
  }

 private:
  [[nodiscard]] std::size_t count(std::string_view id) const {
    return static_cast<std::size_t>(
        std::count_if(nodes.begin(), nodes.end(),
                      [id](const Node& node) { return node.is_held() && node.id == id; }));
  }

  /// Returns whether this id was counted at an earlier node.
  [[nodiscard]] bool is_repeated(std::size_t i) const {
    return std::any_of(nodes.begin(), nodes.begin() + static_cast<std::ptrdiff_t>(i),
                       [&](const Node& node) { return node.is_held() && node.id == nodes[i].id; });
  }

  [[nodiscard]] std::size_t majority() const noexcept { return nodes.size() / 2 + 1; }

  bool is_whole_;  // all nodes were asked
};

}  // namespace redis_lock::detail
