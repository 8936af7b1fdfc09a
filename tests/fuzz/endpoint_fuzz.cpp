// Endpoint::parse on arbitrary bytes: it returns an Endpoint, or throws std::invalid_argument, whose text
// shows no password.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <redis_lock/client.hpp>
#include <redis_lock/endpoint.hpp>

#include "check.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::Endpoint;

constexpr std::string_view secret = "s3cr3t";
constexpr std::string_view secret_number = "918273645";  // is no port

struct Parsed {
  std::optional<Endpoint> endpoint;
  std::string complaint;
};

Parsed parse(std::string_view uri) {
  try {
    return {Endpoint::parse(uri), {}};
  } catch (const std::invalid_argument& error) {
    return {std::nullopt, error.what()};
  }
}

bool equal(const Endpoint& a, const Endpoint& b) {
  return a.host == b.host && a.port == b.port && a.unix_socket == b.unix_socket &&
         a.username == b.username && a.password == b.password && a.database == b.database &&
         a.client_name == b.client_name && a.connect_timeout == b.connect_timeout &&
         a.command_timeout == b.command_timeout && a.retry_for == b.retry_for &&
         a.cluster == b.cluster && a.sentinel.has_value() == b.sentinel.has_value() &&
         (!a.sentinel || (a.sentinel->addresses == b.sentinel->addresses &&
                          a.sentinel->master_name == b.sentinel->master_name &&
                          a.sentinel->username == b.sentinel->username &&
                          a.sentinel->password == b.sentinel->password));
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    encoded.append({'%', digits[byte / 16U], digits[byte % 16U]});
  }
  return encoded;
}

/// A URI that says the same.
std::string uri_of(const Endpoint& endpoint) {
  const bool over_unix_socket = !endpoint.unix_socket.empty();
  const std::string over_tcp = endpoint.sentinel          ? "redis+sentinel://"
                               : endpoint.cluster.empty() ? "redis://"
                                                          : "redis+cluster://";
  std::string uri = over_unix_socket ? "unix://" : over_tcp;
  uri += percent_encoded(endpoint.username) + ":" + percent_encoded(endpoint.password) + "@";
  const auto database = std::to_string(endpoint.database);
  if (over_unix_socket) {
    uri += "/" + percent_encoded(std::string_view{endpoint.unix_socket}.substr(1)) +
           "?db=" + database + "&";
  } else {
    const std::vector<redis_lock::Address> one{{endpoint.host, endpoint.port}};
    const auto& all = endpoint.sentinel          ? endpoint.sentinel->addresses
                      : endpoint.cluster.empty() ? one
                                                 : endpoint.cluster;
    for (const auto& address : all) {
      if (&address != &all.front()) uri += ",";
      uri += percent_encoded(address.host) + ":" + std::to_string(address.port);
    }
    if (endpoint.sentinel) uri += "/" + percent_encoded(endpoint.sentinel->master_name);
    uri += "/" + database + "?";
    if (endpoint.sentinel) {
      uri += "sentinel_username=" + percent_encoded(endpoint.sentinel->username) +
             "&sentinel_password=" + percent_encoded(endpoint.sentinel->password) + "&";
    }
  }
  // A time in milliseconds may be more than the URI takes; then it is a number of seconds.
  const auto time = [](std::chrono::milliseconds value) {
    if (value.count() % 1000 != 0) return std::to_string(value.count());
    return std::to_string(value.count() / 1000) + "s";
  };
  return uri + "connect_timeout=" + time(endpoint.connect_timeout) +
         "&command_timeout=" + time(endpoint.command_timeout) +
         "&retry_for=" + time(endpoint.retry_for) +
         "&client_name=" + percent_encoded(endpoint.client_name);
}

void check_parsed(const Endpoint& endpoint) {
  check(!endpoint.host.empty() && endpoint.port != 0, "there is a host and a port");
  check(endpoint.unix_socket.empty() || endpoint.unix_socket.front() == '/',
        "a Unix socket has an absolute path");
  check(endpoint.database >= 0, "the database is not negative");
  check(endpoint.connect_timeout.count() >= 0 && endpoint.command_timeout.count() >= 0 &&
            endpoint.retry_for.count() >= 0,
        "no time is negative");
  const auto again = parse(uri_of(endpoint));
  check(again.endpoint && equal(endpoint, *again.endpoint),
        "written and read again, it is the same");
  try {
    const redis_lock::Client client{endpoint};
  } catch (const std::invalid_argument&) {
  }
}

/// Puts the secret into the URI at a place where no secret may be shown from.
void check_is_hidden(std::string_view uri, std::string_view hidden, std::size_t anywhere) {
  const auto hidden_at = [&](std::size_t at) {
    return parse(std::string{uri}.insert(at, hidden)).complaint.find(hidden) == std::string::npos;
  };
  if (uri.find(hidden) != uri.npos) return;
  const auto user = uri.rfind('@');
  if (user != uri.npos) {
    check(hidden_at(anywhere % (user + 1)), "what stands before the last '@' is not shown");
  }
  const auto scheme = uri.find_first_not_of("abcdefghijklmnopqrstuvwxyz+");
  const bool has_scheme = scheme != uri.npos && uri.substr(scheme, 3) == "://";
  if (!has_scheme) {
    check(hidden_at(uri.size()), "a text without a scheme is not shown");
  }
  const auto colon = uri.find(':', has_scheme ? scheme + 3 : 0);
  if (colon < uri.find('?') && (user == uri.npos || hidden == secret)) {
    check(hidden_at(colon + 1), "what stands behind a ':' and is no port is not shown");
  }
  if (const auto query = uri.find('?'); query != uri.npos) {
    const auto at = query + 1 + anywhere % (uri.size() - query);
    check(hidden_at(at), "neither name nor value of a parameter is shown");
  }
}

void check_no_secret_is_shown(std::string_view uri, std::size_t anywhere) {
  check_is_hidden(uri, secret, anywhere);
  check_is_hidden(uri, secret_number, anywhere);
}

void fuzz(std::string_view uri) {
  const auto first = parse(uri);
  const auto second = parse(uri);
  check(first.complaint == second.complaint &&
            first.endpoint.has_value() == second.endpoint.has_value(),
        "the same URI has the same result");
  if (first.endpoint) check_parsed(*first.endpoint);
  std::size_t anywhere = uri.size();
  for (const char c : uri) anywhere = anywhere * 31 + static_cast<unsigned char>(c);
  check_no_secret_is_shown(uri, anywhere);
}

}  // namespace
}  // namespace redis_lock_test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  redis_lock_test::fuzz({reinterpret_cast<const char*>(data), size});
  return 0;
}
