#pragma once

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/lock/client_state.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/options.hpp>

/// All locks of a keyspace: which keys are locks, and the walk over them.
namespace redis_lock::detail {

/// What the key of a SharedLock or a Semaphore begins with, and what holds it.
struct SharedKey {
  std::string_view prefix;
  Keys::Kind kind;
};
inline constexpr std::array shared_keys{SharedKey{shared_prefix::gate, Keys::Kind::writing},
                                        SharedKey{shared_prefix::readers, Keys::Kind::reading},
                                        SharedKey{shared_prefix::permits, Keys::Kind::permit}};
/// Returns nothing for any other key.
[[nodiscard]] inline std::optional<SharedKey> shared_key(std::string_view key) {
  for (const auto& each : shared_keys) {
    if (key.substr(0, each.prefix.size()) == each.prefix) return each;
  }
  return std::nullopt;
}

/// A filter for the keys of locks among those with one prefix.
class LockKeys {
 public:
  /// Throws std::invalid_argument if the prefix is empty, or leads to fencing tokens only.
  LockKeys(std::string key_prefix, const std::string& signal_prefix,
           const std::string& fence_prefix, bool is_cluster)
      : prefix_(std::move(key_prefix)),
        others_{signal_prefix,
                fence_prefix,
                "lock-signal:",
                "lock-fence:",
                "cache:",
                "once:",
                std::string(shared_prefix::fence)},
        is_cluster_(is_cluster) {
    require(!prefix_.empty(), "key_prefix must not be empty");
    for (const auto& fences : {fence_prefix, others_[3]}) {
      require(fences.empty() || prefix_.compare(0, fences.size(), fences) != 0,
              "key_prefix must not begin with the prefix of fencing tokens");
    }
  }

  /// Returns filters for all that `key_prefix` stands for: the default one also for SharedLock and Semaphore.
  [[nodiscard]] static std::vector<LockKeys> all(const std::string& key_prefix,
                                                 const std::string& signal_prefix,
                                                 const std::string& fence_prefix, bool is_cluster) {
    std::vector<LockKeys> filters{{key_prefix, signal_prefix, fence_prefix, is_cluster}};
    if (key_prefix != Options{}.key_prefix) return filters;
    for (const auto* const prefix : {"shared-lock", "semaphore:"}) {
      filters.push_back({prefix, {}, {}, is_cluster});
      filters.back().is_shared_ = true;
    }
    return filters;
  }

  [[nodiscard]] const std::string& prefix() const noexcept { return prefix_; }

  /// Returns whether a string under this key, which begins with the prefix, may be a lock. Signals, fencing tokens,
  /// values of a Cache and markers of call_once() are none. On a cluster each lock has a hash tag (keys_on_cluster()).
  [[nodiscard]] bool may_have(const std::string& key) const {
    if (is_cluster_ && !hash_tag(key)) return false;
    if (is_shared_) return shared_key(key).has_value();
    return std::none_of(others_.begin(), others_.end(), [&](const std::string& other) {
      return other.size() > prefix_.size() && key.compare(0, other.size(), other) == 0;
    });
  }

 private:
  std::string prefix_;
  std::array<std::string, 7> others_;
  bool is_shared_ = false;  // of SharedLock and Semaphore
  bool is_cluster_;
};

/// Returns the name for a key without its prefix: on a cluster the name may be the hash tag (keys_on_cluster()). If
/// two names have the same key, `{a}{b}` and `a}{b`, it is the one with tags of its own.
[[nodiscard]] inline std::string name_under(std::string key, bool is_cluster,
                                            std::string_view prefix = {}) {
  if (!is_cluster || key.size() < 3 || key.front() != '{' || key.back() != '}') return key;
  auto name = key.substr(1, key.size() - 2);
  const auto close = name.find('}');
  const bool has_tags = close != name.npos && name.find('{', close) != name.npos;
  return has_tags || hash_tag(std::string(prefix) + name) ? key : name;
}

/// A key that is at another server of the cluster by now, with the reply of the asked server.
struct Elsewhere {
  std::string key;
  Reply reply;
};

/// Returns whether the cluster moved the key away between two commands. Redirector has turned MOVED into TRYAGAIN.
[[nodiscard]] inline bool is_elsewhere(const Reply& reply) {
  return reply.is_error("TRYAGAIN") || is_about_a_moved_key(reply);
}

/// Walks the keys of the locks at the server that has this slot, by SCAN. `look(Connection&, keys)` looks at some at
/// a time, in one exchange. Like this function, it returns the keys that are elsewhere, as a std::vector<Elsewhere>.
template <class Look>
[[nodiscard]] std::vector<Elsewhere> walk_server(ClientState& client, const char* operation,
                                                 const LockKeys& locks, Slot server,
                                                 const Look& look) {
  std::vector<Elsewhere> elsewhere;
  std::string cursor = "0";
  do {
    std::vector<Elsewhere> more;
    cursor = client.perform(
        operation, locks.prefix(), client.limits(server), [&](Connection& connection) {
          auto found = scan(connection, locks.prefix(), cursor);
          auto& keys = found.keys;
          const auto is_other = [&](const std::string& key) { return !locks.may_have(key); };
          keys.erase(std::remove_if(keys.begin(), keys.end(), is_other), keys.end());
          if (!keys.empty()) more = look(connection, keys);
          return std::move(found.next);
        });
    std::move(more.begin(), more.end(), std::back_inserter(elsewhere));
  } while (cursor != "0");
  return elsewhere;
}

/// Walks the keys of the locks at all masters by walk_server(). Then looks at what has moved, key by key.
/// Asks where the masters are before and after the walk. If they or their slots have changed, keys may have been
/// missed: it walks once more, up to `most_walks` times. So a key may be looked at more than once. Throws Error,
/// which names the operation.
template <class Look>
void walk_locks(ClientState& client, const char* operation, const LockKeys& locks,
                const Look& look) {
  constexpr int most_walks = 5;
  auto places = client.survey(operation, locks.prefix());
  for (int walk = 1; walk <= most_walks; ++walk) {
    std::vector<Elsewhere> elsewhere;
    for (const auto server : places.one_slot_of_each()) {
      auto more = walk_server(client, operation, locks, server, look);
      std::move(more.begin(), more.end(), std::back_inserter(elsewhere));
    }
    for (const auto& each : elsewhere) {
      const auto limits = client.limits(client.slot_of(each.key));
      client.perform(operation, locks.prefix(), limits, [&](Connection& connection) {
        const auto still = look(connection, std::vector<std::string>{each.key});
        if (still.empty()) return 0;
        throw Failure{errc::server_error, still.front().reply.text, Failure::Kind::transient};
      });
    }
    auto now = client.survey(operation, locks.prefix());
    if (now == places) return;
    places = std::move(now);
  }
}

}  // namespace redis_lock::detail
