#!/usr/bin/env bash
# Looks at the form of all C++ files (clang-format) and for mistakes in all headers (clang-tidy):
#   tests/lint.sh          says what is wrong, changes nothing
#   tests/lint.sh --fix    corrects the form
# Needs no build. On Debian 12 it installs what is missing first (as root, or through sudo). What clang-tidy
# looks for, and what it leaves alone for which reason: .clang-tidy.
# Other versions of both programs want another form, and find other mistakes. If there is not this one, the script says
# so, and exits with status 77: CTest then counts the test as skipped.
set -euo pipefail

cd "$(dirname "$0")/.."
version=14  # Debian 12
source tests/support/install_missing.sh
install_missing clang-format clang-tidy libhiredis-dev

# of_version <program>: prints how the program of this version is called.
of_version() {
  local name
  for name in "$1-$version" "$1"; do
    if "$name" --version 2>/dev/null | grep -q "version $version\."; then
      echo "$name"
      return
    fi
  done
  echo "Skipped: the form of this project is that of $1 $version, and here is $("$1" --version | grep version)" >&2
  return 77
}
clang_format=$(of_version clang-format)
clang_tidy=$(of_version clang-tidy)

form=(--dry-run -Werror)
if [[ ${1:-} == --fix ]]; then
  form=(-i)
elif (($# > 0)); then
  echo "usage: tests/lint.sh [--fix]" >&2
  exit 64
fi
heading "clang-format"
find include tests examples tools \( -name '*.hpp' -o -name '*.cpp' \) -print0 | xargs -0 "$clang_format" "${form[@]}"
echo "clean"

# One file that includes every header: each is looked at, and what they share is read once. C++20, as the
# overloads with std::stop_token are there then. Without src.hpp, which needs REDIS_LOCK_SEPARATE_COMPILATION.
heading "clang-tidy"
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
(cd include && find . -name '*.hpp' ! -name src.hpp | sort | sed 's|^\./\(.*\)|#include <\1>|') >"$folder/every_header.cpp"
if ! "$clang_tidy" --quiet --config-file=.clang-tidy --warnings-as-errors='*' "$folder/every_header.cpp" \
  -- -std=c++20 -Iinclude 2>"$folder/counts"; then
  cat "$folder/counts" >&2
  exit 1
fi
echo "clean"  # the counts are of warnings in other people's headers
