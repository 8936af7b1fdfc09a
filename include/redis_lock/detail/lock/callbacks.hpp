#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/base/thread.hpp>
#include <redis_lock/detail/base/thread_identity.hpp>

namespace redis_lock::detail {

/// A runner of those callbacks of the application that come from a renewal thread, however long they take. Callbacks
/// of one lock object run in the order of post(), one at a time. One thread, the leader, runs those of all lock
/// objects. If it has been in one callback for `patience` while others wait, another thread takes the lead. post()
/// starts threads, and they end when they have been idle: without callbacks there is none.
class Callbacks : public std::enable_shared_from_this<Callbacks>, private Pinned {
 public:
  using Task = std::function<void()>;
  enum class Urgency : unsigned char {
    optional,  // left out if too many wait for the same lock object
    routine,
    urgent  // the report of a loss, which goes before the others
  };

  Callbacks() = default;
  ~Callbacks() {
    if (ended_.joinable()) ended_.detach();
  }

  /// Marks the calling thread as the renewal thread, which no callback may delay.
  void serve_this_thread() noexcept { served_ = this_thread_number(); }
  [[nodiscard]] bool serves_this_thread() const noexcept { return served_ == this_thread_number(); }

  /// Has a thread run `task`, which throws nothing, for the lock object that `lock` identifies. If there is no thread
  /// and none can be started, or no memory, the calling thread runs it. For the renewal thread, with no mutex held.
  template <class Function>
  void post(const void* lock, const Function& task, Urgency urgency) noexcept {
    std::unique_lock guard{mutex_};
    try {
      if (!threads_.empty() || start_thread()) {
        if (add(lock, Task{task}, urgency)) wake_a_thread();
        return;
      }
    } catch (const std::exception&) {  // no memory
    }
    run_here(guard, lock, task);
  }

  /// Waits for the end of a callback of this lock object, unless the caller is that callback.
  void await(const void* lock) {
    std::unique_lock guard{mutex_};
    settled_.wait(guard, [&] { return !is_running(lock); });
  }

  /// Runs what was posted, and ends all threads. If a callback calls this, its thread ends after the callback.
  void stop() {
    std::vector<std::thread> all;
    {
      const std::lock_guard guard{mutex_};
      stopping_ = true;
      all.swap(threads_);
      if (ended_.joinable()) all.push_back(std::move(ended_));
    }
    wake_.notify_all();
    for (auto& thread : all) join_or_detach(thread);
  }

 private:
  struct Entry {
    Task task;
    Urgency urgency;
  };
  /// The callbacks of one lock object: those that wait, and the thread that runs one.
  struct Strand {
    const void* lock;
    std::deque<Entry> entries{};
    std::size_t urgent = 0;    // among the entries
    std::uint64_t thread = 0;  // that runs an entry, taken out of these; 0: none
  };
  using Strands = std::list<Strand>;

  static constexpr milliseconds patience{10};        // in one callback, while others wait
  static constexpr milliseconds longest_idle{1000};  // then a thread ends
  static constexpr std::size_t most_threads = 64;
  /// Limit of threads in callbacks that are not urgent. The others are for the reports of losses.
  static constexpr std::size_t most_routine = most_threads / 2;
  static constexpr std::size_t most_waiting = 64;  // then optional ones are left out

  // The functions below need mutex_; only run() locks it.

  [[nodiscard]] bool has_work() const noexcept {
    return !urgent_.empty() || (!routine_.empty() && routine_running_ < most_routine);
  }

  [[nodiscard]] bool is_running(const void* lock) const {
    const auto me = this_thread_number();
    if (process_ == lock && here_thread_ != me) return true;
    const auto found = strands_.find(lock);
    if (found == strands_.end()) return false;
    const auto thread = found->second->thread;
    return thread != 0 && thread != me;
  }

  /// Adds a callback. Returns whether there is something new to run.
  bool add(const void* lock, Task task, Urgency urgency) {
    const auto [place, is_new] = strands_.try_emplace(lock);
    if (is_new) {
      try {
        running_.push_back(Strand{lock});
      } catch (const std::exception&) {
        strands_.erase(place);
        throw;
      }
      place->second = std::prev(running_.end());
    }
    const auto strand = place->second;
    const bool is_urgent = urgency == Urgency::urgent;
    if (urgency == Urgency::optional && strand->entries.size() >= most_waiting) return false;
    try {
      strand->entries.push_back({std::move(task), urgency});
    } catch (const std::exception&) {
      if (is_new) forget(strand);
      throw;
    }
    if (is_urgent) ++strand->urgent;
    if (strand->thread != 0) return false;
    if (is_new) {
      enqueue(strand, running_);
    } else if (is_urgent && strand->urgent == 1) {
      enqueue(strand, routine_);
    }
    return true;
  }

  void forget(Strands::iterator strand) noexcept {
    strands_.erase(strand->lock);
    running_.erase(strand);
  }

  void enqueue(Strands::iterator strand, Strands& from) noexcept {
    auto& queue = strand->urgent > 0 ? urgent_ : routine_;
    queue.splice(queue.end(), from, strand);
  }

  /// Wakes or starts a thread for the work. It takes over if the leader stays in its callback.
  void wake_a_thread() noexcept {
    if (!has_work() || (leader_ != 0 && has_standby_)) return;
    if (idle_ > 0 || has_standby_) {
      wake_.notify_one();
    } else {
      (void)start_thread();
    }
  }

  [[nodiscard]] bool start_thread() noexcept {
    if (stopping_ || threads_.size() >= most_threads) return false;
    try {
      threads_.reserve(threads_.size() + 1);
      threads_.push_back(without_signals([self = shared_from_this()] { self->run(); }));
      ++idle_;
      return true;
    } catch (const std::exception&) {  // the next post() tries again
      return false;
    }
  }

  // Functions of the threads.

  void run() {
    std::unique_lock guard{mutex_};
    --idle_;
    for (;;) {
      const auto takes_over_at = leads_since_ + patience;
      if (!has_work() || (leader_ != 0 && has_standby_)) {
        if (stopping_ || !has_rested(guard)) break;
      } else if (leader_ != 0 && Time::clock::now() < takes_over_at) {
        has_standby_ = true;
        wake_.wait_until(guard, waitable(takes_over_at));
        has_standby_ = false;
      } else {
        run_next(guard);
      }
    }
    leave(guard);
  }

  /// Waits for work. Returns false if there was none for a while.
  [[nodiscard]] bool has_rested(std::unique_lock<std::mutex>& guard) {
    ++idle_;
    const auto until = waitable(Time::clock::now() + longest_idle);
    const auto status = wake_.wait_until(guard, until);
    --idle_;
    return status == std::cv_status::no_timeout || (has_work() && !has_standby_);
  }

  void run_next(std::unique_lock<std::mutex>& guard) {
    const auto me = this_thread_number();
    auto& queue = urgent_.empty() ? routine_ : urgent_;
    const auto strand = queue.begin();
    running_.splice(running_.end(), queue, strand);
    auto entry = std::move(strand->entries.front());
    strand->entries.pop_front();
    const bool is_urgent = entry.urgency == Urgency::urgent;
    if (is_urgent) --strand->urgent;
    if (!is_urgent) ++routine_running_;
    strand->thread = leader_ = me;
    leads_since_ = Time::clock::now();
    wake_a_thread();
    guard.unlock();
    entry.task();
    entry.task = nullptr;  // may destroy an owner of this
    guard.lock();
    if (leader_ == me) leader_ = 0;
    if (!is_urgent) --routine_running_;
    strand->thread = 0;
    if (strand->entries.empty()) {
      forget(strand);
    } else {
      enqueue(strand, running_);
    }
    settled_.notify_all();
  }

  template <class Function>
  void run_here(std::unique_lock<std::mutex>& guard, const void* lock,
                const Function& task) noexcept {
    process_ = lock;
    here_thread_ = this_thread_number();
    guard.unlock();
    task();
    guard.lock();
    process_ = nullptr;
    settled_.notify_all();
  }

  /// Ends this thread. The next thread that ends, or stop(), joins it.
  void leave(std::unique_lock<std::mutex>& guard) {
    const auto me = std::find_if(threads_.begin(), threads_.end(), [](const std::thread& thread) {
      return thread.get_id() == std::this_thread::get_id();
    });
    if (me == threads_.end()) return;  // stop() joins it
    auto before = std::exchange(ended_, std::move(*me));
    threads_.erase(me);
    guard.unlock();
    if (before.joinable()) before.join();
  }

  std::atomic<std::uint64_t> served_{0};
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_, settled_;
  std::vector<std::thread> threads_;
  std::thread ended_;                                 // the latest that ended, to be joined
  Strands urgent_, routine_, running_;                // the first two: have entries, and run none
  std::map<const void*, Strands::iterator> strands_;  // all of them, by the lock object
  std::size_t idle_ = 0;                              // threads without work, or just started
  std::size_t routine_running_ = 0;                   // threads in callbacks that are not urgent
  bool has_standby_ = false;                          // a thread waits to take the lead
  bool stopping_ = false;
  std::uint64_t leader_ = 0;  // the thread's number; 0: none
  Time leads_since_{};
  const void* process_ = nullptr;  // the lock object whose callback run_here() runs
  std::uint64_t here_thread_ = 0;
};

}  // namespace redis_lock::detail
