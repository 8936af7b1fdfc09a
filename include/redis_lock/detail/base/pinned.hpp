#pragma once

namespace redis_lock::detail {

/// A base of classes whose objects are neither copied nor moved.
class Pinned {
 public:
  Pinned() = default;
  Pinned(const Pinned&) = delete;
  Pinned(Pinned&&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  Pinned& operator=(Pinned&&) = delete;

 protected:
  ~Pinned() = default;
};

}  // namespace redis_lock::detail
