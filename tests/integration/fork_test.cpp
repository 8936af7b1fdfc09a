#include "integration.hpp"

#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>

namespace redis_lock_test {
namespace {

/// In a child a failed expectation would be nobody's: the first condition that is not met is its exit code.
int first_broken(std::initializer_list<bool> conditions) {
  int number = 0;
  for (const bool met : conditions) {
    ++number;
    if (!met) return number;
  }
  return 0;
}

using AForkedChild = OnRedis;

TEST_F(AForkedChild, DoesNotHoldWhatItsParentHolds) {
  for (const auto& options : {leased_for(60s), renewed_for(60s)}) {
    Lock lock{client, name, options};
    lock.lock();
    Child child{[&] {
      std::error_code error;
      const bool owned = lock.owns_lock();
      lock.unlock(error);
      return first_broken(
          {!owned, error == errc::not_owned, error_of([&] { lock.extend(); }) == errc::not_owned,
           lock.owner() == redis.string("GET", key), !lock.try_lock(), !lock.try_lock_for(10ms)});
    }};
    EXPECT_EQ(child.exit_code(), 0);
    EXPECT_TRUE(lock.owns_lock());
    EXPECT_EQ(redis.string("GET", key), lock.id());
    std::error_code error;
    lock.unlock(error);
    EXPECT_FALSE(error) << error.message();
  }
}

TEST_F(AForkedChild, ReleasesNothingOfItsParentByDestructors) {
  for (const auto& options : {leased_for(60s), renewed_for(60s)}) {
    auto its_client = std::make_unique<Client>(test_uri());
    auto lock = std::make_unique<Lock>(*its_client, name, options);
    lock->lock();
    Child child{[&] {
      lock.reset();
      its_client.reset();
      return 0;
    }};
    EXPECT_EQ(child.exit_code(), 0);
    EXPECT_EQ(redis.string("GET", key), lock->id());
    lock->extend();
  }
}

TEST_F(AForkedChild, ReleasesNothingOfItsParentByAnException) {
  Lock lock{client, name};
  const std::lock_guard guard{lock};
  Child child{[&] {
    try {
      const std::lock_guard inherited{lock, std::adopt_lock};
      throw 0;
    } catch (int code) {
      return code;
    }
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_F(AForkedChild, ThatExitsNormallyReleasesNothingOfItsParent) {
  // Static, so that exit() in the child destroys them, as the end of main() would.
  static const Client its_client{test_uri()};
  static Lock lock{its_client, unique_name(), renewed_for(3s)};
  lock.lock();
  ASSERT_TRUE(lock.locked());
  Child child{[]() -> int { std::exit(0); }};
  const auto end = child.wait();
  ASSERT_TRUE(end) << "it hangs";
  EXPECT_EQ(end->code, 0);
  EXPECT_EQ(end->signal, 0);
  EXPECT_EQ(redis.string("GET", "lock:" + lock.name()), lock.id());
  std::error_code error;
  lock.unlock(error);
  EXPECT_FALSE(error) << error.message();
}

TEST_F(AForkedChild, LocksWithItsParentsClientAndLock) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  lock.unlock();  // there is an idle connection, and a state of the object, to get wrong
  Child child{[&] {
    lock.lock();
    const bool owned = lock.owns_lock() && lock.owner() == lock.id();
    lock.unlock();
    return first_broken({owned, !lock.locked()});
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_TRUE(lock.try_lock());
}

TEST_F(AForkedChild, WaitsForItsParent) {
  Lock lock{client, name, renewed_for(60s)};
  lock.lock();
  Child child{[&] {
    lock.lock();
    redis.command("SET", name, "held by the child");
    lock.unlock();
    return 0;
  }};
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  EXPECT_FALSE(redis.exists(name));
  lock.unlock();
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_TRUE(redis.exists(name));
}

TEST_F(AForkedChild, RenewsItsOwnLocksBesideItsParent) {
  Lock parents{client, name, renewed_for(900ms)};
  parents.lock();
  Child child{[&] {
    Lock childs{client, name + "-child", renewed_for(900ms)};
    childs.lock();
    const auto end = childs.expires_at() + 300ms;
    std::this_thread::sleep_until(end);
    return first_broken({childs.owns_lock(), childs.owner() == childs.id()});
  }};
  const auto end = parents.expires_at() + 300ms;
  std::this_thread::sleep_until(end);
  EXPECT_TRUE(parents.owns_lock());
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_FALSE(redis.exists(key + "-child"));
  EXPECT_EQ(redis.string("GET", key), parents.id());
}

TEST_F(AForkedChild, MayBeForkedDuringARenewal) {
  Lock lock{client, name,
            renewed_for(60ms)};  // renewed all the time, lost and taken again now and then
  for (int i = 0; i < 25; ++i) {
    if (!lock.owns_lock()) {
      lock.unlock();
      lock.lock();
    }
    Child child{[&] {
      Lock own{client, name + "-child", renewed_for(60s)};
      const bool taken = own.try_lock();
      own.unlock();
      lock.unlock();
      return first_broken({taken, !lock.owns_lock()});
    }};
    ASSERT_EQ(child.exit_code(), 0) << i;
  }
}

TEST_F(AForkedChild, MayBeForkedWhileItsParentWaits) {
  held_by_somebody();
  Lock lock{client, name, leased_for(60s)};
  std::thread waiting{[&] { lock.lock(); }};
  ASSERT_TRUE(eventually([this] { return somebody_waits(); }));
  Child child{[&] {
    return first_broken({!lock.try_lock(), !lock.try_lock_for(20ms), lock.reset()});
  }};
  EXPECT_EQ(child.exit_code(), 0);
  waiting.join();
  EXPECT_EQ(redis.string("GET", key), lock.id());
}

TEST_F(AForkedChild, AndItsParentNeverReadEachOthersReplies) {
  const auto work = [this](const std::string& about) {
    Lock lock{client, name + about, leased_for(60s)};
    for (int i = 0; i < 150; ++i) {
      const std::lock_guard guard{lock};
      if (lock.owner() != lock.id()) return false;
    }
    return true;
  };
  ASSERT_TRUE(work("-before"));
  Child child{[&] { return work("-child") ? 0 : 1; }};
  EXPECT_TRUE(work("-parent"));
  EXPECT_EQ(child.exit_code(), 0);
}

TEST_F(AForkedChild, LeavesTheConnectionsOfItsParentOpen) {
  const RedisServer server;
  Redis own{server.endpoint()};
  Client its_client{server.uri()};
  {
    Lock lock{its_client, name, leased_for(60s)};
    ASSERT_TRUE(lock.try_lock());
  }
  const auto connections = own.info("total_connections_received");
  Child child{[&] {
    its_client = Client{};
    return 0;
  }};
  EXPECT_EQ(child.exit_code(), 0);
  Lock lock{its_client, name, leased_for(60s)};
  EXPECT_TRUE(lock.try_lock());
  EXPECT_EQ(own.info("total_connections_received"), connections);
}

TEST_F(AForkedChild, IsNotToldOfItsParentsLosses) {
  auto options = renewed_for(300ms);
  const auto parent = ::getpid();
  std::atomic<int> told{0};
  options.on_lost = [&](std::error_code) {
    if (::getpid() != parent) ::_exit(1);
    ++told;
  };
  Lock lock{client, name, options};
  lock.lock();
  Child child{[&] {
    Lock own{client, name + "-child", renewed_for(300ms)};  // so that the child renews, too
    own.lock();
    std::this_thread::sleep_for(500ms);
    return 0;
  }};
  redis.command("DEL", key);
  EXPECT_TRUE(eventually([&] { return told == 1; }));
  EXPECT_EQ(child.exit_code(), 0);
}

TEST_F(AForkedChild, DoesNotUseItsParentsBorrowedContext) {
  const auto context = connect_hiredis(redis_lock::Endpoint::parse(test_uri()));
  Lock lock{context.get(), name};
  lock.lock();
  Child child{[&] {
    std::error_code error;
    const bool owned = lock.owns_lock();
    lock.unlock(error);
    return first_broken({!owned, error == errc::not_owned,
                         error_of([&] { return lock.try_lock(); }) == errc::connection_failed});
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_EQ(lock.owner(), lock.id());
  lock.unlock();
  EXPECT_FALSE(redis.exists(key));
}

TEST_F(AForkedChild, OfAChildIsAChildToo) {
  Lock lock{client, name, leased_for(60s)};
  lock.lock();
  Child child{[&] {
    if (lock.owns_lock() || lock.try_lock()) return 1;
    Lock other{client, name + "-2", leased_for(60s)};
    other.lock();
    Child grandchild{[&] {
      return first_broken({!other.owns_lock(), !lock.owns_lock(), !other.try_lock()});
    }};
    const int code = grandchild.exit_code();
    return code != 0 ? code : first_broken({other.owns_lock(), other.locked()});
  }};
  EXPECT_EQ(child.exit_code(), 0);
  EXPECT_TRUE(lock.locked());
}

}  // namespace
}  // namespace redis_lock_test
