#pragma once

#include <string>
#include <vector>

#include "dice.hpp"
#include "harm.hpp"
#include "support/proxy.hpp"

namespace redis_lock_test::campaign {

/// The faults of a proxy.
[[nodiscard]] const std::vector<std::string>& link_kinds();

/// Harm of one of these kinds; whose it is, and what it concerns, is left open.
[[nodiscard]] Harm harm_to_link(Proxy& proxy, const std::string& kind, Dice& dice);

}  // namespace redis_lock_test::campaign
