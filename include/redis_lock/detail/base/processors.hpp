#pragma once

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>

namespace redis_lock::detail {

/// Returns the beginning of a file of the kernel; empty if it cannot be read.
[[nodiscard]] inline std::string read_beginning(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  std::array<char, 4096> bytes;
  const auto count = ::read(file, bytes.data(), bytes.size());
  ::close(file);
  return count > 0 ? std::string(bytes.data(), static_cast<std::size_t>(count)) : std::string{};
}

/// Returns how many processors the cgroups of this process let it use, in parts of one; infinity if they set no limit.
/// Reads cpu.max of version 2 and cpu.cfs_quota_us of version 1, of the group and those above it (cgroups(7)).
[[nodiscard]] inline double cgroup_quota(const std::string& groups_file = "/proc/self/cgroup",
                                         const std::string& mount = "/sys/fs/cgroup") {
  double least = std::numeric_limits<double>::infinity();
  const auto limit = [&](const std::string& quota, const std::string& period) {
    const double time = std::strtod(quota.c_str(), nullptr);  // "max" and -1 stand for no limit
    const double each = std::strtod(period.c_str(), nullptr);
    if (time > 0 && each > 0) least = std::min(least, time / each);
  };
  const auto groups = read_beginning(groups_file);
  for (std::string_view rest = groups; !rest.empty();) {
    const auto line = rest.substr(0, rest.find('\n'));  // number:controllers:path
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == line.npos) continue;
    const auto controllers = line.substr(first + 1, second - first - 1);
    const bool is_version_2 = controllers.empty();
    if (!is_version_2 && (',' + std::string(controllers) + ',').find(",cpu,") == line.npos)
      continue;
    for (std::string group{line.substr(second + 1)};;) {
      const auto folder = mount + (is_version_2 ? "" : "/cpu") + (group == "/" ? "" : group) + '/';
      if (is_version_2) {
        const auto both = read_beginning(folder + "cpu.max");  // "quota period"
        if (const auto space = both.find(' '); space != both.npos)
          limit(both, both.substr(space + 1));
      } else {
        limit(read_beginning(folder + "cpu.cfs_quota_us"),
              read_beginning(folder + "cpu.cfs_period_us"));
      }
      const auto slash = group.rfind('/');
      if (group.size() <= 1 || slash == group.npos) break;
      group.resize(std::max<std::size_t>(slash, 1));
    }
  }
  return least;
}

/// Returns how many processors the calling thread can use; at least 1. The quota of the cgroups is read once. A thread
/// that is cancelled meanwhile leaves a file open.
[[nodiscard]] inline int usable_processors() {
  static const double quota = cgroup_quota();
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  const bool is_known = ::sched_getaffinity(0, sizeof allowed, &allowed) == 0;
  const double count = is_known ? CPU_COUNT(&allowed) : 1;
  return static_cast<int>(std::max(1.0, std::floor(std::min(count, quota))));
}

}  // namespace redis_lock::detail
