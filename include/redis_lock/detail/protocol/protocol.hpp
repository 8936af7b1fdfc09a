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
#include <redis_lock/detail/protocol/scripts.hpp>
#include <redis_lock/event.hpp>

/// The keys and script calls of the wire protocol, and what the server's replies to them mean. Has no I/O: a Link is
/// anything with `Replies exchange(const Commands&)`, which sends all commands in one write and returns as many
/// replies. For evaluate() of one call it also has `void reuse(Replies&&)`, which takes them back.
namespace redis_lock::detail {

/// What the keys of a SharedLock and a Semaphore begin with; the name follows.
namespace shared_prefix {
inline constexpr std::string_view gate{"shared-lock:"}, readers{"shared-lock-readers:"},
    signal{"shared-lock-signal:"}, drained{"shared-lock-drained:"}, fence{"shared-lock-fence:"},
    permits{"semaphore:"}, permit_signal{"semaphore-signal:"};
}  // namespace shared_prefix

/// The keys of one lock.
struct Keys {
  /// What an acquisition is: a Lock; the writing or a reading of a SharedLock; a permit of a Semaphore.
  enum class Kind : unsigned char { lock, writing, reading, permit };

  std::string
      lock;  // string: the holder's id. Reading, permit: sorted set, ids by the end of their leases
  std::string signal;   // list: one element if the lock was just freed
  std::string fence{};  // string: the latest fencing token; the name is empty without fencing
  Kind kind = Kind::lock;
  std::string others{};  // writing: the readers' set; reading: the writer's gate
  std::string
      drained{};  // of a SharedLock: list, one element if the last reader has left behind a closed gate
  std::string most{};  // reading, permit: how many ids the set may have

  /// Returns whether `lock` is a set.
  [[nodiscard]] static constexpr bool is_set(Kind kind) noexcept {
    return kind == Kind::reading || kind == Kind::permit;
  }
  [[nodiscard]] bool is_set() const noexcept { return is_set(kind); }
};

struct ScriptCall {
  const Script* script;
  std::array<std::string_view, 8> operands;
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
  if (keys.kind == Keys::Kind::permit)
    return {&return_permit_script, {keys.lock, keys.signal, id, signal_expire, kept_for}};
  if (keys.kind == Keys::Kind::reading) {
    return {&stop_reading_script,
            {keys.lock, keys.drained, keys.others, id, signal_expire, kept_for}};
  }
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
[[nodiscard]] inline ScriptCall extend_call(const Keys& keys, std::string_view id,
                                            std::string_view expire) {
  return {keys.is_set() ? &stay_script : &extend_script, {keys.lock, id, expire}};
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
[[nodiscard]] Extension extend(Link& link, const Keys& keys, std::string_view id,
                               std::string_view expire) {
  return extension_of(evaluate(link, extend_call(keys, id, expire)));
}

/// Makes the call that frees all that is held under these keys, and signals.
[[nodiscard]] inline ScriptCall reset_call(const Keys& keys, std::string_view signal_expire) {
  const auto shared = [&](std::string_view readers, std::string_view gate) {
    return ScriptCall{&reset_shared_script,
                      {readers, keys.signal, gate, keys.drained, signal_expire}};
  };
  switch (keys.kind) {
    case Keys::Kind::lock: break;
    case Keys::Kind::permit:
      return {&reset_permits_script, {keys.lock, keys.signal, signal_expire}};
    case Keys::Kind::writing: return shared(keys.others, keys.lock);
    case Keys::Kind::reading: return shared(keys.lock, keys.others);
  }
  return {&reset_script, {keys.lock, keys.signal, signal_expire}};
}

/// Frees the lock, whatever its holders, and signals. Returns whether it was held.
template <class Link>
bool reset(Link& link, const Keys& keys, std::string_view signal_expire) {
  return integer_of_repeatable(evaluate(link, reset_call(keys, signal_expire)),
                               "the reset script") == 1;
}

/// Runs the reset script for all `locks`. was_held() reads the replies.
template <class Link>
[[nodiscard]] Replies reset_each(Link& link, const std::vector<Keys>& locks,
                                 std::string_view signal_expire) {
  std::vector<ScriptCall> calls;
  calls.reserve(locks.size());
  for (const auto& keys : locks) calls.push_back(reset_call(keys, signal_expire));
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

/// Returns how many ids are in the set, and not over.
template <class Link>
[[nodiscard]] long long count(Link& link, const std::string& set) {
  return integer_of(evaluate(link, {&count_script, {set}}), "the count script");
}

/// Returns the id of the holder; nothing if the lock is free.
template <class Link>
[[nodiscard]] std::optional<std::string> owner(Link& link, const std::string& key) {
  return string_of(ask(link, Commands{}.add({"GET", key})), "GET");
}

}  // namespace redis_lock::detail
