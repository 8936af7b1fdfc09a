# Defines redis_lock::tls, redis_lock with rediss:// URIs, where there is what it needs: OpenSSL, and
# hiredis 1.0 or later with its library hiredis_ssl, beside the hiredis that is used. Link it in place of
# redis_lock::redis_lock, in the whole program.

if(TARGET hiredis::hiredis_ssl)
  set(hiredis_ssl_LIBRARY hiredis::hiredis_ssl)
else()
  get_target_property(_redis_lock_is_imported hiredis::hiredis IMPORTED)
  if(_redis_lock_is_imported)  # otherwise it is built along with the project, without hiredis_ssl
    get_target_property(_redis_lock_hiredis_file hiredis::hiredis LOCATION)
    get_filename_component(_redis_lock_hiredis_folder "${_redis_lock_hiredis_file}" DIRECTORY)
    find_library(hiredis_ssl_LIBRARY hiredis_ssl HINTS "${_redis_lock_hiredis_folder}" NO_DEFAULT_PATH)
  endif()
endif()
find_path(hiredis_ssl_INCLUDE_DIR hiredis/hiredis_ssl.h HINTS "${hiredis_INCLUDE_DIR}" NO_DEFAULT_PATH)
find_package(OpenSSL 1.1.1 QUIET)
mark_as_advanced(hiredis_ssl_INCLUDE_DIR hiredis_ssl_LIBRARY)

# What redis_lock::tls would need: for messages.
set(redis_lock_tls_missing "")
if(NOT hiredis_ssl_INCLUDE_DIR OR NOT hiredis_ssl_LIBRARY)
  list(APPEND redis_lock_tls_missing
    "hiredis 1.0 or later with hiredis_ssl, beside the hiredis that is used (${hiredis_INCLUDE_DIR}/hiredis)")
endif()
if(NOT OPENSSL_FOUND)
  list(APPEND redis_lock_tls_missing "OpenSSL 1.1.1 or later")
endif()
list(JOIN redis_lock_tls_missing ", and " redis_lock_tls_missing)

if(hiredis_ssl_INCLUDE_DIR AND hiredis_ssl_LIBRARY AND OPENSSL_FOUND AND NOT TARGET redis_lock::tls)
  # Seen from as far as redis_lock::redis_lock is: from everywhere in a build that it is a part of.
  get_target_property(_redis_lock_is_imported redis_lock::redis_lock IMPORTED)
  if(_redis_lock_is_imported)
    add_library(redis_lock::tls INTERFACE IMPORTED)
  else()
    add_library(redis_lock::tls INTERFACE IMPORTED GLOBAL)
  endif()
  set_target_properties(redis_lock::tls PROPERTIES
    INTERFACE_COMPILE_DEFINITIONS REDIS_LOCK_TLS
    INTERFACE_LINK_LIBRARIES
      "redis_lock::redis_lock;${hiredis_ssl_LIBRARY};hiredis::hiredis;OpenSSL::SSL;OpenSSL::Crypto")
endif()
