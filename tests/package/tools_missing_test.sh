#!/usr/bin/env bash
# Without Catch2, SPIN or gdb the project is configured, and says which tests are left out. If all tests are asked for,
# CMake stops and says what is missing.
#   tools_missing_test.sh <folder of the project> <directory to work in> <option of cmake>...
set -euo pipefail

project=$1 work=$2
shift 2
options=("$@" -DREDIS_LOCK_BUILD_EXAMPLES=OFF -DREDIS_LOCK_BUILD_COMMAND=OFF)

fail() {
  echo "$*" >&2
  exit 1
}

# expect <said> <text>: CMake breaks lines where it likes.
expect() {
  [[ $(tr -s ' \n' ' ' <<<"$1") == *"$2"* ]] || fail "does not say \"$2\": $1"
}

rm -rf "$work"
said=$(cmake -S "$project" -B "$work" "${options[@]}" \
  -DCMAKE_DISABLE_FIND_PACKAGE_Catch2=ON -DREDIS_LOCK_SPIN= -DGDB= 2>&1) || fail "$said"
expect "$said" "Left out: the conformance tests"
expect "$said" "Left out: the model"
expect "$said" "Left out: the test of the way of a lock()"

options+=(-DREDIS_LOCK_ALL_TESTS=ON)
said=$(cmake -S "$project" -B "$work" "${options[@]}" 2>&1) && fail "did not fail without Catch2: $said"
expect "$said" "Missing for the conformance tests: Catch2 2 or 3 (Debian: catch2)"
said=$(cmake -S "$project" -B "$work" "${options[@]}" -UCMAKE_DISABLE_FIND_PACKAGE_Catch2 2>&1) &&
  fail "did not fail without SPIN: $said"
expect "$said" "Missing for the model: SPIN and a C compiler (Debian: spin gcc)"
