#!/bin/sh
# The one command for a newcomer: installs what is missing (Debian), builds the quickstart in
# build/quickstart and runs it, on a redis-server of its own that listens on a Unix socket only,
# or on $REDIS_URL if that is set. Safe to run again, from any directory. If this folder cannot be
# written to, it builds in the user's cache.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/quickstart
if ! mkdir -p "$build" 2>/dev/null || ! [ -w "$build" ]; then
  build=${XDG_CACHE_HOME:-${HOME-}/.cache}/redis_lock/quickstart
  mkdir -p "$build" 2>/dev/null && [ -w "$build" ] || {
    echo "Neither $root nor $build can be written to: set XDG_CACHE_HOME to a folder that can" >&2
    exit 1
  }
fi

have() { command -v "$1" >/dev/null 2>&1; }

have_hiredis() {
  { have pkg-config && pkg-config --exists hiredis; } || [ -e /usr/include/hiredis/hiredis.h ]
}

missing=
have "${CXX:-g++}" || missing="$missing g++"
have cmake || missing="$missing cmake"
have ninja || have make || missing="$missing ninja-build"
have pkg-config || missing="$missing pkg-config"
have_hiredis || missing="$missing libhiredis-dev"
[ -n "${REDIS_URL-}" ] || have redis-server || missing="$missing redis-server"

if [ -n "$missing" ]; then
  echo "Missing:$missing"
  if ! have apt-get; then
    echo "Install these (the names are Debian's) and run this again." >&2
    exit 1
  elif [ "$(id -u)" -eq 0 ]; then
    as_root='env'
  elif have sudo; then
    as_root='sudo env'
  else
    echo "Run this as root, or run as root: apt-get install$missing" >&2
    exit 1
  fi
  echo "Installing:$missing"
  $as_root apt-get -qq update
  # shellcheck disable=SC2086 # several words are meant
  $as_root DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $missing >/dev/null
  case $missing in
    *redis-server*) echo "(A Redis service that the package redis-server may have started is not used.)" ;;
  esac
fi

echo "Building in $build"
# A cache that was made elsewhere (a moved or copied folder) would stop CMake.
if [ -e "$build/CMakeCache.txt" ] && ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$root" "$build/CMakeCache.txt"; then
  rm -rf "$build"
fi
if ! [ -e "$build/CMakeCache.txt" ] && have ninja; then
  set -- -G Ninja
else
  set --
fi
mkdir -p "$build"  # removed above, if it was made elsewhere
{
  cmake -S "$root" -B "$build" "$@" -DCMAKE_BUILD_TYPE=Release \
    -DREDIS_LOCK_BUILD_TESTS=OFF -DREDIS_LOCK_BUILD_EXAMPLES=ON &&
    cmake --build "$build" --target redis_lock_example_quickstart
} >"$build/log.txt" 2>&1 || {
  cat "$build/log.txt" >&2
  exit 1
}

if [ -n "${REDIS_URL-}" ]; then
  echo "Running on \$REDIS_URL"
  exec "$build/examples/quickstart"
fi
echo "Running on a redis-server of its own"
exec "$root/examples/run_with_redis.sh" "$build/examples/quickstart"
