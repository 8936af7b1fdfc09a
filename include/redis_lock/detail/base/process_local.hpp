#pragma once

#include <pthread.h>

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

#include <redis_lock/detail/base/pinned.hpp>

namespace redis_lock::detail {

/// Number of forks between the first process and this one. It changes in the child before fork() returns there.
/// Reading it is a load from memory; getpid() would be a system call each time.
struct ForkCounter {
  static inline std::atomic<unsigned> forks{0};
  static inline const int registered = ::pthread_atfork(nullptr, nullptr, [] { ++forks; });
};
[[nodiscard]] inline unsigned process_generation() noexcept {
  return ForkCounter::forks.load(std::memory_order_relaxed);
}

/// State that a forked child must not share with its parent: connections, threads, and mutexes that a thread which
/// does not exist in the child may hold. The first access in a child makes fresh state. Inherited state is never
/// touched again and stays allocated, because nothing in it can be destroyed.
template <class State>
class ProcessLocal : Pinned {
 public:
  explicit ProcessLocal(std::function<std::unique_ptr<State>()> make)
      : make_(std::move(make)),
        process_(new ProcessState{process_generation(), make_(), nullptr}) {}
  ~ProcessLocal() {
    const auto here = process_.load();
    if (here->process == process_generation()) {
      delete here;
    } else {
      keep(here);
    }
  }

  /// Returns the state of this process. Several threads may call it at once, but no signal handler may.
  [[nodiscard]] State& operator*() {
    auto here = process_.load(std::memory_order_acquire);
    if (here->process == process_generation()) return *here->state;
    std::unique_ptr<ProcessState> fresh{new ProcessState{process_generation(), make_(), nullptr}};
    if (!process_.compare_exchange_strong(here, fresh.get())) return *here->state;
    keep(here);
    return *fresh.release()->state;
  }
  [[nodiscard]] State* operator->() { return &**this; }

  /// Returns whether this process made the state, so that an access makes none.
  [[nodiscard]] bool is_here() const noexcept {
    return process_.load(std::memory_order_acquire)->process == process_generation();
  }

 private:
  struct ProcessState {
    unsigned process;
    std::unique_ptr<State> state;
    ProcessState* next_kept;
  };

  /// Keeps inherited state reachable, so that a leak checker in the child does not report it.
  static void keep(ProcessState* inherited) {
    static std::atomic<ProcessState*> kept{nullptr};
    inherited->next_kept = kept.load();
    while (!kept.compare_exchange_weak(inherited->next_kept, inherited)) {
    }
  }

  std::function<std::unique_ptr<State>()> make_;
  std::atomic<ProcessState*> process_;
};

}  // namespace redis_lock::detail
