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
#include <redis_lock/detail/lock/core.hpp>
#include <redis_lock/detail/lock/hold.hpp>
#include <redis_lock/detail/lock/holding.hpp>
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
class Holder : public Holding<Hold, HolderBooks> {
 public:
  Holder(const std::shared_ptr<Core>& core, std::string name, Options options)
      : Holding(std::move(name), std::move(options), [core] { return core->counters(); }),
        core_(core),
        keys_(core_->is_cluster() ? keys_on_cluster(this->name(), this->options())
                                  : keys_of(this->name(), this->options())),
        slot_(core_->slot_of(keys_.lock)),
        expire_(std::to_string(this->options().expire.count())),
        signal_expire_(std::to_string(this->options().signal_expire.count())) {}

  /// Waits for the lock until `deadline`, and for Redis until `retry_deadline` or the end of retry_for.
  [[nodiscard]] bool acquire(const char* operation, const Deadline& deadline,
                             const Deadline& retry_deadline, Cancellation* cancellation = nullptr) {
    const auto take_over = [this](State& state) {
      return std::exchange(state.books.passed_on, false) ? this->take_over(state) : std::nullopt;
    };
    const auto get = [&](State& state, bool& contended) {
      const Terms terms{core_->terms().retry_for, retry_deadline, cancellation, slot_};
      auto hold = acquire_from_redis(operation, state, deadline, terms, contended);
      if (hold) state.books.handoffs = 0;
      return hold;
    };
    return acquire_by(operation, deadline, cancellation, renewer(), take_over, get);
  }

  void release() {
    auto& state = take_held();
    if (state.books.handoffs < options().local_handoffs && pass_on(state)) return;
    release_by(state, [this](const auto& hold) {
      try {
        return release_to_redis(hold);
      } catch (const Error&) {
        throw;
      } catch (const std::exception&) {  // no memory
        core_->give_up(keys_, hold->id, signal_expire_, hold->kept_for);
        throw;
      }
    });
  }

  void extend(milliseconds lease) {
    extend_by(renewer(), [&](Hold& hold) {
      const auto text = std::to_string(lease.count());
      auto terms = this->terms();
      terms.deadline = hold.expires_at.load();
      auto sent = Time::min();
      const auto result = core_->perform("extend", name(), terms, [&](Connection& connection) {
        sent = Time::clock::now();
        const auto doubt = [&] {
          hold.extension_in_doubt(lease);
          hold.shortened(sent, lease);
        };
        try {
          return detail::extend(connection, keys_.lock, hold.id, text);
        } catch (const Fault& fault) {
          if (fault.code() != errc::server_error) doubt();
          throw;
        } catch (...) {  // no memory, or the thread is cancelled
          doubt();
          throw;
        }
      });
      if (result == Extension::extended && !hold.lost) hold.extended(sent, lease);
      return result;
    });
  }

  /// Asks for the id of the holder.
  [[nodiscard]] std::optional<std::string> owner(const char* operation) {
    return core_->perform(operation, name(), terms(), [this](Connection& connection) {
      return detail::owner(connection, keys_.lock);
    });
  }

  /// Frees the lock whatever its holder. Returns whether it was held.
  bool reset() {
    return core_->perform("reset", name(), terms(), [this](Connection& connection) {
      return detail::reset(connection, keys_, signal_expire_);
    });
  }
  /// Frees the lock if it is held under this id. Returns whether it was held.
  bool reset(std::string_view id) {
    return core_->perform("reset", name(), terms(), [&](Connection& connection) {
      return detail::release(connection, keys_, id, signal_expire_);
    });
  }

  /// Runs a script if this acquisition still holds the lock. Check and script are one atomic step.
  Reply evaluate(const char* operation, std::string_view script,
                 const std::vector<std::string>& keys, const std::vector<std::string>& arguments) {
    const auto hold = held(operation);
    const GuardedScript guarded{script, keys, arguments, keys_.lock, hold->id};
    if (hold->owned()) {
      auto terms = this->terms();
      terms.deadline = hold->expires_at.load();
      auto reason = LossReason::taken;
      auto reply = core_->perform(operation, name(), terms, [&](Connection& connection) {
        return guarded.run_once(connection, &reason);
      });
      if (reply) return *std::move(reply);
      hold->found_lost(reason);
      hold->refused = true;
    }
    throw lost(operation, renewer(), hold);
  }

  [[nodiscard]] std::uint64_t fencing_token() const {
    const auto hold = latest();
    if (hold && hold->fencing_token != 0) return hold->fencing_token;
    throw error("fencing_token", errc::not_owned, "it was not acquired with fencing");
  }

  /// Makes the background thread report the loss of `hold`.
  void watch(const std::shared_ptr<Hold>& hold) const {
    if (core_->is_borrowed()) return;
    start(*renewer(), "lost_token");
    renewer()->watch(hold);
  }

  /// Waits for the end of a running callback, unless the caller is that callback.
  void await_callback() const {
    if (is_here() && !core_->is_borrowed()) await_callback_on(*renewer());
  }

 private:
  /// Returns the terms of an operation that is given no other time.
  [[nodiscard]] Terms terms() const { return core_->terms(slot_); }

  /// Returns null over a borrowed context.
  [[nodiscard]] Renewer* renewer() const {
    return core_->is_borrowed() ? nullptr : &core_->renewer();
  }

  [[nodiscard]] std::shared_ptr<Hold> acquire_from_redis(const char* operation, State& state,
                                                         const Deadline& deadline,
                                                         const Terms& terms, bool& contended) {
    const bool watched = !core_->is_borrowed() && is_watched();
    if (watched) start(*renewer(), operation);  // before there is a lease to renew
    const auto& options = this->options();
    const bool is_fixed = !options.id.empty();
    auto hold = std::make_shared<Hold>();
    prepare(state, *hold, keys_.lock);
    hold->slot = slot_;
    if (is_fixed) {
      hold->id = options.id;
    } else {
      hold->id = state.books.ids.next();
    }
    hold->expire_text = expire_;

    Acquisition<> acquisition{keys_,          hold->id, options.expire,
                              signal_expire_, deadline, options.replicas};
    const auto* const previous = state.latest.get();
    if (options.deferred_unlock && previous && !previous->ended) acquisition.go_in_turn();
    const auto give_up = [&] {
      if (acquisition.in_doubt()) core_->give_up(keys_, hold->id, signal_expire_);
    };
    try {
      const auto lease_end = core_->perform(terms, [&](Connection& connection) {
        if (acquisition.id_is_spent() && !is_fixed) {
          hold->id = state.books.ids.next();
          acquisition.go_on_as(hold->id);
        }
        try {
          return acquisition.run(connection);
        } catch (const Fault&) {
          connection.progress = acquisition.progress();
          if (connection.is_out_of_step()) undo(connection, hold->id);
          throw;
        }
      });
      contended = contended || acquisition.contended();
      if (!lease_end) return nullptr;
      hold->expires_at = *lease_end;
      hold->fencing_token = acquisition.fencing_token();
      if (acquisition.extension_in_doubt()) hold->extension_in_doubt(options.expire);
      schedule_renewals(*hold);
      if (watched) renewer()->watch(hold);
      return hold;
    } catch (const Fault& fault) {
      give_up();
      if (terms.cancellation && terms.cancellation->requested()) return nullptr;
      throw error_of(operation, name(), fault);
    } catch (...) {
      give_up();
      throw;
    }
  }

  /// Frees what an attempt on a borrowed context may have acquired, because its replies cannot be trusted.
  void undo(Connection& connection, const std::string& id) const {
    try {
      (void)detail::release(connection, keys_, id, signal_expire_);
    } catch (const Fault&) {  // its lease frees it; report why it was undone
    }
  }

  /// Hands the lock, as it is held in Redis, to the next thread of this process, if one waits.
  [[nodiscard]] bool pass_on(State& state) const {
    auto& hold = *state.latest;  // the next thread's, and perhaps gone, as soon as the gate is open
    const auto now = state.books.clock.now();
    if (!is_surely_good(hold, now)) return false;
    const bool was_lost = hold.ended.exchange(true, std::memory_order_relaxed);
    const auto held = hold.held_for(now);
    const auto told = state.account->is_told() ? state.latest : nullptr;
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
    state.account->counters().ended(Event::Kind::released, held);
    if (told) state.account->tell(Event::Kind::released, told->id, held);
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
  [[nodiscard]] bool is_surely_good(const Hold& hold, Time coarse_now) const {
    const bool is_renewed = options().auto_renewal;
    const auto now = coarse_now + CoarseClock::error;
    const auto end = hold.expires_at.load(std::memory_order_relaxed);
    const auto least = is_renewed ? hold.expire / 3 : hold.expire;
    const bool in_time = end == never || end - now >= least;
    return in_time && !hold.lost && (!is_renewed || now < hold.renewed_until);
  }

  /// Returns how it has ended; nothing if that will be known later. Throws Error if it cannot be known.
  std::optional<Event::Kind> release_to_redis(const std::shared_ptr<Hold>& hold) {
    if (!core_->is_borrowed()) renewer()->forget(*hold);
    const bool lost = !hold->owned();
    if (options().deferred_unlock && !lost && core_->defer(keys_, signal_expire_, hold)) {
      return std::nullopt;
    }
    auto answer = Extension::not_ours;
    if (!hold->refused) {
      bool may_have_run = false;
      auto terms = this->terms();
      terms.deadline = hold->expires_at.load();
      if (lost) terms.retry_for = milliseconds::zero();
      try {
        answer = core_->perform(terms, [&](Connection& connection) {
          const bool in_doubt = std::exchange(may_have_run, true);
          try {
            const auto said =
                release_or_say(connection, keys_, hold->id, signal_expire_, hold->kept_for);
            return in_doubt ? Extension::extended : said;
          } catch (const Fault& fault) {
            if (fault.code() == errc::server_error) may_have_run = in_doubt;  // it was refused
            throw;
          }
        });
      } catch (const Fault& fault) {
        // A frozen server may not know the script by its digest: send it as text, too.
        if (fault.code() == errc::timed_out)
          core_->give_up(keys_, hold->id, signal_expire_, hold->kept_for);
        if (!lost) throw error_of("unlock", name(), fault);
      }
    }
    if (!lost && answer == Extension::extended) return Event::Kind::released;
    if (!lost) hold->found_lost(reason_of(answer));
    return Event::Kind::lost;
  }

  const std::shared_ptr<Core> core_;
  const Keys keys_;
  const Slot slot_;
  const std::string expire_, signal_expire_;
};

}  // namespace redis_lock::detail
