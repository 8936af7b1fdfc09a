#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <limits>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/detail/net/owed_reply.hpp>

namespace redis_lock::detail {

/// Calls that got no reply, to be repeated on a new connection. Safe to share between threads.
class RepeatQueue {
 public:
  struct Call {
    std::unique_ptr<OwedReply> owed;
    Time give_up_at;  // a later failure is final
  };
  using Calls = std::list<Call>;  // because moving calls between lists throws nothing

  /// Keeps at most `most` calls. If there are more, the oldest are dropped.
  explicit RepeatQueue(std::size_t most = std::numeric_limits<std::size_t>::max()) : most_(most) {}

  [[nodiscard]] bool is_empty() const noexcept { return is_empty_; }

  void add(OwedReplies all, Time give_up_at) {
    Calls calls;
    for (auto& owed : all) calls.push_back({std::move(owed), give_up_at});
    put_back(std::move(calls));
  }

  /// Adds calls that failed again.
  void put_back(Calls calls) noexcept {
    Calls dropped;  // destroyed after the mutex is released, because a receiver may call back
    const std::lock_guard guard{mutex_};
    calls_.splice(calls_.end(), calls);
    while (calls_.size() > most_) dropped.splice(dropped.end(), calls_, calls_.begin());
    is_empty_ = calls_.empty();
  }

  [[nodiscard]] Calls take_all() noexcept {
    Calls all;
    const std::lock_guard guard{mutex_};
    all.swap(calls_);
    is_empty_ = true;
    return all;
  }

  /// Calls `run(OwedReply&)` for one call after another, up to the first that fails again and may be repeated once
  /// more. Returns whether any are left. `run` blocks, and throws Failure.
  template <class Run>
  bool repeat(const Run& run) {
    for (;;) {
      auto one = take_first();
      if (one.empty()) return false;
      const auto& [owed, give_up_at] = one.front();
      bool is_final = false;
      try {
        run(*owed);
        owed->succeed();
        continue;
      } catch (const Failure& failure) {
        is_final = !failure.is_transient() || Time::clock::now() >= give_up_at;
        if (is_final) owed->fail(failure);
      } catch (const std::exception&) {  // no memory
        is_final = Time::clock::now() >= give_up_at;
      }
      if (is_final) continue;
      put_back(std::move(one));
      return true;
    }
  }

 private:
  [[nodiscard]] Calls take_first() noexcept {
    Calls one;
    const std::lock_guard guard{mutex_};
    if (!calls_.empty()) one.splice(one.begin(), calls_, calls_.begin());
    is_empty_ = calls_.empty();
    return one;
  }

  const std::size_t most_;
  std::mutex mutex_;  // guards calls_
  Calls calls_;       // the oldest first
  std::atomic<bool> is_empty_{true};
};

}  // namespace redis_lock::detail
