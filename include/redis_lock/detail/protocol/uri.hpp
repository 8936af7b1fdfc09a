#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/config.hpp>
#include <redis_lock/detail/base/duration.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/error.hpp>

namespace redis_lock {

namespace detail {

/// The exception of Endpoint::parse(). reason() quotes nothing of the URI.
class MalformedUri : public std::invalid_argument {
 public:
  MalformedUri(const std::string& quoted, std::string reason)
      : std::invalid_argument("redis_lock: malformed URI \"" + quoted + "\": " + reason),
        reason_(std::move(reason)) {}
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

 private:
  std::string reason_;
};

/// A parser of one URI into an Endpoint.
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
    for (const auto part : {authority, path, query}) {
      if (part.find('#') != part.npos)
        fail("a '#' begins a fragment, which has no meaning here: write it as %23");
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
  /// Throws MalformedUri. `reason` must not quote the URI.
  [[noreturn]] void fail(const std::string& reason) const {
    throw MalformedUri{without_secrets(), reason};
  }

  /// Returns the scheme, and the hosts and path behind the last '@'. The text before it may hold a password. So may a
  /// parameter and, if the host was forgotten, whatever follows the first ':'. A text without a scheme may be a
  /// password and nothing else.
  [[nodiscard]] std::string without_secrets() const {
    const auto scheme = uri_.find_first_not_of("abcdefghijklmnopqrstuvwxyz+");
    if (scheme == std::string_view::npos || uri_.substr(scheme, 3) != "://") return "***";
    std::string quoted{uri_.substr(0, scheme + 3)};
    auto shown = uri_.substr(quoted.size());
    const auto at = shown.rfind('@');
    const bool has_user = at != std::string_view::npos;
    if (has_user) {
      if (at > shown.find('?')) return quoted + "***";  // in a password or a parameter
      quoted += "***@";
      shown.remove_prefix(at + 1);
    }
    shown = shown.substr(0, shown.find_first_of("?#"));
    if (const auto colon = shown.find(':'); colon != std::string_view::npos) {
      const bool is_port =
          has_user && colon > 0 && shown.find_first_not_of("0123456789/", colon + 1) == shown.npos;
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
    std::vector<std::string_view> known;
    for (int place = 1; !query.empty(); ++place) {
      auto value = query;
      const auto others = split_off(value, '&');
      auto name = value;
      value = split_off(name, '=');
      query = others;
      // An unknown parameter is not quoted: it may be the tail of a password that contains a '?'.
      if (!read_parameter(name, value, over_unix_socket))
        fail("unknown parameter: number " + std::to_string(place) + " behind the '?'");
      if (std::find(known.begin(), known.end(), name) != known.end())
        fail("parameter given twice: " + std::string(name));
      known.push_back(name);
    }
  }

  [[nodiscard]] bool read_parameter(std::string_view name, std::string_view value,
                                    bool over_unix_socket) {
    if (name == "connect_timeout") {
      endpoint_.connect_timeout = duration(value, "connect_timeout");
    } else if (name == "command_timeout") {
      endpoint_.command_timeout = duration(value, "command_timeout");
    } else if (name == "retry_for") {
      endpoint_.retry_for = duration(value, "retry_for");
    } else if (name == "spin") {
      const auto time = duration_of<std::chrono::microseconds>(value, "ms");
      if (!time || *time > longest_spin)
        fail("spin must be a duration of 1ms at most, such as 50us");
      endpoint_.spin = *time;
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
    } else {
      return endpoint_.tls && read_tls_parameter(*endpoint_.tls, name, value);
    }
    return true;
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
    const auto time = duration_of(text, "ms");
    if (!time) fail(what + " must be " + duration_forms + "; a number alone is milliseconds");
    return *time;
  }

  std::string_view uri_;
  Endpoint endpoint_;
};

}  // namespace detail

REDIS_LOCK_DEFINITION Endpoint Endpoint::parse(std::string_view uri) {
  return detail::UriParser{uri}.parse();
}

REDIS_LOCK_DEFINITION Endpoint Endpoint::from_env(const char* variable) {
  if (variable == nullptr) throw std::invalid_argument("redis_lock: variable must not be null");
  const auto not_configured = [&](const std::string& reason) {
    return Error{errc::not_configured,
                 "redis_lock: environment variable " + std::string(variable) + ": " + reason};
  };
  // NOLINTNEXTLINE(concurrency-mt-unsafe): getenv() is safe as long as nothing changes the environment
  const char* const uri = std::getenv(variable);
  if (uri == nullptr) throw not_configured("it is not set");
  if (*uri == '\0') throw not_configured("it is empty");
  try {
    auto endpoint = parse(uri);
    endpoint.origin = variable;
    return endpoint;
  } catch (const detail::MalformedUri& malformed) {
    throw not_configured("malformed URI: " + malformed.reason());
  }
}

}  // namespace redis_lock
