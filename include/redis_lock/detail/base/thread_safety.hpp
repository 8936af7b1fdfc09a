#pragma once

/// Attributes of clang's thread-safety analysis: https://clang.llvm.org/docs/ThreadSafetyAnalysis.html
/// Empty on other compilers. The bodies are not analysed, because what they acquire is in Redis.
#if defined(__clang__)
#define REDIS_LOCK_CAPABILITY(name) __attribute__((capability(name)))
#define REDIS_LOCK_ACQUIRE __attribute__((acquire_capability(), no_thread_safety_analysis))
#define REDIS_LOCK_TRY_ACQUIRE \
  __attribute__((try_acquire_capability(true), no_thread_safety_analysis))
#define REDIS_LOCK_RELEASE __attribute__((release_capability(), no_thread_safety_analysis))
#define REDIS_LOCK_ACQUIRE_SHARED \
  __attribute__((acquire_shared_capability(), no_thread_safety_analysis))
#define REDIS_LOCK_TRY_ACQUIRE_SHARED \
  __attribute__((try_acquire_shared_capability(true), no_thread_safety_analysis))
#define REDIS_LOCK_RELEASE_SHARED \
  __attribute__((release_shared_capability(), no_thread_safety_analysis))
#define REDIS_LOCK_NOT_ANALYSED __attribute__((no_thread_safety_analysis))
#else
#define REDIS_LOCK_NOT_ANALYSED
#define REDIS_LOCK_CAPABILITY(name)
#define REDIS_LOCK_ACQUIRE
#define REDIS_LOCK_TRY_ACQUIRE
#define REDIS_LOCK_RELEASE
#define REDIS_LOCK_ACQUIRE_SHARED
#define REDIS_LOCK_TRY_ACQUIRE_SHARED
#define REDIS_LOCK_RELEASE_SHARED
#endif
