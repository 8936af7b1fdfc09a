#pragma once

#include <pthread.h>

#include <csignal>
#include <thread>
#include <utility>

namespace redis_lock::detail {

/// Starts a thread that takes none of the application's signals: they are for its own threads.
/// Throws std::system_error if it cannot be started.
template <class Function>
[[nodiscard]] std::thread without_signals(Function&& function) {
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread thread{std::forward<Function>(function)};
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

}  // namespace redis_lock::detail
