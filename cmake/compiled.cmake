# Defines redis_lock::compiled: the definitions of the library, compiled once, with the flags of the project that links it.
# Link it in place of redis_lock::redis_lock, in the whole program. redis_lock::compiled_tls stands in for redis_lock::tls.

function(_redis_lock_add_compiled name headers)
  if(NOT TARGET ${headers} OR TARGET ${name})
    return()
  endif()
  set(source "${CMAKE_CURRENT_BINARY_DIR}/redis_lock_src.cpp")
  file(CONFIGURE OUTPUT "${source}" CONTENT "#include <redis_lock/src.hpp>\n")
  add_library(${name} STATIC EXCLUDE_FROM_ALL "${source}")
  target_compile_definitions(${name} PUBLIC REDIS_LOCK_SEPARATE_COMPILATION)
  target_link_libraries(${name} PUBLIC ${headers})
  string(REPLACE "redis_lock_" "redis_lock::" alias ${name})
  add_library(${alias} ALIAS ${name})
endfunction()
_redis_lock_add_compiled(redis_lock_compiled redis_lock::redis_lock)
_redis_lock_add_compiled(redis_lock_compiled_tls redis_lock::tls)
