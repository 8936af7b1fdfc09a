# cmake --install: the headers, and a package for find_package(redis_lock) with its own Findhiredis.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/redis_lock")

if(CMAKE_VERSION VERSION_GREATER_EQUAL 3.23)
  install(TARGETS redis_lock EXPORT redis_lock-targets FILE_SET HEADERS)
else()
  install(TARGETS redis_lock EXPORT redis_lock-targets)
  install(DIRECTORY include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")
endif()
install(EXPORT redis_lock-targets NAMESPACE redis_lock:: DESTINATION "${package_dir}")

configure_package_config_file(cmake/redis_lock-config.cmake.in redis_lock-config.cmake
  INSTALL_DESTINATION "${package_dir}"
  NO_SET_AND_CHECK_MACRO
)
write_basic_package_version_file(redis_lock-config-version.cmake
  COMPATIBILITY SameMajorVersion
  ARCH_INDEPENDENT
)
install(
  FILES
    "${PROJECT_BINARY_DIR}/redis_lock-config.cmake"
    "${PROJECT_BINARY_DIR}/redis_lock-config-version.cmake"
    cmake/Findhiredis.cmake
    cmake/tls.cmake
  DESTINATION "${package_dir}"
)
