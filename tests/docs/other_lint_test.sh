#!/usr/bin/env bash
# tests/lint.sh judges no form by another version of clang-format than its own: it says so, and exits with status 77.
set -euo pipefail

tools=$(mktemp -d)
trap 'rm -r "$tools"' EXIT
for name in clang-format clang-format-14; do
  printf '#!/bin/sh\necho "clang-format version 19.1.7"\n' >"$tools/$name"
  chmod +x "$tools/$name"
done
status=0
said=$(PATH=$tools:$PATH "$(dirname "$0")/../lint.sh" 2>&1) || status=$?
echo "$said"
[[ $status == 77 && $said == *"clang-format 14, and here is clang-format version 19.1.7"* ]]
