#!/usr/bin/env bash
# Who installs or packages the program redis-lock where there is none is told so, and who wants the headers alone has
# them without a complaint.
#   program_missing_test.sh <folder of the project> <directory to work in> <option of cmake>...
set -euo pipefail

project=$1 work=$2
shift 2
build=$work/build

fail() {
  echo "$*" >&2
  exit 1
}

# expect_refusal <text> <command>...: the command fails, and says this.
expect_refusal() {
  local text=$1 said
  shift
  said=$("$@" 2>&1) && fail "did not fail: $*"
  # CMake breaks lines where it likes.
  [[ $(tr -s ' \n' ' ' <<<"$said") == *"$text"* ]] || fail "$*: does not say \"$text\": $said"
}

# configure <option>...: as the README has it; without a warning.
configure() {
  cmake -S "$project" -B "$build" "${options[@]}" "$@" >"$work/log" 2>&1 || fail "$(<"$work/log")"
  ! grep -A 5 Warning "$work/log" || fail "a warning: cmake $*"
}

# expect_headers_alone <prefix>
expect_headers_alone() {
  [[ -s $1/include/redis_lock/redis_lock.hpp ]] || fail "no headers in $1"
  [[ ! -e $1/bin && ! -e $1/share/man ]] || fail "the program, or its manual page, is in $1"
}

options=("$@" -DREDIS_LOCK_BUILD_TESTS=OFF -DREDIS_LOCK_BUILD_EXAMPLES=OFF)
rm -rf "$work"
mkdir -p "$work"

configure
expect_refusal "The program redis-lock is not built yet" cmake --install "$build" --prefix "$work/all"
cmake --install "$build" --prefix "$work/dev" --component dev
expect_headers_alone "$work/dev"

for library in CLI11 nlohmann_json; do
  configure -DCMAKE_DISABLE_FIND_PACKAGE_$library=ON
  expect_refusal "it needs $library (Debian" cpack -G DEB --config "$build/CPackConfig.cmake" -B "$work/packages"
  cmake --install "$build" --prefix "$work/without_$library"
  expect_headers_alone "$work/without_$library"
  configure -UCMAKE_DISABLE_FIND_PACKAGE_$library
done

configure -DREDIS_LOCK_BUILD_COMMAND=OFF
cpack -G DEB --config "$build/CPackConfig.cmake" -B "$work/packages"
packages=("$work"/packages/*.deb)
[[ ${packages[*]} == "$work"/packages/libredis-lock-dev_*_all.deb ]] || fail "not the headers alone: ${packages[*]}"
