#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace redis_lock {

/// One server: a name or address (IPv4 or IPv6, without brackets), and its port.
struct Address {
  std::string host{};      ///< its name or address
  std::uint16_t port = 0;  ///< its TCP port

  /// The same port, and the same host, letter by letter.
  friend bool operator==(const Address& a, const Address& b) {
    return a.port == b.port && a.host == b.host;
  }
  /// Not operator==.
  friend bool operator!=(const Address& a, const Address& b) { return !(a == b); }
};

/// How to talk to a server over TLS. Files are in PEM form.
struct Tls {
  /// The authorities that are trusted. Default empty: those of the system.
  std::string ca_file{};
  /// The client's own certificate, with its chain, where the server asks for one.
  std::string cert_file{};
  /// The key of that certificate.
  std::string key_file{};
  /// The name or address that the server's certificate must be for. Default empty: Endpoint::host.
  std::string server_name{};
  /// Takes any certificate, so that anybody may pass for the server. For tests. Default off.
  bool insecure = false;
};

/// Redis Sentinel, which knows the master of a group of servers.
struct Sentinel {
  /// Any of them that answers is asked.
  std::vector<Address> addresses{};
  /// What the sentinels call the group.
  std::string master_name{};
  /// For AUTH at the sentinels. Default none; that of the Endpoint is for the master.
  std::string username{};
  /// The same. Never part of a message.
  std::string password{};
};

/// Where Redis is and how to talk to it. A plain aggregate; a Client checks it when it is made.
struct Endpoint {
  /// Name or address (IPv4 or IPv6, without brackets) for TCP; not used where one of the next three is set.
  /// A name is looked up for each new connection, and all of its addresses are tried, within connect_timeout. While it
  /// cannot be looked up, the addresses found last are used.
  std::string host = "127.0.0.1";
  /// TCP port, of `host`.
  std::uint16_t port = 6379;
  /// Path of a Unix socket. Default empty: TCP.
  std::string unix_socket{};
  /// Finds the master through Sentinel, and its successor after a failover.
  std::optional<Sentinel> sentinel{};
  /// Some servers of a Redis Cluster, which tell of the others. Default empty: not a cluster. On a cluster
  /// a lock's name without a hash tag gets one, `lock:{name}`, so that its keys are in one slot.
  std::vector<Address> cluster{};
  /// Over TLS, for TCP, also to the sentinels. Needs the CMake target redis_lock::tls, otherwise the first operation says so.
  std::optional<Tls> tls{};
  /// For AUTH together with the password: Redis 6 and later. Default none.
  std::string username{};
  /// For AUTH, alone or with the user name. Default none. Never part of a message.
  std::string password{};
  /// For SELECT.
  int database = 0;
  /// For CLIENT SETNAME, so that CLIENT LIST tells who is connected. Default none.
  std::string client_name{};
  /// How long one attempt to connect may take, to all addresses of the host together, their look-up included. A timed wait
  /// ends it at its deadline, but leaves it 100 ms. Default 1 s.
  std::chrono::milliseconds connect_timeout{1000};
  /// How long one answer of a server that is not asked to wait may take. Default 1 s.
  std::chrono::milliseconds command_timeout{1000};
  /// One operation goes on reconnecting this long after it lost its connection. 0: one attempt. With
  /// Sentinel or a cluster, it has to be longer than a failover takes. The time counts from the first failure, and anew
  /// once a waiter was told that the lock is held. So a server that answers waiters, but hangs up while they wait, does
  /// not end the wait: it is asked again with pauses that grow to half a second.
  std::chrono::milliseconds retry_for{5000};
  /// So many idle connections are kept for the next operations; those beyond are closed when an operation is over. 0:
  /// each operation opens one of its own. Default: no bound. Whatever the bound, one that is idle for a minute is
  /// closed, if another operation comes or the Client has a background thread, which keeps a connection of its own. A
  /// QuorumLock keeps as many to each node.
  std::size_t max_idle = std::numeric_limits<std::size_t>::max();

  /// Where all this was read from, such as the name of an environment variable: failures to reach the server say it.
  /// Default none; from_env() sets it.
  std::string origin{};

  /// Reads a URI:
  ///
  ///     redis://[user[:password]@]host[:port][/db]    IPv6 addresses in brackets
  ///     rediss://…                                    the same over TLS, also with
  ///       ?ca_file=…&cert_file=…&key_file=…&server_name=…&insecure=true
  ///     unix://[user[:password]@]/path[?db=n]
  ///     redis+sentinel://[user[:password]@]host[:port],…/master-name[/db]    sentinels, by default at port
  ///       26379; ?sentinel_username=…&sentinel_password=…
  ///     redis+cluster://[user[:password]@]host[:port],…      some servers of a cluster
  ///     rediss+sentinel://…, rediss+cluster://…              the same over TLS
  ///
  /// All with ?connect_timeout=…&command_timeout=…&retry_for=…&client_name=…&max_idle=n, each once. Times are written
  /// as `500ms`, `5s`, `1m30s`, `1.5h` or `1d`, up to 100 years; a number alone is milliseconds. Parts may be
  /// percent-encoded (RFC 3986, 2.1). There is no `#fragment`.
  /// Throws std::invalid_argument, which quotes of the URI nothing before the last '@', no parameter, and nothing else
  /// that may be a secret.
  [[nodiscard]] static Endpoint parse(std::string_view uri);

  /// Reads the URI that is in an environment variable, as parse() does. No I/O. Throws Error with
  /// errc::not_configured if the variable is unset, empty or no such URI: what() names the variable, says what is wrong,
  /// and quotes nothing of its value. Failures to reach that server name the variable, too. Throws std::invalid_argument
  /// if `variable` is null. No other thread may change the environment meanwhile.
  [[nodiscard]] static Endpoint from_env(const char* variable = "REDIS_URL");
};

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/protocol/uri.hpp>
#endif
