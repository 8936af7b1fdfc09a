// A part of the program that uses the library, and no lock.

#include <redis_lock/client.hpp>
#include <redis_lock/endpoint.hpp>
#include <redis_lock/error.hpp>
#include <redis_lock/options.hpp>

#include "part.hpp"

redis_lock::Client without_lock::client() { return redis_lock::Client{"redis://localhost"}; }

std::vector<std::size_t> without_lock::sizes() {
  return {sizeof(redis_lock::Client), sizeof(redis_lock::Options), sizeof(redis_lock::Endpoint),
          sizeof(redis_lock::Error)};
}

const std::error_category& without_lock::category() { return redis_lock::category(); }
