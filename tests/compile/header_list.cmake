# Compares the list in cmake/headers.cmake with the headers under include_dirs/redis_lock.
cmake_minimum_required(VERSION 3.22)
include(${CMAKE_CURRENT_LIST_DIR}/../../cmake/headers.cmake)

foreach(include_dir IN LISTS include_dirs)
  file(GLOB_RECURSE found RELATIVE ${include_dir} "${include_dir}/redis_lock/*")
  list(APPEND present ${found})
endforeach()

list(SORT present)
list(REMOVE_DUPLICATES present)
list(SORT redis_lock_headers)
if(NOT present STREQUAL redis_lock_headers)
  message(FATAL_ERROR "cmake/headers.cmake lists\n  ${redis_lock_headers}\nbut there are\n  ${present}")
endif()
