# The target redis_lock_reference, where Doxygen and Python are found: pages of all public names, and of the README
# and docs/, in <build>/reference/html/index.html. Each warning is an error: a name without a comment, a
# link that leads nowhere. redis_lock.tag beside it is for those who link to these pages from their own.

find_package(Doxygen QUIET)
find_package(Python3 QUIET COMPONENTS Interpreter)
if(NOT DOXYGEN_FOUND OR NOT Python3_FOUND)
  message(STATUS "The reference is not built: it needs Doxygen and Python (Debian: doxygen python3)")
  return()
endif()

set(DOXYGEN_PROJECT_NAME redis_lock)
set(DOXYGEN_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/reference)
set(DOXYGEN_GENERATE_TAGFILE ${DOXYGEN_OUTPUT_DIRECTORY}/redis_lock.tag)
set(DOXYGEN_GENERATE_XML YES)  # for the test docs.reference
set(DOXYGEN_XML_PROGRAMLISTING NO)
set(DOXYGEN_QUIET YES)
set(DOXYGEN_WARN_AS_ERROR FAIL_ON_WARNINGS)
set(DOXYGEN_WARN_IF_UNDOCUMENTED YES)
set(DOXYGEN_EXTRACT_ALL NO)
set(DOXYGEN_HAVE_DOT NO)
set(DOXYGEN_STRIP_FROM_PATH ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/include)
set(DOXYGEN_STRIP_FROM_INC_PATH ${PROJECT_SOURCE_DIR}/include)
set(DOXYGEN_SORT_MEMBER_DOCS NO)  # a header reads from top to bottom
set(DOXYGEN_BUILTIN_STL_SUPPORT YES)
set(DOXYGEN_JAVADOC_AUTOBRIEF YES)
set(DOXYGEN_EXCLUDE_SYMBOLS redis_lock::detail redis_lock::detail::* detail::*)
# What is there for some compilers or standards only is shown; annotations of functions are not.
set(DOXYGEN_MACRO_EXPANSION YES)
set(DOXYGEN_EXPAND_ONLY_PREDEF YES)
set(DOXYGEN_PREDEFINED
  __cpp_lib_jthread=1
  "REDIS_LOCK_CAPABILITY(name)="
  REDIS_LOCK_ACQUIRE=
  REDIS_LOCK_TRY_ACQUIRE=
  REDIS_LOCK_RELEASE=
  REDIS_LOCK_ACQUIRE_SHARED=
  REDIS_LOCK_TRY_ACQUIRE_SHARED=
  REDIS_LOCK_RELEASE_SHARED=)

set(DOXYGEN_USE_MDFILE_AS_MAINPAGE README.md)
set(DOXYGEN_IMAGE_PATH ${PROJECT_SOURCE_DIR}/docs)
set(DOXYGEN_HTML_EXTRA_STYLESHEET ${CMAKE_CURRENT_LIST_DIR}/reference.css)
# Relative to the working directory: a shell divides the command at the spaces of the path.
file(RELATIVE_PATH redis_lock_filter ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_LIST_DIR}/page.py)
set(DOXYGEN_FILTER_PATTERNS "\"*.md=${Python3_EXECUTABLE} ${redis_lock_filter}\"")

file(GLOB redis_lock_public_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/redis_lock/*.hpp)
file(GLOB redis_lock_pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/docs/*.md)
doxygen_add_docs(redis_lock_reference ${redis_lock_public_headers} ${redis_lock_pages}
  ${CMAKE_CURRENT_LIST_DIR}/names.dox ${CMAKE_CURRENT_LIST_DIR}/pages.dox
  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
  COMMENT "The reference: ${DOXYGEN_OUTPUT_DIRECTORY}/html/index.html")
