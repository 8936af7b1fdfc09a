#!/usr/bin/env bash
# Builds the packages with cpack, looks at them, unpacks libredis-lock-dev and uses it as its users do: through
# CMake and through pkg-config.
#   packages_test.sh <build directory> <directory to work in> <C++ compiler>
set -euo pipefail

build=$1 work=$2 compiler=$3
here=$(cd "$(dirname "$0")" && pwd)
root=$work/root

fail() {
  echo "$*" >&2
  exit 1
}

# expect_field <package> <field> <value>
expect_field() {
  local found
  found=$(dpkg-deb -f "$1" "$2")
  [[ $found == "$3" ]] || fail "$1: $2 is \"$found\", not \"$3\""
}

# expect_files <directory> <file>...
expect_files() {
  local directory=$1 file
  shift
  for file in "$@"; do
    [[ -s $directory/$file ]] || fail "$file is not in $directory"
  done
}

# expect_consumer <program>: tests/package/main.cpp, built against the unpacked package.
expect_consumer() {
  "$1" | grep "a bad URI throws std::invalid_argument: " || fail "$1 does not say what it should"
}

# The recipes for vcpkg and Conan can only be read here: cmake/packaging/README.md.
recipes=$here/../../cmake/packaging
version=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["version-semver"])' "$recipes/vcpkg/redis-lock/vcpkg.json")
python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$recipes/conan/conanfile.py"

rm -rf "$work"
mkdir -p "$work"
cpack -G DEB --config "$build/CPackConfig.cmake" -B "$work/packages"

packages=("$work"/packages/libredis-lock-dev_*_all.deb)
[[ ${#packages[@]} == 1 && -f ${packages[0]} ]] || fail "not one package libredis-lock-dev: ${packages[*]}"
dev=${packages[0]}
expect_field "$dev" Package libredis-lock-dev
expect_field "$dev" Architecture all
expect_field "$dev" Section libdevel
expect_field "$dev" Version "$version-1"  # the version of vcpkg.json is that of version.hpp
expect_field "$dev" Depends "libhiredis-dev (>= 0.14)"
dpkg-deb -x "$dev" "$root"
expect_files "$root/usr" include/redis_lock/{redis_lock,detail/lock/client_state}.hpp share/pkgconfig/redis_lock.pc \
  share/cmake/redis_lock/redis_lock-config.cmake share/doc/libredis-lock-dev/{copyright,changelog.gz,changelog.Debian.gz}
[[ ! -e $root/usr/bin ]] || fail "the program is in libredis-lock-dev"

# The program, where it is built: in a package of its own, which depends on the libraries that it is linked with.
if grep -q 'CPACK_COMPONENTS_ALL ".*command' "$build/CPackConfig.cmake"; then
  packages=("$work/packages/redis-lock_"*_"$(dpkg --print-architecture)".deb)
  [[ ${#packages[@]} == 1 && -f ${packages[0]} ]] || fail "not one package redis-lock: ${packages[*]}"
  expect_field "${packages[0]}" Section admin
  dpkg-deb -f "${packages[0]}" Depends | grep 'libhiredis' || fail "redis-lock does not depend on libhiredis"
  dpkg-deb -x "${packages[0]}" "$work/command"
  expect_files "$work/command/usr" bin/redis-lock share/man/man1/redis-lock.1.gz \
    share/bash-completion/completions/redis-lock share/doc/redis-lock/{copyright,changelog.gz,changelog.Debian.gz}
  [[ ! -e $work/command/usr/include ]] || fail "headers are in the package redis-lock"
  "$work/command/usr/bin/redis-lock" --version
fi

cmake -S "$here/find_package" -B "$work/by_cmake" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$root/usr"
cmake --build "$work/by_cmake"
expect_consumer "$work/by_cmake/consumer"

# pkg-config finds the tree wherever it is.
mv "$root" "$work/moved"
export PKG_CONFIG_PATH=$work/moved/usr/share/pkgconfig
eval "flags=($(pkg-config --cflags --libs redis_lock))"  # it quotes for the shell
"$compiler" -std=c++17 "$here/main.cpp" "${flags[@]}" -o "$work/by_pkg_config"
expect_consumer "$work/by_pkg_config"
"$compiler" -std=c++17 -M "$here/main.cpp" "${flags[@]}" | grep "/moved/usr/.*/redis_lock.hpp" >/dev/null ||
  fail "pkg-config led to other headers than those of the package"
