#pragma once

/// @file
/// The library's version (https://semver.org), as three numbers that the preprocessor can compare.

/// Of changes that are not compatible.
#define REDIS_LOCK_VERSION_MAJOR 0
/// Of additions; while the first is 0, also of changes that are not compatible.
#define REDIS_LOCK_VERSION_MINOR 1
/// Of corrections.
#define REDIS_LOCK_VERSION_PATCH 0
