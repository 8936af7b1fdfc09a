#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <redis_lock/detail/lock/client_state.hpp>
#include <redis_lock/detail/lock/lease.hpp>
#include <redis_lock/detail/lock/lock_state.hpp>
#include <redis_lock/detail/net/drive.hpp>
#include <redis_lock/detail/protocol/acquisition.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/guarded_script.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/event.hpp>
#include <redis_lock/options.hpp>

namespace redis_lock::detail {

/// What a Lock, or another class over one server, is made from.
struct Access {
  std::shared_ptr<ClientState> client;
  Keys::Kind kind = Keys::Kind::lock;
  std::size_t permits = 0;  // of a Semaphore
};

/// The Backend of a Lock, a SharedLock and a Semaphore: asks one server. Throws Failure.
class SingleServer {
 public:
  using Lease = detail::Lease;
  struct Memory {};

  SingleServer(const Access& access, const std::string& name, const Options& options)
      : client_(access.client),
        options_(options),
        shared_keys_(std::make_shared<const Keys>(
            keys_at(client_->is_cluster(), name, options, access.kind, access.permits))),
        slot_(client_->slot_of(keys_.lock)),
        expire_(std::to_string(options.expire.count())),
        signal_expire_(std::to_string(options.signal_expire.count())) {}

  [[nodiscard]] std::shared_ptr<Counters> counters() const { return client_->counters(); }
  [[nodiscard]] Renewer* renewer() const {
    return client_->is_borrowed() ? nullptr : &client_->renewer();
  }
  [[nodiscard]] static bool is_here() noexcept { return true; }

  [[nodiscard]] std::shared_ptr<Lease> make_lease() const {
    auto lease = std::make_shared<Lease>();
    lease->keys = shared_keys_;
    lease->slot = slot_;
    lease->expire = options_.expire;
    lease->expire_text = expire_;
    return lease;
  }

  /// Blocks until the lock is acquired (true), or until the deadline or the cancellation (false).
  [[nodiscard]] bool acquire(Lease& lease, AcquireCall<SingleServer>& call) {
    const bool is_fixed = !options_.id.empty();
    if (is_fixed) {
      lease.id = options_.id;
    } else {
      lease.id = call.ids.next();
    }
    Acquisition acquisition{keys_,         lease.id,           options_.expire,  signal_expire_,
                            call.deadline, Time::clock::now(), options_.replicas};
    // The end of a reading sends no signal, so no waiter can be before the next one.
    const bool signals = keys_.kind != Keys::Kind::reading;
    if (options_.deferred_unlock && call.follows_release && signals) acquisition.go_in_turn();
    const CallLimits limits{client_->limits().retry_for, call.retry_deadline, call.cancellation,
                            slot_};
    std::optional<Time> lease_end;
    try {
      lease_end =
          client_->perform(limits, Drive<>{acquisition, is_fixed ? nullptr : &call.ids, &lease.id});
    } catch (...) {
      if (acquisition.in_doubt()) abandon(lease);
      throw;
    }
    call.contended = acquisition.contended();
    if (!lease_end) return false;
    lease.expires_at = *lease_end;
    lease.fencing_token = acquisition.fencing_token();
    if (acquisition.extension_in_doubt()) lease.extension_in_doubt(options_.expire);
    return true;
  }

  /// Returns how the acquisition has ended; nothing if that will be known later.
  std::optional<Event::Kind> release(const std::shared_ptr<Lease>& lease) {
    const bool lost = !lease->owned();
    if (options_.deferred_unlock && !lost && client_->defer(signal_expire_, lease)) {
      return std::nullopt;
    }
    auto answer = Extension::not_ours;
    if (!lease->refused) {
      auto limits = limits_until(*lease);
      if (lost) limits.retry_for = milliseconds::zero();
      try {
        bool may_have_run = false;
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
        if (failure.code() == errc::timed_out) abandon(*lease);
        if (!lost) throw;
      }
    }
    if (!lost && answer == Extension::extended) return Event::Kind::released;
    if (!lost) lease->found_lost(reason_of(answer));
    return Event::Kind::lost;
  }

  /// Makes sure that the lease ends, although no thread waits for that.
  void abandon(const Lease& lease) noexcept {
    client_->give_up(keys_, lease.id, signal_expire_, lease.kept_for);
  }

  [[nodiscard]] Extension extend(Lease& lease, milliseconds duration) {
    const auto text = std::to_string(duration.count());
    auto sent = Time::min();
    const auto result = client_->perform(limits_until(lease), [&](Connection& connection) {
      sent = Time::clock::now();
      const auto suspect = [&] {
        lease.extension_in_doubt(duration);
        lease.shortened(sent, duration);
      };
      try {
        return detail::extend(connection, keys_, lease.id, text);
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
  }

  [[nodiscard]] std::optional<std::string> owner() {
    return client_->perform(
        limits(), [this](Connection& connection) { return detail::owner(connection, keys_.lock); });
  }

  /// Returns how many permits are taken.
  [[nodiscard]] long long taken() {
    return client_->perform(
        limits(), [this](Connection& connection) { return detail::count(connection, keys_.lock); });
  }

  bool reset() {
    return client_->perform(limits(), [this](Connection& connection) {
      return detail::reset(connection, keys_, signal_expire_);
    });
  }
  /// Frees the lock if it is held under this id.
  bool reset(std::string_view id) {
    return client_->perform(limits(), [&](Connection& connection) {
      return detail::release(connection, keys_, id, signal_expire_);
    });
  }

  /// Runs a script if the lock is held under this lease. If not, returns nothing; and sets `reason` if the server said
  /// so.
  [[nodiscard]] std::optional<Reply> evaluate(const Lease& lease, std::string_view script,
                                              const std::vector<std::string>& keys,
                                              const std::vector<std::string>& arguments,
                                              LossReason& reason) {
    const GuardedScript guarded{script, keys, arguments, keys_.lock, lease.id};
    if (!lease.owned()) return std::nullopt;
    return client_->perform(limits_until(lease), [&](Connection& connection) {
      return guarded.run_once(connection, &reason);
    });
  }

 private:
  [[nodiscard]] CallLimits limits() const { return client_->limits(slot_); }
  [[nodiscard]] CallLimits limits_until(const Lease& lease) const {
    auto limits = this->limits();
    limits.deadline = lease.expires_at.load();
    return limits;
  }

  const std::shared_ptr<ClientState> client_;
  const Options& options_;
  const std::shared_ptr<const Keys> shared_keys_;  // with its leases
  const Keys& keys_ = *shared_keys_;
  const Slot slot_;
  const std::string expire_, signal_expire_;
};

}  // namespace redis_lock::detail
