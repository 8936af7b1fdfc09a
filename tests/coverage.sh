#!/usr/bin/env bash
# Measures what the unit, integration, fault and conformance tests run of include/:
#   tests/coverage.sh          builds them without optimisation in build/coverage, runs them, and reports
# Fails where a test fails, and below 95 % of the lines. Branches are reported only, and only those of lines
# that decide something: the compiler adds branches for exceptions, to clean up, to nearly every call.
# The report line by line is build/coverage/report/index.html.
set -euo pipefail

cd "$(dirname "$0")/.."
least_lines=95
build=build/coverage
needed_packages=(
  g++ cmake ninja-build pkg-config
  redis-server
  libhiredis-dev libgtest-dev libgmock-dev catch2
  gcovr
)
test_targets=(redis_lock_unit_test redis_lock_integration_test redis_lock_cxx20_test
  redis_lock_no_thread_test redis_lock_faults_test redis_lock_connect_test redis_lock_suspension_test
  redis_lock_allocation_test redis_lock_fleet_test redis_lock_conformance_test)
source tests/support/install_missing.sh

install_missing "${needed_packages[@]}"
heading "Build"
mkdir -p "$build"
g++ -c -o "$build/coverage_exit.o" tests/support/coverage_exit.cpp
cmake -S . -B "$build" -G Ninja -D CMAKE_CXX_COMPILER=g++ -D CMAKE_BUILD_TYPE=Debug \
  -D CMAKE_CXX_FLAGS="--coverage -fprofile-update=atomic -O0" -D CMAKE_CXX_FLAGS_DEBUG= \
  -D CMAKE_EXE_LINKER_FLAGS="-Wl,--wrap=_exit $PWD/$build/coverage_exit.o" -D REDIS_LOCK_BUILD_EXAMPLES=OFF
cmake --build "$build" --target "${test_targets[@]}"

heading "Test"
find "$build" -name '*.gcda' -delete
ctest --test-dir "$build" -L '^(unit|integration|faults|conformance)$' -j $((3 * $(nproc))) \
  --output-on-failure --no-tests=error

heading "Coverage of include/"
mkdir -p "$build/report"
decision='\b(if|for|while|switch|case)\b|\?|&&|\|\|'
gcovr --root . --object-directory "$build" --filter include/ -j "$(nproc)" \
  --exclude-throw-branches --exclude-branches-by-pattern "^(?!.*($decision)).*\$" \
  --html-details "$build/report/index.html" --json "$build/report/coverage.json" "$build/tests"
from_report=(gcovr --root . --add-tracefile "$build/report/coverage.json" --filter include/)
"${from_report[@]}" --branches
"${from_report[@]}" --fail-under-line "$least_lines" --print-summary
