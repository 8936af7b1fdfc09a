#pragma once

#include <array>
#include <string>
#include <vector>

#include "durable_redis.hpp"
#include "server.hpp"
#include "support/proxy.hpp"

namespace redis_lock_test::campaign {

/// One Redis, reached directly and through proxies.
class OneServer final : public Server {
 public:
  OneServer(const std::string& preloaded, WallClock& wall_clock)
      : redis_(preloaded, wall_clock),
        first_(redis_.endpoint()),
        second_(redis_.tcp_endpoint(), Transport::tcp) {}

  [[nodiscard]] std::string uri(Link link) const override;
  [[nodiscard]] Redis& redis(const std::string&) override { return redis_.redis(); }
  [[nodiscard]] std::vector<std::string> kinds() const override;
  [[nodiscard]] std::vector<std::string> aimed_kinds() const override {
    return {"reset", "server-stop"};
  }
  [[nodiscard]] std::optional<Harm> harm(const Occasion& occasion) override;
  [[nodiscard]] std::vector<Noticed> watch() override;

 private:
  /// Frees it like an operator.
  void reset(const std::string& name);
  [[nodiscard]] Harm harm_link(const Occasion& occasion);

  DurableRedis redis_;
  Proxy first_, second_;
};

}  // namespace redis_lock_test::campaign
