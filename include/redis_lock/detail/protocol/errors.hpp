#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/reply.hpp>

/// The one place that decides what error replies of Redis, Valkey, Sentinel and Cluster mean for an operation, and the
/// errors that are made of them.
namespace redis_lock::detail {

enum class Decision {
  transient,   // retried like a lost connection, until retry_for is over
  final,       // reported at once: asking again gets the same reply
  credentials  // final, and reported as errc::authentication_failed
};

/// An error reply that begins with `words`: those of Redis 2.6 to 8, Valkey 7 to 8 and their Sentinels. An error that
/// is not listed is final.
struct KnownError {
  std::string_view words;
  Decision decision;
};

// clang-format off
inline constexpr std::array known_errors{
    // The server is not ready yet, or is busy. That ends by itself.
    KnownError{"LOADING", Decision::transient},     // it loads its data after a start
    KnownError{"BUSY", Decision::transient},        // it runs a slow script or a module's command
    KnownError{"ERR max number of clients", Decision::transient},
    KnownError{"UNBLOCKED", Decision::transient},   // of a blocked client: the server became a replica

    // A failover or a move of slots is under way: this server or its successor soon serves the keys.
    KnownError{"READONLY", Decision::transient},    // the server is a replica, already or still
    KnownError{"MASTERDOWN", Decision::transient},  // a replica that has lost its master
    KnownError{"NOREPLICAS", Decision::transient},  // min-replicas-to-write, until replicas attach to a new master
    KnownError{"CLUSTERDOWN", Decision::transient},
    KnownError{"TRYAGAIN", Decision::transient},    // the keys of one command are on two servers
    KnownError{"IDONTKNOW", Decision::transient},   // a Sentinel that has just started

    // The server cannot save its data and refuses all writes: SET, BLPOP, extensions and releases. That lasts until
    // its disk has room again, usually longer than retry_for, so the administrator must know at once. A renewal is
    // still retried until the lease is over, as after any error.
    KnownError{"MISCONF", Decision::final},

    // The server has no memory left, which only other clients can change. The release frees memory before it needs
    // any, and an extension needs none: both run.
    KnownError{"OOM", Decision::final},

    // The server requires other credentials than those of the Endpoint.
    KnownError{"NOAUTH", Decision::credentials},
    KnownError{"WRONGPASS", Decision::credentials},
    KnownError{"ERR operation not permitted", Decision::credentials},  // NOAUTH of Redis 2.6
    KnownError{"ERR invalid password", Decision::credentials},         // WRONGPASS before Redis 6
    KnownError{"ERR Client sent AUTH, but no password is set", Decision::credentials},  // before Redis 6
    KnownError{"ERR AUTH <password> called without any password configured", Decision::credentials},
    KnownError{"ERR Protocol error: unauthenticated", Decision::credentials},  // long commands before AUTH

    // The server's configuration refuses this client or this command.
    KnownError{"DENIED", Decision::final},  // protected mode
    KnownError{"NOPERM", Decision::final},  // the user lacks a right; the credentials are good
    KnownError{"ERR unknown command", Decision::final},
    KnownError{"ERR unknown subcommand", Decision::final},
    KnownError{"NOPROTO", Decision::final},

    // The program asks for the impossible: the same command fails at any time.
    KnownError{"WRONGTYPE", Decision::final},  // another program uses the key
    KnownError{"ERR Protocol error", Decision::final},
    KnownError{"EXECABORT", Decision::final},
    KnownError{"BUSYKEY", Decision::final},
    KnownError{"NOSCRIPT", Decision::final},   // evaluate() first repeats EVALSHA as EVAL

    // The Endpoint names a single server, which belongs to a cluster. A cluster client follows the first two.
    KnownError{"MOVED", Decision::final},
    KnownError{"ASK", Decision::final},
    KnownError{"CROSSSLOT", Decision::final},

    // Replies to commands that only administrators, replicas and Sentinels send.
    KnownError{"UNKILLABLE", Decision::final},
    KnownError{"NOTBUSY", Decision::final},
    KnownError{"NOMASTERLINK", Decision::final},
    KnownError{"NOGOODSLAVE", Decision::final},
    KnownError{"INPROG", Decision::final},
    KnownError{"NOQUORUM", Decision::final},
};
// clang-format on

/// Returns the part of an error's text that begins with its code. Before Redis 7, an error inside a script is
/// wrapped: "ERR Error running script (call to f_<sha>): @user_script:3: @user_script: 3: -NOREPLICAS Not enough …".
/// Since Redis 7 the code comes first, and the script is named behind it.
[[nodiscard]] inline std::string_view without_wrapping(std::string_view text) {
  constexpr std::string_view place = "@user_script";
  const auto at = text.rfind(place);
  if (at == text.npos) return text;
  const auto begin = text.find_first_not_of(": 0123456789-", at + place.size());
  return begin == text.npos || text[begin] == '.' ? text : text.substr(begin);
}

[[nodiscard]] inline Decision decision_on(std::string_view error_text) {
  const auto text = without_wrapping(error_text);
  for (const auto& [words, decision] : known_errors) {
    if (text.substr(0, words.size()) != words) continue;
    const bool ends = text.size() == words.size() ||
                      std::string_view{" .,:\r\n"}.find(text[words.size()]) != text.npos;
    if (ends) return decision;
  }
  return Decision::final;
}

/// Returns whether a server sends this error before it hangs up, whatever the client had asked.
[[nodiscard]] inline bool is_parting(const Reply& reply) {
  if (!reply.is_error()) return false;
  for (const std::string_view words :
       {"DENIED", "NOAUTH", "ERR max number of clients", "ERR Protocol error"}) {
    if (reply.text.compare(0, words.size(), words) == 0) return true;
  }
  return false;
}

/// Returns the failure that an error reply stands for.
[[nodiscard]] inline Failure failure_of(const Reply& error) {
  switch (decision_on(error.text)) {
    case Decision::transient: return {errc::server_error, error.text, Failure::Kind::transient};
    case Decision::credentials: return {errc::authentication_failed, error.text};
    case Decision::final: break;
  }
  if (error.is_error("MOVED") || error.is_error("ASK") || error.is_error("CROSSSLOT")) {
    return {errc::server_error,
            error.text +
                " (a cluster needs redis+cluster://, and all keys of one operation in one slot)"};
  }
  return {errc::server_error, error.text};
}

[[nodiscard]] inline bool is_transient_error(const Reply& reply) {
  return reply.is_error() && decision_on(reply.text) == Decision::transient;
}

/// Returns whether a cluster moved a key away while a script ran. A repeated script finds its keys together again, or
/// is redirected. So this is transient for scripts that may run twice, and final for others.
[[nodiscard]] inline bool is_about_a_moved_key(const Reply& reply) {
  return reply.is_error() && reply.text.find("non local key") != std::string::npos;
}

/// Returns the beginning of an error's text: the operation and the name. A name may have any bytes.
[[nodiscard]] inline std::string describe(std::string_view operation, std::string_view name) {
  constexpr std::size_t most = 64;
  std::string text{"redis_lock: "};
  text.append(operation).append(" of \"");
  for (const char c : name.substr(0, most)) text += c >= ' ' && c <= '~' ? c : '?';
  return text.append(name.size() > most ? "...\": " : "\": ");
}

[[nodiscard]] inline Error error_of(std::string_view operation, std::string_view name,
                                    const Failure& failure) {
  return {failure.code(), describe(operation, name) + failure.what()};
}

/// Throws the failure if `reply` is an error.
inline void expect_no_error(const Reply& reply) {
  if (reply.is_error()) throw failure_of(reply);
}

/// Throws if `reply` is an error, or not of the kind that the command replies with.
inline void expect(const Reply& reply, bool is_of_the_kind, const char* command) {
  expect_no_error(reply);
  if (!is_of_the_kind) {
    throw Failure{errc::protocol_error, std::string("unexpected reply to ") + command};
  }
}

}  // namespace redis_lock::detail
