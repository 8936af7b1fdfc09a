#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/base/cancellation.hpp>
#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/random_id.hpp>
#include <redis_lock/detail/lock/client_state.hpp>
#include <redis_lock/detail/lock/holding.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/lock/renewer.hpp>
#include <redis_lock/detail/protocol/acquire.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/guarded_script.hpp>
#include <redis_lock/detail/protocol/message.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/detail/protocol/slot_map.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// State that a Lock keeps from one acquisition to the next, guarded by the gate.
struct HolderBooks {
  explicit HolderBooks(const Options& options) : ids(options.id_prefix) {}
  IdSource ids;
  bool passed_on = false;  // the thread that enters takes over the latest acquisition
  unsigned handoffs = 0;   // hand-offs since it was acquired from Redis
  CoarseClock clock;       // for the thread inside the gate
};

/// The implementation of a Lock: its acquisitions, one after another, from the gate in the process to Redis and back.
/// Throws Error, and what Lock says of each operation.
class Holder : public Holding<Lease, HolderBooks> {
 public:
  Holder(const std::shared_ptr<ClientState>& client, std::string name, Options options)
      : Holding(std::move(name), std::move(options), [client] { return client->counters(); }),
        client_(client),
        keys_(client_->is_cluster() ? keys_on_cluster(this->name(), this->options())
                                    : keys_of(this->name(), this->options())),
        slot_(client_->slot_of(keys_.lock)),
        expire_(std::to_string(this->options().expire.count())),
        signal_expire_(std::to_string(this->options().signal_expire.count())) {}

  /// Waits for the lock until `deadline`, and for Redis until `retry_deadline` or the end of retry_for.
  [[nodiscard]] bool acquire(const char* operation, const Deadline& deadline,
                             const Deadline& retry_deadline, Cancellation* cancellation = nullptr) {
    const auto take_over = [this](State& state) {
      return std::exchange(state.books.passed_on, false) ? this->take_over(state) : std::nullopt;
    };
    const auto get = [&](State& state, bool& contended) {
      const CallLimits limits{client_->limits().retry_for, retry_deadline, cancellation, slot_};
      auto lease = acquire_from_redis(operation, state, deadline, limits, contended);
      if (lease) state.books.handoffs = 0;
      return lease;
    };
    return acquire_by(operation, deadline, cancellation, renewer(), take_over, get);
  }

  void release() {
    auto& state = take_held();
    if (state.books.handoffs < options().local_handoffs && pass_on(state)) return;
    release_by(state, [this](const auto& lease) {
      try {
        return release_to_redis(lease);
      } catch (const Error&) {
        throw;
      } catch (const std::exception&) {  // no memory
        client_->give_up(keys_, lease->id, signal_expire_, lease->kept_for);
        throw;
      }
    });
  }

  void extend(milliseconds duration) {
    extend_by(renewer(), [&](Lease& lease) {
      const auto text = std::to_string(duration.count());
      auto limits = this->limits();
      limits.deadline = lease.expires_at.load();
      auto sent = Time::min();
      const auto result = client_->perform("extend", name(), limits, [&](Connection& connection) {
        sent = Time::clock::now();
        const auto suspect = [&] {
          lease.extension_in_doubt(duration);
          lease.shortened(sent, duration);
        };
        try {
          return detail::extend(connection, keys_.lock, lease.id, text);
        } catch (const Failure& failure) {
          if (failure.code() != errc::server_error) suspect();
          throw;
        } catch (...) {  // no memory, or the thread is cancelled
          suspect();
          throw;
        }
      });
      if (result == Extension::extended && !lease.lost) lease.extended(sent, duration);
      return result;
    });
  }

  /// Asks for the id of the holder.
  [[nodiscard]] std::optional<std::string> owner(const char* operation) {
    return client_->perform(operation, name(), limits(), [this](Connection& connection) {
      return detail::owner(connection, keys_.lock);
    });
  }

  /// Frees the lock whatever its holder. Returns whether it was held.
  bool reset() {
    return client_->perform("reset", name(), limits(), [this](Connection& connection) {
      return detail::reset(connection, keys_, signal_expire_);
    });
  }
  /// Frees the lock if it is held under this id. Returns whether it was held.
  bool reset(std::string_view id) {
    return client_->perform("reset", name(), limits(), [&](Connection& connection) {
      return detail::release(connection, keys_, id, signal_expire_);
    });
  }

  /// Runs a script if this acquisition still holds the lock. Check and script are one atomic step.
  Reply evaluate(const char* operation, std::string_view script,
                 const std::vector<std::string>& keys, const std::vector<std::string>& arguments) {
    const auto lease = held(operation);
    const GuardedScript guarded{script, keys, arguments, keys_.lock, lease->id};
    if (lease->owned()) {
      auto limits = this->limits();
      limits.deadline = lease->expires_at.load();
      auto reason = LossReason::taken;
      auto reply = client_->perform(operation, name(), limits, [&](Connection& connection) {
        return guarded.run_once(connection, &reason);
      });
      if (reply) return *std::move(reply);
      lease->found_lost(reason);
      lease->refused = true;
    }
    throw lost(operation, renewer(), lease);
  }

  [[nodiscard]] std::uint64_t fencing_token() const {
    const auto lease = latest();
    if (lease && lease->fencing_token != 0) return lease->fencing_token;
    throw error("fencing_token", errc::not_owned, "it was not acquired with fencing");
  }

  /// Makes the background thread report the loss of `lease`.
  void watch(const std::shared_ptr<Lease>& lease) const {
    if (client_->is_borrowed()) return;
    start(*renewer(), "lost_token");
    renewer()->watch(lease);
  }

  /// Waits for the end of a running callback, unless the caller is that callback.
  void await_callback() const {
    if (is_here() && !client_->is_borrowed()) await_callback_on(*renewer());
  }

 private:
  /// Returns the limits of an operation that is given no other time.
  [[nodiscard]] CallLimits limits() const { return client_->limits(slot_); }

  /// Returns null over a borrowed context.
  [[nodiscard]] Renewer* renewer() const {
    return client_->is_borrowed() ? nullptr : &client_->renewer();
  }

  [[nodiscard]] std::shared_ptr<Lease> acquire_from_redis(const char* operation, State& state,
                                                          const Deadline& deadline,
                                                          const CallLimits& limits,
                                                          bool& contended) {
    const bool watched = !client_->is_borrowed() && is_watched();
    if (watched) start(*renewer(), operation);  // before there is a lease to renew
    const auto& options = this->options();
    const bool is_fixed = !options.id.empty();
    auto lease = std::make_shared<Lease>();
    prepare(state, *lease, keys_.lock);
    lease->slot = slot_;
    if (is_fixed) {
      lease->id = options.id;
    } else {
      lease->id = state.books.ids.next();
    }
    lease->expire_text = expire_;

    Acquisition<> acquisition{keys_,          lease->id, options.expire,
                              signal_expire_, deadline,  options.replicas};
    const auto* const previous = state.latest.get();
    if (options.deferred_unlock && previous && !previous->ended) acquisition.go_in_turn();
    const auto give_up = [&] {
      if (acquisition.in_doubt()) client_->give_up(keys_, lease->id, signal_expire_);
    };
    try {
      const auto lease_end = client_->perform(limits, [&](Connection& connection) {
        if (acquisition.id_is_spent() && !is_fixed) {
          lease->id = state.books.ids.next();
          acquisition.go_on_as(lease->id);
        }
        try {
          return acquisition.run(connection);
        } catch (const Failure&) {
          connection.progress = acquisition.progress();
          if (connection.is_out_of_step()) undo(connection, lease->id);
          throw;
        }
      });
      contended = contended || acquisition.contended();
      if (!lease_end) return nullptr;
      lease->expires_at = *lease_end;
      lease->fencing_token = acquisition.fencing_token();
      if (acquisition.extension_in_doubt()) lease->extension_in_doubt(options.expire);
      schedule_renewals(*lease);
      if (watched) renewer()->watch(lease);
      return lease;
    } catch (const Failure& failure) {
      give_up();
      if (limits.cancellation && limits.cancellation->requested()) return nullptr;
      throw error_of(operation, name(), failure);
    } catch (...) {
      give_up();
      throw;
    }
  }

  /// Frees what an attempt on a borrowed context may have acquired, because its replies cannot be trusted.
  void undo(Connection& connection, const std::string& id) const {
    try {
      (void)detail::release(connection, keys_, id, signal_expire_);
    } catch (const Failure&) {  // its lease frees it; report why it was undone
    }
  }

  /// Hands the lock, as it is held in Redis, to the next thread of this process, if one waits.
  [[nodiscard]] bool pass_on(State& state) const {
    auto& lease =
        *state.latest;  // the next thread's, and perhaps gone, as soon as the gate is open
    const auto now = state.books.clock.now();
    if (!is_surely_good(lease, now)) return false;
    const bool was_lost = lease.ended.exchange(true, std::memory_order_relaxed);
    const auto held = lease.held_for(now);
    const auto told = state.observer->is_told() ? state.latest : nullptr;
    ++state.books.handoffs;
    state.books.passed_on = true;
    if (!state.gate.open()) {
      // Inside again: no thread took it, or one did and has left by now.
      if (std::exchange(state.books.passed_on, false)) {
        // It may be a later acquisition, passed on by another thread. Releasing it ends this thread's turn, too.
        state.latest->ended = was_lost;
        return false;
      }
      state.gate.leave();
    }
    if (was_lost) return true;
    state.observer->counters().ended(Event::Kind::released, held);
    if (told) state.observer->tell(Event::Kind::released, told->id, held);
    return true;
  }

  /// Returns since when the calling thread holds what was passed on. Returns nothing if the lease is not worth having
  /// any more: then the lock goes back to Redis.
  [[nodiscard]] std::optional<Time> take_over(State& state) {
    const auto now = state.books.clock.now();
    if (is_surely_good(*state.latest, now)) return now;
    try {
      (void)release_to_redis(state.latest);
    } catch (const Error&) {  // no thread held it, so none needs the error
    }
    return std::nullopt;
  }

  /// Returns whether the next holder can rely on this lease as on a new one. `coarse_now` may be behind the time.
  [[nodiscard]] bool is_surely_good(const Lease& lease, Time coarse_now) const {
    const bool is_renewed = options().auto_renewal;
    const auto now = coarse_now + CoarseClock::error;
    const auto end = lease.expires_at.load(std::memory_order_relaxed);
    const auto least = is_renewed ? lease.expire / 3 : lease.expire;
    const bool in_time = end == never || end - now >= least;
    return in_time && !lease.lost && (!is_renewed || now < lease.renewed_until);
  }

  /// Returns how it has ended; nothing if that will be known later. Throws Error if it cannot be known.
  std::optional<Event::Kind> release_to_redis(const std::shared_ptr<Lease>& lease) {
    if (!client_->is_borrowed()) renewer()->forget(*lease);
    const bool lost = !lease->owned();
    if (options().deferred_unlock && !lost && client_->defer(keys_, signal_expire_, lease)) {
      return std::nullopt;
    }
    auto answer = Extension::not_ours;
    if (!lease->refused) {
      bool may_have_run = false;
      auto limits = this->limits();
      limits.deadline = lease->expires_at.load();
      if (lost) limits.retry_for = milliseconds::zero();
      try {
        answer = client_->perform(limits, [&](Connection& connection) {
          const bool in_doubt = std::exchange(may_have_run, true);
          try {
            const auto said =
                release_or_say(connection, keys_, lease->id, signal_expire_, lease->kept_for);
            return in_doubt ? Extension::extended : said;
          } catch (const Failure& failure) {
            if (failure.code() == errc::server_error) may_have_run = in_doubt;  // it was refused
            throw;
          }
        });
      } catch (const Failure& failure) {
        // A frozen server may not know the script by its digest: send it as text, too.
        if (failure.code() == errc::timed_out)
          client_->give_up(keys_, lease->id, signal_expire_, lease->kept_for);
        if (!lost) throw error_of("unlock", name(), failure);
      }
    }
    if (!lost && answer == Extension::extended) return Event::Kind::released;
    if (!lost) lease->found_lost(reason_of(answer));
    return Event::Kind::lost;
  }

  const std::shared_ptr<ClientState> client_;
  const Keys keys_;
  const Slot slot_;
  const std::string expire_, signal_expire_;
};

}  // namespace redis_lock::detail
