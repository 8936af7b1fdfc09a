#!/usr/bin/env bash
# Programs link libatomic where the compiler needs it for an atomic of 8 bytes, and nowhere else: in the project,
# through the installed package, and through pkg-config. This processor is made to look like one that needs it.
#   libatomic_test.sh <folder of the project> <directory to work in> <option of cmake>...
set -euo pipefail

project=$1 work=$2
shift 2

fail() {
  echo "$*" >&2
  exit 1
}

# links <project> <option>...: prints how often the build links libatomic.
links() {
  local source=$1
  shift
  rm -rf "$work/build"
  cmake -S "$source" -B "$work/build" "${options[@]}" "$@" >"$work/log" 2>&1 || fail "$(<"$work/log")"
  { grep -rhoe '-latomic' "$work/build" --include=build.ninja --include=link.txt || true; } | wc -l
}

rm -rf "$work"
mkdir -p "$work"
for needed in TRUE FALSE; do
  options=("$@" "-DREDIS_LOCK_HAVE_ATOMICS=$([[ $needed == TRUE ]] && echo FALSE || echo TRUE)"
    -DREDIS_LOCK_BUILD_COMMAND=OFF)
  in_project=$(links "$project/tests/package/add_subdirectory")
  links "$project" -DREDIS_LOCK_BUILD_TESTS=OFF -DREDIS_LOCK_BUILD_EXAMPLES=OFF >/dev/null
  cmake --install "$work/build" --prefix "$work/$needed" --component dev >/dev/null
  by_pkg_config=$(grep -ce '-latomic' "$work/$needed/share/pkgconfig/redis_lock.pc" || true)
  by_package=$(links "$project/tests/package/find_package" "-DCMAKE_PREFIX_PATH=$work/$needed")
  for count in "$in_project" "$by_pkg_config" "$by_package"; do
    [[ $((count > 0)) == $([[ $needed == TRUE ]] && echo 1 || echo 0) ]] ||
      fail "needed: $needed; linked in the project: $in_project, by pkg-config: $by_pkg_config, by the package: $by_package"
  done
done

# The installed package decides by the processor of its user.
[[ $(links "$project/tests/package/find_package" "-DCMAKE_PREFIX_PATH=$work/TRUE") == 0 ]] ||
  fail "linked through a package that was installed from where it is needed"
