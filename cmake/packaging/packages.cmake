# cpack -G DEB: the packages libredis-lock-dev (the headers) and redis-lock (the program, unless it is switched off).
# Beside the packages: README.md in this folder.

set(CPACK_PACKAGE_NAME redis-lock)
set(CPACK_PACKAGE_VENDOR "the redis_lock authors")
set(CPACK_PACKAGE_CONTACT "the redis_lock authors <redis-lock@redis-lock.invalid>" CACHE STRING
  "Who answers for the packages: a name and an address, as Debian's field Maintainer has them")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
set(CPACK_VERBATIM_VARIABLES TRUE)
set(CPACK_STRIP_FILES TRUE)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEB_COMPONENT_INSTALL TRUE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION TRUE)
set(CPACK_COMPONENTS_ALL dev)

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libredis-lock-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libhiredis-dev (>= 0.14)")
set(CPACK_DEBIAN_DEV_DESCRIPTION [[distributed lock over Redis, as a C++17 header-only library
redis_lock is to a fleet of processes what std::timed_mutex is to the threads
of one: the same member functions, usable with std::lock_guard,
std::unique_lock and std::scoped_lock, with Redis or Valkey as the arbiter.
.
Waiters are woken by the server instead of polling, leases are renewed in the
background, and their loss is told. Redis Sentinel, Redis Cluster, a majority
of independent servers, fencing tokens and guarded writes are supported.
.
This package contains the headers, and what CMake and pkg-config need to find
them.]])

if(REDIS_LOCK_BUILD_COMMAND)  # if it cannot be built, cpack fails and says what it needs
  list(APPEND CPACK_COMPONENTS_ALL command)
  set(CPACK_DEBIAN_COMMAND_PACKAGE_NAME redis-lock)
  set(CPACK_DEBIAN_COMMAND_PACKAGE_SECTION admin)
  set(CPACK_DEBIAN_COMMAND_PACKAGE_SHLIBDEPS TRUE)
  set(CPACK_DEBIAN_COMMAND_PACKAGE_SUGGESTS redis-server)
  set(CPACK_DEBIAN_COMMAND_DESCRIPTION [[run a command while holding a lock shared by many machines
redis-lock is to many machines what flock(1) is to the processes of one: it
runs a command while it holds a lock that is kept in Redis, waits for its turn
before, and ends the command if the lock is lost.
.
It also lists the locks that are held, by whom and for how much longer, and
frees those that are stuck.]])
endif()

# The files that each package owes to Debian's policy; a plain cmake --install has no use for them.
file(READ LICENSE license_text)
string(REGEX MATCH "Copyright \\(c\\) ([^\n]*)" copyright_line "${license_text}")
set(copyright_holders "${CMAKE_MATCH_1}")
string(REGEX REPLACE "^.*reserved\\.\n\n" "" license_text "${license_text}")
string(REGEX REPLACE "\n+$" "" license_text "${license_text}")
string(REPLACE "\n\n" "\n.\n" license_text "${license_text}")
string(REPLACE "\n" "\n " license_text " ${license_text}")
configure_file(cmake/packaging/copyright.in packaging/copyright @ONLY)

include(cmake/packaging/gzipped.cmake)
string(TIMESTAMP package_date "%a, %d %b %Y %H:%M:%S +0000" UTC)  # of SOURCE_DATE_EPOCH, if that is set
configure_file(cmake/packaging/changelog.Debian.in packaging/changelog.Debian @ONLY)
configure_file(CHANGELOG.md packaging/changelog COPYONLY)
gzipped(debian_changelog "${PROJECT_BINARY_DIR}/packaging/changelog.Debian")
gzipped(changelog "${PROJECT_BINARY_DIR}/packaging/changelog")

foreach(component IN LISTS CPACK_COMPONENTS_ALL)
  string(TOUPPER ${component} upper)
  install(FILES "${PROJECT_BINARY_DIR}/packaging/copyright" "${changelog}" "${debian_changelog}"
    DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME}"
    COMPONENT ${component} EXCLUDE_FROM_ALL)
endforeach()

include(CPack)
