#pragma once

#include <memory>
#include <utility>

#include <redis_lock/client.hpp>
#include <redis_lock/detail/base/config.hpp>
#include <redis_lock/detail/lock/client_state.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/uri.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/stats.hpp>

namespace redis_lock {

REDIS_LOCK_DEFINITION Client::Client(Endpoint endpoint)
    : state_(std::make_shared<detail::ClientState>(detail::checked(std::move(endpoint)))) {}

REDIS_LOCK_DEFINITION Client::Client(const char* uri)
    : Client((detail::require(uri != nullptr, "uri must not be null"), Endpoint::parse(uri))) {}

REDIS_LOCK_DEFINITION Stats Client::stats() const { return state_->counters()->snapshot(); }

}  // namespace redis_lock
