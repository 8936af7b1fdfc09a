#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "record.hpp"

namespace redis_lock_test::campaign {

/// A process's own file of a history. Each record is one write(), so SIGKILL loses nothing that was
/// written, and cuts at most the record that is being written.
class HistoryFile {
 public:
  explicit HistoryFile(const std::string& path)
      : descriptor_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
    if (descriptor_ < 0) fail();
  }
  HistoryFile(const HistoryFile&) = delete;
  HistoryFile& operator=(const HistoryFile&) = delete;
  ~HistoryFile() { ::close(descriptor_); }

  /// By any thread.
  void write(const Record& record) const {
    const auto line = to_line(record);
    if (::write(descriptor_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) fail();
  }

 private:
  [[noreturn]] static void fail() {
    throw std::system_error(errno, std::generic_category(), "history");
  }

  int descriptor_;
};

struct History {
  std::vector<Record> records;  ///< in the order of each file
  std::size_t cut_lines = 0;    ///< last lines without their end: the process was killed meanwhile
};

/// Adds the records of one file's text. Throws std::runtime_error at a line that is no record.
inline void read_lines(std::string_view text, History& history) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (end == text.npos) {
      ++history.cut_lines;
      return;
    }
    history.records.push_back(from_line(text.substr(0, end)));
    text.remove_prefix(end + 1);
  }
}

/// All files "*.history" of a folder.
[[nodiscard]] inline History read_history(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator{folder}) {
    if (entry.path().extension() == ".history") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  History history;
  for (const auto& path : paths) {
    std::ifstream file{path, std::ios::binary};
    const std::string text{std::istreambuf_iterator<char>{file}, {}};
    try {
      read_lines(text, history);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(path.filename().string() + ": " + error.what());
    }
  }
  return history;
}

}  // namespace redis_lock_test::campaign
