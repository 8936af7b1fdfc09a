#!/usr/bin/env bash
# Builds and tests the project on several releases of Debian, with their own compilers, hiredis and servers:
#   tests/platforms.sh                        all of: bookworm bullseye trixie sid
#   tests/platforms.sh trixie                 these only
# The unit, integration and conformance tests are built with g++ and with the newest clang, and run on Redis, and on
# Valkey if the release has it. With libc++ some of the examples are built and run: Debian's GoogleTest needs libstdc++.
# At the end it prints a table, which stands in docs/contributing.md with its date.
# As root, and by hand: it takes some ten minutes for each release. Each is a minimal system under build/platforms/,
# made by debootstrap from the mirror that this machine's apt uses, and kept for the next run (about 1.5 GB).
set -euo pipefail

# In a mount namespace of its own, so that no mount outlives the script.
if [[ ${1-} != --unshared ]]; then
  exec unshare --mount --propagation private "$0" --unshared "$@"
fi
shift

cd "$(dirname "$0")/.."
project=$PWD
all_releases=(bookworm bullseye trixie sid)  # bullseye borrows a program of bookworm
packages=(g++ cmake ninja-build pkg-config libhiredis-dev libgtest-dev libgmock-dev catch2 redis-server python3
  procps libssl-dev openssl)
examples=(scoped timed errors quorum)
# The mirror of a frozen date has indexes that are out of date.
apt_get=(apt-get -q -o Acquire::Check-Valid-Until=false)
source tests/support/install_missing.sh
install_missing debootstrap patchelf

# inside <command>...: in the system of the release, with nothing of this one's environment but these.
inside() {
  env -i PATH=/opt/cmake/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    ${http_proxy:+http_proxy="$http_proxy"} \
    ${CMAKE_BUILD_PARALLEL_LEVEL:+CMAKE_BUILD_PARALLEL_LEVEL="$CMAKE_BUILD_PARALLEL_LEVEL"} \
    ${server:+REDIS_LOCK_TEST_SERVER="$server"} chroot "$system" "$@"
}

# logged <name of a log> <command>...: shows the end of the log if the command fails.
logged() {
  local log=$folder/$1.log
  shift
  "$@" >"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    return 1
  }
}

# Sets the variables `folder` and `system` of a release, which is made first if it is not there.
prepare() {
  local mirror
  folder=$project/build/platforms/$1
  system=$folder/system
  mkdir -p "$folder"
  if [[ ! -e $folder/made ]]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sed -n 1p)
    if [[ -z $mirror ]]; then
      echo "apt knows no mirror of Debian here, or apt-get update has not been run" >&2
      return 1
    fi
    rm -rf "$system"
    logged debootstrap debootstrap --variant=minbase "$1" "$system" "$mirror" || return
    touch "$folder/made"
  fi
  printf '#!/bin/sh\nexit 101\n' >"$system/usr/sbin/policy-rc.d"  # no package starts a service
  chmod +x "$system/usr/sbin/policy-rc.d"
  mkdir -p "$system/srv/project" "$system/srv/build"
  mount -t proc proc "$system/proc"
  mount --bind "$project" "$system/srv/project"
  mount -o remount,bind,ro "$system/srv/project"
  logged update inside "${apt_get[@]}" update || return
  logged install inside "${apt_get[@]}" install -y --no-install-recommends "${packages[@]}" || return
  if inside apt-cache show valkey-server >/dev/null 2>&1; then
    logged valkey inside "${apt_get[@]}" install -y --no-install-recommends valkey-server || return
  fi
  clang=$(inside apt-cache pkgnames clang- | grep -xE 'clang-[0-9]+' | sort -V | tail -n 1)
  logged clang inside "${apt_get[@]}" install -y --no-install-recommends "$clang" "libc++-${clang#*-}-dev" \
    "libc++abi-${clang#*-}-dev" || return
  newer_cmake
}

# Debian 11 has CMake 3.18, and the project needs 3.22: runs that of Debian 12 with its own libraries, in /opt.
newer_cmake() {
  local other=$project/build/platforms/bookworm/system libraries=/opt/bookworm/usr/lib/x86_64-linux-gnu program
  [[ $(inside dpkg-query -W -f '${Version}' cmake) == 3.18.* ]] || return 0
  if [[ ! -x $other/usr/bin/cmake ]]; then
    echo "The CMake of bookworm is needed: run $0 bookworm first" >&2
    return 1
  fi
  mkdir -p "$system/opt/bookworm" "$system/opt/cmake/bin" "$system/opt/cmake/share"
  mount --bind "$other" "$system/opt/bookworm"
  for program in cmake ctest; do
    patchelf --set-interpreter "$libraries/ld-linux-x86-64.so.2" \
      --force-rpath --set-rpath "$libraries" \
      --output "$system/opt/cmake/bin/$program" "$other/usr/bin/$program" || return
  done
  ln -sfn /opt/bookworm/usr/share/cmake-3.25 "$system/opt/cmake/share/cmake-3.25"
}

rows=()
failed=0

# row <what> <server> <log of ctest>, or an empty one if nothing could be run
row() {
  local summary total=0 broken=0 skipped=0 hiredis
  summary=$(grep -oE '[0-9]+ tests? failed out of [0-9]+' "${3:-/dev/null}" | grep -oE '[0-9]+' | tr '\n' ' ') || true
  hiredis=$(inside dpkg-query -W -f '${Version}' libhiredis-dev | sed 's/-.*//')
  if [[ -z $summary ]]; then
    rows+=("| $release | $1 | $hiredis | $2 | not built | |")
    failed=1
    return
  fi
  read -r broken total <<<"$summary"
  skipped=$(grep -c 'Skipped' "$3") || true
  ((broken == 0)) || failed=1
  rows+=("| $release | $1 | $hiredis | $2 | $((total - broken - skipped)) | $broken |")
}

# Prints name and version of a server.
version_of() { inside "$1" --version | sed -E 's/^([A-Za-z]+) server v=([0-9.]+).*/\1 \2/'; }

# test_with <compiler>: builds the tests, and runs them on each server.
test_with() {
  local build=/srv/build/$1 label='^(unit|integration|conformance)$' version server="" log
  version=$(inside "$1" -dumpfullversion -dumpversion)
  heading "$release: $1 $version"
  if ! logged "$1" inside cmake -G Ninja -S /srv/project -B "$build" -D CMAKE_CXX_COMPILER="$1" \
    -D CMAKE_CXX_FLAGS=-Og -D CMAKE_CXX_STANDARD=20 -D REDIS_LOCK_TEST_LINK=redis_lock::compiled \
    -D REDIS_LOCK_EVERY_COMPILER=ON -D REDIS_LOCK_BUILD_EXAMPLES=OFF -D REDIS_LOCK_BUILD_COMMAND=OFF ||
    ! logged "$1" inside cmake --build "$build" --target tests/unit/all tests/integration/all tests/conformance/all; then
    row "$1 $version" ""
    return
  fi
  for server in redis-server valkey-server; do
    inside sh -c "command -v $server" >/dev/null || continue
    log=$folder/$1.$server.log
    inside ctest --test-dir "$build" -L "$label" -j $((3 * $(nproc))) --output-on-failure >"$log" 2>&1 || true
    grep -A 100 'The following tests FAILED' "$log" || true
    row "$1 $version" "$(version_of "$server")" "$log"
  done
}

# Builds and runs some examples with libc++.
examples_with_libcxx() {
  local build=/srv/build/libcxx version log=$folder/libcxx.run.log targets
  version=$(inside "$clang" -dumpversion)
  heading "$release: $clang with libc++"
  targets=$(printf 'redis_lock_example_%s ' "${examples[@]}")
  # shellcheck disable=SC2086 # several words are meant
  if ! logged libcxx inside cmake -G Ninja -S /srv/project -B "$build" -D CMAKE_CXX_COMPILER="${clang/clang/clang++}" \
    -D CMAKE_CXX_FLAGS="-Wall -Wextra -Werror -stdlib=libc++" -D REDIS_LOCK_BUILD_TESTS=OFF -D REDIS_LOCK_BUILD_COMMAND=OFF ||
    ! logged libcxx inside cmake --build "$build" --target $targets; then
    row "$clang $version, libc++: examples" ""
    return
  fi
  inside ctest --test-dir "$build" -R "^example\\.($(IFS='|' && echo "${examples[*]}"))\$" --output-on-failure >"$log" 2>&1 || true
  row "$clang $version, libc++: examples" "$(version_of redis-server)" "$log"
}

releases=("$@")
if ((${#releases[@]} == 0)); then
  releases=("${all_releases[@]}")
fi
for release in "${releases[@]}"; do
  heading "$release: prepare"
  if ! prepare "$release"; then
    rows+=("| $release | | | | not prepared | |")
    failed=1
    continue
  fi
  test_with g++
  test_with "${clang/clang/clang++}"
  examples_with_libcxx
done

heading "$(date -u +%F)"
echo "| Debian | compiler | hiredis | server | passed | failed |"
echo "| --- | --- | --- | --- | --- | --- |"
printf '%s\n' "${rows[@]}"
exit $failed
