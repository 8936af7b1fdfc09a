#pragma once

#if __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_jthread

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include <redis_lock/client.hpp>
#include <redis_lock/detail/base/process_local.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock {

/// Candidate in a continuous election (C++20): a thread that waits for a Lock, runs a function
/// while it holds the lock, and waits again. At most one Leader or Lock of a name holds the lock,
/// in all processes.
///
///     Leader leader{client, "scheduler", [](std::stop_token end, std::uint64_t term) {
///       while (!end.stop_requested()) work(term);
///     }};
///
/// **A term.** Stop of the function's token is requested when the lock is lost, or when the Leader
/// is asked to stop. Then the function must return: after a loss, another Leader may lead already.
/// The number of the term is the lock's fencing token (Options::fencing, always on), so it
/// increases with each election.
///
/// **After a term.** A function that returns by itself resigns: the Leader releases the lock,
/// pauses while others have their turn, and campaigns again. Pauses grow from 100 ms to 5 s, each
/// cut at random by up to a half. A term of more than 5 s makes them short again.
///
/// **Errors.** A function that throws ends its term. Options::on_error receives what it throws: an
/// Error as it is, any other exception as errc::term_failed. It also receives the errors of lock()
/// and unlock(), such as a loss. It is called after the release.
///
/// **When Redis is away.** A campaign fails after Endpoint::retry_for, and on_error receives that.
/// After a pause as above the Leader campaigns again, until it is asked to stop.
///
/// **Threads.** Any thread may call any members at once. The function and on_error run on the
/// Leader's own thread, and must not destroy the Leader: as with std::jthread, that ends the
/// program. All signals are blocked in that thread, and so in the threads and processes that the
/// function starts.
///
/// **fork().** In the child the Leader has no thread, and does not lead. Nothing that the child
/// does with it touches what the parent has.
class Leader {
 public:
  /// Starts the thread, which campaigns at once. Does not block. Throws std::invalid_argument like
  /// the constructor of Lock, and if `function` is empty or Options::id is set. Throws Error with
  /// errc::no_thread if the thread cannot be started.
  Leader(Client client, std::string name,
         std::function<void(std::stop_token lost, std::uint64_t term)> function,
         Options options = {});

  /// Deleted: a Leader is neither copied nor moved. A function may return one.
  Leader(const Leader&) = delete;
  /// Deleted: a Leader is neither copied nor moved.
  Leader& operator=(const Leader&) = delete;

  /// Calls request_stop(), and blocks until the function has returned and the lock is released.
  /// When Redis is away, the release takes as long as Lock::unlock().
  ~Leader();

  /// Returns whether this Leader leads: its lock is held, as Lock::owns_lock() says. No I/O.
  [[nodiscard]] bool leads() const noexcept;

  /// Asks the Leader to stop for good. Ends its wait for the lock, or requests stop of the token of
  /// its function. Callbacks of that token run in this call. Does not block otherwise. No I/O.
  void request_stop() noexcept;

 private:
  class Campaign;

  mutable detail::ProcessLocal<Campaign> campaign_;
};

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/impl/leader.hpp>
#endif

#endif
