# An overlay port that stands in the project's own tree, and packages that tree:
#   vcpkg install redis-lock --overlay-ports=<redis_lock>/cmake/packaging/vcpkg
set(VCPKG_BUILD_TYPE release)  # headers only
get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../../../.." ABSOLUTE)

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DREDIS_LOCK_BUILD_TESTS=OFF
    -DREDIS_LOCK_BUILD_EXAMPLES=OFF
    -DREDIS_LOCK_BUILD_COMMAND=OFF
    -DREDIS_LOCK_INSTALL=ON
)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME redis_lock CONFIG_PATH share/cmake/redis_lock)
vcpkg_fixup_pkgconfig()
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
