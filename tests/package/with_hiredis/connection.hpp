#pragma once

#include <hiredis/hiredis.h>

// Opens a connection to the Unix socket at `path`.
redisContext* open_connection(const char* path);
// Returns whether there is this key.
bool has_key(redisContext* context, const char* key);
