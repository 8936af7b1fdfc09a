#pragma once

/// Tests lock where clang's thread-safety analysis would rightly object: twice, in another function,
/// by another thread. To be included after <redis_lock/redis_lock.hpp>; tests/compile checks that the
/// analysis understands Lock.
#ifdef __clang__
#pragma clang diagnostic ignored "-Wthread-safety-analysis"
#endif
