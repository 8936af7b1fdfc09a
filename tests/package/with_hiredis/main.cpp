// Locks over a connection of its own, and over one of the library. Prints the version of hiredis.
#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include <cstdio>
#include <memory>
#include <mutex>
#include <redis_lock/redis_lock.hpp>

#include "connection.hpp"

int main() {
  const auto server = redis_lock::Endpoint::from_env();
  const std::unique_ptr<redisContext, void (*)(redisContext*)> context{
      open_connection(server.unix_socket.c_str()), redisFree};
  if (!context || context->err != 0) return 2;

  redis_lock::Lock borrowed{context.get(), "name"};
  redis_lock::Lock own{redis_lock::Client{server}, "name"};
  {
    const std::lock_guard guard{borrowed};
    if (own.try_lock() || !has_key(context.get(), "lock:name")) return 3;
  }
  const std::lock_guard guard{own};
  std::printf("locked with hiredis %d.%d.%d\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
  return borrowed.try_lock() ? 4 : 0;
}
