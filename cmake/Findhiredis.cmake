# Finds hiredis 0.14 or later and defines the imported target hiredis::hiredis, whose include
# directory is the one that holds hiredis/hiredis.h. Sets hiredis_FOUND and hiredis_VERSION.
#
# hiredis >= 1.0 installs a CMake package of its own ("hiredis"), which is used where it is found. It is asked for
# without a version: it declares SameMajorVersion, so that hiredis 1 would be refused to those who ask for 0.14 or later.
# An inner find_package() without a version takes that of the outer one, unless these variables are unset.
# Debian's libhiredis-dev has another one ("Hiredis"), which is broken in Debian 12 and defines no
# such target: there the header and the library are looked up, with hints from pkg-config.
# hiredis_ROOT and CMAKE_PREFIX_PATH say where to look first.

if(NOT TARGET hiredis::hiredis)
  foreach(_hiredis_part IN ITEMS VERSION VERSION_COMPLETE)
    set(_hiredis_outer_${_hiredis_part} "${hiredis_FIND_${_hiredis_part}}")
    unset(hiredis_FIND_${_hiredis_part})
  endforeach()
  find_package(hiredis CONFIG QUIET)
  foreach(_hiredis_part IN ITEMS VERSION VERSION_COMPLETE)
    set(hiredis_FIND_${_hiredis_part} "${_hiredis_outer_${_hiredis_part}}")
  endforeach()
endif()

if(TARGET hiredis::hiredis)
  get_target_property(_hiredis_include_dirs hiredis::hiredis INTERFACE_INCLUDE_DIRECTORIES)
  # The header of this hiredis, also if another one is in CMAKE_PREFIX_PATH.
  find_path(hiredis_INCLUDE_DIR hiredis/hiredis.h HINTS ${_hiredis_include_dirs} NO_DEFAULT_PATH)
  find_path(hiredis_INCLUDE_DIR hiredis/hiredis.h)
  set(hiredis_LIBRARY hiredis::hiredis)
else()
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(PC_hiredis QUIET hiredis)
  endif()
  # hiredis.pc names the directory of hiredis.h; its users write <hiredis/hiredis.h>.
  set(_hiredis_include_dirs "${PC_hiredis_INCLUDEDIR}")
  if(_hiredis_include_dirs)
    list(APPEND _hiredis_include_dirs "${PC_hiredis_INCLUDEDIR}/..")
  endif()
  find_path(hiredis_INCLUDE_DIR hiredis/hiredis.h HINTS ${_hiredis_include_dirs})
  find_library(hiredis_LIBRARY hiredis HINTS ${PC_hiredis_LIBDIR})
endif()
mark_as_advanced(hiredis_INCLUDE_DIR hiredis_LIBRARY)

unset(hiredis_VERSION)
if(hiredis_INCLUDE_DIR)
  file(STRINGS "${hiredis_INCLUDE_DIR}/hiredis/hiredis.h" _hiredis_macros
    REGEX "define HIREDIS_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE "[^0-9;]" "" hiredis_VERSION "${_hiredis_macros}")
  string(REPLACE ";" "." hiredis_VERSION "${hiredis_VERSION}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(hiredis
  REQUIRED_VARS hiredis_LIBRARY hiredis_INCLUDE_DIR
  VERSION_VAR hiredis_VERSION
)

if(hiredis_FOUND AND NOT TARGET hiredis::hiredis)
  add_library(hiredis::hiredis UNKNOWN IMPORTED GLOBAL)
  set_target_properties(hiredis::hiredis PROPERTIES
    IMPORTED_LOCATION "${hiredis_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${hiredis_INCLUDE_DIR}"
  )
endif()
