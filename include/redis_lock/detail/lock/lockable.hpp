#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_jthread
#include <stop_token>
#endif

#include <redis_lock/detail/base/callback.hpp>
#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/options.hpp>

/// Common parts of the members of Lock, QuorumLock, SharedLock and Semaphore. `State` is a LockState.
namespace redis_lock::detail {

/// Runs `work`, which returns whether the lock was acquired. If it throws, sets `error` to the code.
template <class Work>
bool without_exceptions(std::error_code& error, Work&& work) noexcept {
  const CancellationPause no_cancellation;
  error.clear();
  try {
    return work();
  } catch (const std::system_error& thrown) {
    error = thrown.code();
  } catch (...) {  // only std::bad_alloc is left
    error = std::make_error_code(std::errc::not_enough_memory);
  }
  return false;
}

/// Runs `work`, and reports what it throws to on_error.
template <class Work>
void report_errors(const Options& options, const Work& work) noexcept {
  const CancellationPause no_cancellation;
  try {
    work();
  } catch (const Error& error) {
    call_back(options.on_error, error);
  } catch (const std::exception& error) {
    call_back_about(options.on_error, error);
  }
}

/// Ends the use of a lock object: releases what is held, and waits for a running callback.
template <class State>
void close(State& state) noexcept {
  const CancellationPause no_cancellation;
  if (state.current()) report_errors(state.options(), [&] { state.release(); });
  state.await_callback();
}

#ifdef __cpp_lib_jthread
/// Acquires the lock, and blocks until it has (true) or stop is requested (false).
template <class State>
[[nodiscard]] bool acquire(State& state, const char* operation, const std::stop_token& token) {
  if (token.stop_requested()) return false;
  Cancellation cancellation;
  const std::stop_callback callback{token, [&] {
                                      cancellation.request();
                                      state.interrupt();
                                    }};
  return state.acquire(operation, never, never, &cancellation);
}

/// Returns a token whose stop is requested when this acquisition is lost, or at once if it is lost by now.
[[nodiscard]] inline std::stop_token token_of(Lease& lease) {
  const auto source = [&lease] {
    const std::lock_guard guard{lease.mutex};
    if (!lease.token_source) {
      lease.token_source = std::make_shared<std::stop_source>();
      lease.request_stop = [](void* told) noexcept {
        static_cast<std::stop_source*>(told)->request_stop();
      };
    }
    return std::static_pointer_cast<std::stop_source>(lease.token_source);
  }();
  if (lease.lost) source->request_stop();  // runs the token's callbacks
  return source->get_token();
}

/// Returns a token whose stop is requested when what is held is lost; if nothing is held, it never is.
template <class State>
[[nodiscard]] std::stop_token lost_token(const State& state) {
  const auto lease = state.current();
  if (!lease) return {};
  state.watch(lease);
  return token_of(*lease);
}
#endif

}  // namespace redis_lock::detail
