#!/usr/bin/env bash
# Builds and runs every test, once for each CMake preset, then some of them in other ways, and sums up:
#   tests/run.sh                all of: gcc clang asan tsan valgrind valkey
#   tests/run.sh gcc asan       these only
# valgrind and valkey run tests of gcc under memcheck, and on another server. Longer runs and more servers:
# tests/faults/campaign/run.sh, tests/matrix.sh; what the tests cover: tests/coverage.sh.
# On Debian 12 it installs what is missing first (as root, or through sudo). The tests start their
# own redis-servers; a service that the package redis-server may have started is not used.
set -euo pipefail

cd "$(dirname "$0")/.."
all_stages=(gcc clang asan tsan valgrind valkey)
needed_packages=(
  g++ clang libclang-rt-dev  # compilers, and clang's sanitizers
  cmake ninja-build pkg-config
  redis-server
  libhiredis-dev libgtest-dev libgmock-dev catch2
  python3-redis  # the Python beside which locks are tested
  libcpp-httplib-dev python3-prometheus-client  # the exporter among the examples, and what reads it in a test
  libcli11-dev nlohmann-json3-dev  # for the program redis-lock
  doxygen   # builds the reference
  gdb       # finds the frames of a lock() that docs/architecture.md lists
  clang-format clang-tidy  # tests/lint.sh
  bash-completion mandoc  # the completion of redis-lock, and its manual page
  jq python3-yaml  # its recipes
  dpkg-dev file  # cpack finds with them which libraries a package needs
  spin      # checks the model of the protocol
  libssl-dev openssl  # TLS, in the preset clang
  valgrind  # counts the instructions of a lock and unlock, and looks at memory
)

source tests/support/install_missing.sh

if ! mkdir -p build 2>/dev/null || ! [[ -w build ]]; then
  echo "The tests are built in $PWD/build, which cannot be written to: copy the project to where it can" >&2
  exit 1
fi

# ThreadSanitizer of clang 14 and of g++ 12 cannot map its memory where the kernel randomises addresses
# a lot; where a process may ask for fixed addresses, let it.
fixed_addresses=()
if setarch "$(uname -m)" -R true 2>/dev/null; then
  fixed_addresses=(setarch "$(uname -m)" -R)
fi

build() {
  local preset=$1
  if [[ $preset == clang ]]; then
    tests/fetch_hiredis_1.sh || return
  fi
  cmake --preset "$preset" -D REDIS_LOCK_ALL_TESTS=ON || return
  "${fixed_addresses[@]}" cmake --build --preset "$preset" || return
  if [[ $preset == clang ]]; then
    ldd build/clang/tests/compile/odr | grep "$PWD/build/trixie/root/.*/libhiredis\.so\.1" || {
      echo "The tests of the preset clang are not linked with hiredis 1" >&2
      return 1
    }
  fi
}

passed=0
failed=0
broken=()

# Runs one preset and adds its numbers; a preset that does not build is one failure.
run_preset() {
  local preset=$1 log=build/$1/ctest.log summary
  heading "$preset: configure and build"
  if ! build "$preset"; then
    broken+=("$preset (build)")
    failed=$((failed + 1))
    return
  fi
  heading "$preset: test"
  # Three times as many as there are processors: most tests wait more than they compute.
  "${fixed_addresses[@]}" ctest --preset "$preset" -j $((3 * $(nproc))) | tee "$log" || broken+=("$preset")
  # "98% tests passed, 2 tests failed out of 123"
  summary=$(grep -E 'tests passed, [0-9]+ tests? failed out of [0-9]+' "$log" | grep -oE '[0-9]+' | tr '\n' ' ') || true
  if [[ -z $summary ]]; then
    failed=$((failed + 1))
    return
  fi
  read -r _ preset_failed preset_total <<<"$summary"
  passed=$((passed + preset_total - preset_failed))
  failed=$((failed + preset_failed))
}

# Runs one script, which counts as one test.
run_script() {
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    broken+=("$*")
  fi
}

stages=("$@")
if ((${#stages[@]} == 0)); then
  stages=("${all_stages[@]}")
fi

install_missing "${needed_packages[@]}"
for stage in "${stages[@]}"; do
  case $stage in
    valgrind) run_script tests/valgrind.sh ;;
    valkey) run_script tests/matrix.sh valkey ;;
    *) run_preset "$stage" ;;
  esac
done

heading "All of: ${stages[*]}"
if ((${#broken[@]} > 0)); then
  printf 'failed: %s\n' "${broken[@]}"
fi
echo "$passed passed, $failed failed"
((failed == 0 && ${#broken[@]} == 0))
