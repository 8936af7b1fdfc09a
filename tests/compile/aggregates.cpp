// Every public aggregate with one member set by its name, as C++20 has it: no warning that others lack an initialiser. And
// what a Client can be made of.

#include <chrono>
#include <string>
#include <type_traits>

#include <redis_lock/redis_lock.hpp>

namespace {

using namespace std::chrono_literals;
using namespace redis_lock;

[[maybe_unused]] const Options options{.expire = 10s};
[[maybe_unused]] const Options with_replicas{.fencing = true, .replicas = {.min_acks = 1}};
[[maybe_unused]] const Replicas replicas{.timeout = 1s};
[[maybe_unused]] const CacheTerms terms{.max_wait = 1s};
[[maybe_unused]] const Endpoint endpoint{.host = "h"};
[[maybe_unused]] const Endpoint over_tls{.host = "h", .tls = Tls{.insecure = true}};
[[maybe_unused]] const Endpoint sentinels{.sentinel = Sentinel{.master_name = "m"}};
[[maybe_unused]] const Endpoint cluster{.cluster = {{.host = "h", .port = 7000}, {.host = "i"}}};
[[maybe_unused]] const Event event{.name = "name"};
[[maybe_unused]] const HeldLock held{.owner = "id"};
[[maybe_unused]] const NodeStatus node{.works = false};
[[maybe_unused]] const Reply reply{.integer = 1};
[[maybe_unused]] const Stats stats{.lost = 1};

static_assert(std::is_aggregate_v<Options> && std::is_aggregate_v<Endpoint>);

struct Name {  // a text of the program's own
  operator std::string() const { return "redis://h"; }
};

/// Each of these means one thing to both compilers.
[[maybe_unused]] void make_clients() {
  Client by_address{{.host = "h"}};
  Client by_address_and_port({.host = "h", .port = 7000});
  Client by_default, by_empty_braces{}, by_empty_endpoint{{}};
  Client by_text{"redis://h"}, by_string{std::string("redis://h")}, by_own_text{Name{}};
  Client by_copy_of_text = "redis://h", by_copy_of_string = std::string("redis://h");
  Client by_environment{Endpoint::from_env()};
  const Client copy{by_address}, copy_of_const = copy;
  by_text = {"redis://i"};
  by_text = {{.host = "i"}};
  Lock one{{{.host = "h"}}, "name", {.expire = 10s}};
  Lock other{Endpoint{.host = "h"}, "name"};
  Lock by_uri{"redis://h", "name", {.auto_renewal = false}};
}

static_assert(std::is_convertible_v<Endpoint, Client> &&
              std::is_convertible_v<const char*, Client>);
static_assert(std::is_convertible_v<const std::string&, Client>);
static_assert(!std::is_constructible_v<Client, int> && !std::is_constructible_v<Client, Options>);

}  // namespace
