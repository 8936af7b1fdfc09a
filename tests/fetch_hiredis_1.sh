#!/usr/bin/env bash
# Unpacks hiredis 1.2, as Debian 13 (trixie) packages it, under build/trixie/root: the CMake preset
# "clang" builds against it. Nothing is installed.
set -euo pipefail

cd "$(dirname "$0")/.."
source tests/support/unpack_debian.sh

unpack_debian build/trixie trixie libhiredis-dev libhiredis1.1.0
