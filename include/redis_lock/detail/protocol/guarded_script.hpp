#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <redis_lock/detail/base/pinned.hpp>
#include <redis_lock/detail/protocol/commands.hpp>
#include <redis_lock/detail/protocol/errors.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/event.hpp>

namespace redis_lock::detail {

/// A script that runs only while the lock is held under one id. The lock's key is the last of KEYS and the id the
/// last of ARGV; both are removed before the script sees them. It is sent as EVAL, because its digest is not known;
/// the server compiles it once. Refers to its arguments, which must outlive it.
class GuardedScript : Pinned {
 public:
  GuardedScript(std::string_view script, const std::vector<std::string>& keys,
                const std::vector<std::string>& arguments, std::string_view lock,
                std::string_view id)
      : text_(script), key_count_(std::to_string(keys.size() + 1)) {
    // A #! line must stay first. No line is added: the line numbers in the server's messages stay right.
    text_.insert(script.substr(0, 2) == "#!" ? std::min(text_.find('\n'), text_.size() - 1) + 1 : 0,
                 condition);
    command_.add({"EVAL", text_, key_count_});
    for (const auto& key : keys) command_.append(key);
    command_.append(lock);
    for (const auto& argument : arguments) command_.append(argument);
    command_.append(id);
  }

  /// Returns the script's result; nothing if the lock was not held under the id, and then sets `lost` to the reason.
  /// Once the script may have run, throws a final Failure, so that the script is not sent again.
  template <class Link>
  [[nodiscard]] std::optional<Reply> run_once(Link& link, LossReason* lost = nullptr) const {
    link.make_sure();
    auto reply = ask_once(link);
    if (reply.is_error("LEASELOST")) {
      const bool gone = reply.text.find("is gone") != std::string::npos;
      if (lost) *lost = gone ? LossReason::gone : LossReason::taken;
      return std::nullopt;
    }
    expect_no_error(reply);
    return reply;
  }

 private:
  static constexpr std::string_view condition{
      "if redis.call('GET', KEYS[#KEYS]) ~= table.remove(ARGV) then "
      "return {err = redis.call('GET', KEYS[#KEYS]) and 'LEASELOST the lock is not held under this "
      "id' "
      "or 'LEASELOST the lock is gone'} elseif table.remove(KEYS) then end "};

  template <class Link>
  [[nodiscard]] Reply ask_once(Link& link) const {
    try {
      return ask(link, command_);
    } catch (const Failure& failure) {
      throw Failure{failure.code(), std::string(failure.what()) + "; the script may have run"};
    }
  }

  std::string text_, key_count_;
  Commands command_;
};

}  // namespace redis_lock::detail
