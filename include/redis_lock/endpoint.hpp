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

/// Address of one server: a host name or IP address (IPv4, or IPv6 without brackets), and a port.
struct Address {
  std::string host{};      ///< host name or IP address
  std::uint16_t port = 0;  ///< TCP port

  /// Returns whether the ports are equal, and the hosts letter by letter.
  friend bool operator==(const Address& a, const Address& b) {
    return a.port == b.port && a.host == b.host;
  }
  /// Returns the opposite of operator==.
  friend bool operator!=(const Address& a, const Address& b) { return !(a == b); }
};

/// TLS to a server. Files are in PEM form. Certificate chain and name are verified.
struct Tls {
  /// File with the authorities that are trusted. Default empty: those of the system.
  std::string ca_file{};
  /// File with the client's certificate and its chain, if the server asks for one. Default none.
  /// Goes together with `key_file`.
  std::string cert_file{};
  /// File with the key of that certificate. Default none.
  std::string key_file{};
  /// Name or address that the server's certificate must be for. Default empty: that of the server,
  /// such as Endpoint::host.
  std::string server_name{};
  /// Whether any certificate is accepted, so that any server may pass for this one. For tests.
  /// Default off.
  bool insecure = false;
};

/// Redis Sentinel, which knows the master of a group of servers.
struct Sentinel {
  /// Addresses of the sentinels. Any that answers is asked. At least one.
  std::vector<Address> addresses{};
  /// Name that the sentinels have for the group.
  std::string master_name{};
  /// User name for AUTH at the sentinels. Default none. That of the Endpoint is for the master.
  std::string username{};
  /// Password for AUTH at the sentinels. Default none. Never part of a message.
  std::string password{};
};

/// Where Redis is, and how to talk to it. An aggregate; Client checks it when it is made. At most
/// one of `unix_socket`, `sentinel` and `cluster` can be set.
struct Endpoint {
  /// Host name or IP address (IPv4, or IPv6 without brackets) for TCP. Not used if `unix_socket`,
  /// `sentinel` or `cluster` is set. A name is looked up for each new connection. All of its
  /// addresses are tried, within connect_timeout. If it cannot be looked up, the addresses found
  /// last are used. Default 127.0.0.1.
  std::string host = "127.0.0.1";
  /// TCP port of `host`. Default 6379.
  std::uint16_t port = 6379;
  /// Path of a Unix socket. Default empty: TCP.
  std::string unix_socket{};
  /// Sentinels that tell where the master is, and its successor after a failover. Default none.
  std::optional<Sentinel> sentinel{};
  /// Some servers of a Redis Cluster, which tell where the others are. Default empty: not a
  /// cluster. On a cluster a lock's name without a hash tag gets one, `lock:{name}`, so that its
  /// keys are in one slot
  /// (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/).
  std::vector<Address> cluster{};
  /// TLS, for TCP connections only, also to the sentinels. Default none. Needs the CMake target
  /// redis_lock::tls; without it, the first operation throws errc::connection_failed and says so.
  std::optional<Tls> tls{};
  /// User name for AUTH with a password (Redis 6 or later). Default none.
  std::string username{};
  /// Password for AUTH, with or without a user name. Default none. Never part of a message.
  std::string password{};
  /// Number for SELECT. Default 0; a cluster has no other.
  int database = 0;
  /// Name for CLIENT SETNAME, which CLIENT LIST shows. No spaces or special characters. Default
  /// none.
  std::string client_name{};
  /// Limit for one attempt to connect, with the look-up of the host and all of its addresses. A
  /// timed wait ends the attempt at its deadline, but leaves it at least 100 ms. Default 1 s, at
  /// least 1 ms.
  std::chrono::milliseconds connect_timeout{1000};
  /// Limit for one reply of the server. While a waiter is blocked, the time that it asked for is
  /// added, 3 s at most. Default 1 s, at least 1 ms.
  std::chrono::milliseconds command_timeout{1000};
  /// How long one operation keeps reconnecting after it lost its connection. 0: one attempt. With
  /// Sentinel or a cluster, it must be longer than a failover takes. Default 5 s.
  ///
  /// The time counts from the first failure, and starts again when a waiter was told that the lock
  /// is held. So a server that answers waiters, but hangs up while they wait, does not end the
  /// wait. It is asked again after pauses that grow to half a second.
  std::chrono::milliseconds retry_for{5000};
  /// How long an operation may poll its socket for a reply that is due at once, before it sleeps
  /// until the reply comes. 0: it does not poll. Default 50 µs, at most 1 ms.
  ///
  /// Where a sleep and a wake-up take longer than the server, that saves most of the time, and costs
  /// no more work of the processor. Each connection tries both, and polls only while that takes half
  /// the time at most. So it does not poll for the replies of a server that is far away, or on a
  /// machine that wakes up fast. A waiter that is blocked in Redis never polls. Nor does a process
  /// that has one processor only, by its affinity or by a quota of its cgroup, or in which as many
  /// threads wait for replies as it has processors.
  std::chrono::microseconds spin{50};
  /// Most idle connections that are kept for later operations. Others are closed when an operation
  /// is over. 0: each operation opens its own. Default: no bound. A QuorumLock keeps as many to
  /// each node.
  ///
  /// A connection that was idle for a minute is closed in any case, by the next operation or by the
  /// background thread of the Client. That thread keeps a connection of its own.
  std::size_t max_idle = std::numeric_limits<std::size_t>::max();

  /// Where all this was read from, such as the name of an environment variable. Errors about
  /// reaching the server name it. Default none; from_env() sets it.
  std::string origin{};

  /// Reads a URI. No I/O.
  ///
  ///     redis://[user[:password]@]host[:port][/db]    IPv6 addresses in brackets
  ///     rediss://…                                    over TLS, also with
  ///       ?ca_file=…&cert_file=…&key_file=…&server_name=…&insecure=true
  ///     unix://[user[:password]@]/path[?db=n]
  ///     redis+sentinel://[user[:password]@]host[:port],…/master-name[/db]    sentinels, by default at port
  ///       26379; ?sentinel_username=…&sentinel_password=…
  ///     redis+cluster://[user[:password]@]host[:port],…      some servers of a cluster
  ///     rediss+sentinel://…, rediss+cluster://…              both over TLS
  ///
  /// All with ?connect_timeout=…&command_timeout=…&retry_for=…&spin=…&client_name=…&max_idle=n, each
  /// once. Times are written as `50us`, `500ms`, `5s`, `1m30s`, `1.5h` or `1d`, up to 100 years. A
  /// number alone is milliseconds. Parts may be percent-encoded (RFC 3986, 2.1). There is no `#fragment`.
  ///
  /// Throws std::invalid_argument. Its message quotes nothing that may be a secret: no part before
  /// the last '@', and no parameter.
  [[nodiscard]] static Endpoint parse(std::string_view uri);

  /// Reads the URI in an environment variable, like parse(). No I/O. No other thread may change the
  /// environment meanwhile. Errors about reaching that server name the variable.
  ///
  /// Throws Error with errc::not_configured if the variable is unset, empty or no such URI. what()
  /// names the variable, says what is wrong, and quotes nothing of its value. Throws
  /// std::invalid_argument if `variable` is null.
  [[nodiscard]] static Endpoint from_env(const char* variable = "REDIS_URL");
};

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/protocol/uri.hpp>
#endif
