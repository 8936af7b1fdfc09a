#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/endpoint.hpp>

/// How a Redis Cluster distributes keys over its servers. No I/O.
/// https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
namespace redis_lock::detail {

using Slot = std::uint16_t;
inline constexpr std::size_t slot_count = 16384;

/// Returns the part of a key that alone decides its slot: between the first '{' and the next '}', if not empty.
[[nodiscard]] inline std::optional<std::string_view> hash_tag(std::string_view key) {
  const auto open = key.find('{');
  if (open == key.npos) return std::nullopt;
  const auto close = key.find('}', open + 1);
  if (close == key.npos || close == open + 1) return std::nullopt;
  return key.substr(open + 1, close - open - 1);
}

/// Returns the slot: CRC16/XMODEM of the key or its hash tag.
[[nodiscard]] inline Slot slot_of(std::string_view key) {
  const auto hashed = hash_tag(key).value_or(key);
  unsigned crc = 0;
  for (const char c : hashed) {
    crc ^= static_cast<unsigned>(static_cast<unsigned char>(c)) << 8U;
    for (int bit = 0; bit < 8; ++bit) crc = (crc << 1U) ^ ((crc & 0x8000U) != 0 ? 0x11021U : 0U);
  }
  return static_cast<Slot>(crc % slot_count);
}

/// Returns the address that one server gives for another in MOVED, ASK and CLUSTER SLOTS. If a server does not know
/// how clients see the host, it leaves the host out or says '?': the host is then that of `asked`. Address{} stands
/// for an unknown place. Port 0 means unknown, too: that server does not listen, or not yet.
[[nodiscard]] inline Address told_address(std::string_view host, std::uint16_t port,
                                          const Address& asked) {
  if (port == 0) return {};
  const bool is_told = !host.empty() && host != "?";
  return {is_told ? std::string(host) : asked.host, port};
}

/// Reads a host and a port from the reply to `command`. Throws Failure if there is no port.
[[nodiscard]] inline Address address_of(const std::vector<Reply>& parts, const Address& asked,
                                        const char* command) {
  constexpr int highest = std::numeric_limits<std::uint16_t>::max();
  long long port = -1;
  if (parts.size() >= 2) {
    const auto& text = parts[1].text;  // empty if the port is an integer
    if (parts[1].kind == Reply::Kind::integer) port = parts[1].integer;
    std::from_chars(text.data(), text.data() + text.size(), port);
  }
  if (port < 0 || port > highest) {
    throw Failure{errc::protocol_error, std::string("no address in the reply to ") + command};
  }
  return told_address(parts[0].text, static_cast<std::uint16_t>(port), asked);
}

/// Reads an entry of CLUSTER SLOTS. A server that must give host names, and has none, says '?'. The node's IP address
/// then stands behind its id, unless the node is `asked`.
[[nodiscard]] inline Address node_address(const std::vector<Reply>& parts, const Address& asked) {
  auto address = address_of(parts, asked, "CLUSTER SLOTS");
  if (parts[0].text != "?" || parts.size() < 4 || address == Address{}) return address;
  const auto& metadata = parts[3].elements;
  for (std::size_t i = 0; i + 1 < metadata.size(); i += 2) {
    if (metadata[i].text == "ip" && !metadata[i + 1].text.empty())
      address.host = metadata[i + 1].text;
  }
  return address;
}

/// A redirect, the reply for a key that the server does not have: "MOVED 3999 127.0.0.1:6381", or ASK.
struct Redirection {
  Slot slot;
  Address server;             // as told_address() reads it
  bool host_is_known = true;  // false: the server said '?', and the host of `asked` is a guess
};

/// Reads the redirect from an error reply of `asked`. Returns nothing if it is none.
[[nodiscard]] inline std::optional<Redirection> redirection_of(const Reply& reply,
                                                               const Address& asked) {
  const std::string_view text = reply.text;
  const auto space = text.find(' ');
  const auto colon = text.rfind(':');
  unsigned slot = 0;
  std::uint16_t port = 0;
  const auto read = [&](std::size_t from, auto& number) {
    const auto end = text.data() + text.size();
    return std::from_chars(text.data() + from, end, number).ec == std::errc{};
  };
  if (space == text.npos || colon == text.npos || !read(space + 1, slot) ||
      !read(colon + 1, port) || slot >= slot_count) {
    return std::nullopt;
  }
  const auto host_at = text.find(' ', space + 1) + 1;
  if (host_at == 0 || host_at > colon) return std::nullopt;
  const auto host = text.substr(host_at, colon - host_at);
  return Redirection{static_cast<Slot>(slot), told_address(host, port, asked), host != "?"};
}

/// The master of each slot.
class SlotMap {
 public:
  SlotMap() = default;

  /// Reads the reply of `asked` to CLUSTER SLOTS. Leaves out servers without a port. Throws Failure if the reply is of
  /// another kind.
  SlotMap(const Reply& slots, const Address& asked) : owners_(slot_count, nobody) {
    expect(slots, slots.kind == Reply::Kind::array, "CLUSTER SLOTS");
    for (const auto& range : slots.elements) {
      const bool is_range =
          range.elements.size() >= 3 && is_slot(range.elements[0]) && is_slot(range.elements[1]);
      expect(range, is_range, "CLUSTER SLOTS");
      for (std::size_t i = 2; i < range.elements.size(); ++i) {
        const auto address = node_address(range.elements[i].elements, asked);
        const auto server = address == Address{} ? nobody : index_of(address);
        const auto first = owners_.begin() + static_cast<Slot>(range.elements[0].integer);
        const auto last = owners_.begin() + static_cast<Slot>(range.elements[1].integer);
        if (i == 2 && first <= last) std::fill(first, last + 1, server);
      }
    }
  }

  /// Returns the master that has this slot, if that is known.
  [[nodiscard]] std::optional<Address> owner(Slot slot) const {
    if (owners_.empty() || owners_[slot] == nobody) return std::nullopt;
    return servers_[owners_[slot]];
  }

  /// Returns the server that a redirect of `asked` means. If its host is not known, that is the only other server
  /// with this port, if there is exactly one. Address{}: unknown, also if it would be `asked`, which has just
  /// refused.
  [[nodiscard]] Address target(const Redirection& to, const Address& asked) const {
    const auto fits = [&](const Address& known) {
      return known.port == to.server.port && known != asked;
    };
    if (!to.host_is_known && std::count_if(servers_.begin(), servers_.end(), fits) == 1)
      return *std::find_if(servers_.begin(), servers_.end(), fits);
    return to.server == asked ? Address{} : to.server;
  }

  /// Records that the slot is at `to`. Address{}: its owner is not known any more.
  void move(Slot slot, const Address& to) {
    if (!owners_.empty()) owners_[slot] = to == Address{} ? nobody : index_of(to);
  }

  /// Compares what both maps say of each slot.
  friend bool operator==(const SlotMap& a, const SlotMap& b) {
    if (a.owners_.size() != b.owners_.size()) return false;
    for (std::size_t slot = 0; slot < a.owners_.size(); ++slot) {
      const auto at_a = a.owners_[slot], at_b = b.owners_[slot];
      const bool same =
          at_a == nobody || at_b == nobody ? at_a == at_b : a.servers_[at_a] == b.servers_[at_b];
      if (!same) return false;
    }
    return true;
  }

  /// Returns masters and replicas.
  [[nodiscard]] const std::vector<Address>& servers() const noexcept { return servers_; }

  /// Returns one slot of each master.
  [[nodiscard]] std::vector<Slot> one_slot_of_each() const {
    std::vector<Slot> slots;
    std::vector<bool> seen(servers_.size());
    for (std::size_t slot = 0; slot < owners_.size(); ++slot) {
      const auto owner = owners_[slot];
      if (owner == nobody || seen[owner]) continue;
      seen[owner] = true;
      slots.push_back(static_cast<Slot>(slot));
    }
    return slots;
  }

 private:
  using Index = std::uint16_t;
  static constexpr Index nobody = std::numeric_limits<Index>::max();

  [[nodiscard]] static bool is_slot(const Reply& reply) {
    return reply.kind == Reply::Kind::integer && reply.integer >= 0 &&
           reply.integer < static_cast<long long>(slot_count);
  }

  [[nodiscard]] Index index_of(const Address& server) {
    const auto found = std::find(servers_.begin(), servers_.end(), server);
    if (found != servers_.end()) return static_cast<Index>(found - servers_.begin());
    if (servers_.size() == nobody) throw Failure{errc::protocol_error, "too many servers"};
    servers_.push_back(server);
    return static_cast<Index>(servers_.size() - 1);
  }

  std::vector<Index> owners_;  // of each slot, an index of servers_; empty while nothing is known
  std::vector<Address> servers_;
};

}  // namespace redis_lock::detail
