#pragma once

/// @file
/// Version of the library (https://semver.org), as three numbers that the preprocessor can compare.

/// Grows with changes that are not compatible.
#define REDIS_LOCK_VERSION_MAJOR 0
/// Grows with additions. While the major version is 0, also with changes that are not compatible.
#define REDIS_LOCK_VERSION_MINOR 1
/// Grows with corrections.
#define REDIS_LOCK_VERSION_PATCH 0
