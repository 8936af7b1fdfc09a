#!/usr/bin/env bash
# Measures everything that docs/performance.md tells, and prints one table:
#   tests/benchmark/run.sh                    all of it, about 23 minutes
#   tests/benchmark/run.sh handoff shared     these programs only, and what was measured before of the rest
#   tests/benchmark/run.sh --publish …        and writes the figures and plots into docs/
# To draw the published plots again, without measuring: python3 tests/benchmark/report.py --redraw docs
# Results are in build/benchmark: results.json, *.svg. The servers are private ones, on a Unix socket and on TCP.
# On Debian 12 it installs what is missing first (as root, or through sudo). Best on a machine with nothing
# else to do: every figure is a ratio within one run, but a core that is taken away shows in hand-offs.
set -euo pipefail

cd "$(dirname "$0")/../.."
source_folder=tests/benchmark
results=build/benchmark
binaries=build/gcc/tests/benchmark
all_parts=(operations spin handoff fairness sharing deadlines commands idle shared renewal failover quorum instructions profile compile_time)
needed_packages=(
  g++ cmake ninja-build pkg-config libhiredis-dev redis-server libgtest-dev libgmock-dev catch2
  libbenchmark-dev valgrind strace gnuplot-nox python3
)

source tests/support/install_missing.sh

# One line as the programs print them: result <figure> <case> <sample>...
result() {
  local figure=$1 case=$2 samples
  shift 2
  samples=$(printf ', %s' "$@")
  printf '{"figure": "%s", "case": "%s", "samples": [%s]}\n' "$figure" "$case" "${samples:2}"
}

# CPU seconds of compiling one file, as g++ and its children count them.
compile_seconds() {
  local TIMEFORMAT='%U %S'
  { time g++ -std=c++17 -O2 -I include -c -o /dev/null "$@"; } 2>&1 | awk '{ print $1 + $2 }'
}

# What a file that makes a Lock, locks and unlocks costs over the standard headers that lock.hpp includes, by turns.
compile_time() {
  local floor=$results/floor.cpp ours=$results/ours.cpp compiled=() header_only=() bare
  printf '#include <%s>\n' chrono functional memory optional string system_error vector >"$floor"
  cat >"$ours" <<'END'
#include <redis_lock/lock.hpp>
void work() {
  redis_lock::Lock lock{"redis://127.0.0.1", "name"};
  lock.lock();
  lock.unlock();
}
END
  for ((i = 0; i < 9; ++i)); do
    bare=$(compile_seconds "$floor")
    compiled+=("$(awk "BEGIN { print $(compile_seconds -DREDIS_LOCK_SEPARATE_COMPILATION "$ours") / $bare }")")
    header_only+=("$(awk "BEGIN { print $(compile_seconds "$ours") / $bare }")")
  done
  result compile_time 'redis_lock::compiled, g++ -O2' "${compiled[@]}"
  result compile_time_header_only 'g++ -O2' "${header_only[@]}"
}

# Where the microseconds of one lock+unlock go, as the kernel, the server and strace count them.
profile() {
  local cycles=4000 folder uri server kind status=0
  folder=$(mktemp -d)
  uri=unix://$folder/socket
  redis-server --port 0 --unixsocket "$folder/socket" --save '' --dir "$folder" --logfile "$folder/log" &
  server=$!
  until redis-cli -s "$folder/socket" ping >/dev/null 2>&1; do sleep 0.05; done
  for ((i = 0; i < 15; ++i)); do
    for kind in floor library deferred; do
      "$binaries/cycle" "$uri" "$kind" $cycles profile || status=1
    done
  done
  for kind in floor library deferred; do
    strace -f -c -o "$folder/strace" "$binaries/cycle" "$uri" "$kind" $cycles || status=1
    while read -r calls name; do
      result syscalls "$kind: $name" "$calls"
    done < <(awk -v n=$cycles '
      $1 ~ /^[0-9.]+$/ && $NF != "total" && $4 / n >= 0.01 { printf "%.2f %s\n", $4 / n, $NF }' "$folder/strace")
  done
  kill "$server"
  wait "$server" || true
  rm -r "$folder"
  return $status
}

# Those whose names match, or with "-" in front those whose names do not.
sharing_operations='^(spin_)?(reading|permit)_'
operations() {
  "$binaries/operations" --benchmark_filter="$1" --benchmark_out="$results/$part.json"
}

measure() {
  case $1 in
    compile_time | profile) "$1" ;;
    operations) operations "-$sharing_operations" ;;
    sharing) operations "$sharing_operations" && "$binaries/sharing" ;;
    *) "$binaries/$1" ;;
  esac
}

publish=()
parts=()
for argument in "$@"; do
  if [[ $argument == --publish ]]; then
    publish=(--publish docs)
  elif [[ " ${all_parts[*]} " == *" $argument "* ]]; then
    parts+=("$argument")
  else
    echo "unknown: $argument; there are: --publish ${all_parts[*]}" >&2
    exit 2
  fi
done
if ((${#parts[@]} == 0)); then
  parts=("${all_parts[@]}")
fi

install_missing "${needed_packages[@]}"
heading "Build: g++, Release"
cmake --preset gcc
cmake --build --preset gcc --target redis_lock_benchmarks
mkdir -p "$results"
for part in "${parts[@]}"; do
  heading "Measure: $part"
  measure "$part" >"$results/$part.new"
  mv "$results/$part.new" "$results/$part.jsonl"
done
heading "Figures"
python3 "$source_folder/report.py" "$results" "${publish[@]}"
