#include "message.hpp"

#include <fcntl.h>
#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <iostream>
#include <string>

namespace redis_lock_command {
namespace {

bool locale_is_utf8() {
  static const bool is = std::string_view{::nl_langinfo(CODESET)} == "UTF-8";
  return is;
}

struct Character {
  std::uint32_t code;
  std::size_t size;  // 0: no valid UTF-8
};

/// The first character of a text in UTF-8 (RFC 3629).
Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < size) return {0, 0};
  std::uint32_t code = lead & (0xffU >> (size + 1));
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {0, 0};
    code = (code << 6) | (byte(i) & 0x3fU);
  }
  constexpr std::array<std::uint32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
  if (code < least[size] || is_surrogate || code > 0x10ffff) return {0, 0};
  return {code, size};
}

/// Not shown as a mark of its own, or changes how others are shown.
bool is_control(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0xad || code == 0x61c ||
         (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x206f) || code == 0xfeff ||
         (code >= 0xfff9 && code <= 0xfffb) || (code >= 0xe0000 && code <= 0xe007f);
}

/// Keeps the signals from the calling thread that a write can cause.
class WriteSignalsBlock {
 public:
  WriteSignalsBlock() {
    ::sigemptyset(&pipe_);
    ::sigaddset(&pipe_, SIGPIPE);
    auto both = pipe_;
    ::sigaddset(&both, SIGTTOU);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &both, &before_);
  }
  ~WriteSignalsBlock() {
    const timespec now{};
    if (!was_pending_) ::sigtimedwait(&pipe_, nullptr, &now);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WriteSignalsBlock(const WriteSignalsBlock&) = delete;
  WriteSignalsBlock& operator=(const WriteSignalsBlock&) = delete;

 private:
  sigset_t pipe_{}, before_{};
  bool was_pending_ = false;
};

/// Up to what is taken at once.
void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

std::string printable(std::string_view text) {
  std::string safe;
  while (!text.empty()) {
    auto [code, size] = first_character(text);
    const bool is_shown = size > 0 && !is_control(code) && (code < 0x80 || locale_is_utf8());
    if (size == 0) size = 1;
    for (const char c : text.substr(0, size)) {
      if (c == '\\') safe += '\\';
      if (is_shown) {
        safe += c;
        continue;
      }
      std::array<char, 5> escaped{};
      std::snprintf(escaped.data(), escaped.size(), "\\x%02x", static_cast<unsigned char>(c));
      safe += escaped.data();
    }
    text.remove_prefix(size);
  }
  return safe;
}

std::size_t width_of(std::string_view text) {
  std::size_t width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return width;
}

void tell(std::string_view text) {
  const WriteSignalsBlock no_signals;
  struct stat kind {};
  if (text.empty() || ::fstat(STDERR_FILENO, &kind) != 0) return;
  if (S_ISSOCK(kind.st_mode)) {
    ::send(STDERR_FILENO, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    return;
  }
  if (S_ISREG(kind.st_mode)) return write_all(STDERR_FILENO, text);
  // Opened anew it does not block here, while it stays as it is for those who share it.
  const int own = ::open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (own >= 0) {
    write_all(own, text);
    ::close(own);
    return;
  }
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) != 0) write_all(STDERR_FILENO, text);
}

void say(std::string_view text) { tell("redis-lock: " + std::string(text) + '\n'); }

void open_standard_descriptors() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    // The lowest number that is free is the one that was found closed.
    if (::fcntl(descriptor, F_GETFD) < 0)
      ::open("/dev/null", descriptor == 0 ? O_RDONLY : O_WRONLY);
  }
}

bool flush_output() {
  errno = 0;
  std::cout.flush();
  if (std::cout.good() && std::fflush(stdout) == 0) return true;
  say(std::string("the output could not be written: ") +
      (errno != 0 ? std::strerror(errno) : "it was cut short"));
  return false;
}

}  // namespace redis_lock_command
