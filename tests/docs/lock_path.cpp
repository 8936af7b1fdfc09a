// check_lock_path.py stops it in the send() of the second lock(), whose connection is open.

#include <redis_lock/lock.hpp>

int main(int, char** arguments) {
  redis_lock::Lock lock{arguments[1], "lock_path"};
  lock.lock();
  lock.unlock();
  lock.lock();
  lock.unlock();
}
