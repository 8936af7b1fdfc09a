#include "link.hpp"

#include <array>

namespace redis_lock_test::campaign {

const std::vector<std::string>& link_kinds() {
  static const std::vector<std::string> kinds{"link-delay",      "link-stall",  "link-drop",
                                              "link-refuse",     "link-cut",    "link-lose-request",
                                              "link-lose-reply", "link-swallow"};
  return kinds;
}

Harm harm_to_link(Proxy& proxy, const std::string& kind, Dice& dice) {
  Harm harm;
  if (kind == "link-delay") {
    harm.due += dice.draw_time(300ms, 2000ms);
    harm.strike = [&proxy, by = dice.draw_time(20ms, 500ms)] { proxy.delay_replies(by); };
    harm.repair = [&proxy] { proxy.delay_replies(0ms); };
  } else if (kind == "link-stall") {
    harm.due += dice.draw_time(100ms, 2500ms);
    harm.strike = [&proxy] { proxy.pause(); };
    harm.repair = [&proxy] { proxy.resume(); };
  } else if (kind == "link-drop") {
    harm.strike = [&proxy] { proxy.drop_connections(); };
  } else if (kind == "link-refuse") {
    harm.due += dice.draw_time(100ms, 1500ms);
    harm.strike = [&proxy] {
      proxy.refuse_connections();
      proxy.drop_connections();
    };
    harm.repair = [&proxy] { proxy.refuse_connections(false); };
  } else {
    using redis_lock_test::Fault;
    const auto fault = kind == "link-cut"            ? Fault::cut_reply
                       : kind == "link-lose-request" ? Fault::lose_request
                       : kind == "link-lose-reply"   ? Fault::lose_reply
                                                     : Fault::lose_reply_and_stall;
    static const std::array<std::string, 6> commands{"", "", "EVALSHA", "EVAL", "BLPOP", "PTTL"};
    const auto& command = dice.one_of(commands);
    const auto times = static_cast<int>(dice.draw(1, 3));
    harm.strike = [&proxy, command, fault, times] { proxy.inject(command, fault, times); };
    harm.may_end = [&proxy, give_up = harm.due + 10s] {
      return proxy.faults_left() == 0 || std::chrono::steady_clock::now() > give_up;
    };
    harm.repair = [&proxy] { proxy.withdraw_faults(); };  // no such command came
  }
  return harm;
}

}  // namespace redis_lock_test::campaign
