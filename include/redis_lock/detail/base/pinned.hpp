#pragma once

namespace redis_lock::detail {

/// The base of classes that are neither copied nor moved.
struct Pinned {
  Pinned() = default;
  ~Pinned() = default;
  Pinned(const Pinned&) = delete;
  Pinned(Pinned&&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  Pinned& operator=(Pinned&&) = delete;
};

}  // namespace redis_lock::detail
