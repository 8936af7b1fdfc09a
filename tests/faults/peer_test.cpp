// What listens there is no Redis, or one that talks nonsense: a clear Error, in bounded time.

#include <poll.h>
#include <sys/socket.h>

#include <functional>
#include <ostream>
#include <thread>

#include "faults.hpp"

namespace redis_lock_test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

/// What a peer says to whatever it is asked, and the errors that may be.
struct Nonsense {
  const char* name;
  std::string bytes;
  std::vector<errc> codes;
};

void PrintTo(const Nonsense& nonsense, std::ostream* stream) {
  *stream << testing::PrintToString(nonsense.bytes.substr(0, 32));
}

const std::vector<Nonsense> all_nonsense{
    {"Http", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", {errc::protocol_error}},
    {"SshBanner", "SSH-2.0-OpenSSH_9.2\r\n", {errc::protocol_error}},
    {"BinaryNoise",
     std::string("\x16\x03\x01\x00\xff\xfe\x80\x7f", 8) + "\r\n",
     {errc::protocol_error}},
    {"Zeros", std::string(64, '\0'), {errc::protocol_error}},
    {"IntegersForEverything", ":1\r\n:1\r\n", {errc::protocol_error}},
    {"StatusOfItsOwn", "+PONG\r\n+PONG\r\n", {errc::protocol_error}},
    {"EmptyStatus", "+\r\n+\r\n", {errc::protocol_error}},
    {"StringsForEverything", "$2\r\nOK\r\n$2\r\nOK\r\n", {errc::protocol_error}},
    {"EmptyArrays", "*0\r\n*0\r\n", {errc::protocol_error}},
    {"NullsForEverything", "$-1\r\n$-1\r\n", {errc::protocol_error}},
    {"NullArrays", "*-1\r\n*-1\r\n", {errc::protocol_error}},
    {"UnknownErrors", "-WHATEVER it is\r\n-WHATEVER it is\r\n", {errc::server_error}},
    {"EmptyErrors", "-\r\n-\r\n", {errc::server_error}},
    {"Resp3", "#t\r\n#t\r\n", {errc::protocol_error}},
    {"Resp3Map", "%1\r\n+key\r\n:1\r\n%1\r\n+key\r\n:1\r\n", {errc::protocol_error}},
    {"NestedArrays",
     repeated("*1\r\n", 64) + ":1\r\n" + repeated("*1\r\n", 64) + ":1\r\n",
     {errc::protocol_error}},
    {"HugeString", "$9223372036854775807\r\nabc", {errc::protocol_error, errc::timed_out}},
    {"HugerString", "$99999999999999999999999\r\nabc", {errc::protocol_error}},
    {"HugeArray", "*99999999999999\r\n", {errc::protocol_error}},
    {"NegativeString", "$-2\r\n", {errc::protocol_error}},
    {"NotANumber", ":one\r\n", {errc::protocol_error}},
    {"HalfAString", "$10\r\nabc", {errc::timed_out}},
    {"HalfAnArray", "*3\r\n:1\r\n", {errc::timed_out}},
    {"HalfALine", "+O", {errc::timed_out}},
    {"HalfOfTheRepliesAndAHalf", "$-1\r\n:600", {errc::timed_out}},
    {"Silence", "", {errc::timed_out}},
};

struct Operation {
  const char* name;
  std::function<void(Lock&)> perform;
};

const std::vector<Operation> acquiring{
    {"lock", [](Lock& lock) { lock.lock(); }},
    {"try_lock", [](Lock& lock) { (void)lock.try_lock(); }},
    {"try_lock", [](Lock& lock) { (void)lock.try_lock_for(1s); }},
};
/// Operations for which some of the nonsense is a good answer.
const std::vector<Operation> asking{
    {"locked", [](Lock& lock) { (void)lock.locked(); }},
    {"reset", [](Lock& lock) { (void)lock.reset(); }},
};

class Peer : public ::testing::TestWithParam<Nonsense> {
 protected:
  /// A server on which a lock is free, or held for a minute, and which talks nonsense when it is sent
  /// this command.
  [[nodiscard]] FakeServer::Answer well_until(const std::string& command, bool held) const {
    return FakeServer::each_command([=, bytes = GetParam().bytes](const Command& sent) {
      std::string answer = ":60000\r\n";
      if (sent.front() == "SET") answer = held ? "$-1\r\n" : "+OK\r\n";
      if (sent.front() == command) answer = bytes;
      return std::optional{answer};
    });
  }

  static constexpr auto impatient = "command_timeout=100&retry_for=100";
};
INSTANTIATE_TEST_SUITE_P(, Peer, ::testing::ValuesIn(all_nonsense),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(Peer, ThatTalksNonsenseIsAClearError) {
  FakeServer peer{FakeServer::always(GetParam().bytes)};
  for (const auto& operation : acquiring) {
    SCOPED_TRACE(operation.name);
    Lock lock{peer.uri(impatient), "name", leased_for(60s)};
    std::error_code code;
    std::string message;
    const Stopwatch watch;
    try {
      operation.perform(lock);
    } catch (const Error& error) {
      code = error.code();
      message = error.what();
    }
    EXPECT_LT(watch.elapsed(), soon);
    EXPECT_THAT(GetParam().codes, Contains(code)) << message;
    EXPECT_THAT(message, HasSubstr(std::string(operation.name) + " of \"name\": "));
    EXPECT_FALSE(lock.owns_lock());
  }
  for (const auto& operation : asking) {
    SCOPED_TRACE(operation.name);
    Lock lock{peer.uri(impatient), "name", leased_for(60s)};
    const Stopwatch watch;
    (void)error_of([&] { operation.perform(lock); });
    EXPECT_LT(watch.elapsed(), soon);
  }
}

TEST_P(Peer, TalkingNonsenseToAWaiterIsAnError) {
  FakeServer peer{well_until("BLPOP", true)};
  Lock lock{peer.uri(impatient), "name", leased_for(60s)};
  const Stopwatch watch;
  const auto code = error_of([&] { (void)lock.try_lock_for(300ms); });
  EXPECT_EQ(code.category(), redis_lock::category()) << "no success, nor a lock that is busy";
  EXPECT_FALSE(lock.owns_lock());
  EXPECT_LT(watch.elapsed(), soon);
}

TEST_P(Peer, TalkingNonsenseToAHolderIsAnError) {
  FakeServer peer{well_until("EVALSHA", false)};
  Complaints complaints;
  auto options = leased_for(60s);
  options.on_error = complaints.on_error();
  Lock extended{peer.uri(impatient), "extended", options};
  Lock unlocked{peer.uri(impatient), "unlocked", options};
  const Stopwatch watch;
  extended.lock();
  EXPECT_EQ(error_of([&] { extended.extend(); }).category(), redis_lock::category());
  unlocked.lock();
  unlocked.unlock();
  EXPECT_FALSE(unlocked.owns_lock());
  EXPECT_EQ(complaints.count(), 1U);
  EXPECT_THAT(complaints.text(), HasSubstr("unlock of \"unlocked\": "));
  EXPECT_LT(watch.elapsed(), soon);
}

TEST_P(Peer, TalkingNonsenseToRenewalIsALoss) {
  FakeServer peer{well_until("EVALSHA", false)};
  Complaints losses;
  Options options;
  options.expire = 400ms;
  options.on_lost = losses.on_lost();
  Lock lock{peer.uri(impatient), "name", options};
  lock.lock();
  ASSERT_TRUE(eventually([&] { return losses.count() == 1; }));
  EXPECT_FALSE(lock.owns_lock());
  std::this_thread::sleep_until(lock.expires_at() + 100ms);
  EXPECT_EQ(losses.count(), 1U);
}

TEST(PeerThat, ClosesAtOnceIsAFailedConnection) {
  FakeServer peer{[](std::string&) { return std::nullopt; }};
  Lock lock{peer.uri("retry_for=300"), "name", leased_for(60s)};
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::connection_failed);
  EXPECT_GE(watch.elapsed(), 300ms);
  EXPECT_LT(watch.elapsed(), 300ms + soon);
  EXPECT_GT(peer.accepted(), 2) << "it goes on trying";
  EXPECT_LT(peer.accepted(), 50) << "with growing pauses";
}

TEST(PeerThat, ClosesDuringAReplyIsAFailedConnection) {
  redis_lock::Endpoint endpoint;
  endpoint.port = 0;
  const auto listener = listen_at(endpoint);
  endpoint.retry_for = 0ms;
  std::thread peer{[&] {
    for (int connection = 0; connection < 2; ++connection) {  // of lock(), and of its giving up
      const Socket client{::accept(listener.get(), nullptr, nullptr)};
      char byte = 0;
      (void)::recv(client.get(), &byte, 1, 0);
      ::send(client.get(), "$10\r\nabc", 8, MSG_NOSIGNAL);
    }
  }};
  Lock lock{endpoint, "name", leased_for(60s)};
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::connection_failed);
  peer.join();
}

/// Each read succeeds, and the reply never ends.
TEST(PeerThat, SendsSingleBytesTimesOut) {
  redis_lock::Endpoint endpoint;
  endpoint.port = 0;
  const auto listener = listen_at(endpoint);
  endpoint.command_timeout = 200ms;
  endpoint.retry_for = 0ms;
  std::atomic<bool> done{false};
  std::thread peer{[&] {
    std::vector<Socket> clients;
    while (!done) {
      pollfd waiting{listener.get(), POLLIN, 0};
      if (::poll(&waiting, 1, 20) > 0) {
        clients.emplace_back(::accept(listener.get(), nullptr, nullptr));
        ::send(clients.back().get(), "$1000000\r\n", 10, MSG_NOSIGNAL);
      }
      for (const auto& client : clients) ::send(client.get(), "x", 1, MSG_NOSIGNAL);
    }
  }};
  Lock lock{endpoint, "name", leased_for(60s)};
  const Stopwatch watch;
  EXPECT_EQ(error_of([&] { lock.lock(); }), errc::timed_out);
  EXPECT_GE(watch.elapsed(), 200ms);
  EXPECT_LT(watch.elapsed(), 5s);
  done = true;
  peer.join();
}

/// A reply that nobody asked for must not pass for the answer to the next command.
TEST(PeerThat, SendsAnExtraReplyIsNotMisunderstood) {
  FakeServer peer{
      FakeServer::each_command([](const Command& command) -> std::optional<std::string> {
        if (command.front() == "SET") return "+OK\r\n";
        if (command.front() == "PTTL") return ":60000\r\n+more\r\n";
        if (command.front() == "GET") return "$5\r\nowner\r\n";
        return ":0\r\n";
      })};
  Lock lock{peer.uri(), "name", leased_for(60s)};
  lock.lock();
  EXPECT_EQ(lock.owner(), "owner");
}

/// Of a held lock: the largest and the least that a reply can say of its lease.
TEST(PeerThat, TellsAnAbsurdLeaseDelaysNoDeadline) {
  for (const char* const lease :
       {"9223372036854775806", "9223372036854775807", "-9223372036854775808", "-1", "-2"}) {
    SCOPED_TRACE(lease);
    FakeServer peer{FakeServer::each_command([&](const Command& command) {
      if (command.front() == "PTTL")
        return std::optional<std::string>{":" + std::string(lease) + "\r\n"};
      return std::optional<std::string>{"$-1\r\n"};
    })};
    Lock lock{peer.uri("command_timeout=500"), "name", leased_for(60s)};
    const Stopwatch watch;
    EXPECT_FALSE(lock.try_lock_for(100ms));
    EXPECT_GE(watch.elapsed(), 100ms);
    EXPECT_LT(watch.elapsed(), soon);
  }
}

}  // namespace
}  // namespace redis_lock_test
