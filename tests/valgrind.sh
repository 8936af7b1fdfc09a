#!/usr/bin/env bash
# Runs the unit tests and those of C++20 once under valgrind's memcheck, with --all the integration tests too:
#   tests/valgrind.sh [--all]                those of build/gcc, which is built first where it is not up to date
#   tests/valgrind.sh [--all] build/clang    those of another build folder, as they are
# An error fails; so does a block that was lost, in the test programs themselves. In the children that
# they fork, errors count and lost blocks do not: a child has the memory of all its parent's threads, and
# none of these threads, on whose stacks the only pointers to some of it are. It leaves by _exit.
# Logs are in <build folder>/valgrind.
set -euo pipefail

cd "$(dirname "$0")/.."
test_programs=(unit/redis_lock_unit_test integration/redis_lock_cxx20_test)
parts=()
if [[ ${1:-} == --all ]]; then
  shift
  test_programs+=(integration/redis_lock_integration_test)
  parts=(0 1)
fi
build=${1:-build/gcc}
needed_packages=(
  g++ cmake ninja-build pkg-config
  redis-server
  libhiredis-dev libgtest-dev libgmock-dev catch2
  valgrind
)
source tests/support/install_missing.sh

logs=$build/valgrind

# What valgrind found wrong in the logs, which are named <program>.<pid>: any error in any process, and
# any block that the process <pid> lost: findings <program> <pid>
findings() {
  local own_log=$logs/$1.$2
  # An error comes with a stack. So do a deadly signal, which some tests are about, and lost blocks.
  awk '/Process terminating|HEAP SUMMARY/ { nextfile }
    /==[0-9]+== +at 0x/ { print "errors: " FILENAME; nextfile }' "$logs/$1".*
  if ! grep -q 'HEAP SUMMARY' "$own_log"; then
    echo "did not end by itself: $own_log"
  elif grep -qE '(definitely|indirectly) lost: [1-9]' "$own_log"; then
    echo "lost blocks: $own_log"
  fi
}

# Runs one test program, or one of so many parts of it, and leaves in <name>-result what is wrong:
# check <program> [<part> <parts>]
check() {
  local program=$1 name=${1##*/}${2:+-$2} status=0 pid
  GTEST_SHARD_INDEX=${2:-0} GTEST_TOTAL_SHARDS=${3:-1} \
    valgrind --leak-check=full --show-leak-kinds=definite,indirect --errors-for-leak-kinds=none \
    --error-exitcode=99 --num-callers=30 --suppressions=tests/valgrind.supp \
    --log-file="$logs/$name.%p" "$build/tests/$program" --gtest_brief=1 >"$logs/$name-output" 2>&1 &
  pid=$!
  wait $pid || status=$?
  {
    ((status == 0)) || echo "exit code $status: $logs/$name-output"
    findings "$name" $pid
  } >"$logs/$name-result"
}

install_missing "${needed_packages[@]}"
if [[ $build == build/gcc ]]; then
  heading "Build of the tests"
  cmake --preset gcc
  cmake --build "$build" --target "${test_programs[@]##*/}"
fi

heading "valgrind: ${test_programs[*]}"
rm -rf "$logs"
mkdir -p "$logs"
# Three at a time: the integration tests take longer than the others together, and wait for half of it.
(for program in unit/redis_lock_unit_test integration/redis_lock_cxx20_test; do check "$program"; done) &
for part in "${parts[@]}"; do check integration/redis_lock_integration_test $part 2 & done
wait

failed=0
for name in redis_lock_unit_test redis_lock_cxx20_test "${parts[@]/#/redis_lock_integration_test-}"; do
  result=$logs/$name-result
  heading "$name: $(tail -n 1 "$logs/$name-output")"
  if [[ ! -e $result || -s $result ]]; then
    failed=$((failed + 1))
    grep -hE '^\[  FAILED|: Failure' "$logs/$name-output" || true
    cat "$result"
    # The logs that were named, the first lines of each.
    sed -nE 's/^(errors|lost blocks): //p' "$result" | xargs -r head -n 60
  fi
done
heading "valgrind: $failed runs are not clean"
((failed == 0))
