# cmake --install: the headers, a package for find_package(redis_lock) with its own Findhiredis, and one for
# pkg-config. All of it is the component "dev"; the program redis-lock is the component "command".
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/redis_lock")

install(TARGETS redis_lock EXPORT redis_lock-targets)
install(DIRECTORY include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  COMPONENT dev FILES_MATCHING PATTERN "*.hpp")
install(EXPORT redis_lock-targets NAMESPACE redis_lock:: DESTINATION "${package_dir}" COMPONENT dev)

configure_package_config_file(cmake/redis_lock-config.cmake.in redis_lock-config.cmake
  INSTALL_DESTINATION "${package_dir}"
  NO_SET_AND_CHECK_MACRO
)
# Before 1.0, what compiles with one minor version need not compile with another: https://semver.org/#spec-item-4
set(compatibility SameMajorVersion)
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(compatibility SameMinorVersion)
endif()
write_basic_package_version_file(redis_lock-config-version.cmake
  COMPATIBILITY ${compatibility}
  ARCH_INDEPENDENT
)
install(
  FILES
    "${PROJECT_BINARY_DIR}/redis_lock-config.cmake"
    "${PROJECT_BINARY_DIR}/redis_lock-config-version.cmake"
    cmake/Findhiredis.cmake
    cmake/atomic.cmake
    cmake/tls.cmake
    cmake/compiled.cmake
  DESTINATION "${package_dir}" COMPONENT dev
)

# The headers are the same on every architecture, so the file is in share/. It finds them from where it
# stands itself, so the tree can be moved.
set(pkgconfig_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")
file(RELATIVE_PATH prefix_from_pc "/prefix/${pkgconfig_dir}" /prefix)
string(REGEX REPLACE "/$" "" prefix_from_pc "${prefix_from_pc}")
set(libs_of_pc -pthread)
if(redis_lock_atomic_library)
  string(APPEND libs_of_pc " -l${redis_lock_atomic_library}")
endif()
configure_file(cmake/packaging/redis_lock.pc.in redis_lock.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/redis_lock.pc" DESTINATION "${pkgconfig_dir}" COMPONENT dev)
