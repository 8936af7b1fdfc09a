// A lock that is held when main() ends, of a client that is static: static_client <CA file> <port>
// main() ends with its input.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <system_error>

#include <redis_lock/redis_lock.hpp>

namespace {

redis_lock::Endpoint endpoint(char** argv) {
  redis_lock::Endpoint endpoint;
  endpoint.port = static_cast<std::uint16_t>(std::atoi(argv[2]));
  endpoint.tls.emplace().ca_file = argv[1];
  return endpoint;
}

redis_lock::Options options() {
  redis_lock::Options options;
  options.on_error = [](const redis_lock::Error&) { std::_Exit(2); };
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 1;
  static const redis_lock::Client client{endpoint(argv)};
  static redis_lock::Lock lock{client, "static", options()};
  std::error_code error;
  lock.lock(error);
  std::getchar();
  return error ? 3 : 0;
}
