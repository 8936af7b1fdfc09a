// Why a lock was lost, and the renewals that failed before.

#include <atomic>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "faults.hpp"
#include "support/quorum.hpp"

namespace redis_lock_test {
namespace {

using redis_lock::Event;
using redis_lock::LossReason;
using redis_lock::QuorumLock;
using ::testing::AllOf;
using ::testing::HasSubstr;

using Kind = Event::Kind;

/// The events of one lock, with what they say of failures and losses.
class Troubles {
 public:
  struct Step {
    Kind kind;
    LossReason reason;
    std::error_code error;
    std::string message;
    steady_clock::time_point failing_since;
  };

  void record(Options& options) {
    options.on_event = [this](const Event& event) {
      const std::lock_guard guard{mutex_};
      steps_.push_back(
          {event.kind, event.reason, event.error, std::string(event.message), event.failing_since});
    };
  }
  [[nodiscard]] std::vector<Step> of(Kind kind) {
    const std::lock_guard guard{mutex_};
    std::vector<Step> found;
    for (const auto& step : steps_) {
      if (step.kind == kind) found.push_back(step);
    }
    return found;
  }
  /// Waits for the loss. It was told once.
  [[nodiscard]] Step loss() {
    EXPECT_TRUE(eventually([this] { return !of(Kind::lost).empty(); }));
    const auto all = of(Kind::lost);
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? Step{} : all.front();
  }

 private:
  std::mutex mutex_;
  std::vector<Step> steps_;
};

class LossReasons : public OnOwnServer {
 protected:
  static constexpr milliseconds lease{800};

  [[nodiscard]] Options renewed() {
    auto options = renewed_for(lease);
    troubles.record(options);
    options.on_error = complaints.on_error();
    return options;
  }

  /// The loss of a lock whose renewals did not fail: everything that tells it says the same.
  template <class AnyLock>
  void expect_lost(AnyLock& lock, LossReason reason, const std::string& words) {
    const auto loss = troubles.loss();
    EXPECT_EQ(loss.reason, reason);
    EXPECT_THAT(loss.message, HasSubstr(words));
    EXPECT_FALSE(loss.error) << loss.error.message();
    EXPECT_EQ(loss.failing_since, steady_clock::time_point{});
    EXPECT_EQ(lock.loss_reason(), reason);
    EXPECT_THAT(message_of([&] { return lock.extend(), 0; }), HasSubstr(words));
    EXPECT_THAT(complaint_of(lock), HasSubstr("unlock of \"name\": it was lost before: " + words));
    EXPECT_EQ(lock.loss_reason(), reason) << "also after unlock()";
    EXPECT_EQ(troubles.of(Kind::renewal_failed).size(), 0U);
  }

  /// The loss of a lock whose renewals failed, with `words`.
  template <class AnyLock>
  void expect_unreachable(AnyLock& lock, errc code, const std::string& words,
                          steady_clock::time_point from, const redis_lock::Client& counting) {
    const auto loss = troubles.loss();
    const auto now = steady_clock::now();
    EXPECT_EQ(loss.reason, LossReason::unreachable);
    EXPECT_EQ(loss.error, code);
    EXPECT_THAT(loss.message, AllOf(HasSubstr("its lease ended, as renewals failed for "),
                                    HasSubstr(" ms: "), HasSubstr(words)));
    EXPECT_GE(loss.failing_since, from);
    EXPECT_LT(loss.failing_since, now);
    const auto failures = troubles.of(Kind::renewal_failed);
    ASSERT_FALSE(failures.empty());
    for (const auto& failure : failures) {
      EXPECT_EQ(failure.reason, LossReason::none);
      EXPECT_EQ(failure.error, code);
      EXPECT_THAT(failure.message, HasSubstr(words));
      EXPECT_EQ(failure.failing_since, loss.failing_since) << "all since the first";
    }
    EXPECT_EQ(counting.stats().renewals_failed, failures.size()) << "one for each attempt";
    EXPECT_LE(failures.size(), 40U) << "attempts pause for a twentieth of the lease";
    EXPECT_EQ(lock.loss_reason(), LossReason::unreachable);
    EXPECT_THAT(complaint_of(lock), HasSubstr(words));
  }

  /// What on_error is told by unlock().
  template <class AnyLock>
  std::string complaint_of(AnyLock& lock) {
    const auto before = complaints.text().size();
    lock.unlock();
    return complaints.text().substr(before);
  }

  Troubles troubles;
  Complaints complaints;
  const Client client{server.uri()};
};

TEST_F(LossReasons, IsUnreachableWhenTheServerIsStopped) {
  auto options = renewed();
  std::optional<Lock> lock;
  std::atomic<LossReason> seen{LossReason::none};
  options.on_lost = [&](std::error_code) { seen = lock->loss_reason(); };
  lock.emplace(client, name, options);
  lock->lock();
  const auto from = steady_clock::now();
  server.kill();
  EXPECT_TRUE(eventually([&] { return seen == LossReason::unreachable; })) << "by on_lost";
  expect_unreachable(*lock, errc::connection_failed, "onnect", from, client);
}

TEST_F(LossReasons, IsUnreachableWhenTheServerIsFrozen) {
  auto options = renewed();
  auto endpoint = server.endpoint();
  endpoint.command_timeout = 100ms;
  endpoint.connect_timeout = 100ms;
  const Client hasty{endpoint};
  Lock lock{hasty, name, options};
  lock.lock();
  const auto from = steady_clock::now();
  server.pause();
  const auto loss = troubles.loss();
  server.resume();
  EXPECT_EQ(loss.reason, LossReason::unreachable);
  EXPECT_EQ(loss.error, errc::timed_out);
  EXPECT_GE(loss.failing_since, from);
  EXPECT_FALSE(troubles.of(Kind::renewal_failed).empty());
  EXPECT_GE(hasty.stats().renewals_failed, 1U);
}

TEST_F(LossReasons, IsUnreachableWhenTheServerRefuses) {
  Lock lock{client, name, renewed()};
  lock.lock();
  const auto from = steady_clock::now();
  redis.command("DEL", key);
  redis.command("LPUSH", key, "no lock");
  expect_unreachable(lock, errc::server_error, "WRONGTYPE", from, client);
}

TEST_F(LossReasons, IsGoneWhenTheKeyIsDeleted) {
  Lock lock{client, name, renewed()};
  lock.lock();
  EXPECT_EQ(lock.loss_reason(), LossReason::none);
  redis.command("DEL", key);
  expect_lost(lock, LossReason::gone, "its key is gone");
}

TEST_F(LossReasons, IsTakenWhenTheKeyHasAnotherId) {
  Lock lock{client, name, renewed()};
  lock.lock();
  redis.command("SET", key, "somebody");
  expect_lost(lock, LossReason::taken, "its key has another holder");
}

TEST_F(LossReasons, IsMaxHoldWhenThatIsOver) {
  auto options = renewed();
  options.max_hold = lease;
  Lock lock{client, name, options};
  lock.lock();
  expect_lost(lock, LossReason::max_hold, "its lease ended, and max_hold was over");
  EXPECT_GE(troubles.of(Kind::renewed).size(), 1U);
}

TEST_F(LossReasons, IsExpiredWithoutRenewal) {
  auto options = leased_for(200ms);
  troubles.record(options);
  options.on_error = complaints.on_error();
  Lock lock{client, name, options};
  lock.lock();
  expect_lost(lock, LossReason::expired, "its lease ended");
}

TEST_F(LossReasons, OfUnwatchedLocksAreFoundByTheirCalls) {
  auto options = leased_for(60s);
  options.on_error = complaints.on_error();
  Lock lock{client, name, options};
  lock.lock();
  redis.command("DEL", key);
  EXPECT_THAT(complaint_of(lock), HasSubstr("its key is gone"));
  EXPECT_EQ(lock.loss_reason(), LossReason::gone);
  lock.lock();
  EXPECT_EQ(lock.loss_reason(), LossReason::none) << "of the present acquisition";
  redis.command("SET", key, "somebody");
  EXPECT_THAT(complaint_of(lock), HasSubstr("its key has another holder"));
  EXPECT_EQ(lock.loss_reason(), LossReason::taken);
  redis.command("DEL", key);
  for (const auto reason : {LossReason::gone, LossReason::taken}) {
    lock.lock();
    redis.command("DEL", key);
    if (reason == LossReason::taken) redis.command("SET", key, "somebody");
    EXPECT_EQ(error_of([&] { lock.guarded_set("value", "x"); }), errc::lease_lost);
    EXPECT_EQ(lock.loss_reason(), reason);
    lock.unlock();
  }
  EXPECT_FALSE(redis.exists("value"));
  redis.command("DEL", key);
  Lock brief{client, name, leased_for(50ms)};
  brief.lock();
  EXPECT_TRUE(eventually([&] { return brief.loss_reason() == LossReason::expired; }));
}

TEST_F(LossReasons, OfADeferredUnlockAreInItsError) {
  auto options = leased_for(60s);
  options.deferred_unlock = true;
  options.on_error = complaints.on_error();
  troubles.record(options);
  Lock lock{client, name, options};
  lock.lock();
  redis.command("DEL", key);
  lock.unlock();
  EXPECT_EQ(troubles.loss().reason, LossReason::gone);
  EXPECT_TRUE(eventually([&] { return complaints.count() == 1; }));
  EXPECT_THAT(complaints.text(), HasSubstr("its key is gone"));
}

TEST_F(LossReasons, AreNoneAfterARenewalRecovers) {
  auto options = renewed();
  auto endpoint = server.endpoint();
  endpoint.command_timeout = 50ms;
  endpoint.connect_timeout = 50ms;
  const Client hasty{endpoint};
  Lock lock{hasty, name, options};
  lock.lock();
  server.pause();
  EXPECT_TRUE(eventually([&] { return !troubles.of(Kind::renewal_failed).empty(); }));
  server.resume();
  const auto renewals = troubles.of(Kind::renewed).size();
  EXPECT_TRUE(eventually([&] { return troubles.of(Kind::renewed).size() > renewals; }));
  EXPECT_TRUE(lock.owns_lock());
  EXPECT_EQ(lock.loss_reason(), LossReason::none);
  redis.command("DEL", key);
  const auto loss = troubles.loss();
  EXPECT_EQ(loss.reason, LossReason::gone);
  EXPECT_FALSE(loss.error);
}

class QuorumLossReasons : public LossReasons {
 protected:
  QuorumServers nodes{3};
  const std::vector<Client> clients = nodes.clients();
};

TEST_F(QuorumLossReasons, IsUnreachableAndNamesTheNodesThatFail) {
  QuorumLock lock{clients, name, renewed()};
  lock.lock();
  const auto from = steady_clock::now();
  nodes.server(0).kill();
  nodes.server(2).kill();
  expect_unreachable(lock, errc::connection_failed, "2 of 3 nodes did not answer: ", from,
                     clients.front());
  for (const auto& failure : troubles.of(Kind::renewal_failed))
    EXPECT_THAT(failure.message, AllOf(HasSubstr(": node 1 ("), HasSubstr("; node 3 (")));
}

TEST_F(QuorumLossReasons, IsGoneWhenTheKeysAreDeleted) {
  QuorumLock lock{clients, name, renewed()};
  lock.lock();
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes.redis(i).command("DEL", key);
  expect_lost(lock, LossReason::gone, "its key is gone");
}

TEST_F(QuorumLossReasons, IsTakenWhenAMajorityHasAnotherId) {
  QuorumLock lock{clients, name, renewed()};
  lock.lock();
  for (std::size_t i = 0; i < 2; ++i) nodes.redis(i).command("SET", key, "somebody");
  expect_lost(lock, LossReason::taken, "its key has another holder");
}

TEST_F(QuorumLossReasons, IsMaxHoldWhenThatIsOver) {
  auto options = renewed();
  options.max_hold = lease;
  QuorumLock lock{clients, name, options};
  lock.lock();
  expect_lost(lock, LossReason::max_hold, "its lease ended, and max_hold was over");
}

TEST_F(QuorumLossReasons, OfUnwatchedLocksAreFoundByUnlock) {
  auto options = leased_for(60s);
  options.on_error = complaints.on_error();
  QuorumLock lock{clients, name, options};
  lock.lock();
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes.redis(i).command("DEL", key);
  EXPECT_THAT(complaint_of(lock), HasSubstr("its key is gone"));
  lock.lock();
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes.redis(i).command("SET", key, "somebody");
  EXPECT_THAT(complaint_of(lock), HasSubstr("its key has another holder"));
  EXPECT_EQ(lock.loss_reason(), LossReason::taken);
}

}  // namespace
}  // namespace redis_lock_test
