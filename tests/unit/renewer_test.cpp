#include <chrono>
#include <future>
#include <memory>
#include <system_error>
#include <utility>

#include <gtest/gtest.h>

#include <redis_lock/detail/base/counters.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/lock/observer.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock_test {
namespace {

using namespace std::chrono_literals;
using redis_lock::detail::Lease;
using redis_lock::detail::Observer;
using redis_lock::detail::Renewer;
using redis_lock::detail::Time;

/// What a callback of a lock may hold: the last Client, whose destructor stops the thread.
struct LastClient {
  std::shared_ptr<Renewer> renewer;
  std::promise<void> stopped;

  explicit LastClient(std::shared_ptr<Renewer> of) : renewer(std::move(of)) {}
  ~LastClient() {
    renewer->stop();
    stopped.set_value();
  }
  LastClient(const LastClient&) = delete;
  LastClient& operator=(const LastClient&) = delete;
};

TEST(RenewalThread, MayDestroyTheLastClientWithALease) {
  const auto renewer = std::make_shared<Renewer>(1s, Renewer::Work{});
  auto client = std::make_shared<LastClient>(renewer);
  const auto stopped = client->stopped.get_future();
  redis_lock::Options options;
  options.on_error = [client = std::move(client)](const redis_lock::Error&) {};
  auto lease = std::make_shared<Lease>();
  lease->observer = std::make_shared<const Observer>(
      std::make_shared<redis_lock::detail::Counters>(), "name", options);
  options = {};
  lease->expire = 100ms;
  lease->expires_at = Time::clock::now() + lease->expire;
  renewer->start();
  renewer->watch(lease);
  lease.reset();  // the thread has the last one
  EXPECT_EQ(stopped.wait_for(10s), std::future_status::ready) << "the thread waits for itself";
}

TEST(HeldTime, IsNeverNegative) {
  Lease lease;
  const auto now = Time::clock::now();
  lease.since = now;
  EXPECT_EQ(lease.held_for(now - 4ms), 0ms) << "by a coarse clock, which is behind";
  EXPECT_EQ(lease.held_for(now + 4ms), 4ms);
}

TEST(FailedRenewal, ThatWasCutOffKeepsTheEarlierReason) {
  using redis_lock::errc;
  using redis_lock::detail::Failure;
  Lease lease;
  lease.observer = std::make_shared<const Observer>(
      std::make_shared<redis_lock::detail::Counters>(), "name", redis_lock::Options{});
  const Failure refusal{errc::server_error, "WRONGTYPE"}, silence{errc::timed_out, "no answer"};
  lease.renewal_failed(refusal, Time{}, true);
  lease.renewal_failed(silence, Time{}, true);
  EXPECT_EQ(lease.latest_failure()->code, errc::server_error);
  lease.renewal_failed(silence, Time{}, false);
  EXPECT_EQ(lease.latest_failure()->code, errc::timed_out);
}

}  // namespace
}  // namespace redis_lock_test
