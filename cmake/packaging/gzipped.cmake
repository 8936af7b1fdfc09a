# gzipped(<variable> <file>): puts into the variable the path of the file as Debian's policy wants manual pages
# and changelogs, compressed as far as it goes and with no time in it. Without gzip(1) it is the file itself.
find_program(REDIS_LOCK_GZIP gzip)
mark_as_advanced(REDIS_LOCK_GZIP)

function(gzipped variable file)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
  if(NOT REDIS_LOCK_GZIP)
    set(${variable} "${file}" PARENT_SCOPE)
    return()
  endif()
  get_filename_component(name "${file}" NAME)
  set(compressed "${PROJECT_BINARY_DIR}/packaging/${name}.gz")
  file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/packaging")
  execute_process(COMMAND ${REDIS_LOCK_GZIP} -9nc "${file}"
    OUTPUT_FILE "${compressed}" COMMAND_ERROR_IS_FATAL ANY)
  set(${variable} "${compressed}" PARENT_SCOPE)
endfunction()
