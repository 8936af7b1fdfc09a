#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

#include <redis_lock/client.hpp>
#include <redis_lock/lock.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// Lock and marker of one call_once(). The marker is a value of a Cache with the prefix `once:`.
/// The lock is the one that guards this value.
class Once {
 public:
  /// Checks the arguments. No I/O. Throws std::invalid_argument, which names the argument.
  Once(Client client, const std::string& name, std::chrono::milliseconds period, Options options);

  /// Locks by `acquire(Lock&)`, which returns a std::unique_lock<Lock>. Looks for the marker before
  /// and after. Returns a guard that owns the lock if f shall run here, otherwise one that owns
  /// nothing. Throws Error.
  template <class Acquire>
  [[nodiscard]] std::unique_lock<Lock> take_turn(Acquire&& acquire) {
    if (is_done()) return {};
    auto turn = std::invoke(std::forward<Acquire>(acquire), lock_);
    if (turn && is_done()) turn.unlock();
    return turn;
  }
  /// Takes its turn, and then runs f and stores the marker. Returns whether f ran here.
  template <class Acquire, class F>
  bool run(Acquire&& acquire, F&& f) {
    const auto turn = take_turn(std::forward<Acquire>(acquire));
    if (!turn) return false;
    std::invoke(std::forward<F>(f));
    mark();
    return true;
  }
  /// Stores the marker: the id of this acquisition. Throws like Lock::guarded_set().
  void mark();

  [[nodiscard]] Lock& lock() noexcept { return lock_; }

 private:
  /// Asks Redis for the marker.
  [[nodiscard]] bool is_done();

  Client client_;
  std::string name_;
  std::chrono::milliseconds period_;
  Lock lock_;
};

}  // namespace redis_lock::detail

namespace redis_lock {

/// Runs `f()` unless it has run under this name in the last `period`, in any process; with
/// `no_expiry`, ever. Of all callers one runs its f, and the others block until it has returned.
/// Returns true if f ran here, false if it has run elsewhere.
///
///     redis_lock::call_once(client, "nightly-report", 20h, [] { send_report(); });
///
/// The lock is a Lock named `once:` + name, so its key is `lock:once:…` by default. When f has
/// returned, a guarded write stores a marker under the key `once:` + name. Its time to live is the
/// period, which begins then. While it stands, a call costs one round trip. It can be removed by
/// `Cache{client, "once:"}.erase(name)`.
///
/// If f throws, nothing is stored, and the exception goes to the caller. The next caller in line
/// runs its own f, as with std::call_once. If the process dies, that happens at the end of the
/// lease.
///
/// **If the lock is lost while f runs,** another caller may run its f meanwhile: see
/// Options::on_lost. When f has returned, errc::lease_lost is thrown, and this run leaves no
/// marker. If the marker cannot be stored because Redis is away or out of memory, that Error is
/// thrown. In both cases f has run, and may run again.
///
/// `options` are those of the lock. Throws Error as Lock does when Redis is away; if that is before
/// f, f has not run. Throws std::invalid_argument, before any I/O, if `name` is empty, `period` is
/// not positive or Options::min_hold is set. On a cluster it also does so if marker and lock are
/// not in one slot, because `name` has a '}' but no hash tag, or Options::key_prefix has a hash
/// tag.
template <class F>
bool call_once(Client client, const std::string& name, std::chrono::milliseconds period, F&& f,
               Options options = {}) {
  detail::Once once{std::move(client), name, period, std::move(options)};
  return once.run([](Lock& lock) { return std::unique_lock{lock}; }, std::forward<F>(f));
}

/// Runs `f()` like call_once(), but does not wait for another caller. Returns true if f ran here,
/// false if it has run in this period or is running elsewhere. Blocks for a few round trips, and
/// while f runs. Throws what call_once() throws.
template <class F>
bool try_call_once(Client client, const std::string& name, std::chrono::milliseconds period, F&& f,
                   Options options = {}) {
  detail::Once once{std::move(client), name, period, std::move(options)};
  const auto try_to_acquire = [](Lock& lock) { return std::unique_lock{lock, std::try_to_lock}; };
  return once.run(try_to_acquire, std::forward<F>(f));
}

}  // namespace redis_lock

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#include <redis_lock/detail/impl/once.hpp>
#endif
