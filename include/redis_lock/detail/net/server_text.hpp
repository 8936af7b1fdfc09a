#pragma once

#include <hiredis/hiredis.h>

#include <cstdint>
#include <string>

#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/error.hpp>

/// Names of servers in messages: host:port, [address]:port for IPv6, or the path of a Unix socket. Never a secret.
namespace redis_lock::detail {

[[nodiscard]] inline std::string text_of(const Address& server) {
  const bool is_literal = server.host.find(':') != std::string::npos;  // an IPv6 address
  const auto host = is_literal ? '[' + server.host + ']' : server.host;
  return host + ':' + std::to_string(server.port);
}

/// Names an endpoint that is one server.
[[nodiscard]] inline std::string text_of(const Endpoint& endpoint) {
  return endpoint.unix_socket.empty() ? text_of(Address{endpoint.host, endpoint.port})
                                      : endpoint.unix_socket;
}

/// Names a borrowed connection, with its server if hiredis knows it.
[[nodiscard]] inline std::string text_of(const redisContext& context) {
  std::string text = "borrowed context";
  if (context.unix_sock.path) return text + " to " + context.unix_sock.path;
  if (!context.tcp.host) return text;
  return text + " to " +
         text_of(Address{context.tcp.host, static_cast<std::uint16_t>(context.tcp.port)});
}

/// Returns the origin of the endpoint, to follow a server's address in a message.
[[nodiscard]] inline std::string origin_of(const Endpoint& endpoint) {
  return endpoint.origin.empty() ? std::string{} : " (from " + endpoint.origin + ')';
}

/// Adds the name of the server to a failure.
[[nodiscard]] inline Failure named(const std::string& server, const Failure& failure) {
  return failure.with(server + ": " + failure.what());
}

}  // namespace redis_lock::detail
