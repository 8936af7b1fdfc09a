#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/process_local.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/lock_state.hpp>
#include <redis_lock/detail/lock/lockable.hpp>
#include <redis_lock/detail/lock/single_server.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// The readings of one SharedLock: a lock state for each thread that reads.
class Readings : Pinned {
 public:
  using State = LockState<SingleServer>;

  Readings(const Access& access, const std::string& name, const Options& options)
      : process_{[=] {
          return std::make_unique<AllPtr>(std::make_shared<All>(access, name, options));
        }} {}
  ~Readings() {
    if (process_.is_here()) (*process_)->close_all();
  }

  /// Returns the state of the calling thread; null if it has none.
  [[nodiscard]] State* find() {
    return process_.is_here() ? (*process_)->find(this_thread_number()) : nullptr;
  }

  class Mine;

 private:
  /// All states of one process. Some may belong to no thread at present.
  class All : Pinned {
   public:
    All(const Access& access, const std::string& name, const Options& options)
        : make_{[=] { return std::make_unique<State>(access, name, options); }} {}

    [[nodiscard]] State* find(std::uint64_t thread) {
      const std::lock_guard guard{mutex_};
      const auto found = look_up(thread);
      return found == states_.end() ? nullptr : found->second.get();
    }
    [[nodiscard]] State& take(std::uint64_t thread) {
      const std::lock_guard guard{mutex_};
      auto found = look_up(thread);
      if (found == states_.end()) found = look_up(0);
      if (found == states_.end()) found = states_.emplace(found, 0, make_());
      found->first = thread;
      return *found->second;
    }
    /// Takes the thread's state away if it holds nothing. A callback may have done so before.
    void put_back(std::uint64_t thread) noexcept {
      const std::lock_guard guard{mutex_};
      const auto found = look_up(thread);
      if (found != states_.end() && !found->second->current()) found->first = 0;
    }
    void close_all() noexcept {
      for (const auto& [thread, state] : states_) close(*state);
    }

   private:
    using States = std::vector<std::pair<std::uint64_t, std::unique_ptr<State>>>;

    [[nodiscard]] States::iterator look_up(std::uint64_t thread) {
      return std::find_if(states_.begin(), states_.end(),
                          [thread](const auto& each) { return each.first == thread; });
    }

    const std::function<std::unique_ptr<State>()> make_;
    std::mutex mutex_;  // guards what is below
    States states_;     // each with the number of its thread; 0: none
  };
  using AllPtr = std::shared_ptr<All>;

  ProcessLocal<AllPtr> process_;
};

/// A guard that makes sure that the calling thread has a state. At its end, a state that holds nothing belongs to no
/// thread any more. A callback may destroy the SharedLock meanwhile.
class Readings::Mine : Pinned {
 public:
  explicit Mine(Readings& readings)
      : all_(*readings.process_), state_(all_->take(this_thread_number())) {}
  ~Mine() { all_->put_back(this_thread_number()); }
  [[nodiscard]] State& operator*() const noexcept { return state_; }
  [[nodiscard]] State* operator->() const noexcept { return &state_; }

 private:
  const AllPtr all_;
  State& state_;
};

}  // namespace redis_lock::detail
