#pragma once

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace redis_lock {

/// One server: a name or address (IPv4 or IPv6, without brackets), and its port.
struct Address {
  std::string host;        ///< its name or address
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
  std::string ca_file;
  /// The client's own certificate, with its chain, where the server asks for one.
  std::string cert_file;
  /// The key of that certificate.
  std::string key_file;
  /// The name or address that the server's certificate must be for. Default empty: Endpoint::host.
  std::string server_name;
  /// Takes any certificate, so that anybody may pass for the server. For tests. Default off.
  bool insecure = false;
};

/// Redis Sentinel, which knows the master of a group of servers.
struct Sentinel {
  /// Any of them that answers is asked.
  std::vector<Address> addresses;
  /// What the sentinels call the group.
  std::string master_name;
  /// For AUTH at the sentinels. Default none; that of the Endpoint is for the master.
  std::string username;
  /// The same. Never part of a message.
  std::string password;
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
  std::string unix_socket;
  /// Finds the master through Sentinel, and its successor after a failover.
  std::optional<Sentinel> sentinel;
  /// Some servers of a Redis Cluster, which tell of the others. Default empty: not a cluster. On a cluster
  /// a lock's name without a hash tag gets one, `lock:{name}`, so that its keys are in one slot.
  std::vector<Address> cluster;
  /// Over TLS, for TCP, also to the sentinels. Needs the CMake target redis_lock::tls, otherwise the first operation says so.
  std::optional<Tls> tls;
  /// For AUTH together with the password: Redis 6 and later. Default none.
  std::string username;
  /// For AUTH, alone or with the user name. Default none. Never part of a message.
  std::string password;
  /// For SELECT.
  int database = 0;
  /// For CLIENT SETNAME, so that CLIENT LIST tells who is connected. Default none.
  std::string client_name;
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
  /// All with ?connect_timeout=…&command_timeout=…&retry_for=…&client_name=…&max_idle=n, times in
  /// milliseconds, or with the unit `ms` or `s`. Parts may be percent-encoded (RFC 3986, 2.1).
  /// Throws std::invalid_argument, which quotes the URI without its password or parameters.
  [[nodiscard]] static Endpoint parse(std::string_view uri);
};

namespace detail {

/// Reads one URI into an Endpoint.
class UriParser {
 public:
  explicit UriParser(std::string_view uri) : uri_(uri) {}

  [[nodiscard]] Endpoint parse() {
    auto rest = uri_;
    const auto scheme = rest.substr(0, rest.find("://"));
    auto protocol = scheme;
    const auto kind = split_off(protocol, '+');
    const bool over_unix_socket = scheme == "unix";
    const bool is_known = scheme == protocol || kind == "sentinel" || kind == "cluster";
    if (scheme.size() == rest.size() ||
        !(over_unix_socket || (is_known && (protocol == "redis" || protocol == "rediss")))) {
      fail(
          "the scheme must be redis://, rediss:// or unix://, or one of the former two with "
          "+sentinel or +cluster, such as redis+cluster://");
    }
    if (protocol == "rediss") endpoint_.tls.emplace();
    rest.remove_prefix(scheme.size() + 3);
    const auto query = split_off(rest, '?');
    const auto slash = rest.find('/');
    auto authority = rest.substr(0, slash);
    auto path = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash);
    if (const auto at = authority.rfind('@'); at != std::string_view::npos) {
      auto user = authority.substr(0, at);
      endpoint_.password = decode(split_off(user, ':'), "password");
      endpoint_.username = decode(user, "user name");
      authority.remove_prefix(at + 1);
    }
    if (over_unix_socket) {
      if (!authority.empty()) fail("a Unix socket has no host: write unix:///path");
      if (path.size() < 2) fail("the path of the Unix socket is missing");
      endpoint_.unix_socket = decode(path, "path");
    } else {
      if (kind == "sentinel") {
        auto& sentinel = endpoint_.sentinel.emplace();
        sentinel.addresses = addresses(authority, 26379);
        if (!path.empty()) path.remove_prefix(1);
        const auto name = path.substr(0, path.find('/'));
        if (name.empty()) fail("the name of the master is missing");
        sentinel.master_name = decode(name, "name of the master");
        path.remove_prefix(name.size());
      } else if (kind == "cluster") {
        endpoint_.cluster = addresses(authority, endpoint_.port);
      } else {
        auto server = address(authority, endpoint_.port);
        endpoint_.host = std::move(server.host);
        endpoint_.port = server.port;
      }
      if (path.size() > 1) endpoint_.database = number<int>(path.substr(1), "database");
    }
    read_parameters(query, over_unix_socket);
    return endpoint_;
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    throw std::invalid_argument("redis_lock: malformed URI \"" + without_secrets() +
                                "\": " + reason);
  }

  /// What stands before the last '@' may hold a password; so may a parameter, and whatever follows
  /// the first ':' where somebody forgot the host.
  [[nodiscard]] std::string without_secrets() const {
    std::string quoted;
    const auto scheme = uri_.find_first_not_of("abcdefghijklmnopqrstuvwxyz+");
    if (scheme != std::string_view::npos && uri_.substr(scheme, 3) == "://") {
      quoted = uri_.substr(0, scheme + 3);
    }
    auto shown = uri_.substr(quoted.size());
    if (const auto at = shown.rfind('@'); at != std::string_view::npos) {
      if (at > shown.find('?')) return quoted + "***";  // in a password, or in a parameter
      quoted += "***@";
      shown.remove_prefix(at + 1);
    }
    shown = shown.substr(0, shown.find('?'));
    if (const auto colon = shown.find(':'); colon != std::string_view::npos) {
      const bool is_port =
          colon > 0 && shown.find_first_not_of("0123456789/", colon + 1) == std::string_view::npos;
      if (!is_port) return quoted.append(shown.substr(0, colon)).append(":***");
    }
    return quoted.append(shown);
  }

  /// Cuts `text` at the first `separator` and returns what stood behind it.
  static std::string_view split_off(std::string_view& text, char separator) {
    const auto at = text.find(separator);
    if (at == std::string_view::npos) return {};
    const auto tail = text.substr(at + 1);
    text = text.substr(0, at);
    return tail;
  }

  [[nodiscard]] std::string decode(std::string_view text, const char* what) const {
    std::string decoded;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '%') {
        decoded += text[i];
        continue;
      }
      const auto digits = text.substr(i + 1, 2);
      unsigned char byte = 0;
      const auto end = digits.data() + digits.size();
      const auto [stop, error] = std::from_chars(digits.data(), end, byte, 16);
      if (error != std::errc{} || stop != end || digits.size() != 2) {
        fail(std::string(what) + ": '%' must be followed by two hexadecimal digits");
      }
      decoded += static_cast<char>(byte);
      i += 2;
    }
    return decoded;
  }

  template <class Number>
  [[nodiscard]] Number number(std::string_view text, const std::string& what) const {
    Number value{};
    const auto end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || stop != end || value < 0) {
      fail(what + " must be a number from 0 to " +
           std::to_string(std::numeric_limits<Number>::max()));
    }
    return value;
  }

  [[nodiscard]] Address address(std::string_view text, std::uint16_t default_port) const {
    std::string_view host;
    if (!text.empty() && text.front() == '[') {
      const auto bracket = text.find(']');
      if (bracket == std::string_view::npos) fail("host: the ']' of the IPv6 address is missing");
      host = text.substr(1, bracket - 1);
      text.remove_prefix(bracket + 1);
      if (!text.empty() && text.front() != ':') fail("host: text after the IPv6 address");
    } else {
      host = text.substr(0, text.find(':'));
      text.remove_prefix(host.size());
    }
    if (host.empty()) fail("the host is missing");
    Address address{decode(host, "host"), default_port};
    if (text.empty()) return address;
    address.port = number<std::uint16_t>(text.substr(1), "port");
    if (address.port == 0) fail("port must not be 0");
    return address;
  }

  [[nodiscard]] std::vector<Address> addresses(std::string_view list,
                                               std::uint16_t default_port) const {
    std::vector<Address> all;
    for (bool is_last = false; !is_last;) {
      is_last = list.find(',') == list.npos;
      const auto others = split_off(list, ',');
      all.push_back(address(list, default_port));
      list = others;
    }
    return all;
  }

  void read_parameters(std::string_view query, bool over_unix_socket) {
    while (!query.empty()) {
      auto value = query;
      const auto others = split_off(value, '&');
      auto name = value;
      value = split_off(name, '=');
      query = others;
      if (name == "connect_timeout") {
        endpoint_.connect_timeout = duration(value, "connect_timeout");
      } else if (name == "command_timeout") {
        endpoint_.command_timeout = duration(value, "command_timeout");
      } else if (name == "retry_for") {
        endpoint_.retry_for = duration(value, "retry_for");
      } else if (name == "max_idle") {
        endpoint_.max_idle = static_cast<std::size_t>(number<int>(value, "max_idle"));
      } else if (name == "client_name") {
        endpoint_.client_name = decode(value, "client_name");
      } else if (name == "db" && over_unix_socket) {
        endpoint_.database = number<int>(value, "db");
      } else if (name == "sentinel_username" && endpoint_.sentinel) {
        endpoint_.sentinel->username = decode(value, "sentinel_username");
      } else if (name == "sentinel_password" && endpoint_.sentinel) {
        endpoint_.sentinel->password = decode(value, "sentinel_password");
      } else if (endpoint_.tls && read_tls_parameter(*endpoint_.tls, name, value)) {
        continue;
      } else {
        const auto parameters = uri_.substr(uri_.find('?'));
        const bool may_be_secret = parameters.find('@') != parameters.npos ||
                                   parameters.find("password") != parameters.npos;
        fail("unknown parameter" + (may_be_secret ? "" : " \"" + std::string(name) + '"'));
      }
    }
  }

  [[nodiscard]] bool read_tls_parameter(Tls& tls, std::string_view name, std::string_view value) {
    if (name == "ca_file") {
      tls.ca_file = decode(value, "ca_file");
    } else if (name == "cert_file") {
      tls.cert_file = decode(value, "cert_file");
    } else if (name == "key_file") {
      tls.key_file = decode(value, "key_file");
    } else if (name == "server_name") {
      tls.server_name = decode(value, "server_name");
    } else if (name == "insecure") {
      if (value != "true" && value != "false") fail("insecure must be true or false");
      tls.insecure = value == "true";
    } else {
      return false;
    }
    return true;
  }

  [[nodiscard]] std::chrono::milliseconds duration(std::string_view text,
                                                   const std::string& what) const {
    const auto digits = text.substr(0, text.find_first_not_of("0123456789"));
    const auto unit = text.substr(digits.size());
    if (!unit.empty() && unit != "ms" && unit != "s") fail(what + ": the unit must be ms or s");
    const std::chrono::milliseconds count{number<std::int32_t>(digits, what)};
    return unit == "s" ? count * 1000 : count;
  }

  std::string_view uri_;
  Endpoint endpoint_;
};

}  // namespace detail

inline Endpoint Endpoint::parse(std::string_view uri) { return detail::UriParser{uri}.parse(); }

}  // namespace redis_lock
