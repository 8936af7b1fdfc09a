#pragma once

#include <pthread.h>

#include <csignal>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/error.hpp>

namespace redis_lock::detail {

/// Starts a thread that takes none of the application's signals, which are for the application's own threads. Throws
/// a Failure of errc::no_thread if the system cannot start one.
template <class Function>
[[nodiscard]] std::thread without_signals(Function&& function) {
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread thread{std::forward<Function>(function)};
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
  } catch (const std::system_error& error) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw Failure{errc::no_thread,
                  "no background thread can be started: " + error.code().message()};
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
}

/// Waits for the end of `thread`. If that is the calling thread, detaches it instead.
inline void join_or_detach(std::thread& thread) {
  if (thread.get_id() == std::this_thread::get_id()) {
    thread.detach();
  } else {
    thread.join();
  }
}

}  // namespace redis_lock::detail
