#include <redis_lock/redis_lock.hpp>
#include <sstream>
