#!/usr/bin/env bash
# How long it takes from `apt-get install ./libredis-lock-dev….deb` to a running program on a Debian 12 that has
# a compiler and nothing else of what the library needs: as root,
#   cmake/packaging/try_on_clean_debian.sh [<option of cmake for the build of the packages>...]
# Makes a minimal system in a temporary folder with debootstrap, from the mirror that this machine's apt uses,
# and removes it at the end. The server in it listens on a Unix socket only.
set -euo pipefail

# In a mount namespace of its own, so that no mount outlives the script.
if [[ ${1-} != --unshared ]]; then
  exec unshare --mount --propagation private "$0" --unshared "$@"
fi
shift

project=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
system=$work/system

finish() {
  [[ ! -e $system/run/try.pid ]] || kill "$(<"$system/run/try.pid")" || true
  ! mountpoint -q "$system/proc" || umount "$system/proc"
  rm -rf --one-file-system "$work"
}
trap finish EXIT

heading() { printf '\n=== %s\n' "$*"; }

# inside <command>...: in the minimal system, with nothing of this one's environment but a proxy, if there is one.
inside() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    ${http_proxy:+http_proxy="$http_proxy"} chroot "$system" "$@"
}

# since <seconds>: what has passed since then, as $EPOCHREALTIME counts.
since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", to - from }'; }

heading "The packages"
cmake -S "$project" -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr \
  -DREDIS_LOCK_BUILD_TESTS=OFF -DREDIS_LOCK_BUILD_EXAMPLES=OFF "$@"
cmake --build "$work/build"
cpack -G DEB --config "$work/build/CPackConfig.cmake" -B "$work/packages"

heading "A minimal Debian 12"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | sed -n 1p)
[[ $mirror ]] || {
  echo "apt knows no mirror of Debian 12 here, or apt-get update has not been run" >&2
  exit 1
}
debootstrap --variant=minbase bookworm "$system" "$mirror" >"$work/debootstrap.log" || {
  tail -n 20 "$work/debootstrap.log" >&2
  exit 1
}
mount -t proc proc "$system/proc"
printf '#!/bin/sh\nexit 101\n' >"$system/usr/sbin/policy-rc.d"  # no package starts a service
chmod +x "$system/usr/sbin/policy-rc.d"
echo 'Dpkg::Use-Pty "0";' >"$system/etc/apt/apt.conf.d/90no-pty"
cp "$work"/packages/*.deb "$system/srv/"
mkdir "$system/srv/program"

cat >"$system/srv/program/main.cpp" <<'PROGRAM'
#include <iostream>
#include <mutex>
#include <redis_lock/redis_lock.hpp>

int main() {
  redis_lock::Client client{"unix:///run/try.sock"};
  redis_lock::Lock lock{client, "nightly-report"};
  std::lock_guard guard{lock};
  std::cout << "one process at a time gets here, this one as " << lock.owner().value() << '\n';
}
PROGRAM
cat >"$system/srv/program/CMakeLists.txt" <<'PROJECT'
cmake_minimum_required(VERSION 3.22)
project(program LANGUAGES CXX)
find_package(redis_lock REQUIRED)
add_executable(program main.cpp)
target_link_libraries(program PRIVATE redis_lock::redis_lock)
PROJECT

heading "Its compiler, and a server"
began=$EPOCHREALTIME
inside apt-get update -q >"$work/tools.log"
inside apt-get install -q -y --no-install-recommends g++ make cmake pkg-config redis-server >>"$work/tools.log"
tools=$(since "$began")
inside redis-server --port 0 --unixsocket /run/try.sock --pidfile /run/try.pid --save '' --appendonly no \
  >"$work/redis.log" &
until [[ -S $system/run/try.sock ]]; do
  kill -0 $!
  sleep 0.1
done

heading "apt-get install ./libredis-lock-dev…"
began=$EPOCHREALTIME
inside sh -c 'apt-get install -q -y --no-install-recommends /srv/libredis-lock-dev_*.deb'
installed=$(since "$began")
inside sh -c 'cd /srv/program && cmake -S . -B build && cmake --build build && build/program'
by_cmake=$(since "$began")

heading "The same by pkg-config"
again=$EPOCHREALTIME
inside sh -c 'cd /srv/program && c++ -std=c++17 main.cpp $(pkg-config --cflags --libs redis_lock) -o by_pkg_config &&
  ./by_pkg_config'
by_pkg_config=$(since "$again")

if compgen -G "$system/srv/redis-lock_*.deb" >/dev/null; then
  heading "apt-get install ./redis-lock…"
  inside sh -c 'apt-get install -q -y --no-install-recommends /srv/redis-lock_*.deb'
  inside redis-lock run --uri unix:///run/try.sock --no-wait nightly-report -- echo "run by redis-lock"
fi

heading "Times"
echo "compiler, cmake, pkg-config and redis-server: $tools"
echo "apt-get install ./libredis-lock-dev….deb: $installed"
echo "from its start to the running program, by CMake: $by_cmake"
echo "the program again, by pkg-config: $by_pkg_config"
