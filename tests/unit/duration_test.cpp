#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <redis_lock/detail/base/duration.hpp>

namespace redis_lock_test {
namespace {

using redis_lock::detail::duration_of;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

TEST(Duration, IsASumOfNumbersWithUnits) {
  const std::vector<std::pair<std::string, milliseconds>> table{{"500ms", 500ms},
                                                                {"3000us", 3ms},
                                                                {"5s", 5s},
                                                                {"5m", 5min},
                                                                {"2h", 2h},
                                                                {"1d", 24h},
                                                                {"1m30s", 90s},
                                                                {"1d2h3m4s5ms", 93784005ms},
                                                                {"30s1m", 90s},
                                                                {"1s1s", 2s},
                                                                {"0s", 0ms},
                                                                {"1.5h", 90min},
                                                                {".5s", 500ms},
                                                                {"5.s", 5s},
                                                                {"4.35s", 4350ms},
                                                                {"0.057s", 57ms},
                                                                {"8.2m0.1s", 492100ms},
                                                                {"36500d", 876000h}};
  for (const auto& [text, time] : table) EXPECT_EQ(duration_of(text, "ms"), time) << text;
}

TEST(Duration, OfANumberAloneHasTheDefaultUnit) {
  EXPECT_EQ(duration_of("3", "ms"), 3ms);
  EXPECT_EQ(duration_of("3", "s"), 3s);
  EXPECT_EQ(duration_of("0.25", "s"), 250ms);
  EXPECT_EQ(duration_of("0", "s"), 0ms);
}

TEST(Duration, IsRoundedUpToAMillisecond) {
  EXPECT_EQ(duration_of("0.1ms", "s"), 1ms);
  EXPECT_EQ(duration_of("1us", "s"), 1ms);
  EXPECT_EQ(duration_of("1.0001s", "s"), 1001ms);
  EXPECT_EQ(duration_of("0.5ms0.5ms", "s"), 1ms) << "the sum is";
}

TEST(Duration, IsRoundedUpToTheTickThatIsAskedFor) {
  using std::chrono::microseconds;
  EXPECT_EQ(duration_of<microseconds>("50us", "ms"), 50us);
  EXPECT_EQ(duration_of<microseconds>("0.0501ms", "ms"), 51us);
  EXPECT_EQ(duration_of<microseconds>("7", "ms"), 7ms);
}

TEST(Duration, OfAnotherFormIsRefused) {
  for (const std::string text :
       {"",   "s",   "ms",  ".",  ".s",  "1..2s", "1.2.3", "1m30", "30 1s", "1 s", " 1s", "1s ",
        "-1", "-1s", "+1s", "1x", "1sm", "1S",    "1e3",   "0x10", "1,5s",  "inf", "nan"})
    EXPECT_EQ(duration_of(text, "s"), std::nullopt) << text;
}

TEST(Duration, BeyondAHundredYearsIsRefused) {
  for (const std::string& text : std::vector<std::string>{
           "36500d1ms", "36501d", "999999999d", "3153600001", "99999999999999999999",
           std::string(400, '9') + "d", std::string(400, '9') + '.' + std::string(400, '9')})
    EXPECT_EQ(duration_of(text, "s"), std::nullopt) << text;
  EXPECT_EQ(duration_of(std::string(400, '0') + "1", "s"), 1s);
}

}  // namespace
}  // namespace redis_lock_test
