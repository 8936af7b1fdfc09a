#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/backoff.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/net/call_limits.hpp>
#include <redis_lock/detail/net/pool.hpp>
#include <redis_lock/error.hpp>

namespace redis_lock::detail {

class Prober;

/// What an operation on a majority needs to know of its nodes.
class NodeSet : public Pinned {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t majority() const noexcept { return size_ / 2 + 1; }
  [[nodiscard]] milliseconds retry_for() const noexcept { return retry_for_; }

  /// Returns how long a round waits for servers that it needs.
  [[nodiscard]] milliseconds timeout(milliseconds expire) const {
    return std::min(timeout_, std::max(expire / 10, milliseconds{20}));
  }

  [[nodiscard]] std::vector<Prober*> probers() const { return get_probers_(); }

  /// What one attempt of an operation found, also if it failed.
  struct Status {
    Progress progress = Progress::none;
    bool was_stale = false;  // a connection failed that was used before
  };

  /// Runs `work(Status&)`, and again if that may help, until it returns or the limits are reached. Throws Failure.
  template <class Work>
  auto perform(const CallLimits& limits, Work&& work) const {
    Retries retries;
    bool renewed = false, was_silent = false;
    for (;;) {
      Status status;
      try {
        auto result = work(status);
        plan_maintenance();
        return result;
      } catch (const Failure& failure) {
        const auto now = Time::clock::now();
        if (status.progress != Progress::none) was_silent = false;
        retries.failed(status.progress, now);
        const bool cancelled = limits.cancellation && limits.cancellation->requested();
        // What failed on old connections gets new ones in any case.
        const bool stale = status.was_stale && !std::exchange(renewed, status.was_stale || renewed);
        const bool silent =
            failure.code() == errc::timed_out && std::exchange(was_silent, true) && !stale;
        const bool out_of_time =
            now >= std::min(limits.deadline.at(), retries.give_up_at(limits.retry_for)) && !stale;
        if (!failure.is_transient() || cancelled || silent || out_of_time) throw;
        if (stale) continue;
      }
      const auto pause_end = Time::clock::now() + retries.next_pause();
      sleep_until(std::min(limits.deadline.at(), pause_end), limits.cancellation);
    }
  }

  [[nodiscard]] Renewer& renewer() const { return get_renewer_(); }

  /// Makes the renewal thread close connections that are idle for too long, if it runs.
  void plan_maintenance() const {
    renewer().maintain_by(after(Time::clock::now(), usual_longest_idle));
  }

  /// Makes the renewal thread read, by and by, the replies that no thread waits for.
  void maintain_soon() const noexcept {
    try {
      renewer().start();
      renewer().maintain_soon();
    } catch (const std::exception&) {  // no thread: the next user of the connection reads them
    }
  }

 protected:
  /// The functions return those of the process in which they are called.
  NodeSet(std::size_t size, milliseconds timeout, milliseconds retry_for,
          std::function<std::vector<Prober*>()> get_probers, std::function<Renewer&()> get_renewer)
      : size_(size),
        timeout_(timeout),
        retry_for_(retry_for),
        get_probers_(std::move(get_probers)),
        get_renewer_(std::move(get_renewer)) {}
  ~NodeSet() = default;

  const std::size_t size_;
  const milliseconds timeout_, retry_for_;

 private:
  const std::function<std::vector<Prober*>()> get_probers_;
  const std::function<Renewer&()> get_renewer_;
};

}  // namespace redis_lock::detail
