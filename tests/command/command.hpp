#pragma once

#include <fcntl.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "integration/integration.hpp"

namespace redis_lock_test {

using Words = std::vector<std::string>;

/// What a file holds.
[[nodiscard]] inline std::string content_of(const std::string& path) {
  std::ifstream file{path};
  return {std::istreambuf_iterator<char>{file}, {}};
}

/// Replaces this process.
[[nodiscard]] inline int execute(Words words) {
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(argv.front(), argv.data());
  return 125;
}

/// redis-lock and a private server, and a folder for what commands write. Its process has no terminal,
/// unless on_terminal() starts it.
class CommandTest : public ::testing::Test {
 protected:
  CommandTest() = default;
  ~CommandTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }

  /// Starts redis-lock: REDIS_URL names the server, unless `url` is another.
  [[nodiscard]] Child start(const Words& words) const { return start(words, server.uri()); }
  [[nodiscard]] Child start(const Words& words, const std::string& url) const {
    return in_background([&] { return become(words, url); });
  }
  /// Starts a process without a terminal, whose output is out() and err().
  template <class Function>
  [[nodiscard]] Child in_background(const Function& function) const {
    return Child{[&] {
      ::setsid();
      redirect("out", STDOUT_FILENO);
      redirect("err", STDERR_FILENO);
      const int nothing = ::open(input.c_str(), O_RDONLY);
      ::dup2(nothing, STDIN_FILENO);
      ::close(nothing);
      return function();
    }};
  }
  /// The same, to its end: its exit status, as a shell tells it.
  [[nodiscard]] int status_of(const Words& words) const { return status_of(words, server.uri()); }
  [[nodiscard]] int status_of(const Words& words, const std::string& url) const {
    auto child = start(words, url);
    return status_of(child);
  }
  [[nodiscard]] static int status_of(Child& child) {
    const auto exit = child.wait().value_or(Exit{});
    return exit.signal != 0 ? 128 + exit.signal : exit.code;
  }
  /// The signal that it dies of; 0 if it ends otherwise.
  [[nodiscard]] static int death_of(Child& child) { return child.wait().value_or(Exit{}).signal; }

  [[nodiscard]] std::string out() const { return content_of(folder + "/out"); }
  [[nodiscard]] std::string err() const { return content_of(folder + "/err"); }
  [[nodiscard]] std::string file(const std::string& base) const { return folder + "/" + base; }
  [[nodiscard]] bool exists(const std::string& base) const {
    return eventually([&] { return std::filesystem::exists(file(base)); });
  }

  /// `redis-lock run … NAME -- sh -c SCRIPT`
  [[nodiscard]] Words run(const Words& options, const std::string& script) const {
    Words words{"run"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {name, "--", "/bin/sh", "-c", script});
    return words;
  }

  [[nodiscard]] bool is_free() { return !redis.exists(key); }
  [[nodiscard]] bool gets_free() {
    return eventually([this] { return is_free(); });
  }
  [[nodiscard]] bool gets_held() {
    return eventually([this] { return !is_free(); });
  }
  [[nodiscard]] bool gets_waiters(long long count = 1) {
    return eventually([&] { return redis.info("blocked_clients") == count; });
  }
  void held_by_somebody() {
    ASSERT_EQ(redis.string("SET", key, "somebody", "NX", "PX", 60'000), "OK");
  }

  static int become(const Words& words, const std::string& url) {
    ::setenv("REDIS_URL", url.c_str(), 1);
    Words all{REDIS_LOCK_COMMAND};
    all.insert(all.end(), words.begin(), words.end());
    return execute(all);
  }

  const std::string folder = make_temporary_folder();
  std::string input = "/dev/null";
  const RedisServer server;
  Redis redis{server.uri()};
  const std::string name = "the-lock";
  const std::string key = "lock:" + name;

 private:
  void redirect(const std::string& to, int file) const {
    const int target = ::open((folder + "/" + to).c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    ::dup2(target, file);
    ::close(target);
  }
};

/// A program on a terminal of its own.
class OnTerminal {
 public:
  template <class Function>
  explicit OnTerminal(Function function) {
    int terminal = -1;
    if (::openpty(&master_, &terminal, nullptr, nullptr, nullptr) != 0) std::abort();
    child_.emplace(Child{[=] {
      ::setsid();
      ::ioctl(terminal, TIOCSCTTY, 0);
      for (const int file : {0, 1, 2}) ::dup2(terminal, file);
      ::close(terminal);
      return function();
    }});
    ::close(terminal);
    ::fcntl(master_, F_SETFL, O_NONBLOCK);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;
  ~OnTerminal() { ::close(master_); }

  void type(const std::string& keys) const {
    if (::write(master_, keys.data(), keys.size()) < 0) std::abort();
  }
  /// Waits until it has shown this.
  [[nodiscard]] bool shows(const std::string& text) {
    return eventually([&] { return has_shown(text); });
  }
  /// Has it shown this by now?
  [[nodiscard]] bool has_shown(const std::string& text) {
    read();
    return shown_.find(text) != std::string::npos;
  }
  [[nodiscard]] int exit_code() {
    (void)eventually([&] {
      read();
      return !child_->running();
    });
    return child_->exit_code();
  }

 private:
  void read() {
    std::array<char, 1000> bytes{};
    for (ssize_t size = 0; (size = ::read(master_, bytes.data(), bytes.size())) > 0;)
      shown_.append(bytes.data(), static_cast<std::size_t>(size));
  }

  int master_ = -1;
  std::optional<Child> child_;
  std::string shown_;
};

}  // namespace redis_lock_test
