#include <cfenv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include <redis_lock/detail/base/processors.hpp>

#include "support/one_processor.hpp"
#include "support/socket.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::detail::cgroup_quota;
using redis_lock::detail::usable_processors;

constexpr double unlimited = std::numeric_limits<double>::infinity();

/// The files of a kernel, as a process in the given groups sees them.
class CgroupQuota : public testing::Test {
 protected:
  ~CgroupQuota() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& path, const std::string& text) {
    const auto file = std::filesystem::path{folder_} / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream{file} << text;
  }
  [[nodiscard]] double quota() const { return cgroup_quota(folder_ + "/groups", folder_ + "/fs"); }

  const std::string folder_ = make_temporary_folder();
};

TEST_F(CgroupQuota, IsUnlimitedWithoutFiles) { EXPECT_EQ(quota(), unlimited); }

TEST_F(CgroupQuota, IsReadFromVersion2) {
  write("groups", "0::/a/b\n");
  write("fs/a/b/cpu.max", "150000 100000\n");
  EXPECT_EQ(quota(), 1.5);
}

TEST_F(CgroupQuota, IsTheLeastOfTheGroupsAbove) {
  write("groups", "0::/a/b\n");
  write("fs/a/b/cpu.max", "max 100000\n");
  write("fs/a/cpu.max", "100000 100000\n");
  write("fs/cpu.max", "400000 100000\n");
  EXPECT_EQ(quota(), 1);
}

TEST_F(CgroupQuota, OfTheRootIsFound) {
  write("groups", "0::/\n");
  write("fs/cpu.max", "50000 100000\n");
  EXPECT_EQ(quota(), 0.5);
}

TEST_F(CgroupQuota,
       IsFoundInAContainer) {  // which shows the path outside, and mounts its own group
  write("groups", "0::/system.slice/outside\n");
  write("fs/cpu.max", "200000 100000\n");
  EXPECT_EQ(quota(), 2);
}

TEST_F(CgroupQuota, IsReadFromVersion1) {
  write("groups", "3:memory:/m\n2:cpu,cpuacct:/a\n1:name=systemd:/s\n");
  write("fs/cpu/a/cpu.cfs_quota_us", "50000\n");
  write("fs/cpu/a/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), 0.5);
}

TEST_F(CgroupQuota, OfMinusOneIsUnlimited) {
  write("groups", "2:cpu:/\n");
  write("fs/cpu/cpu.cfs_quota_us", "-1\n");
  write("fs/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota(), unlimited);
}

TEST_F(CgroupQuota, WithoutItsFolderDividesByNothing) {  // which may be a signal
  write("groups", "4:cpu,cpuacct:/docker/abc\n");
  std::feclearexcept(FE_ALL_EXCEPT);
  EXPECT_EQ(quota(), unlimited);
  EXPECT_EQ(std::fetestexcept(FE_INVALID | FE_DIVBYZERO), 0);
}

TEST_F(CgroupQuota, IsUnlimitedIfTheFilesAreGarbage) {
  write("groups", "\n:\n0:\n::\n0::\n0::relative\n2:cpu:/x");
  write("fs/cpu.max", "garbage");
  write("fs/cpu/x/cpu.cfs_quota_us", "x");
  EXPECT_EQ(quota(), unlimited);
}

TEST(Processors, AreThoseOfTheAffinityMask) {
  EXPECT_GE(usable_processors(), 1);
  const OneProcessor only_one;
  EXPECT_EQ(usable_processors(), 1);
}

}  // namespace
}  // namespace redis_lock_test
