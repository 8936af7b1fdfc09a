#include "integration.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace redis_lock_test {
namespace {

using redis_lock::Leader;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void until_stopped(const std::stop_token& end) {
  std::promise<void> stopped;
  const std::stop_callback callback{end, [&] { stopped.set_value(); }};
  stopped.get_future().wait();
}

/// What the threads of Leaders add, and the test reads.
template <class Value>
class List {
 public:
  void add(Value value) {
    const std::lock_guard guard{mutex_};
    values_.push_back(std::move(value));
  }
  [[nodiscard]] std::vector<Value> values() const {
    const std::lock_guard guard{mutex_};
    return values_;
  }
  [[nodiscard]] std::size_t size() const { return values().size(); }

 private:
  mutable std::mutex mutex_;
  std::vector<Value> values_;
};

class OfLeader : public OnRedis {
 protected:
  /// A function that leads until it is stopped.
  auto leading() {
    return [this](std::stop_token end, std::uint64_t term) {
      terms.add(term);
      until_stopped(end);
    };
  }
  /// Options that collect errors.
  Options told(milliseconds expire = std::chrono::minutes{1}) {
    auto options = renewed_for(expire);
    options.on_error = [this](const Error& error) {
      errors.add(error.code());
      messages.add(error.what());
    };
    return options;
  }
  /// Waits until this many terms have begun.
  [[nodiscard]] bool terms_are(std::size_t count) {
    return eventually([&] { return terms.size() >= count; });
  }
  [[nodiscard]] auto fence() { return redis.string("GET", "lock-fence:" + name); }

  List<std::uint64_t> terms;
  List<std::error_code> errors;
  List<std::string> messages;
};

using LeaderElection = OfLeader;

TEST_F(LeaderElection, OneOfSeveralLeads) {
  std::vector<std::unique_ptr<Leader>> leaders;
  for (int i = 0; i < 3; ++i) leaders.push_back(std::make_unique<Leader>(client, name, leading()));
  ASSERT_TRUE(eventually([&] { return terms.size() == 1 && waiters() == 2; }));
  EXPECT_EQ(
      std::count_if(leaders.begin(), leaders.end(), [](const auto& each) { return each->leads(); }),
      1);
  EXPECT_EQ(terms.size(), 1U);
}

TEST_F(LeaderElection, ExcludesALockOfTheName) {
  Leader leader{client, name, leading()};
  ASSERT_TRUE(terms_are(1));
  EXPECT_TRUE(leader.leads());
  EXPECT_FALSE(Lock(client, name).try_lock());
}

TEST_F(LeaderElection, AnotherTakesOverWhenItStops) {
  Leader first{client, name, leading(), told()};
  ASSERT_TRUE(terms_are(1));
  Leader second{client, name, leading(), told()};
  ASSERT_TRUE(eventually([&] { return somebody_waits(); }));
  EXPECT_FALSE(second.leads());
  const Stopwatch since_stop;
  first.request_stop();
  ASSERT_TRUE(terms_are(2));
  EXPECT_LT(since_stop.elapsed(), soon);
  EXPECT_TRUE(second.leads());
  EXPECT_FALSE(first.leads());
  EXPECT_THAT(messages.values(), IsEmpty());
}

TEST_F(LeaderElection, AnotherTakesOverWhenItsProcessDies) {
  Child child{[&] {
    Leader leader{Client{test_uri()}, name, leading(), renewed_for(1500ms)};
    until_stopped(std::stop_source{}.get_token());
    return 0;
  }};
  ASSERT_TRUE(eventually([&] { return redis.exists(key); }));
  Leader leader{client, name, leading()};
  ASSERT_TRUE(eventually([&] { return somebody_waits(); }));
  EXPECT_THAT(terms.values(), IsEmpty());
  child.kill();
  ASSERT_TRUE(terms_are(1));
  EXPECT_EQ(terms.values().front(), 2U) << "the dead process led the first term";
}

TEST_F(LeaderElection, ResigningLetsAnotherLead) {
  std::promise<void> resign;
  List<std::string> who;
  Leader first{client, name, [&, asked = resign.get_future().share()](auto, auto) {
                 who.add("first");
                 asked.wait();
               }};
  ASSERT_TRUE(eventually([&] { return who.size() == 1; }));
  Leader second{client, name, [&](std::stop_token end, auto) {
                  who.add("second");
                  until_stopped(end);
                }};
  ASSERT_TRUE(eventually([&] { return somebody_waits(); }));
  resign.set_value();
  ASSERT_TRUE(eventually([&] { return who.size() == 2 && somebody_waits(); }));
  EXPECT_EQ(who.values(), (std::vector<std::string>{"first", "second"})) << "and the first waits";
  EXPECT_TRUE(second.leads());
}

using LeaderTerm = OfLeader;

TEST_F(LeaderTerm, HasTheNumberOfItsFencingToken) {
  redis.command("SET", "lock-fence:" + name, "41");
  Leader leader{client, name, leading()};
  ASSERT_TRUE(terms_are(1));
  EXPECT_EQ(terms.values().front(), 42U);
  EXPECT_EQ(fence(), "42");
}

TEST_F(LeaderTerm, ReturnsDoNotSpinAndNumbersIncrease) {
  const Stopwatch watch;
  Leader leader{client, name, [&](auto, std::uint64_t term) { terms.add(term); }, told()};
  ASSERT_TRUE(terms_are(5));
  EXPECT_GE(watch.elapsed(), 50ms + 100ms + 200ms + 400ms);
  const auto numbers = terms.values();
  for (std::size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(numbers[i], i + 1);
  EXPECT_THAT(messages.values(), IsEmpty());
}

TEST_F(LeaderTerm, LongOneMakesPausesShortAgain) {
  Stopwatch since_long_term;
  Leader leader{client, name, [&](std::stop_token, std::uint64_t term) {
                  if (term == 5) std::this_thread::sleep_for(5100ms);
                  if (term == 6) messages.add(std::to_string(since_long_term.elapsed().count()));
                  if (term == 5) since_long_term = {};
                  terms.add(term);
                }};
  ASSERT_TRUE(terms_are(6));
  EXPECT_LT(std::stoi(messages.values().front()), 800) << "the fifth of growing pauses is longer";
}

TEST_F(LeaderTerm, EndsWhenTheLockIsLost) {
  std::promise<void> may_return;
  std::atomic<bool> stopped{false};
  std::optional<Leader> leader;
  const auto lead = [&, returns = may_return.get_future().share()](std::stop_token end,
                                                                   std::uint64_t term) {
    terms.add(term);
    until_stopped(end);
    stopped = true;
    returns.wait();
  };
  leader.emplace(client, name, lead, told(1500ms));
  ASSERT_TRUE(terms_are(1));
  EXPECT_TRUE(leader->leads());
  EXPECT_FALSE(stopped);
  redis.command("DEL", key);
  ASSERT_TRUE(eventually([&] { return stopped.load(); }));
  EXPECT_FALSE(leader->leads()) << "although the function still runs";
  Leader other{client, name, leading()};
  ASSERT_TRUE(terms_are(2)) << "nor does it keep another one from leading";
  EXPECT_TRUE(other.leads());
  EXPECT_THAT(errors.values(), IsEmpty());

  may_return.set_value();
  ASSERT_TRUE(eventually([&] { return errors.size() == 1 && somebody_waits(); }))
      << "it campaigns again";
  EXPECT_EQ(errors.values().front(), errc::lease_lost);
  other.request_stop();
  ASSERT_TRUE(terms_are(3));
  EXPECT_TRUE(leader->leads());
  EXPECT_EQ(terms.values(), (std::vector<std::uint64_t>{1, 2, 3}));
}

TEST_F(LeaderTerm, EndsWhenALeaseWithoutRenewalEnds) {
  auto options = told();
  options.auto_renewal = false;
  options.expire = 200ms;
  Leader leader{client, name, leading(), options};
  EXPECT_TRUE(terms_are(3));
}

TEST_F(LeaderTerm, RunsWithAllSignalsBlocked) {
  std::promise<bool> blocked;
  Leader leader{client, name, [&](std::stop_token end, auto) {
                  sigset_t mask;
                  ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
                  blocked.set_value(sigismember(&mask, SIGTERM) == 1);
                  until_stopped(end);
                }};
  EXPECT_TRUE(blocked.get_future().get());
}

using LeaderWithoutRedis = OfLeader;

TEST_F(LeaderWithoutRedis, StopsAndLeadsAgainWhenItIsBack) {
  RedisServer server;
  auto endpoint = server.endpoint();
  endpoint.retry_for = 50ms;
  Leader leader{Client{endpoint}, name, leading(), told(1500ms)};
  ASSERT_TRUE(terms_are(1));
  server.kill();
  ASSERT_TRUE(eventually([&] { return !leader.leads(); }));
  ASSERT_TRUE(eventually([&] { return errors.size() >= 3; })) << "told of each campaign that fails";
  EXPECT_EQ(terms.size(), 1U);
  server.restart();
  ASSERT_TRUE(terms_are(2));
  EXPECT_TRUE(leader.leads());
}

TEST_F(LeaderWithoutRedis, CampaignsPauseAndStopAtOnce) {
  redis_lock::Endpoint nowhere;
  nowhere.unix_socket = "/nonexistent/redis.sock";
  nowhere.retry_for = 0ms;
  const Stopwatch watch;
  std::optional<Leader> leader;
  leader.emplace(nowhere, name, leading(), told());
  ASSERT_TRUE(eventually([&] { return errors.size() >= 6; }));
  EXPECT_GE(watch.elapsed(), 50ms + 100ms + 200ms + 400ms + 800ms);
  EXPECT_THAT(errors.values(), Each(errc::connection_failed));
  const Stopwatch since_stop;
  leader.reset();
  EXPECT_LT(since_stop.elapsed(), 1500ms) << "the sixth pause is 1.6 s at least";
  EXPECT_EQ(terms.size(), 0U);
}

using LeaderFailure = OfLeader;

TEST_F(LeaderFailure, ExceptionReleasesTheLockAndPauses) {
  auto options = told();
  List<bool> free;
  options.on_error = [&, on_error = options.on_error](const Error& error) {
    free.add(!redis.exists(key));
    on_error(error);
  };
  const Stopwatch watch;
  std::optional<Leader> leader;
  leader.emplace(
      client, name,
      [&](auto, std::uint64_t term) {
        terms.add(term);
        throw std::runtime_error{"boom"};
      },
      options);
  ASSERT_TRUE(terms_are(5));
  EXPECT_GE(watch.elapsed(), 50ms + 100ms + 200ms + 400ms);
  leader.reset();
  EXPECT_THAT(errors.values(), Each(errc::term_failed));
  EXPECT_EQ(messages.values().front(),
            "redis_lock: Leader of \"" + name + "\": boom: an exception ended the term");
  EXPECT_THAT(free.values(), Each(true));
}

TEST_F(LeaderFailure, ErrorOfTheFunctionIsToldAsItIs) {
  Leader leader{client, name,
                [](auto, auto) {
                  throw Error{errc::protocol_error, "mine"};
                },
                told()};
  ASSERT_TRUE(eventually([&] { return errors.size() > 0; }));
  EXPECT_EQ(errors.values().front(), errc::protocol_error);
  EXPECT_THAT(messages.values().front(), HasSubstr("mine"));
}

TEST_F(LeaderFailure, ExceptionOfAnyTypeIsTold) {
  Leader leader{client, name, [](auto, auto) { throw 42; }, told()};
  ASSERT_TRUE(eventually([&] { return errors.size() > 1; }));
  EXPECT_THAT(errors.values(), Each(errc::term_failed));
  EXPECT_THAT(messages.values(), Each(HasSubstr("unknown type")));
}

TEST_F(LeaderFailure, IsSilentWithoutOnError) {
  Leader leader{client, name, [&](auto, std::uint64_t term) {
                  terms.add(term);
                  throw std::runtime_error{"boom"};
                }};
  EXPECT_TRUE(terms_are(2));
}

using LeaderStop = OfLeader;

TEST_F(LeaderStop, EndsTheWaitForTheLock) {
  held_by_somebody();
  std::optional<Leader> leader;
  leader.emplace(client, name, leading(), told());
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  const Stopwatch since_stop;
  leader->request_stop();
  EXPECT_TRUE(eventually([this] { return !somebody_waits(); }));
  leader.reset();
  EXPECT_LT(since_stop.elapsed(), 2s) << "the wait is one of 3 s";
  EXPECT_EQ(redis.string("GET", key), "somebody");
  EXPECT_EQ(terms.size(), 0U);
  EXPECT_THAT(messages.values(), IsEmpty());
}

TEST_F(LeaderStop, EndsTheTermForGood) {
  Leader leader{client, name, leading(), told()};
  ASSERT_TRUE(terms_are(1));
  leader.request_stop();
  leader.request_stop();
  ASSERT_TRUE(eventually([this] { return !redis.exists(key); }));
  EXPECT_FALSE(leader.leads());
  std::this_thread::sleep_for(200ms);  // longer than the first pause
  EXPECT_EQ(terms.size(), 1U);
  EXPECT_EQ(fence(), "1");
  EXPECT_THAT(messages.values(), IsEmpty());
}

TEST_F(LeaderStop, MayBeAskedForByTheFunction) {
  std::promise<void> made;
  List<bool> stopped;
  std::optional<Leader> leader;
  leader.emplace(client, name, [&, is_made = made.get_future().share()](std::stop_token end, auto) {
    is_made.wait();
    leader->request_stop();
    stopped.add(end.stop_requested());
  });
  made.set_value();
  ASSERT_TRUE(eventually([&] { return stopped.size() == 1 && !redis.exists(key); }));
  EXPECT_TRUE(stopped.values().front());
}

TEST_F(LeaderStop, DestructorStopsAFunctionThatBlocks) {
  std::atomic<bool> returned{false};
  std::optional<Leader> leader;
  leader.emplace(client, name, [&](std::stop_token end, std::uint64_t term) {
    terms.add(term);
    until_stopped(end);
    std::this_thread::sleep_for(50ms);
    returned = true;
  });
  ASSERT_TRUE(terms_are(1));
  leader.reset();
  EXPECT_TRUE(returned);
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(LeaderStop, DestructorMayRunInACallbackAboutTheLoss) {
  std::atomic<bool> destroyed{false};
  std::optional<Leader> leader;
  auto options = told(300ms);
  options.on_lost = [&](std::error_code) {
    leader.reset();
    destroyed = true;
  };
  leader.emplace(client, name, leading(), options);
  ASSERT_TRUE(terms_are(1));
  redis.command("DEL", key);
  EXPECT_TRUE(eventually([&] { return destroyed.load(); }));
}

using LeaderArguments = OfLeader;

TEST_F(LeaderArguments, BadOnesAreRefused) {
  const auto refusal = [&](auto change) {
    auto options = told();
    change(options);
    return message_of<std::invalid_argument>([&] { Leader{client, name, leading(), options}; });
  };
  EXPECT_THAT(refusal([](Options& options) { options.id = "mine"; }),
              HasSubstr("id must be empty"));
  EXPECT_THAT(refusal([](Options& options) { options.local_handoffs = 1; }),
              HasSubstr("local_handoffs"));
  EXPECT_THAT(refusal([](Options& options) { options.expire = 0ms; }), HasSubstr("expire"));
  EXPECT_THAT(refusal([](Options& options) { options.fence_prefix = options.signal_prefix; }),
              HasSubstr("fence_prefix"));
  EXPECT_THAT(message_of<std::invalid_argument>([&] {
                Leader{client, "", leading()};
              }),
              HasSubstr("name"));
  EXPECT_THAT(message_of<std::invalid_argument>([&] {
                Leader{client, name, nullptr};
              }),
              HasSubstr("function"));
  EXPECT_FALSE(redis.exists("lock-fence:" + name)) << "none has campaigned";
}

using LeaderInAForkedChild = OfLeader;

TEST_F(LeaderInAForkedChild, DoesNotLeadAndDisturbsNothing) {
  auto leader = std::make_unique<Leader>(client, name, leading(), told());
  ASSERT_TRUE(terms_are(1));
  Child child{[&] {
    const bool leads = leader->leads();
    leader->request_stop();
    leader.reset();
    return leads ? 1 : 0;
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_TRUE(leader->leads());
  EXPECT_TRUE(redis.exists(key));
}

TEST_F(LeaderInAForkedChild, LeavesTheWaitOfItsParentAlone) {
  held_by_somebody();
  auto leader = std::make_unique<Leader>(client, name, leading(), told());
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  Child child{[&] {
    leader->request_stop();
    leader.reset();
    return 0;
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_TRUE(somebody_waits());
  EXPECT_EQ(client.stats().reconnects, 0U);
  ASSERT_EQ(released_by("somebody"), 0);
  EXPECT_TRUE(terms_are(1));
}

}  // namespace
}  // namespace redis_lock_test
