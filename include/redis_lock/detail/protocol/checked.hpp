#pragma once

#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/duration.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/options.hpp>

/// Checks of constructor arguments: they are refused or corrected before any use.
namespace redis_lock::detail {

/// Throws std::invalid_argument unless `good`.
inline void require(bool good, const char* complaint) {
  if (!good) throw std::invalid_argument(std::string("redis_lock: ") + complaint);
}

/// Limits a time so that it can be added to any other.
[[nodiscard]] inline milliseconds limited(milliseconds time) {
  return std::min<milliseconds>(time, longest);
}

[[nodiscard]] inline Endpoint checked(Endpoint endpoint) {
  const auto has_nul = [](const std::string& text) { return text.find('\0') != text.npos; };
  const auto check_address = [&](const std::string& host, std::uint16_t port) {
    require(!host.empty() && !has_nul(host), "host must not be empty or contain NUL");
    require(port != 0, "port must not be 0");
  };
  const int ways = (endpoint.unix_socket.empty() ? 0 : 1) + (endpoint.sentinel ? 1 : 0) +
                   (endpoint.cluster.empty() ? 0 : 1);
  require(ways <= 1, "only one of unix_socket, sentinel and cluster can be set");
  if (ways == 0) check_address(endpoint.host, endpoint.port);
  if (endpoint.sentinel) {
    require(!endpoint.sentinel->addresses.empty(), "sentinel needs addresses");
    require(!endpoint.sentinel->master_name.empty(), "sentinel needs a master_name");
    for (const auto& each : endpoint.sentinel->addresses) check_address(each.host, each.port);
  }
  for (const auto& each : endpoint.cluster) check_address(each.host, each.port);
  require(endpoint.cluster.empty() || endpoint.database == 0,
          "database must be 0: a cluster has no other");
  if (!endpoint.unix_socket.empty()) {
    require(!has_nul(endpoint.unix_socket) &&
                endpoint.unix_socket.size() < sizeof(sockaddr_un::sun_path),
            "unix_socket is longer than the system allows, or contains NUL");
  }
  if (endpoint.tls) {
    require(endpoint.unix_socket.empty(), "tls is not possible over a unix_socket");
    require(endpoint.tls->cert_file.empty() == endpoint.tls->key_file.empty(),
            "cert_file and key_file must be set together");
    for (const auto* text : {&endpoint.tls->ca_file, &endpoint.tls->cert_file,
                             &endpoint.tls->key_file, &endpoint.tls->server_name}) {
      require(!has_nul(*text), "ca_file, cert_file, key_file and server_name must not contain NUL");
    }
  }
  require(endpoint.database >= 0, "database must not be negative");
  require(endpoint.connect_timeout > milliseconds::zero(), "connect_timeout must be positive");
  require(endpoint.command_timeout > milliseconds::zero(), "command_timeout must be positive");
  require(endpoint.retry_for >= milliseconds::zero(), "retry_for must not be negative");
  require(endpoint.spin >= endpoint.spin.zero() && endpoint.spin <= longest_spin,
          "spin must be from 0 to 1 ms");
  for (const char c : endpoint.client_name) {
    require(c > ' ' && c <= '~', "client_name must not contain spaces or special characters");
  }
  for (const auto time :
       {&Endpoint::connect_timeout, &Endpoint::command_timeout, &Endpoint::retry_for}) {
    endpoint.*time = limited(endpoint.*time);
  }
  return endpoint;
}

[[nodiscard]] inline Options checked(const std::string& name, Options options, bool is_borrowed) {
  require(!name.empty(), "name must not be empty");
  require(options.expire > milliseconds::zero(), "expire must be positive");
  require(options.signal_expire > milliseconds::zero(), "signal_expire must be positive");
  require(options.max_hold > milliseconds::zero(), "max_hold must be positive");
  require(options.min_hold >= milliseconds::zero(), "min_hold must not be negative");
  if (options.min_hold > milliseconds::zero()) {
    require(options.id.empty(), "min_hold is for random ids: id must be empty");
    require(options.local_handoffs == 0, "min_hold needs local_handoffs of 0");
  }
  require(options.id.empty() || options.id_prefix.empty(),
          "id_prefix is for random ids: id must be empty");
  require(options.key_prefix != options.signal_prefix, "key_prefix and signal_prefix must differ");
  require(!options.deferred_unlock || !is_borrowed,
          "deferred_unlock is not possible over a borrowed context");
  if (options.fencing) {
    require(options.fence_prefix != options.signal_prefix &&
                options.fence_prefix.compare(0, options.key_prefix.size(), options.key_prefix) != 0,
            "fence_prefix must not begin with key_prefix, or be signal_prefix");
    require(options.local_handoffs == 0,
            "fencing needs local_handoffs of 0: a lock that is handed off gets no new token");
  }
  require(options.replicas.min_acks == 0 || options.replicas.timeout > milliseconds::zero(),
          "replicas.timeout must be positive");
  if (options.auto_renewal) {
    require(options.expire != no_expiry, "auto_renewal needs an expire that is not no_expiry");
    require(!is_borrowed, "auto_renewal is not possible over a borrowed context");
  }
  if (options.expire != no_expiry) options.expire = limited(options.expire);
  options.signal_expire = limited(options.signal_expire);
  options.min_hold = limited(options.min_hold);
  options.replicas.timeout = limited(options.replicas.timeout);
  return options;
}

/// Checks the options of a SharedLock or a Semaphore, too.
[[nodiscard]] inline Options checked_to_share(const std::string& name, Options options) {
  const Options defaults;
  require(options.expire != no_expiry, "expire must be finite, because some holder will die");
  require(options.id.empty(), "id must be empty: each holder has one of its own");
  require(options.key_prefix == defaults.key_prefix &&
              options.signal_prefix == defaults.signal_prefix &&
              options.fence_prefix == defaults.fence_prefix,
          "key_prefix, signal_prefix and fence_prefix are for Lock and QuorumLock");
  return checked(name, std::move(options), false);
}

/// `most`: how many permits a Semaphore has.
[[nodiscard]] inline Keys keys_of(const std::string& name, const Options& options,
                                  Keys::Kind kind = Keys::Kind::lock, std::size_t most = 0) {
  const auto key = [&](std::string_view prefix) { return std::string(prefix) + name; };
  const auto fence = [&](std::string_view prefix) {
    return options.fencing ? key(prefix) : std::string{};
  };
  namespace prefix = shared_prefix;
  switch (kind) {
    case Keys::Kind::lock: break;
    case Keys::Kind::writing:
      return {key(prefix::gate),    key(prefix::signal), fence(prefix::fence), kind,
              key(prefix::readers), key(prefix::drained)};
    case Keys::Kind::reading:
      return {key(prefix::readers), key(prefix::signal), {}, kind, key(prefix::gate),
              key(prefix::drained), "9007199254740992"};
    case Keys::Kind::permit:
      return {key(prefix::permits), key(prefix::permit_signal), {}, kind, {}, {},
              std::to_string(most)};
  }
  return {key(options.key_prefix), key(options.signal_prefix), fence(options.fence_prefix)};
}

/// Returns keys in one slot: if the lock's key has no hash tag, the name becomes the tag of all of them.
[[nodiscard]] inline Keys keys_on_cluster(const std::string& name, const Options& options,
                                          Keys::Kind kind = Keys::Kind::lock,
                                          std::size_t most = 0) {
  auto keys = keys_of(name, options, kind, most);
  if (!hash_tag(keys.lock)) keys = keys_of('{' + name + '}', options, kind, most);
  const auto slot = slot_of(keys.lock);
  // Those of a SharedLock differ in their prefixes only: if the signal is in the slot, all are.
  require(slot_of(keys.signal) == slot && (keys.fence.empty() || slot_of(keys.fence) == slot),
          "name: on a cluster it must not begin with '}', and the prefixes must have the same hash "
          "tag, or none");
  return keys;
}

/// Returns the keys on a single server or on a cluster.
[[nodiscard]] inline Keys keys_at(bool is_cluster, const std::string& name, const Options& options,
                                  Keys::Kind kind = Keys::Kind::lock, std::size_t most = 0) {
  return is_cluster ? keys_on_cluster(name, options, kind, most)
                    : keys_of(name, options, kind, most);
}

}  // namespace redis_lock::detail
