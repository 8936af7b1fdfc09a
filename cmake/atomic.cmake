# Links libatomic where the processor has no instruction for an atomic of 8 bytes: armel, powerpc, mips.
# Sets redis_lock_atomic_library to "atomic" there, and to "" elsewhere.
include(CheckCXXSourceCompiles)
set(_redis_lock_atomics [[
  #include <atomic>
  #include <cstdint>
  int main(int count, char**) {
    std::atomic<std::uint64_t> sum{static_cast<unsigned>(count)};
    return sum.fetch_add(1) == 0 ? 1 : 0;
  }
]])

set(redis_lock_atomic_library "")
check_cxx_source_compiles("${_redis_lock_atomics}" REDIS_LOCK_HAVE_ATOMICS)
if(NOT REDIS_LOCK_HAVE_ATOMICS)
  list(APPEND CMAKE_REQUIRED_LIBRARIES atomic)
  check_cxx_source_compiles("${_redis_lock_atomics}" REDIS_LOCK_HAVE_LIBATOMIC)
  list(POP_BACK CMAKE_REQUIRED_LIBRARIES)
  if(REDIS_LOCK_HAVE_LIBATOMIC)
    set(redis_lock_atomic_library atomic)
  endif()
endif()
