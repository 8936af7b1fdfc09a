#pragma once

#include <cstdlib>
#include <string>

/// Where the examples find Redis: the first argument, else $REDIS_URL, else the usual address.
inline std::string redis_url(int argc, char** argv) {
  if (argc > 1) return argv[1];
  if (const char* url = std::getenv("REDIS_URL")) return url;
  return "redis://127.0.0.1:6379";
}
