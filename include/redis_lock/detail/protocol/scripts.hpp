#pragma once

#include <cstddef>
#include <string_view>

/// The scripts of the wire protocol, as data. docs/protocol.md has the keys and replies.
namespace redis_lock::detail {

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

// Sets of ids, each with the end of its lease on the server's clock, in milliseconds. Times are rounded down, so a
// lease is over when the time is past its end, not at it.

// Joins the set if it has room and the gate is open. An id that is in the set already joins again: the reply to an
// earlier attempt was lost. Returns {1, lease}; or {0, time until it may be possible}.
// Each permit that is free has at most one signal, so that none wakes a waiter in vain: an id that has not waited takes
// one out, and the last permit all. An id that is found gives back what its wait has taken. One signal wakes all readers
// in line: each that has waited passes it on.
// KEYS: set, signal, gate (of readings). ARGV: id, ms, most ids, "waited" or "turn" or "", ms of the signal.
inline constexpr std::string_view join_text{R"(local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
local found = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not found then
  if KEYS[3] and redis.call('GET', KEYS[3]) then return {0, redis.call('PTTL', KEYS[3])} end
  if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
    return {0, redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] - now}
  end
  if ARGV[4] == 'turn' and redis.call('EXISTS', KEYS[2]) == 0 then return {0, -2} end
  if not KEYS[3] and ARGV[4] ~= 'waited' then redis.call('LPOP', KEYS[2]) end
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIREAT', KEYS[1], redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
if not KEYS[3] and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  redis.call('DEL', KEYS[2])
elseif ARGV[4] == 'waited' and (KEYS[3] or found) then
  if KEYS[3] then redis.call('DEL', KEYS[2]) end
  redis.call('LPUSH', KEYS[2], 1)
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return {1, tonumber(ARGV[2])})"};
inline constexpr Script take_permit_script{join_text, "d0283cd6ae6bba917a21a1be424a7434cf05b497",
                                           "2", 7};
inline constexpr Script start_reading_script{join_text, "d0283cd6ae6bba917a21a1be424a7434cf05b497",
                                             "3", 8};

// Leaves the set, or stays in it for ARGV[3] milliseconds more. Then wakes a waiter for a permit; or the writer that
// has closed the gate, if no reader is left, or to tell it the new end.
// KEYS: set, signal or drained, gate (of readings). ARGV: id, ms of the signal, ms to stay or "".
inline constexpr std::string_view leave_text{R"(local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 3 end
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
  redis.call('PEXPIREAT', KEYS[1], redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
end
if KEYS[3] then
  if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
  if redis.call('EXISTS', KEYS[1]) == 1 and ARGV[3] == '' then return 0 end
  redis.call('DEL', KEYS[2])
end
redis.call('LPUSH', KEYS[2], 1)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 0)"};
inline constexpr Script return_permit_script{leave_text, "de257bd67c9b3b548d086ae9cab9b25f9713a26c",
                                             "2", 5};
inline constexpr Script stop_reading_script{leave_text, "de257bd67c9b3b548d086ae9cab9b25f9713a26c",
                                            "3", 6};

inline constexpr Script stay_script{R"(local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 3 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIREAT', KEYS[1], redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
return 0)",
                                    "ad208d304019ce748f80b72810b0e31e95d2d03c", "1", 3};

// Closes the gate for writing. Returns {1, lease, fencing token} if no reader is left. Otherwise returns {2, time until
// the last reader's lease is over}, and the writer waits for them behind its gate; or {0, that time} if it does not
// wait. INCR comes before SET: see acquire_script. The signal is deleted, because it would wake a waiter in vain.
// KEYS: gate, readers, signal, fence (with fencing). ARGV: id, ms, "once" or "", "turn" or "".
inline constexpr std::string_view close_gate_text{R"(local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local id = redis.call('GET', KEYS[1])
if id and id ~= ARGV[1] then return {0, redis.call('PTTL', KEYS[1])} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. now)
if ARGV[4] == 'turn' and redis.call('EXISTS', KEYS[3]) == 0 then return {0, -2} end
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
if last and ARGV[3] == 'once' then return {0, last - now} end
local token = not last and KEYS[4] and redis.call('INCR', KEYS[4]) or 0
redis.call('DEL', KEYS[3])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if last then return {2, last - now} end
return {1, tonumber(ARGV[2]), token})"};
inline constexpr Script close_gate_script{close_gate_text,
                                          "17fbcce4c64779391be6767e239cd1936ad8b05c", "3", 7};
inline constexpr Script close_gate_fenced_script{
    close_gate_text, "17fbcce4c64779391be6767e239cd1936ad8b05c", "4", 8};

// Frees all permits; or the gate and all readings.
// KEYS: set, signal, gate, drained (the last two of a SharedLock). ARGV: ms of the signals.
inline constexpr std::string_view reset_set_text{R"(local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
local count = redis.call('ZCARD', KEYS[1])
local held = KEYS[3] and redis.call('GET', KEYS[3]) or count > 0
for i = 1, #KEYS, 2 do
  redis.call('DEL', KEYS[i], KEYS[i + 1])
  for _ = 1, KEYS[3] and 1 or count do redis.call('LPUSH', KEYS[i + 1], 1) end
  redis.call('PEXPIRE', KEYS[i + 1], ARGV[1])
end
return held and 1 or 0)"};
inline constexpr Script reset_permits_script{reset_set_text,
                                             "8f99142d6067f6bd6ae4b8f2dadff1b7e1ea8d2b", "2", 3};
inline constexpr Script reset_shared_script{reset_set_text,
                                            "8f99142d6067f6bd6ae4b8f2dadff1b7e1ea8d2b", "4", 5};

// Counts what is not over. Writes nothing.
inline constexpr Script count_script{R"(local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
return redis.call('ZCOUNT', KEYS[1], now, '+inf'))",
                                     "7f434ff418ea37aaaa5c84fc4fbe45b3d79d0a81", "1", 1};

}  // namespace redis_lock::detail
