// Locking over one's own hiredis connection: nothing is connected, no thread is started, and between
// the lock's commands the connection is the program's own. The lease is not renewed, since nobody
// else may touch the connection: choose `expire` longer than the work, or call extend().
//
// Prints:
//   held, lease of 10 s
//   counter: 1
//   released
//   keys removed: 1

#include <chrono>
#include <iostream>
#include <memory>
#include <mutex>
#include <stdexcept>

#include <hiredis/hiredis.h>
#include <redis_lock/redis_lock.hpp>

#include "redis_url.hpp"

namespace {

struct Free {
  void operator()(redisContext* context) const { redisFree(context); }
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Context = std::unique_ptr<redisContext, Free>;
using Reply = std::unique_ptr<redisReply, Free>;

Context connect(const redis_lock::Endpoint& at) {
  Context context{at.unix_socket.empty() ? redisConnect(at.host.c_str(), at.port)
                                         : redisConnectUnix(at.unix_socket.c_str())};
  if (!context || context->err != 0) throw std::runtime_error{"cannot connect"};
  return context;
}

long long number(const Context& context, const char* command) {
  const Reply reply{static_cast<redisReply*>(redisCommand(context.get(), command))};
  if (!reply || reply->type != REDIS_REPLY_INTEGER) throw std::runtime_error{command};
  return reply->integer;
}

}  // namespace

int main(int argc, char** argv) try {
  using namespace std::chrono_literals;
  const auto context = connect(redis_lock::Endpoint::parse(redis_url(argc, argv)));

  auto options = redis_lock::Options::without_renewal();
  options.expire = 10s;
  redis_lock::Lock lock{context.get(), "example:borrowed", options};
  {
    std::lock_guard guard{lock};
    std::cout << "held, lease of 10 s\n";
    std::cout << "counter: " << number(context, "INCR example:counter") << '\n';
  }
  if (!lock.locked()) std::cout << "released\n";
  std::cout << "keys removed: " << number(context, "DEL example:counter") << '\n';
} catch (const std::exception& error) {
  std::cerr << "borrowed: " << error.what() << '\n';
  return 1;
}
