#!/usr/bin/env bash
# Runs the fault campaign for long, and says what it found:
#   tests/faults/campaign/run.sh [seconds] [seed] [servers]     1200 seconds on one server unless told
# Servers: one, sentinel (a master, two replicas, three sentinels), cluster (three masters, three replicas),
# quorum (five masters, and QuorumLock in the place of Lock).
# Processes contend for locks while a nemesis does harm to them, their connections and their server; a checker
# then reads what each of them wrote down. Exits with 0 if nothing was violated. The servers are private ones.
# A seed fixes what the nemesis chooses, not what the scheduler does.
# On Debian 12 it installs what is missing first (as root, or through sudo).
set -euo pipefail

cd "$(dirname "$0")/../../.."
needed_packages=(
  g++ cmake ninja-build pkg-config libhiredis-dev redis-server libgtest-dev libgmock-dev catch2
)

source tests/support/install_missing.sh

arguments=(--seconds "${1:-1200}")
if (($# > 1)); then
  arguments+=(--seed "$2")
fi
if (($# > 2)); then
  arguments+=(--servers "$3")
fi

install_missing "${needed_packages[@]}"
heading "Build: g++, Release"
cmake --preset gcc
cmake --build --preset gcc --target redis_lock_campaign
heading "Campaign"
build/gcc/tests/faults/campaign/campaign "${arguments[@]}"
