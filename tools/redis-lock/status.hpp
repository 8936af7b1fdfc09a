#pragma once

namespace redis_lock_command {

/// The exit statuses of redis-lock, beside those of the command that it runs. Those above 63 are taken from
/// sysexits.h, as flock(1) does; 126, 127 and 128 + n are what a shell would say.
struct Status {
  static constexpr int done = 0;
  static constexpr int no =
      1;  // run: held by someone else; show: it is free; reset: nothing was freed
  static constexpr int usage = 64;
  static constexpr int no_redis = 69;  // it cannot be reached, or refuses
  static constexpr int system_failed = 71;
  static constexpr int no_output = 74;  // not all of it could be written
  static constexpr int lost = 75;       // the lock, while the command ran
  static constexpr int not_ended = 77;  // the lock was lost, and the command could not be ended
  static constexpr int not_executable = 126;
  static constexpr int not_found = 127;
  static constexpr int by_signal = 128;  // and its number
};

}  // namespace redis_lock_command
