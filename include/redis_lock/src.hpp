#pragma once

/// Definitions of the library, for programs that compile them once. Define
/// REDIS_LOCK_SEPARATE_COMPILATION in the whole program, and include this header in one of its
/// source files. The CMake target redis_lock::compiled does both.

#ifndef REDIS_LOCK_SEPARATE_COMPILATION
#error "redis_lock/src.hpp needs REDIS_LOCK_SEPARATE_COMPILATION to be defined in the whole program"
#endif

#include <redis_lock/detail/impl/cache.hpp>
#include <redis_lock/detail/impl/client.hpp>
#include <redis_lock/detail/impl/inspect.hpp>
#include <redis_lock/detail/impl/leader.hpp>
#include <redis_lock/detail/impl/lock.hpp>
#include <redis_lock/detail/impl/once.hpp>
#include <redis_lock/detail/impl/quorum.hpp>
#include <redis_lock/detail/impl/semaphore.hpp>
#include <redis_lock/detail/impl/shared_lock.hpp>
#include <redis_lock/detail/protocol/uri.hpp>

template class redis_lock::BasicLock<redis_lock::detail::SingleServer>;
template class redis_lock::BasicLock<redis_lock::detail::Majority>;
