// Names every public member, so that each template and each overload is compiled with all warnings.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <redis_lock/redis_lock.hpp>
#include <shared_mutex>
#include <string>
#include <system_error>

using namespace std::chrono_literals;

redis_lock::Client connect() {
  redis_lock::Endpoint endpoint =
      redis_lock::Endpoint::parse("redis://user:secret@localhost:6379/1");
  endpoint.host =
      redis_lock::Endpoint::from_env().host + redis_lock::Endpoint::from_env("NAME").host;
  endpoint.origin = "NAME";
  endpoint.host = "localhost";
  endpoint.port = std::uint16_t{6379};
  endpoint.unix_socket = "/run/redis.sock";
  endpoint.username = endpoint.password = endpoint.client_name = "name";
  endpoint.database = 1;
  endpoint.connect_timeout = endpoint.command_timeout = endpoint.retry_for = 1s;
  endpoint.max_idle = std::size_t{8};
  endpoint.spin = 20us;
  return endpoint;
}

redis_lock::Options options() {
  redis_lock::Options options = redis_lock::Options::without_renewal();
  options.expire = 30s;
  options.auto_renewal = true;
  options.max_hold = redis_lock::no_expiry;
  options.signal_expire = 1s;
  options.fencing = options.deferred_unlock = true;
  options.local_handoffs = 0;
  options.replicas = redis_lock::Replicas{2, 500ms};
  options.id = options.key_prefix = options.signal_prefix = options.fence_prefix = "text";
  options.id_prefix = redis_lock::host_and_pid();
  options.on_lost = [](std::error_code) {};
  options.on_event = [](const redis_lock::Event& event) {
    static_cast<void>(event.kind == redis_lock::Event::Kind::acquired && event.name == event.id &&
                      event.duration > 1s && event.reason == redis_lock::LossReason::taken &&
                      event.error && event.message.empty() &&
                      event.failing_since < std::chrono::steady_clock::now());
  };
  options.on_error = [](const redis_lock::Error&) {};
  return options;
}

void construct(redisContext* context) {
  redis_lock::Lock by_default({}, "name");
  redis_lock::Lock by_uri("redis://localhost", "name", options());
  redis_lock::Lock by_string(std::string("redis://localhost"), "name", options());
  redis_lock::Lock by_client(connect(), "name", {});
  redis_lock::Lock borrowed(context, "name");
}

bool look(const redis_lock::Client& client) {
  const redis_lock::Stats stats = client.stats();
  return stats.acquired + stats.contended + stats.timed_out + stats.released + stats.renewed +
                 stats.renewals_failed + stats.lost + stats.abandoned + stats.reconnects >
             0 &&
         stats.total_wait + stats.longest_wait + stats.total_hold + stats.longest_hold > 1s;
}

void lock_and_unlock(redis_lock::Lock& lock, redis_lock::Lock& other) {
  const std::lock_guard<redis_lock::Lock> guard(lock);
  const std::scoped_lock both(lock, other);
  std::unique_lock<redis_lock::Lock> timed(lock, 300ms);
  std::condition_variable_any condition;
  condition.wait(timed);
  std::lock(lock, other);
  lock.unlock();
}

bool is_lost(const redis_lock::Lock& lock) {
  return lock.loss_reason() != redis_lock::LossReason::none;
}

std::uint64_t write_under_guard(redis_lock::Lock& lock) {
  const redis_lock::Reply reply = lock.guarded_eval("return 1");
  lock.guarded_eval("return 1", {"key"});
  lock.guarded_eval("return 1", {"key", "key"}, {"argument", std::string("argument")});
  lock.guarded_set("key", "value");
  lock.guarded_set("key", std::string("value"), 1s);
  return reply.kind == redis_lock::Reply::Kind::integer && !reply.is_nil() && !reply.is_error()
             ? lock.fencing_token()
             : 0;
}

bool try_to_lock(redis_lock::Lock& lock) {
  return lock.try_lock() && lock.try_lock_for(0s) && lock.try_lock_for(1.5s) &&
         lock.try_lock_for(std::chrono::hours::max()) &&
         lock.try_lock_until(std::chrono::steady_clock::now()) &&
         lock.try_lock_until(std::chrono::system_clock::now());
}

void report_by_error_code(redis_lock::Lock& lock, std::error_code& error) {
  static_assert(noexcept(lock.lock(error))&& noexcept(lock.try_lock(error))&& noexcept(
      lock.unlock(error))&& noexcept(lock.unlock()));
  lock.lock(error);
  if (lock.try_lock(error) || error == redis_lock::errc::lease_lost ||
      error.category() == redis_lock::category()) {
    lock.unlock(error);
  }
}

#ifdef __cpp_lib_jthread
bool stop(redis_lock::Lock& lock, std::stop_token token) {
  return lock.lock(token) && lock.lost_token().stop_requested();
}

bool lead(const redis_lock::Client& client) {
  const auto function = [](std::stop_token lost, std::uint64_t term) {
    static_cast<void>(lost.stop_requested() && term > 1);
  };
  redis_lock::Leader leader(client, "name", function);
  const redis_lock::Leader other("redis://localhost", "name", function, options());
  static_assert(noexcept(leader.leads())&& noexcept(leader.request_stop()));
  leader.request_stop();
  return leader.leads() || other.leads();
}
#endif

bool ask(redis_lock::Lock& lock) {
  lock.extend();
  lock.extend(10s);
  const std::optional<std::string> owner = lock.owner();
  return lock.owns_lock() && lock.locked() && lock.reset() && lock.reset("id") &&
         owner == lock.id() && lock.expires_at() > std::chrono::steady_clock::now() &&
         lock.name() == "name" &&
         redis_lock::reset_all({}) + redis_lock::reset_all(connect(), "lock:", "lock-signal:") +
                 redis_lock::reset_all(connect(), "lock:", "lock-signal:", "lock-fence:") >
             0;
}

bool list(const redis_lock::Client& client) {
  for (const redis_lock::HeldLock& lock : redis_lock::held_locks(client)) {
    if (lock.name == lock.owner && lock.time_left > 1s) return true;
  }
  redis_lock::held_locks(client, [](const redis_lock::HeldLock&) {});
  redis_lock::held_locks(
      client, [](const redis_lock::HeldLock&) {}, "prefix:", "fence:");
  return redis_lock::held_locks(client, "prefix:").empty() ||
         redis_lock::held_locks(client, "prefix:", "fence:").empty() ||
         redis_lock::held_lock(client, "name") || redis_lock::held_lock(client, "name", "prefix:");
}

std::string cached(const redis_lock::Client& client) {
  redis_lock::Cache cache(client);
  redis_lock::Cache other(client, "prefix:");
  cache.set("key", "value", 1min);
  redis_lock::Lock lock = cache.lock("key", options());
  const std::lock_guard guard(lock);
  redis_lock::CacheTerms terms;
  terms.max_wait = 1s;
  terms.when_away = redis_lock::CacheTerms::WhenAway::compute;
  const auto create = [] { return std::string("value"); };
  if (cache.get_or_create("key", 1min, create, {}, terms) ==
      cache.get_or_create("key", 1min, create, {}, {}))
    return cache.get_or_create("key", 1min, create, {});
  return cache.erase("key") ? cache.get("key").value_or("")
                            : other.get_or_create("key", 1min, [] { return std::string("value"); });
}

bool called_once(const redis_lock::Client& client) {
  const auto f = [] {};
  return redis_lock::call_once(client, "name", 1min, f) ||
         redis_lock::call_once(
             client, "name", redis_lock::no_expiry, [] {}, options()) ||
         redis_lock::try_call_once(client, "name", 1min, f) ||
         redis_lock::try_call_once(
             "redis://localhost", "name", 1min, [] {}, options());
}

bool read_and_write(redis_lock::SharedLock& lock, std::error_code& error) {
  redis_lock::SharedLock by_uri("redis://localhost", "name"), by_client(connect(), "name", {});
  const std::shared_lock<redis_lock::SharedLock> reading(by_uri, 300ms);
  const std::unique_lock<redis_lock::SharedLock> writing(by_client, std::defer_lock);
  std::shared_lock deferred(lock, std::defer_lock);
  std::condition_variable_any condition;
  condition.wait(deferred);
  static_assert(noexcept(lock.lock(error))&& noexcept(lock.try_lock(error))&& noexcept(
      lock.unlock(error))&& noexcept(lock.unlock()));
  static_assert(noexcept(lock.lock_shared(error))&& noexcept(lock.try_lock_shared(
      error))&& noexcept(lock.unlock_shared(error))&& noexcept(lock.unlock_shared()));
  lock.lock();
  lock.lock(error);
  lock.unlock();
  lock.lock_shared();
  lock.lock_shared(error);
  lock.unlock_shared();
  if (lock.try_lock_shared() || lock.try_lock_shared_for(1.5s) ||
      lock.try_lock_shared_for(std::chrono::hours::max()) ||
      lock.try_lock_shared_until(std::chrono::system_clock::now()) || lock.try_lock_shared(error)) {
    lock.unlock_shared(error);
  }
  if (lock.try_lock() || lock.try_lock_for(1s) || lock.try_lock(error)) lock.unlock(error);
#ifdef __cpp_lib_jthread
  if (lock.lock(lock.lost_token_shared())) lock.unlock();
  if (lock.lock_shared(lock.lost_token())) lock.unlock_shared();
#endif
  lock.extend();
  lock.guarded_set("key", "value");
  return lock.owns_lock_shared() && lock.owns_lock() && lock.locked() && lock.reset() &&
         lock.reset("id") && lock.owner() == lock.id() && lock.fencing_token() > 0 &&
         !lock.name().empty() && lock.loss_reason() == redis_lock::LossReason::none;
}

bool take_permits(redis_lock::Semaphore& semaphore, std::error_code& error) {
  redis_lock::Semaphore by_uri("redis://localhost", "name", 4);
  redis_lock::Semaphore by_client(connect(), "name", 4, {});
  const std::unique_lock<redis_lock::Semaphore> permit(by_uri, 300ms);
  const std::lock_guard<redis_lock::Semaphore> guard(by_client);
  const std::scoped_lock both(semaphore, by_client);
  static_assert(noexcept(semaphore.acquire(error))&& noexcept(semaphore.try_acquire(
      error))&& noexcept(semaphore.release(error))&& noexcept(semaphore.release()));
  static_assert(noexcept(semaphore.lock(error))&& noexcept(semaphore.try_lock(error))&& noexcept(
      semaphore.unlock(error))&& noexcept(semaphore.unlock()));
  semaphore.acquire();
  semaphore.acquire(error);
  semaphore.release();
  if (semaphore.try_acquire() || semaphore.try_acquire_for(1.5s) ||
      semaphore.try_acquire_for(std::chrono::hours::max()) ||
      semaphore.try_acquire_until(std::chrono::system_clock::now()) ||
      semaphore.try_acquire(error)) {
    semaphore.release(error);
  }
  semaphore.lock();
  semaphore.lock(error);
  semaphore.unlock();
  if (semaphore.try_lock() || semaphore.try_lock_for(1s) || semaphore.try_lock(error) ||
      semaphore.try_lock_until(std::chrono::steady_clock::now())) {
    semaphore.unlock(error);
  }
#ifdef __cpp_lib_jthread
  if (semaphore.acquire(semaphore.lost_token())) semaphore.release();
  if (semaphore.lock(semaphore.lost_token())) semaphore.unlock();
#endif
  semaphore.extend();
  semaphore.extend(10s);
  return semaphore.owns_lock() && semaphore.available() > 0 && semaphore.reset() &&
         semaphore.reset("id") && semaphore.name() == semaphore.id() &&
         semaphore.expires_at() > std::chrono::steady_clock::now() &&
         semaphore.loss_reason() == redis_lock::LossReason::none;
}

void lock_on_several(redis_lock::QuorumLock& lock, std::error_code& error) {
  redis_lock::QuorumLock other({connect(), connect(), "redis://localhost"}, "name", options());
  const redis_lock::QuorumLock by_default({connect(), connect(), connect()}, "name");
  const std::scoped_lock both(lock, other);
  for (const redis_lock::NodeStatus& node : by_default.nodes()) {
    if (!node.works && node.failing_since < std::chrono::steady_clock::now()) {
      throw std::system_error(node.error, node.address + ": " + node.reason);
    }
  }
  static_assert(noexcept(lock.lock(error))&& noexcept(lock.try_lock(error))&& noexcept(
      lock.unlock(error))&& noexcept(lock.unlock()));
  lock.lock(error);
  if (lock.try_lock(error) || lock.try_lock() || lock.try_lock_for(1.5s) ||
      lock.try_lock_until(std::chrono::system_clock::now()) || lock.locked() || lock.reset()) {
    lock.extend();
    lock.extend(1s);
    lock.unlock(error);
  }
  const std::optional<std::string> owner = lock.owner();
  if (lock.owns_lock() && lock.expires_at() > std::chrono::steady_clock::now() &&
      (owner == lock.id() || owner == lock.name())) {
    lock.unlock();
  }
#ifdef __cpp_lib_jthread
  if (lock.lock(lock.lost_token())) lock.unlock();
#endif
}
