# Compiles every C++ snippet of the README, so that it does not say what is not so.
# A snippet without a main() is the inside of a function.

set(readme ${PROJECT_SOURCE_DIR}/README.md)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${readme})
file(READ ${readme} rest)

set(fence "```")
set(snippets "")
set(count 0)
while(TRUE)
  string(FIND "${rest}" "${fence}cpp\n" begin)
  if(begin EQUAL -1)
    break()
  endif()
  math(EXPR begin "${begin} + 7")
  string(SUBSTRING "${rest}" ${begin} -1 rest)
  string(FIND "${rest}" "${fence}" end)
  string(SUBSTRING "${rest}" 0 ${end} snippet)
  math(EXPR end "${end} + 3")
  string(SUBSTRING "${rest}" ${end} -1 rest)

  math(EXPR count "${count} + 1")
  if(NOT snippet MATCHES "int main")
    set(snippet "#include <chrono>
#include <cstdint>
#include <iostream>
#include <mutex>
#include <string>
#include <vector>
#include <redis_lock/redis_lock.hpp>
using namespace std::chrono_literals;
void work();
bool more_work();
void stop_working();
std::string expensive_report();
void snippet(const redis_lock::Client& client);
void snippet([[maybe_unused]] const redis_lock::Client& client) {
${snippet}}
")
  endif()
  set(file ${CMAKE_CURRENT_BINARY_DIR}/readme_snippet_${count}.cpp)
  file(CONFIGURE OUTPUT ${file} CONTENT "${snippet}" @ONLY)  # leaves an unchanged file alone
  list(APPEND snippets ${file})
endwhile()

add_library(redis_lock_readme_snippets OBJECT ${snippets})
set_target_properties(redis_lock_readme_snippets PROPERTIES CXX_STANDARD 17 CXX_EXTENSIONS OFF)
target_link_libraries(redis_lock_readme_snippets PRIVATE redis_lock::redis_lock)
if(TARGET redis_lock_warnings)
  target_link_libraries(redis_lock_readme_snippets PRIVATE redis_lock_warnings)
endif()
