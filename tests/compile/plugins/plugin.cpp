#include "plugin.hpp"

#include <redis_lock/error.hpp>
#include <system_error>

namespace {

using redis_lock::errc;

void fail() { throw redis_lock::Error(errc::lease_lost, "a lock"); }

bool understands(void (*fail_of_another)()) {
  try {
    fail_of_another();
  } catch (const redis_lock::Error& error) {
    const std::error_code& code = error.code();
    const std::error_condition condition(static_cast<int>(errc::lease_lost),
                                         redis_lock::category());
    const std::error_condition other(static_cast<int>(errc::not_owned), redis_lock::category());
    return code == errc::lease_lost && errc::lease_lost == code && !(code != errc::lease_lost) &&
           code != errc::not_owned && errc::not_owned != code &&
           // std::error_code asks both categories.
           code.category().equivalent(code.value(), condition) &&
           redis_lock::category().equivalent(code, condition.value()) && code == condition &&
           code != other && code != std::errc::timed_out &&
           std::error_code(static_cast<int>(errc::lease_lost), std::generic_category()) !=
               errc::lease_lost;
  }
  return false;
}

}  // namespace

extern "C" const Plugin plugin{fail, understands, redis_lock::category};
