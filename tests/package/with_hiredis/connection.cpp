// The headers of hiredis come last here, and first in main.cpp.
#include <memory>
#include <redis_lock/redis_lock.hpp>
// Not before redis_lock.
#include <hiredis/async.h>
#include <hiredis/sds.h>
#ifdef REDIS_LOCK_TLS
#include <hiredis/hiredis_ssl.h>
#endif

#include "connection.hpp"

redisContext* open_connection(const char* path) { return redisConnectUnix(path); }

bool has_key(redisContext* context, const char* key) {
  const std::unique_ptr<redisReply, void (*)(void*)> reply{
      static_cast<redisReply*>(redisCommand(context, "EXISTS %s", key)), freeReplyObject};
  return reply && reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
}
