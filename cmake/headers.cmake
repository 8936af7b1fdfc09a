# Every header of the library, public and detail: what is installed, and what tests/compile compiles
# one by one. The test "compile.header_list" compares this list with include/.
set(redis_lock_headers
  redis_lock/redis_lock.hpp
  redis_lock/version.hpp
  redis_lock/error.hpp
  redis_lock/options.hpp
  redis_lock/endpoint.hpp
  redis_lock/client.hpp
  redis_lock/lock.hpp
  redis_lock/cache.hpp
  redis_lock/detail/acquire.hpp
  redis_lock/detail/cancellation.hpp
  redis_lock/detail/connection.hpp
  redis_lock/detail/core.hpp
  redis_lock/detail/deadline.hpp
  redis_lock/detail/deferred_release.hpp
  redis_lock/detail/gate.hpp
  redis_lock/detail/hiredis.hpp
  redis_lock/detail/holder.hpp
  redis_lock/detail/message.hpp
  redis_lock/detail/pool.hpp
  redis_lock/detail/process_local.hpp
  redis_lock/detail/protocol.hpp
  redis_lock/detail/random_id.hpp
  redis_lock/detail/renewer.hpp
  redis_lock/detail/thread_safety.hpp
)
