#include "part.hpp"

#include <redis_lock/redis_lock.hpp>

// PART is cxx17 or cxx20.

long PART::standard() { return __cplusplus; }

std::vector<std::size_t> PART::sizes() {
  return {sizeof(redis_lock::Client),
          sizeof(redis_lock::Options),
          sizeof(redis_lock::Endpoint),
          sizeof(redis_lock::Error),
          sizeof(redis_lock::Lock),
          sizeof(redis_lock::QuorumLock),
          sizeof(redis_lock::BasicLock<redis_lock::detail::SingleServer>),
          sizeof(redis_lock::Cache)};
}

std::string PART::name(const redis_lock::Lock& lock) { return lock.name(); }

const std::error_category& PART::category() { return redis_lock::category(); }
