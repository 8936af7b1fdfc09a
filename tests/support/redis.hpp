#pragma once

#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hiredis/hiredis.h>
#include <sys/socket.h>
#include <unistd.h>

#include <redis_lock/endpoint.hpp>

#include "least_rights.hpp"

namespace redis_lock_test {

/// What Redis answered.
struct Reply {
  int type = REDIS_REPLY_NIL;  ///< REDIS_REPLY_…
  std::string text;            ///< of a string, status or error
  long long integer = 0;
  std::vector<Reply> elements;

  [[nodiscard]] bool is_nil() const { return type == REDIS_REPLY_NIL; }
  [[nodiscard]] bool is_error() const { return type == REDIS_REPLY_ERROR; }
};

/// Owns a redisContext.
using Context = std::unique_ptr<redisContext, decltype(&redisFree)>;

/// Connects, authenticates and selects as `endpoint` says, by hiredis alone. Throws
/// std::runtime_error when that fails.
inline Context connect_hiredis(const redis_lock::Endpoint& endpoint) {
  const timeval timeout{20, 0};
  Context context{endpoint.unix_socket.empty()
                      ? redisConnectWithTimeout(endpoint.host.c_str(), endpoint.port, timeout)
                      : redisConnectUnixWithTimeout(endpoint.unix_socket.c_str(), timeout),
                  redisFree};
  if (!context) throw std::runtime_error("hiredis: out of memory");
  if (context->err != 0)
    throw std::runtime_error(std::string("cannot connect: ") + context->errstr);
  redisSetTimeout(context.get(), timeout);
  const auto require = [&context](void* answer) {
    const std::unique_ptr<void, decltype(&freeReplyObject)> reply{answer, freeReplyObject};
    if (!reply) throw std::runtime_error(std::string("no answer: ") + context->errstr);
    const auto* const read = static_cast<redisReply*>(reply.get());
    if (read->type == REDIS_REPLY_ERROR) throw std::runtime_error(read->str);
  };
  if (!endpoint.username.empty()) {
    require(redisCommand(context.get(), "AUTH %s %s", endpoint.username.c_str(),
                         endpoint.password.c_str()));
  } else if (!endpoint.password.empty()) {
    require(redisCommand(context.get(), "AUTH %s", endpoint.password.c_str()));
  }
  if (endpoint.database != 0) require(redisCommand(context.get(), "SELECT %d", endpoint.database));
  return context;
}

/// A plain client for the test's own look at Redis, independent of the code under test. Connects
/// when first used, and anew after an error or a fork. For one thread at a time.
class Redis {
 public:
  explicit Redis(const std::string& uri) : Redis(redis_lock::Endpoint::parse(uri)) {}
  explicit Redis(redis_lock::Endpoint endpoint) : endpoint_(with_all_rights(std::move(endpoint))) {}

  /// Sends one command, arguments with their lengths; an error reply is a Reply. Throws
  /// std::runtime_error when the connection fails.
  template <class... Arguments>
  Reply command(const Arguments&... arguments) {
    return send({text(arguments)...});
  }

  Reply send(const std::vector<std::string>& arguments) {
    std::vector<const char*> values;
    std::vector<std::size_t> lengths;
    for (const auto& argument : arguments) {
      values.push_back(argument.data());
      lengths.push_back(argument.size());
    }
    auto* const context = connected();
    const std::unique_ptr<void, decltype(&freeReplyObject)> reply{
        redisCommandArgv(context, static_cast<int>(values.size()), values.data(), lengths.data()),
        freeReplyObject};
    if (!reply) {
      const std::string reason = context->errstr;
      context_.reset();
      throw std::runtime_error("redis: " + arguments.front() + ": " + reason);
    }
    return convert(*static_cast<redisReply*>(reply.get()));
  }

  /// As command(), for an integer answer. Throws when it is anything else.
  template <class... Arguments>
  long long integer(const Arguments&... arguments) {
    const auto reply = command(arguments...);
    if (reply.type != REDIS_REPLY_INTEGER)
      throw std::runtime_error("redis: no integer but " + reply.text);
    return reply.integer;
  }

  /// As command(), for a string, a status, or nil. Throws when it is anything else.
  template <class... Arguments>
  std::optional<std::string> string(const Arguments&... arguments) {
    const auto reply = command(arguments...);
    if (reply.is_nil()) return std::nullopt;
    if (reply.type != REDIS_REPLY_STRING && reply.type != REDIS_REPLY_STATUS) {
      throw std::runtime_error("redis: no string but " + reply.text);
    }
    return reply.text;
  }

  [[nodiscard]] bool exists(std::string_view key) { return integer("EXISTS", key) == 1; }

  /// How often each command ran since the last reset_stats(), by its name in lower case; those
  /// inside scripts count too. INFO and CONFIG, which the counting needs, are left out.
  [[nodiscard]] std::map<std::string, long long> calls() {
    std::map<std::string, long long> counted;
    const auto info = string("INFO", "commandstats").value_or("");
    static constexpr std::string_view mark = "cmdstat_";
    for (auto at = info.find(mark); at != std::string::npos; at = info.find(mark, at + 1)) {
      const auto name = at + mark.size();
      const auto colon = info.find(":calls=", name);
      const auto command = info.substr(name, colon - name);
      if (command.rfind("config", 0) == 0 || command == "info") continue;
      counted[command] = std::atoll(info.c_str() + colon + 7);
    }
    return counted;
  }

  [[nodiscard]] long long calls_of(const std::string& name) {
    const auto counted = calls();
    const auto found = counted.find(name);
    return found == counted.end() ? 0 : found->second;
  }

  void reset_stats() { string("CONFIG", "RESETSTAT"); }

  /// A number out of INFO, such as connected_clients, blocked_clients, total_connections_received.
  [[nodiscard]] long long info(const std::string& field) {
    const auto text = "\n" + string("INFO", "all").value_or("");
    const auto at = text.find("\n" + field + ":");
    if (at == std::string::npos) throw std::runtime_error("INFO has no " + field);
    return std::atoll(text.c_str() + at + field.size() + 2);
  }

 private:
  static std::string text(std::string_view value) { return std::string(value); }
  static std::string text(long long value) { return std::to_string(value); }
  static std::string text(int value) { return std::to_string(value); }

  static Reply convert(const redisReply& from) {
    Reply reply;
    reply.type = from.type;
    reply.integer = from.integer;
    if (from.str != nullptr) reply.text.assign(from.str, static_cast<std::size_t>(from.len));
    for (std::size_t i = 0; i < from.elements; ++i)
      reply.elements.push_back(convert(*from.element[i]));
    return reply;
  }

  /// A connection whose other end is open as far as one can see: hiredis dies of SIGPIPE when it
  /// writes to one that is not.
  redisContext* connected() {
    if (context_ && process_ != ::getpid()) context_.reset();
    if (context_) {
      char byte = 0;
      const auto seen = ::recv(context_->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      if (seen == 0 || (seen < 0 && errno != EAGAIN)) context_.reset();
    }
    if (!context_) {
      context_ = connect_hiredis(endpoint_);
      process_ = ::getpid();
    }
    return context_.get();
  }

  redis_lock::Endpoint endpoint_;
  Context context_{nullptr, redisFree};
  pid_t process_ = 0;
};

}  // namespace redis_lock_test
