#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include <hiredis/hiredis.h>

#include <redis_lock/detail/protocol/attempt.hpp>
#include <redis_lock/detail/protocol/checked.hpp>
#include <redis_lock/detail/protocol/protocol.hpp>
#include <redis_lock/endpoint.hpp>

#include "support/redis.hpp"

/// The floors: what the same exchange costs a program of raw hiredis that formats its commands once,
/// takes no notice of time, loss or signals, and dies at the first error.
namespace redis_lock_benchmark {

using RawReply = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;

/// A blocking hiredis connection for commands that were formatted before.
class RawConnection {
 public:
  /// Polls for each reply for up to `spin` before it sleeps.
  explicit RawConnection(const redis_lock::Endpoint& endpoint, std::chrono::microseconds spin = {})
      : context_(redis_lock_test::connect_hiredis(endpoint)), spin_(spin) {}

  [[nodiscard]] static std::string format(const std::vector<std::string>& arguments) {
    std::vector<const char*> values;
    std::vector<std::size_t> lengths;
    for (const auto& argument : arguments) {
      values.push_back(argument.data());
      lengths.push_back(argument.size());
    }
    char* text = nullptr;
    const auto length = redisFormatCommandArgv(&text, static_cast<int>(arguments.size()),
                                               values.data(), lengths.data());
    std::string formatted(text, static_cast<std::size_t>(length));
    redisFreeCommand(text);
    return formatted;
  }

  /// Goes out in one write with the next receive().
  void append(const std::string& formatted) {
    redisAppendFormattedCommand(context_.get(), formatted.data(), formatted.size());
  }
  RawReply receive() {
    void* reply = nullptr;
    if (spin_.count() > 0) poll();
    if (redisGetReply(context_.get(), &reply) != REDIS_OK)
      throw std::runtime_error(context_->errstr);
    return {static_cast<redisReply*>(reply), freeReplyObject};
  }
  /// Goes out now.
  void send(const std::string& formatted) {
    append(formatted);
    flush();
  }
  RawReply call(const std::string& formatted) {
    append(formatted);
    return receive();
  }

 private:
  void flush() {
    for (int done = 0; done == 0;) {
      if (redisBufferWrite(context_.get(), &done) != REDIS_OK)
        throw std::runtime_error(context_->errstr);
    }
  }

  void poll() {
    auto* const context = context_.get();
    flush();
    if (context->reader->pos < context->reader->len) return;
    std::array<char, 4096> bytes;
    for (const auto end = std::chrono::steady_clock::now() + spin_;
         std::chrono::steady_clock::now() < end;) {
      const auto count = ::recv(context->fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (count <= 0) continue;
      redisReaderFeed(context->reader, bytes.data(), static_cast<std::size_t>(count));
      return;
    }
  }

  redis_lock_test::Context context_;
  std::chrono::microseconds spin_;
};

/// The protocol's keys, id and lease, as long as those of the library.
struct RawTerms {
  explicit RawTerms(const std::string& name)
      : lock_key("lock:" + name), signal_key("lock-signal:" + name) {
    static std::atomic<int> made{0};
    id = std::string(32, '0') + std::to_string(++made);
    id.erase(0, id.size() - 32);
  }
  [[nodiscard]] std::string set() const {
    return RawConnection::format({"SET", lock_key, id, "NX", "PX", "30000"});
  }
  [[nodiscard]] std::string ttl() const { return RawConnection::format({"PTTL", lock_key}); }
  [[nodiscard]] std::string release() const {
    return RawConnection::format({"EVALSHA", std::string(redis_lock::detail::release_script.digest),
                                  "2", lock_key, signal_key, id, "1000"});
  }
  [[nodiscard]] std::string extend() const {
    return RawConnection::format({"EVALSHA", std::string(redis_lock::detail::extend_script.digest),
                                  "1", lock_key, id, "30000"});
  }
  [[nodiscard]] std::string wait() const {
    return RawConnection::format({"BLPOP", signal_key, "3.000"});
  }
  static void load_scripts(RawConnection& connection) {
    for (const auto& script :
         {redis_lock::detail::release_script, redis_lock::detail::extend_script}) {
      connection.call(RawConnection::format({"SCRIPT", "LOAD", std::string(script.text)}));
    }
  }

  std::string lock_key, signal_key, id;
};

[[nodiscard]] inline bool is_ok(const RawReply& reply) { return reply->type == REDIS_REPLY_STATUS; }

/// SET NX PX, EVALSHA: an uncontended lock and unlock, in two round trips. `with_ttl` adds the PTTL behind
/// the SET, and makes it the very commands of the library.
class RawLock {
 public:
  RawLock(const redis_lock::Endpoint& endpoint, const RawTerms& terms, bool with_ttl = false,
          std::chrono::microseconds spin = {})
      : connection_(endpoint, spin),
        set_(terms.set() + (with_ttl ? terms.ttl() : "")),
        release_(terms.release()),
        extend_(terms.extend()),
        with_ttl_(with_ttl) {
    RawTerms::load_scripts(connection_);
  }

  void lock() {
    if (!try_lock()) throw std::runtime_error("the floor's lock is held");
  }
  bool try_lock() {
    const bool locked = is_ok(connection_.call(set_));
    if (with_ttl_) connection_.receive();
    return locked;
  }
  void unlock() {
    if (connection_.call(release_)->integer != 0)
      throw std::runtime_error("the floor's lock was lost");
  }
  void extend() { connection_.call(extend_); }

 private:
  RawConnection connection_;
  std::string set_, release_, extend_;
  bool with_ttl_;
};

/// EVALSHA, EVALSHA: a reading or a permit, uncontended, by the scripts and the very arguments of the library.
class RawScripts {
 public:
  using Keys = redis_lock::detail::Keys;

  RawScripts(const redis_lock::Endpoint& endpoint, const std::string& name, Keys::Kind kind,
             std::size_t permits, std::chrono::microseconds spin = {})
      : connection_(endpoint, spin) {
    const auto keys = redis_lock::detail::keys_of(name, {}, kind, permits);
    const std::string id(32, '0');
    redis_lock::detail::Attempt attempt;
    attempt.signal_expire = "1000";
    redis_lock::detail::Commands acquire, release;
    attempt.add_to(acquire, keys, id, "30000");
    const auto release_call = redis_lock::detail::release_call(keys, id, "1000");
    redis_lock::detail::add_call(release, release_call, true);
    acquire_ = acquire.encode();
    release_ = release.encode();
    for (const auto text : {redis_lock::detail::join_text, redis_lock::detail::leave_text}) {
      connection_.call(RawConnection::format({"SCRIPT", "LOAD", std::string(text)}));
    }
  }

  void lock() {
    const auto reply = connection_.call(acquire_);
    if (reply->type != REDIS_REPLY_ARRAY || reply->element[0]->integer != 1)
      throw std::runtime_error("the floor's permit is held");
  }
  void unlock() {
    if (connection_.call(release_)->integer != 0)
      throw std::runtime_error("the floor's permit was lost");
  }

 private:
  RawConnection connection_;
  std::string acquire_, release_;
};

/// As RawLock, and reads the answer to a release with that to the next SET.
class RawDeferredLock {
 public:
  RawDeferredLock(const redis_lock::Endpoint& endpoint, const RawTerms& terms)
      : connection_(endpoint), set_(terms.set()), release_(terms.release()) {
    RawTerms::load_scripts(connection_);
  }

  void lock() {
    connection_.send(set_);
    if (std::exchange(owes_reply_, false)) connection_.receive();
    if (!is_ok(connection_.receive())) throw std::runtime_error("the floor's lock is held");
  }
  void unlock() {
    connection_.send(release_);
    owes_reply_ = true;
  }

 private:
  RawConnection connection_;
  std::string set_, release_;
  bool owes_reply_ = false;
};

/// As RawLock, and waits as the library does: BLPOP, SET, PTTL in one write.
class RawWaitingLock {
 public:
  RawWaitingLock(const redis_lock::Endpoint& endpoint, const RawTerms& terms)
      : connection_(endpoint),
        first_(terms.set() + terms.ttl()),
        wait_(terms.wait() + first_),
        release_(terms.release()) {
    RawTerms::load_scripts(connection_);
  }

  void lock() {
    connection_.append(first_);
    bool locked = is_ok(connection_.receive());
    connection_.receive();
    while (!locked) {
      connection_.append(wait_);
      connection_.receive();
      locked = is_ok(connection_.receive());
      connection_.receive();
    }
  }
  void unlock() { connection_.call(release_); }

 private:
  RawConnection connection_;
  std::string first_, wait_, release_;
};

/// LPUSH to BLPOP: two of them pass a token to and fro, with the interface of a lock.
class RawWakeUp {
 public:
  RawWakeUp(const redis_lock::Endpoint& endpoint, const std::string& own_key,
            const std::string& other_key)
      : connection_(endpoint),
        wait_(RawConnection::format({"BLPOP", own_key, "0"})),
        wake_(RawConnection::format({"LPUSH", other_key, "1"})) {}

  void lock() { connection_.call(wait_); }
  void unlock() { connection_.call(wake_); }

 private:
  RawConnection connection_;
  std::string wait_, wake_;
};

}  // namespace redis_lock_benchmark
