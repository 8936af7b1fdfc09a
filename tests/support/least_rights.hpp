#pragma once

#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include <redis_lock/endpoint.hpp>

namespace redis_lock_test {

/// The least rights for each use of the library, as docs/deploying.md names them; acl_test.cpp compares.
namespace rights {
inline const std::string locks =
    "~lock:* ~lock-signal:* +set +pttl +blpop +get +eval +evalsha +del +lpush +pexpire";
inline const std::string operators =
    "~lock:* ~lock-signal:* +scan +get +pttl +eval +evalsha +del +lpush +pexpire";
inline const std::string shared_locks =
    "~shared-lock:* ~shared-lock-readers:* ~shared-lock-signal:* ~shared-lock-drained:* +blpop "
    "+eval +evalsha +time +get +set +exists +pttl +del +lpush +pexpire +pexpireat +zadd +zrem "
    "+zscore +zcard +zrange +zremrangebyscore";
inline const std::string semaphores =
    "~semaphore:* ~semaphore-signal:* +blpop +eval +evalsha +time +exists +del +lpush +lpop "
    "+pexpire "
    "+pexpireat +zadd +zrem +zscore +zcard +zcount +zrange +zremrangebyscore";
inline const std::string fencing = "~lock-fence:* +exists +incr";
inline const std::string shared_fencing = "~shared-lock-fence:* +incr";
inline const std::string shared_operators =
    "~semaphore:* ~semaphore-signal:* ~shared-lock:* ~shared-lock-readers:* ~shared-lock-signal:* "
    "~shared-lock-drained:* +time +zrange +zcard +zremrangebyscore";
inline const std::string cache = "~cache:*";
inline const std::string once = "~once:*";
inline const std::string reset_all = "+scan";
inline const std::string replicas = "+wait";
inline const std::string endpoint = "+select +client|setname";
inline const std::string sentinel = "+role";
inline const std::string cluster = "+cluster|slots +asking";
}  // namespace rights

inline constexpr auto least_user = "least-user";
inline constexpr auto least_password = "least";

/// The words of a user's rights, for ACL SETUSER or the configuration.
inline std::vector<std::string> words_of(const std::string& all) {
  std::vector<std::string> words{"reset", "on", std::string(">") + least_password};
  std::istringstream stream{all};
  for (std::string one; stream >> one;) words.push_back(one);
  return words;
}

/// With the environment variable REDIS_LOCK_TEST_ACL, the library is tested as this user, where a test
/// starts a server and asks for no user of its own. The test's own client (class Redis) has all rights.
inline bool as_least_user() { return std::getenv("REDIS_LOCK_TEST_ACL") != nullptr; }

/// The arguments with which a server starts that knows this user: who may do all that is documented, and
/// whatever the tests' own scripts, prefixes and borrowed connections do besides.
inline std::vector<std::string> words_of_least_user() {
  const std::string of_tests =
      "~app:* ~data:* ~k1 ~k2 ~other:* ~any*bytes:* ~?-test-* ~test-* ~*test-*x +echo +ping";
  auto words = words_of(rights::locks + ' ' + rights::shared_locks + ' ' + rights::semaphores +
                        ' ' + rights::fencing + ' ' + rights::shared_fencing + ' ' + rights::cache +
                        ' ' + rights::once + ' ' + rights::reset_all + ' ' + rights::replicas +
                        ' ' + rights::endpoint + ' ' + of_tests);
  words.insert(words.begin(), {"--user", least_user});
  return words;
}

/// The same server for the test's own client.
inline redis_lock::Endpoint with_all_rights(redis_lock::Endpoint endpoint) {
  if (endpoint.username == least_user) endpoint.username = endpoint.password = "";
  return endpoint;
}

}  // namespace redis_lock_test
