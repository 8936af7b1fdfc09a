// The library against a server that answers whatever it likes: errors, other types, nested arrays, huge
// lengths, half replies; and then hangs up, or says no more. Nothing but Failure or Error comes out, in time,
// and without the password.
//
// The first byte of an input says what is asked of the library (see conversations); the rest is what the
// server says, whatever it is asked: see ScriptedServer.

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>

#include <redis_lock/detail/lock/deferred_release.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/lock/observer.hpp>
#include <redis_lock/detail/net/calls.hpp>
#include <redis_lock/detail/net/connection.hpp>
#include <redis_lock/detail/net/drive.hpp>
#include <redis_lock/detail/net/topology.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/redis_lock.hpp>

#include "check.hpp"
#include "scripted_server.hpp"
#include "support/no_lock_analysis.hpp"

namespace redis_lock_test {
namespace {

using namespace redis_lock::detail;
using namespace std::chrono_literals;
using redis_lock::Cache;
using redis_lock::Client;
using redis_lock::Endpoint;
using redis_lock::Error;
using redis_lock::Lock;
using redis_lock::Options;

constexpr std::string_view password = "s3cr3t", id = "me";

/// Goes on only while somebody waits for the server.
struct FakeClock {
  static Time now() { return time; }
  static inline Time time{};
};

/// Nothing in it waits in vain: the server has said all it will say, and there is no retrying.
Endpoint endpoint_of_the_server() {
  Endpoint endpoint;
  endpoint.unix_socket = "/scripted";
  endpoint.retry_for = 0ms;
  return endpoint;
}

Endpoint endpoint_with_greeting() {
  auto endpoint = endpoint_of_the_server();
  endpoint.username = "ann";
  endpoint.password = password;
  endpoint.database = 3;
  endpoint.client_name = "web";
  return endpoint;
}

/// Does what may fail. Another exception than these ends the program.
template <class Work>
void attempt(Work&& work) {
  try {
    work();
  } catch (const Failure&) {
  } catch (const Error&) {
  }
}

/// A connection of hiredis, for the library to borrow. That of a stalling server times out at once.
Context context_of(const ScriptedServer& server) {
  Context context{::redisConnectUnix("/scripted")};
  if (context->err) return nullptr;
  if (server.stalls) ::fcntl(context->fd, F_SETFL, O_NONBLOCK);
  return context;
}

/// What the owner of a borrowed connection counts on.
void check_given_back(const redisContext& context) {
  check(context.err != 0 || !has_more(context),
        "a borrowed connection has no unread replies, or has failed");
}

/// Waits for nothing: the fake clock goes on in its place.
struct Link {
  Connection& connection;
  bool whole_seconds = false;
  bool asked_elsewhere = false;
  redis_lock::detail::Progress progress{};
  [[nodiscard]] static bool is_out_of_step() { return false; }
  void reuse(Replies&&) const {}
  [[nodiscard]] Replies exchange(const Commands& commands, milliseconds wait = 0ms) const {
    FakeClock::time += wait;
    return connection.exchange(commands);
  }
  static void pause(milliseconds time) { FakeClock::time += time; }
  [[nodiscard]] static bool cancelled() { return false; }
  [[nodiscard]] static bool cancelled_late() { return false; }
};

/// One acquisition, on one connection after another as each fails.
void acquire(ScriptedServer& server, std::string_view words, const Keys& keys,
             milliseconds expire) {
  FakeClock::time = Time{} + 1000h;
  Acquisition acquisition{keys, id, expire, "1000", FakeClock::time + 30s, FakeClock::now()};
  bool over = false;
  while (!over && server.listens()) {
    const auto context = context_of(server);
    attempt([&] {
      Connection connection{context.get()};
      Link link{connection};
      const auto lease_end = Drive<FakeClock>{acquisition}(link);
      over = true;
      if (!lease_end) return;
      check(FakeClock::time < *lease_end, "no lease is granted that is over");
      const bool fenced = !keys.fence.empty();
      check(fenced == (acquisition.fencing_token() != 0), "a fence gives a token");
      const auto grant = keys.kind != Keys::Kind::lock ? ":1\r\n" : fenced ? ":" : "+OK\r\n";
      check(words.find(grant) != words.npos || words.find(id) != words.npos,
            "nothing is granted that the server has not granted");
    });
    check_given_back(*context);
  }
}

void acquire_with_a_lease(ScriptedServer& server, std::string_view words) {
  acquire(server, words, {"lock:n", "lock-signal:n"}, 600ms);
}
void acquire_without_end(ScriptedServer& server, std::string_view words) {
  acquire(server, words, {"lock:n", "lock-signal:n"}, milliseconds::max());
}
void acquire_with_a_fence(ScriptedServer& server, std::string_view words) {
  acquire(server, words, {"lock:n", "lock-signal:n", "lock-fence:n"}, 600ms);
}
void acquire_with_a_fence_without_end(ScriptedServer& server, std::string_view words) {
  acquire(server, words, {"lock:n", "lock-signal:n", "lock-fence:n"}, milliseconds::max());
}

void acquire_for_writing(ScriptedServer& server, std::string_view words) {
  acquire(server, words, {"g", "s", "f", Keys::Kind::writing, "r", "d"}, 600ms);
}
void acquire_a_reading(ScriptedServer& server, std::string_view words) {
  acquire(server, words, {"r", "s", {}, Keys::Kind::reading, "g", "d", "99"}, 600ms);
}

/// Every command of the protocol by itself, on one borrowed connection.
void ask(ScriptedServer& server, std::string_view) {
  const auto context = context_of(server);
  const Keys keys{"lock:n", "lock-signal:n"};
  attempt([&] {
    Connection connection{context.get()};
    attempt([&] { (void)scan(connection, "lock:", "0"); });
    attempt([&] { (void)extend(connection, keys, id, "1000"); });
    attempt([&] { (void)owner(connection, keys.lock); });
    attempt([&] { reset(connection, keys, "1000"); });
    attempt([&] { (void)was_held(reset_each(connection, {keys}, "1000").front()); });
    attempt([&] { release(connection, keys, id, "1000"); });
    const auto renewal = extend_call(keys, id, "1000");
    attempt([&] { (void)evaluate(connection, {renewal, renewal}); });
  });
  check_given_back(*context);
}

/// The members of a Lock over a borrowed connection.
void use_borrowed_lock(ScriptedServer& server, std::string_view) {
  const auto context = context_of(server);
  {
    Lock lock{context.get(), "n"};
    attempt([&] {
      const bool acquired = lock.try_lock();
      check(acquired == lock.owns_lock(), "what is acquired is owned");
    });
    attempt([&] { lock.extend(); });
    attempt([&] { (void)lock.locked(); });
    attempt([&] { lock.guarded_eval("return ARGV[1]", {"key"}, {"value"}); });
    attempt([&] { lock.guarded_set("key", "value", 1s); });
    attempt([&] { lock.reset(); });
    lock.unlock();
    check(!lock.owns_lock(), "nothing is owned after unlock()");
    attempt([&] { (void)lock.try_lock(); });
  }
  check_given_back(*context);
}

/// The greeting of new connections.
void greet(ScriptedServer& server, std::string_view) {
  const auto endpoint = endpoint_with_greeting();
  Resolver resolver;
  while (server.listens()) {
    try {
      const Connection connection{endpoint, resolver, never};
    } catch (const Failure& fault) {
      const std::string_view text = fault.what();
      check(text.find(password) == text.npos, "no error shows the password");
    }
  }
}

/// Releases whose replies are read later.
void defer(ScriptedServer&, std::string_view) {
  const auto endpoint = endpoint_of_the_server();
  const auto keys = std::make_shared<const Keys>(Keys{"lock:n", "lock-signal:n"});
  const auto counters = std::make_shared<Counters>();
  std::uint64_t sent = 0, failed = 0;
  auto options = Options::without_renewal();
  options.on_error = [&](const Error&) { ++failed; };
  const auto observer = std::make_shared<const Observer>(counters, "n", options);
  {
    Calls calls{endpoint, std::make_shared<Topology>(endpoint, counters)};
    const auto work = [&](Connection& connection) { return owner(connection, keys->lock); };
    for (int i = 0; i < 3; ++i) {
      attempt([&] { (void)calls.perform({0ms}, work); });
      for (int j = 0; j < 2; ++j) {
        const auto lease = std::make_shared<Lease>();
        lease->keys = keys;
        lease->id = id;
        lease->observer = observer;
        lease->since = Time::clock::now();
        const auto release = [&] {
          return std::make_unique<DeferredRelease>("1000", lease, nullptr);
        };
        if (calls.defer(keys->lock, release)) ++sent;
      }
    }
    calls.settle_all();
  }
  const auto stats = counters->snapshot();
  check(failed == stats.lost + stats.abandoned, "no release fails twice");
  check(stats.released + failed == sent, "each release ends once");
}

/// All that there is for a Client.
void use_client(ScriptedServer&, std::string_view) {
  const Client client{endpoint_with_greeting()};
  attempt([&] { redis_lock::reset_all(client); });
  Cache cache{client};
  attempt([&] { (void)cache.get("key"); });
  attempt([&] { cache.set("key", "value", 1s); });
  attempt([&] { (void)cache.erase("key"); });
  auto options = Options::without_renewal();
  options.fencing = true;
  Lock lock{client, "n", options};
  attempt([&] { check(!lock.try_lock() || lock.fencing_token() != 0, "a fence gives a token"); });
  attempt([&] { lock.extend(); });
  attempt([&] { lock.guarded_eval("return 1"); });
  attempt([&] { (void)lock.owner(); });
}

using Conversation = void (*)(ScriptedServer&, std::string_view words);

void fuzz(char which, std::string_view words) {
  constexpr std::array<Conversation, 11> conversations{acquire_with_a_lease,              // a
                                                       acquire_without_end,               // b
                                                       acquire_with_a_fence,              // c
                                                       acquire_with_a_fence_without_end,  // d
                                                       ask,                               // e
                                                       use_borrowed_lock,                 // f
                                                       greet,                             // g
                                                       defer,                             // h
                                                       use_client,                        // i
                                                       acquire_for_writing,               // j
                                                       acquire_a_reading};                // k
  // 'A' to 'F': the same, with a server that stalls in the place of closing.
  const bool stalls = which >= 'A' && which <= 'F';
  const auto number = static_cast<unsigned char>(which - (stalls ? 'A' : 'a'));
  ScriptedServer server{words};
  server.stalls = stalls;
  conversations[number % conversations.size()](server, words);
}

}  // namespace
}  // namespace redis_lock_test

extern "C" {
const char* __asan_default_options();  // NOLINT: the name is the sanitizer's

/// hiredis allocates an array of the length that the server tells it (hiredis 0.14 of any, 1.x of up to 2^32
/// elements). That fails here, as it would somewhere; operator new still ends the program.
const char* __asan_default_options() {  // NOLINT
  return "allocator_may_return_null=1:max_allocation_size_mb=24";
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view input{reinterpret_cast<const char*>(data), size};
  redis_lock_test::fuzz(input.front(), input.substr(1));
  return 0;
}
}
