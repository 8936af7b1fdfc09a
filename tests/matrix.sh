#!/usr/bin/env bash
# Runs the integration and conformance tests against several servers:
#   tests/matrix.sh                              all of: redis-7.0 valkey redis-8
#   tests/matrix.sh valkey                       these only
#   tests/matrix.sh --build build/asan valkey    with the tests of another build folder than build/gcc
# redis-7.0 is Debian 12's redis-server. The others are not installed: valkey comes from Debian 12's
# backports, redis-8 from Debian 13, each unpacked under build/servers/ and started with its own
# libraries. build/gcc is built first where it is not up to date.
set -euo pipefail

cd "$(dirname "$0")/.."
all_servers=(redis-7.0 valkey redis-8)
build=build/gcc
test_targets=(redis_lock_integration_test redis_lock_cxx20_test redis_lock_conformance_test)
needed_packages=(
  g++ cmake ninja-build pkg-config
  redis-server
  libhiredis-dev libgtest-dev libgmock-dev catch2
)
# What a server is linked with, down to the C library.
libraries=(libc6 libgcc-s1 libatomic1 libcap2 libgcrypt20 libgpg-error0 libjemalloc2 liblz4-1 liblzf1
  liblzma5 libstdc++6 libsystemd0 libzstd1)

source tests/support/install_missing.sh
source tests/support/unpack_debian.sh

# Writes a program that runs an unpacked one with the libraries unpacked beside it:
# wrap <folder> <name>
wrap() {
  local root=$PWD/$1/root wrapper=$PWD/$1/$2 loader library_path
  loader=$(find "$root" -type f -name 'ld-linux*.so.*')
  library_path=$(find "$root" -name 'lib*.so.*' -not -path '*/share/*' -printf '%h\n' | sort -u | paste -sd :)
  cat >"$wrapper" <<END
#!/bin/sh
exec "$loader" --library-path "$library_path" "$root/usr/bin/$2" "\$@"
END
  chmod +x "$wrapper"
}

# Sets `program` to the named server's, which is fetched first where it has to be.
prepare() {
  local folder=build/servers/$1
  case $1 in
    redis-7.0)
      program=$(command -v redis-server)
      ;;
    valkey)
      unpack_debian "$folder" "bookworm bookworm-backports" \
        {valkey-server,valkey-tools}/bookworm-backports "${libraries[@]}" libssl3 || return
      wrap "$folder" valkey-server
      program=$PWD/$folder/valkey-server
      ;;
    redis-8)
      unpack_debian "$folder" trixie redis-server redis-tools "${libraries[@]}" libssl3t64 || return
      wrap "$folder" redis-server
      program=$PWD/$folder/redis-server
      ;;
    *)
      echo "$0: no such server: $1 (there are: ${all_servers[*]})" >&2
      return 1
      ;;
  esac
}

failed=()
versions=()

run_server() {
  local server=$1 program version
  heading "$server: prepare"
  if ! prepare "$server" || ! version=$("$program" --version); then
    failed+=("$server (does not start)")
    return
  fi
  heading "$server: $version"
  versions+=("$server: $version")
  REDIS_LOCK_TEST_SERVER=$program ctest --test-dir "$build" -L '^(integration|conformance)$' \
    -j $((3 * $(nproc))) --output-on-failure --no-tests=error || failed+=("$server")
}

if [[ ${1:-} == --build ]]; then
  build=$2
  shift 2
fi
servers=("$@")
if ((${#servers[@]} == 0)); then
  servers=("${all_servers[@]}")
fi

install_missing "${needed_packages[@]}"
if [[ $build == build/gcc ]]; then
  heading "Build of the tests"
  cmake --preset gcc
fi
cmake --build "$build" --target "${test_targets[@]}"
for server in "${servers[@]}"; do
  run_server "$server"
done

heading "Servers tested"
printf '%s\n' "${versions[@]}"
if ((${#failed[@]} > 0)); then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
echo "All passed"
