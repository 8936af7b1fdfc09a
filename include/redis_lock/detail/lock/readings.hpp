#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
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
      : process_{[=] { return std::make_unique<All>(access, name, options); }} {}

  /// Returns the state of the calling thread; null if it has none.
  [[nodiscard]] State* find() {
    return process_.is_here() ? process_->find(this_thread_number()) : nullptr;
  }

  class Mine;

 private:
  /// All states of one process. Some may belong to no thread at present.
  struct All : Pinned {
    All(const Access& access, const std::string& name, const Options& options)
        : make{[=] { return std::make_unique<State>(access, name, options); }} {}
    ~All() {
      for (const auto& [thread, state] : states) close(*state);
    }

    [[nodiscard]] State* find(std::uint64_t thread) {
      const std::lock_guard guard{mutex};
      const auto found = look_up(thread);
      return found == states.end() ? nullptr : found->second.get();
    }
    [[nodiscard]] State& take(std::uint64_t thread) {
      const std::lock_guard guard{mutex};
      auto found = look_up(thread);
      if (found == states.end()) found = look_up(0);
      if (found == states.end()) found = states.emplace(found, 0, make());
      found->first = thread;
      return *found->second;
    }
    void put_back(std::uint64_t thread) noexcept {
      const std::lock_guard guard{mutex};
      look_up(thread)->first = 0;
    }

   private:
    using States = std::vector<std::pair<std::uint64_t, std::unique_ptr<State>>>;

    [[nodiscard]] States::iterator look_up(std::uint64_t thread) {
      return std::find_if(states.begin(), states.end(),
                          [thread](const auto& each) { return each.first == thread; });
    }

    const std::function<std::unique_ptr<State>()> make;
    std::mutex mutex;  // guards the threads of the states, by number; 0: none
    States states;
  };

  ProcessLocal<All> process_;
};

/// A guard that makes sure that the calling thread has a state. At its end, a state that holds nothing belongs to no
/// thread any more.
class Readings::Mine : Pinned {
 public:
  explicit Mine(Readings& readings)
      : all_(*readings.process_), state_(all_.take(this_thread_number())) {}
  ~Mine() {
    if (!state_.current()) all_.put_back(this_thread_number());
  }
  [[nodiscard]] State& operator*() const noexcept { return state_; }
  [[nodiscard]] State* operator->() const noexcept { return &state_; }

 private:
  All& all_;
  State& state_;
};

}  // namespace redis_lock::detail
