#!/usr/bin/env bash
# examples/quickstart.sh and tests/run.sh in a folder whose name has spaces and that their user cannot write to: the
# former builds elsewhere, the latter says what it needs. A stand-in for cmake shows where it would build.
#   read_only_test.sh <folder of the project>
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
project="$work/read only/redis lock"

fail() {
  echo "$*" >&2
  exit 1
}

# as_user <command>...: as a user who may not write everywhere, as root may.
as_user() {
  if ((EUID == 0)); then
    setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
  else
    "$@"
  fi
}

mkdir -p "$project" "$work/tools" "$work/home"
cp -R "$1/examples" "$1/tests" "$project"
# cmake -S … -B <build> …, and cmake --build <build> …
cat >"$work/tools/cmake" <<'END'
#!/bin/sh
if [ "$1" = --build ]; then
  mkdir -p "$2/examples"
  printf '#!/bin/sh\necho "built in $0"\n' >"$2/examples/quickstart"
  chmod +x "$2/examples/quickstart"
fi
END
chmod -R a=rX "$work/read only"
chmod a+rx "$work" "$work/tools" "$work/tools/cmake"
chmod a+rwx "$work/home"
export HOME=$work/home PATH=$work/tools:$PATH REDIS_URL=unix:///none
unset XDG_CACHE_HOME

said=$(as_user "$project/examples/quickstart.sh" 2>&1) || fail "$said"
[[ $said == *"built in $HOME/.cache/redis_lock/quickstart/examples/quickstart"* ]] || fail "$said"
said=$(XDG_CACHE_HOME=/proc/none as_user "$project/examples/quickstart.sh" 2>&1) && fail "did not fail: $said"
[[ $said == *"set XDG_CACHE_HOME"* ]] || fail "$said"
said=$(as_user "$project/tests/run.sh" gcc 2>&1) && fail "did not fail: $said"
[[ $said == *"$project/build, which cannot be written to"* ]] || fail "$said"

# Where it can be written to, it is.
chmod -R a+w "$work/read only"
said=$(as_user "$project/examples/quickstart.sh" 2>&1) || fail "$said"
[[ $said == *"built in $project/build/quickstart/examples/quickstart"* ]] || fail "$said"
