#pragma once

#include <optional>
#include <string>
#include <utility>

#include <redis_lock/detail/base/deadline.hpp>
#include <redis_lock/detail/base/failure.hpp>
#include <redis_lock/detail/base/random_id.hpp>
#include <redis_lock/detail/protocol/acquisition.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>

namespace redis_lock::detail {

/// A driver of one acquisition: performs its steps, on one connection after another.
template <class Clock = Time::clock>
struct Drive {
  Acquisition& acquisition;
  IdSource* ids = nullptr;    // of ids in place of one that is spent; null: the id is fixed
  std::string* id = nullptr;  // that the acquisition refers to; null: the id is fixed

  /// Blocks until the lock is acquired, and returns the end of its lease; or until the deadline or a cancellation, and
  /// returns nothing. If it throws Failure, call it again with a new connection.
  ///
  /// A Link has these members of Connection: exchange(), reuse(), pause(), cancelled(), cancelled_late(),
  /// is_out_of_step(), whole_seconds, asked_elsewhere, progress.
  template <class Link>
  [[nodiscard]] std::optional<Time> operator()(Link& link) const {
    using Action = Acquisition::Step::Action;
    if (ids && acquisition.id_is_spent()) acquisition.go_on_as(*id = ids->next());
    auto step = acquisition.begin(Clock::now(), link.whole_seconds, link.cancelled_late());
    try {
      for (;;) {
        switch (step.action) {
          case Action::exchange: {
            link.asked_elsewhere = false;
            auto replies = link.exchange(acquisition.commands(), step.time);
            step = acquisition.answered(
                {replies, Clock::now(), link.cancelled(), link.asked_elsewhere});
            link.reuse(std::move(replies));
            link.whole_seconds = acquisition.whole_seconds();
            break;
          }
          case Action::pause:
            link.pause(step.time);
            step = acquisition.rested(Clock::now(), link.cancelled());
            break;
          case Action::acquired: return step.lease_end;
          case Action::stopped: return std::nullopt;
        }
      }
    } catch (const Failure&) {
      link.progress = acquisition.progress();
      if (link.is_out_of_step()) undo(link);
      acquisition.failed();
      throw;
    }
  }

 private:
  /// Frees what an attempt on a borrowed context may have acquired, because its replies cannot be trusted.
  template <class Link>
  void undo(Link& link) const {
    try {
      (void)evaluate(link, acquisition.release_call());
    } catch (const Failure&) {  // its lease frees it; report why it was undone
    }
  }
};

}  // namespace redis_lock::detail
