#pragma once

#include <string>
#include <string_view>

namespace redis_lock_command {

/// Text from outside (a name, an id, a server's words), so that it cannot do anything to a terminal: control characters
/// (C0, C1, DEL), those that turn the direction of text, and bytes that are no UTF-8 become \xhh; a backslash becomes
/// two. Letters beyond ASCII stay as they are where the locale is UTF-8.
[[nodiscard]] std::string printable(std::string_view text);

/// How many columns printable text takes, as far as one can know: its characters.
[[nodiscard]] std::size_t width_of(std::string_view printable_text);

/// Writes to the standard error. Never blocks, stops or ends the process: what a full pipe, a stopped terminal or a
/// closed one does not take is dropped.
void tell(std::string_view text);
/// The same of one line, "redis-lock: …".
void say(std::string_view text);

/// Opens /dev/null in place of standard descriptors that are closed: otherwise a connection to Redis would get their
/// numbers, and what is printed.
void open_standard_descriptors();

/// Flushes the standard output. False, with a message, if not all of it was written.
[[nodiscard]] bool flush_output();

}  // namespace redis_lock_command
