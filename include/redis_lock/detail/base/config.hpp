#pragma once

#ifndef __cpp_exceptions
#error "redis_lock reports failures by exceptions: compile without -fno-exceptions"
#endif

/// How the definitions of the public functions are compiled: in each file that includes a header, or with
/// REDIS_LOCK_SEPARATE_COMPILATION in the one file that includes redis_lock/src.hpp.
#ifdef REDIS_LOCK_SEPARATE_COMPILATION
#define REDIS_LOCK_DEFINITION
#else
#define REDIS_LOCK_DEFINITION inline
#endif
