#pragma once

/// The library's version, as three numbers that the preprocessor can compare.
#define REDIS_LOCK_VERSION_MAJOR 0
#define REDIS_LOCK_VERSION_MINOR 1
#define REDIS_LOCK_VERSION_PATCH 0
