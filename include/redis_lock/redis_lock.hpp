#pragma once

/// @file
/// All of redis_lock: a distributed lock over Redis with the interface of std::timed_mutex.

#include <redis_lock/basic_lock.hpp>
#include <redis_lock/cache.hpp>
#include <redis_lock/client.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/event.hpp>
#include <redis_lock/host_and_pid.hpp>
#include <redis_lock/inspect.hpp>
#include <redis_lock/leader.hpp>
#include <redis_lock/lock.hpp>
#include <redis_lock/node_status.hpp>
#include <redis_lock/once.hpp>
#include <redis_lock/options.hpp>
#include <redis_lock/quorum.hpp>
#include <redis_lock/reply.hpp>
#include <redis_lock/semaphore.hpp>
#include <redis_lock/shared_lock.hpp>
#include <redis_lock/stats.hpp>
#include <redis_lock/version.hpp>
