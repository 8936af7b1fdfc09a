#!/usr/bin/env bash
# A program that uses hiredis itself, beside redis_lock, works with each hiredis that is here: the system's, and the one
# that tests/fetch_hiredis_1.sh has unpacked, if it has. Shared and static; hiredis 1 with TLS and without.
#   hiredis_test.sh <folder of the project> <directory to work in> <option of cmake>...
set -euo pipefail

project=$1 work=$2
shift 2
options=("$@")

fail() {
  echo "$*" >&2
  exit 1
}

# try_with <folder of the libraries> <so|a> <option>...: builds the program with these libraries, and runs it. Another
# kind of library in the same build folder is linked anew only.
try_with() {
  local libraries=$1 kind=$2 program=$work/build/program said linked
  shift 2
  [[ -e $libraries/libhiredis_ssl.$kind ]] && set -- "$@" -D "hiredis_ssl_LIBRARY=$libraries/libhiredis_ssl.$kind"
  cmake -S "$project/tests/package/with_hiredis" -B "$work/build" "${options[@]}" "$@" \
    -D "hiredis_LIBRARY=$libraries/libhiredis.$kind" >"$work/log" 2>&1 &&
    cmake --build "$work/build" --target program >>"$work/log" 2>&1 || fail "$(<"$work/log")"
  said=$("$project/examples/run_with_redis.sh" "$program") || fail "$libraries, $kind: status $?, $said"
  linked=$(ldd "$program" | grep -c libhiredis) || true
  [[ $((linked > 0)) == $([[ $kind == so ]] && echo 1 || echo 0) ]] || fail "$kind: $(ldd "$program")"
  echo "$said: $kind $*"
}

rm -rf "$work"
mkdir -p "$work"
system=$(dirname "$("${CXX:-g++}" -print-file-name=libhiredis.so)")
for kind in so a; do
  try_with "$system" $kind -D WITH_TLS=OFF
done
unpacked=$(find "$project/build/trixie/root" -name libhiredis.so -printf '%h' 2>/dev/null) || true
if [[ $unpacked ]]; then
  root=$project/build/trixie/root/usr
  for tls in OFF ON; do
    rm -rf "$work/build"
    for kind in so a; do
      try_with "$unpacked" $kind -D WITH_TLS=$tls -D hiredis_ROOT="$root" -D hiredis_INCLUDE_DIR="$root/include"
    done
  done
fi
