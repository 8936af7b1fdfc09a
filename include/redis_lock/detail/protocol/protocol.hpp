#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/event.hpp>

/// The keys and scripts of the wire protocol, and what the server's replies to them mean. Has no I/O: a Link is
/// anything with `Replies exchange(const Commands&)`, which sends all commands in one write and returns as many
/// replies. For evaluate() of one call it also has `void reuse(Replies&&)`, which takes them back.
namespace redis_lock::detail {

/// The keys of one lock.
struct Keys {
  std::string lock;     // string: the holder's id
  std::string signal;   // list: one element if the lock was just freed
  std::string fence{};  // string: the latest fencing token; the name is empty without fencing
};

struct Script {
  std::string_view text;
  std::string_view digest;     // SHA1 of text, for EVALSHA
  std::string_view key_count;  // how many of the operands are keys
  std::size_t operands;
};

// DEL is the first write and there is no #! line, so that the script runs if the server is out of memory: a script's
// first write decides that, and DEL frees memory. https://redis.io/docs/latest/develop/programmability/eval-intro/
inline constexpr Script release_script{R"(local id = redis.call('GET', KEYS[1])
if id ~= ARGV[1] then return id and 1 or 3 end
redis.call('DEL', KEYS[2])
redis.call('LPUSH', KEYS[2], 1)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('DEL', KEYS[1])
return 0)",
                                       "8df502726fd58c7b87143fc8d59c3c042f837b83", "2", 4};

// Releases the lock, but keeps its key for ARGV[3] milliseconds.
inline constexpr Script keep_script{R"(local id = redis.call('GET', KEYS[1])
if id ~= ARGV[1] then return id and 1 or 3 end
redis.call('DEL', KEYS[2])
redis.call('LPUSH', KEYS[2], 1)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 0)",
                                    "7e368356d3d0e154ce55b18b70a4970cf0953971", "2", 5};

inline constexpr Script extend_script{R"(local id = redis.call('GET', KEYS[1])
if id ~= ARGV[1] then return id and 1 or 3 end
if redis.call('PTTL', KEYS[1]) < 0 then return 2 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0)",
                                      "c9700681f75ce9d469c35ca6beb7ebe39cc22ae9", "1", 3};

// Writes a lock without expiry again, unchanged, so that this connection has written it.
inline constexpr Script rewrite_script{R"(if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 1 end
redis.call('SET', KEYS[1], ARGV[1])
return 0)",
                                       "c78f889a029f30cf29ae7c17d28dbd4819b7d3c7", "1", 2};

// GET comes first: it refuses a key that is not a lock before anything is written.
inline constexpr Script reset_script{R"(local held = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[2])
redis.call('LPUSH', KEYS[2], 1)
redis.call('PEXPIRE', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1])
return held and 1 or 0)",
                                     "4bcc030ebcd03d00b606f07b8a624d30bdee2a7a", "2", 3};

// Takes the lock and counts. INCR comes first, because only it can fail: it refuses a key that is not a counter, and
// a server that is out of memory. The lock then is as it was.
inline constexpr Script acquire_script{
    R"(if redis.call('EXISTS', KEYS[1]) == 1 then return false end
local token = redis.call('INCR', KEYS[2])
if ARGV[2] == '' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return token)",
    "5a52b7e34318fce290f227ab99399e1515ae27de", "2", 4};

// Takes the lock in turn: behind a release whose reply is not known, only if its signal is still there. A blocked
// waiter has taken the signal by then, and the lock is that waiter's.
inline constexpr Script turn_script{
    R"(if redis.call('PTTL', KEYS[2]) < 0 then return false end
if ARGV[2] == '' then return redis.call('SET', KEYS[1], ARGV[1], 'NX') end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]))",
    "ddef7a8e8ae148ba164e4895d0d94885f2fa2540", "2", 4};

// Takes the lock and counts, only if the signal of the release is still there.
inline constexpr Script acquire_turn_script{
    R"(if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('PTTL', KEYS[3]) < 0 then return false end
local token = redis.call('INCR', KEYS[2])
if ARGV[2] == '' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return token)",
    "b53d4f46add9d71156e0542a24f5ee9e99e0000a", "3", 5};

struct ScriptCall {
  const Script* script;
  std::array<std::string_view, 5> operands;
};

inline void add_call(Commands& commands, const ScriptCall& call, bool by_digest) {
  const auto& script = *call.script;
  if (by_digest) {
    commands.add({"EVALSHA", script.digest, script.key_count});
  } else {
    commands.add({"EVAL", script.text, script.key_count});
  }
  for (std::size_t i = 0; i < script.operands; ++i) commands.append(call.operands[i]);
}

/// Runs again the calls whose script the server did not know, in one write as EVAL. `call_of(i)` returns the call
/// behind a reply. exchange() gets the `times`, too.
template <class Link, class CallOf, class... Times>
void repeat_unknown(Link& link, const CallOf& call_of, Replies& replies, Times... times) {
  Commands unknown;
  for (std::size_t i = 0; i < replies.size(); ++i) {
    if (replies[i].is_error("NOSCRIPT")) add_call(unknown, call_of(i), false);
  }
  if (unknown.empty()) return;
  auto answers = link.exchange(unknown, times...);
  auto answer = answers.begin();
  for (auto& reply : replies) {
    if (reply.is_error("NOSCRIPT")) reply = std::move(*answer++);
  }
}

/// Runs the call as EVALSHA, or as EVAL if the server does not know its script.
template <class Link>
[[nodiscard]] Reply evaluate(Link& link, const ScriptCall& call) {
  for (bool by_digest = true;; by_digest = false) {
    Commands commands;
    add_call(commands, call, by_digest);
    auto replies = link.exchange(commands);
    auto reply = std::move(replies.front());
    link.reuse(std::move(replies));
    if (!by_digest || !reply.is_error("NOSCRIPT")) return reply;
  }
}

/// Runs all calls in one write as EVALSHA, and those whose script is not known in one more as EVAL.
template <class Link, class... Times>
[[nodiscard]] Replies evaluate(Link& link, const std::vector<ScriptCall>& calls, Times... times) {
  Commands commands;
  for (const auto& call : calls) add_call(commands, call, true);
  auto replies = link.exchange(commands, times...);
  repeat_unknown(
      link, [&](std::size_t i) { return calls[i]; }, replies, times...);
  return replies;
}

[[nodiscard]] inline long long integer_of(const Reply& reply, const char* command) {
  expect(reply, reply.kind == Reply::Kind::integer, command);
  return reply.integer;
}

[[nodiscard]] inline std::optional<std::string> string_of(const Reply& reply, const char* command) {
  expect(reply, reply.is_nil() || reply.kind == Reply::Kind::string, command);
  if (reply.is_nil()) return std::nullopt;
  return reply.text;
}

template <class Link>
[[nodiscard]] Reply ask(Link& link, const Commands& command) {
  return std::move(link.exchange(command).front());
}

/// Returns a script's integer. If a cluster moved a key away, throws a transient Failure: the script may run again.
[[nodiscard]] inline long long integer_of_repeatable(const Reply& reply, const char* script) {
  if (is_about_a_moved_key(reply)) {
    throw Failure{errc::server_error, reply.text, Failure::Kind::transient};
  }
  return integer_of(reply, script);
}

/// Results of the scripts that check the id first.
enum class Extension {
  extended,  // or freed: the key had our id
  not_ours,  // the key has another id
  not_expirable,
  gone  // there is no key
};

/// Returns whether the lock is certainly not held under the id.
[[nodiscard]] constexpr bool is_lost(Extension extension) noexcept {
  return extension == Extension::not_ours || extension == Extension::gone;
}
[[nodiscard]] constexpr LossReason reason_of(Extension extension) noexcept {
  return extension == Extension::gone ? LossReason::gone : LossReason::taken;
}

[[nodiscard]] constexpr Extension extension_of(long long answer) noexcept {
  switch (answer) {
    case 0: return Extension::extended;
    case 2: return Extension::not_expirable;
    case 3: return Extension::gone;
    default: return Extension::not_ours;
  }
}

/// Makes the call of a release. Unless `kept_for` is empty, the lock stays under its id for that many milliseconds.
[[nodiscard]] inline ScriptCall release_call(const Keys& keys, std::string_view id,
                                             std::string_view signal_expire,
                                             std::string_view kept_for = {}) {
  const auto& script = kept_for.empty() ? release_script : keep_script;
  return {&script, {keys.lock, keys.signal, id, signal_expire, kept_for}};
}

/// Frees the lock if it is held under `id`, and signals. Returns `extended` if it was held.
template <class Link>
[[nodiscard]] Extension release_or_say(Link& link, const Keys& keys, std::string_view id,
                                       std::string_view signal_expire,
                                       std::string_view kept_for = {}) {
  const auto reply = evaluate(link, release_call(keys, id, signal_expire, kept_for));
  return extension_of(integer_of_repeatable(reply, "the release script"));
}

/// Frees the lock if it is held under `id`, and signals. Returns whether it was held.
template <class Link>
bool release(Link& link, const Keys& keys, std::string_view id, std::string_view signal_expire) {
  return release_or_say(link, keys, id, signal_expire) == Extension::extended;
}

/// Makes the call that sets the lease to `expire` milliseconds from now, if it is held under `id`.
[[nodiscard]] inline ScriptCall extend_call(std::string_view key, std::string_view id,
                                            std::string_view expire) {
  return {&extend_script, {key, id, expire}};
}

/// Makes the call that writes a lock without expiry again, if it is held under `id`.
[[nodiscard]] inline ScriptCall rewrite_call(std::string_view key, std::string_view id) {
  return {&rewrite_script, {key, id}};
}

/// Reads the reply to the extend script or to the rewrite script.
[[nodiscard]] inline Extension extension_of(const Reply& reply) {
  return extension_of(integer_of(reply, "the extend script"));
}

/// Sets the lease of the lock to `expire` milliseconds from now, if it is held under `id`.
template <class Link>
[[nodiscard]] Extension extend(Link& link, const std::string& key, std::string_view id,
                               std::string_view expire) {
  return extension_of(evaluate(link, extend_call(key, id, expire)));
}

/// Frees the lock, whatever its holder, and signals. Returns whether it was held.
template <class Link>
bool reset(Link& link, const Keys& keys, std::string_view signal_expire) {
  const ScriptCall call{&reset_script, {keys.lock, keys.signal, signal_expire}};
  return integer_of_repeatable(evaluate(link, call), "the reset script") == 1;
}

/// Runs the reset script for all `locks`. was_held() reads the replies.
template <class Link>
[[nodiscard]] Replies reset_each(Link& link, const std::vector<Keys>& locks,
                                 std::string_view signal_expire) {
  std::vector<ScriptCall> calls;
  calls.reserve(locks.size());
  for (const auto& keys : locks)
    calls.push_back({&reset_script, {keys.lock, keys.signal, signal_expire}});
  return evaluate(link, calls);
}

/// Reads the reset script's reply for a key that may not be a lock: returns whether it is a lock that was held.
[[nodiscard]] inline bool was_held(const Reply& reply) {
  // Inside a script, old servers wrap the code of an error in a text of their own.
  if (reply.is_error() && reply.text.find("WRONGTYPE") != std::string::npos) return false;
  return integer_of_repeatable(reply, "the reset script") == 1;
}

struct Scanned {
  std::string next;  // cursor of the next scan, "0" at the end
  std::vector<std::string> keys;
};

/// Returns the next few keys that begin with `prefix`.
template <class Link>
[[nodiscard]] Scanned scan(Link& link, std::string_view prefix, std::string_view cursor) {
  std::string pattern;
  for (const char c : prefix) {
    if (std::string_view{"*?[]\\^-"}.find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  pattern += '*';
  auto reply = ask(link, Commands{}.add({"SCAN", cursor, "MATCH", pattern, "COUNT", "1000"}));
  expect(reply, reply.elements.size() == 2 && reply.elements[1].kind == Reply::Kind::array, "SCAN");
  Scanned scanned{reply.elements[0].text, {}};
  for (auto& key : reply.elements[1].elements) {
    expect(key, key.text.compare(0, prefix.size(), prefix) == 0, "SCAN");
    scanned.keys.push_back(std::move(key.text));
  }
  return scanned;
}

/// Returns the id of the holder; nothing if the lock is free.
template <class Link>
[[nodiscard]] std::optional<std::string> owner(Link& link, const std::string& key) {
  return string_of(ask(link, Commands{}.add({"GET", key})), "GET");
}

}  // namespace redis_lock::detail
