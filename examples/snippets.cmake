# Compiles every C++ snippet of the README and of docs/, those between ```cpp and ```, so that they do
# not say what is not so. (The C++ of other libraries stands between ```c++ and ```, and is left alone.)
#
# A snippet with a main() is a program. Any other is the inside of a function, which has a Client named
# `client`, and may call the functions below; all of these are compiled as one file, as most of the
# compiler's time goes into the headers; those that begin with "// C++20" as another, in that standard. The compiler
# reports mistakes with the line of the document.

file(GLOB documents CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/docs/*.md)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${documents})

set(fence "```")
set(includes "")
foreach(standard IN ITEMS 17 20)
  set(functions_${standard} "")
  set(uses_${standard} "")
endforeach()
set(programs "")
set(count 0)
foreach(document IN LISTS documents)
  file(READ ${document} rest)
  set(line 1)
  while(TRUE)
    string(FIND "${rest}" "${fence}cpp\n" begin)
    if(begin EQUAL -1)
      break()
    endif()
    math(EXPR begin "${begin} + 7")
    string(SUBSTRING "${rest}" 0 ${begin} before)
    string(SUBSTRING "${rest}" ${begin} -1 rest)
    string(FIND "${rest}" "${fence}" end)
    string(SUBSTRING "${rest}" 0 ${end} snippet)
    string(SUBSTRING "${rest}" ${end} -1 rest)
    string(REGEX MATCHALL "\n" newlines "${before}")
    list(LENGTH newlines passed)
    math(EXPR line "${line} + ${passed}")
    math(EXPR count "${count} + 1")

    set(place "#line ${line} \"${document}\"\n")
    if(snippet MATCHES "int main")
      set(program ${CMAKE_CURRENT_BINARY_DIR}/snippet_${count}.cpp)
      file(CONFIGURE OUTPUT ${program} CONTENT "${place}${snippet}" @ONLY)  # leaves an unchanged file alone
      list(APPEND programs ${program})
    else()
      # A snippet may name what it needs; inside a function there is no place for that.
      string(REGEX MATCHALL "#include [^\n]*\n" own_includes "${snippet}")
      string(REPLACE ";" "" own_includes "${own_includes}")
      string(APPEND includes "${own_includes}")
      string(REGEX REPLACE "#include [^\n]*\n" "\n" snippet "${snippet}")
      set(standard 17)
      if(snippet MATCHES "^// C\\+\\+20")
        set(standard 20)
      endif()
      string(APPEND functions_${standard}
        "static void snippet_${count}([[maybe_unused]] const redis_lock::Client& client) {{\n"
        "${place}${snippet}}}\n")
      string(APPEND uses_${standard} "  snippet_${count}(client);\n")
    endif()
    string(REGEX MATCHALL "\n" newlines "${snippet}")
    list(LENGTH newlines passed)
    math(EXPR line "${line} + ${passed}")
  endwhile()
endforeach()
message(STATUS "C++ snippets in README.md and docs/: ${count}")
if(count EQUAL 0)
  message(FATAL_ERROR "no C++ snippet was found")
endif()

foreach(standard IN ITEMS 17 20)
  set(fragments ${CMAKE_CURRENT_BINARY_DIR}/snippets_${standard}.cpp)
  file(CONFIGURE OUTPUT ${fragments} CONTENT "#include <chrono>
#include <cstdint>
#include <functional>
#include <iostream>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>
#include <redis_lock/redis_lock.hpp>
${includes}
using namespace std::chrono_literals;
void work();
bool more_work();
void stop_working();
std::string expensive_report();

${functions_${standard}}
void snippets_${standard}(const redis_lock::Client& client);
void snippets_${standard}(const redis_lock::Client& client) {
${uses_${standard}}}
" @ONLY)

  add_library(redis_lock_snippets_${standard} OBJECT ${fragments})
  set_target_properties(redis_lock_snippets_${standard} PROPERTIES CXX_STANDARD ${standard} CXX_EXTENSIONS OFF)
  target_link_libraries(redis_lock_snippets_${standard} PRIVATE redis_lock::redis_lock)
  if(TARGET redis_lock_warnings)
    target_link_libraries(redis_lock_snippets_${standard} PRIVATE redis_lock_warnings)
  endif()
  # A snippet may have a client of its own, and show what it is given without using it.
  set_source_files_properties(${fragments} PROPERTIES COMPILE_OPTIONS "-Wno-shadow;-Wno-unused-variable")
endforeach()
target_sources(redis_lock_snippets_17 PRIVATE ${programs})
