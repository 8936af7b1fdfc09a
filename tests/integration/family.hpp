#pragma once

#include <cstdlib>
#include <optional>
#include <shared_mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "integration.hpp"

namespace redis_lock_test {

using redis_lock::Semaphore;
using redis_lock::SharedLock;

/// The keys of a SharedLock.
struct SharedKeys {
  explicit SharedKeys(const std::string& name)
      : gate("shared-lock:" + name),
        readers("shared-lock-readers:" + name),
        signal("shared-lock-signal:" + name),
        drained("shared-lock-drained:" + name),
        fence("shared-lock-fence:" + name) {}

  std::string gate, readers, signal, drained, fence;
};

/// The keys of a Semaphore.
struct PermitKeys {
  explicit PermitKeys(const std::string& name)
      : set("semaphore:" + name), signal("semaphore-signal:" + name) {}

  std::string set, signal;
};

/// Returns the server's time in milliseconds.
inline long long server_time(Redis& redis) {
  const auto time = redis.command("TIME").elements;
  return std::stoll(time.at(0).text) * 1000 + std::stoll(time.at(1).text) / 1000;
}

/// Adds an id whose holder is dead, and returns the end of its lease.
inline long long add_dead_holder(Redis& redis, const std::string& set, milliseconds lease) {
  const auto end = server_time(redis) + lease.count();
  EXPECT_EQ(redis.integer("ZADD", set, end, "dead"), 1);
  EXPECT_EQ(redis.integer("PEXPIREAT", set, end), 1);
  return end;
}

/// Returns the end of the lease of this id, if it is in the set.
inline std::optional<long long> end_of_lease(Redis& redis, const std::string& set,
                                             const std::string& id) {
  const auto score = redis.string("ZSCORE", set, id);
  return score ? std::optional{std::stoll(*score)} : std::nullopt;
}

/// Returns the ids in a set, by the ends of their leases.
inline std::vector<std::string> ids_in(Redis& redis, const std::string& set) {
  std::vector<std::string> ids;
  for (const auto& id : redis.command("ZRANGE", set, 0, -1).elements) ids.push_back(id.text);
  return ids;
}

/// Returns whether the text is a point in time around `now` (in ms), in any usual unit.
inline bool looks_like_time(const std::string& text, long long now) {
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || *end != '\0') return false;
  constexpr double day = 86'400'000;
  for (const double unit : {1e-3, 1.0, 1e3, 1e6}) {  // seconds to nanoseconds
    if (number > (static_cast<double>(now) - day) * unit &&
        number < (static_cast<double>(now) + day) * unit)
      return true;
  }
  return false;
}

/// A reading or permit that a thread of its own takes, and has until the object goes.
template <class Acquire, class Release>
class InThread {
 public:
  InThread(Acquire acquire, Release release)
      : thread_{[this, acquire = std::move(acquire), release = std::move(release)] {
          acquire();
          inside_ = true;
          EXPECT_TRUE(eventually([this] { return leaves_.load(); }, 3 * patience));
          release();
          inside_ = false;
        }} {}
  InThread(const InThread&) = delete;
  InThread& operator=(const InThread&) = delete;
  ~InThread() { leave(); }

  [[nodiscard]] bool is_inside() const { return inside_; }
  [[nodiscard]] bool gets_inside() const {
    return eventually([this] { return inside_.load(); });
  }
  void leave() {
    leaves_ = true;
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<bool> inside_{false}, leaves_{false};
  std::thread thread_;
};

/// Returns a thread that reads through this object.
inline auto reading_by_thread(SharedLock& lock) {
  return InThread{[&] { lock.lock_shared(); }, [&] { lock.unlock_shared(); }};
}
/// Returns a thread that writes through this object.
inline auto writing_by_thread(SharedLock& lock) {
  return InThread{[&] { lock.lock(); }, [&] { lock.unlock(); }};
}
/// Returns a thread that takes the permit of this object.
inline auto permit_by_thread(Semaphore& semaphore) {
  return InThread{[&] { semaphore.acquire(); }, [&] { semaphore.release(); }};
}

/// A name of its own on the shared server, for a SharedLock and a Semaphore.
class OnFamily : public OnRedis {
 protected:
  /// Waits until so many clients sleep in a blocking command.
  [[nodiscard]] bool are_waiting(long long count) {
    return eventually([&] { return waiters() == count; });
  }

  /// Returns whether a release has woken all who wait, before the ends of their slices: those of 3 s.
  [[nodiscard]] bool all_are_woken() {
    return eventually([&] { return waiters() == 0; }, 1500ms);
  }

  const SharedKeys shared{name};
  const PermitKeys permits{name};
};

}  // namespace redis_lock_test
