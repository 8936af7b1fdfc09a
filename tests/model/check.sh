#!/usr/bin/env bash
# Checks lock.pml, whose first comment explains the tests:
#   check.sh --names               prints the names of all tests
#   check.sh <name> [directory]    runs one of them; the directory is made anew, and kept (default: a temporary one)
# Exit status 0: SPIN found what the test expects, in the whole state space: nothing, or the one kind of error.
set -euo pipefail

model=$(cd "$(dirname "$0")" && pwd)/lock.pml

# What the server and the processes may do.
signals="-DSLICES=0 -DTURNS"
any_time="-DSLICES=2 -DTURNS -DSIGNAL_MAY_END"
expiry="$any_time -DEXPIRY"
crash="-DSLICES=1 -DEXPIRY -DCRASHES=1"
doubt="$any_time -DLOSSES=2"
late="$expiry -DLATE"
late_2="$late -DN=2 -DLOSSES=3 -DCRASHES=1"

# How it fails, in pan's words.
deadlock="invalid end state"
not_served="acceptance cycle"
not_alone="assertion violated alone"

# A test is: its name; "safe" (assertions, deadlock), "served" (assertions, progress) or "both"; what it expects,
# "holds" or an error; and the macros.
#
# States of the larger search, memory and time of one core, compilers included (spin 6.5.2, gcc 12):
#   signals        2 500  220 MB  2 s        late         1 400 000  340 MB  9 s
#   expiry        13 000  220 MB  2 s        late-2       1 200 000  310 MB  6 s
#   crash         75 000  220 MB  3 s        late-safe    4 000 000  560 MB 10 s
#   crash-turns   46 000  220 MB  2 s        late-safe-2  2 400 000  450 MB  7 s
#   doubt         42 000  220 MB  2 s        each of the others: found out in 1 s
tests="
signals              | both   | holds         | $signals
expiry               | both   | holds         | $expiry
crash                | both   | holds         | $crash
crash-turns          | both   | holds         | $expiry -DCRASHES=1
doubt                | both   | holds         | $doubt
late                 | both   | holds         | $late -DLOSSES=1 -DCRASHES=1
late-2               | served | holds         | $late_2
late-safe            | safe   | holds         | $late -DLOSSES=2
late-safe-2          | safe   | holds         | $late -DN=2 -DLOSSES=ANY_NUMBER -DCRASHES=1
no-signal            | safe   | $deadlock     | $signals -DNO_SIGNAL
not-pipelined        | served | $not_served   | $crash -DNOT_PIPELINED
reused-id            | safe   | $not_alone    | $late_2 -DREUSED_ID
same-id-after-return | safe   | $not_alone    | $late_2 -DSAME_ID_AFTER_RETURN
lease-from-reply     | safe   | $not_alone    | $expiry -DLEASE_FROM_REPLY
full-lease-in-doubt  | safe   | $not_alone    | $late_2 -DFULL_LEASE_IN_DOUBT
believe-expired      | safe   | assertion violated surely_owned | $expiry -DBELIEVE_EXPIRED
release-any-id       | safe   | $not_alone    | $expiry -DRELEASE_ANY_ID
signals-pile-up      | safe   | assertion violated (signals<=1) | $signals -DSIGNALS_PILE_UP
no-doubt             | served | $not_served   | $doubt -DNO_DOUBT
keep-on-giving-up    | served | $not_served   | $doubt -DKEEP_ON_GIVING_UP
limit-late-signal    | safe   | $deadlock     | $signals -DSIGNAL_MAY_END
limit-turns          | served | $not_served   | $crash -DTURNS
limit-dead-holder    | safe   | $deadlock     | -DSLICES=0 -DEXPIRY -DCRASHES=1
"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

if [[ ${1-} == --names ]]; then
  awk '{ if (NF) print $1 }' <<<"$tests"
  exit
fi
[[ $# == 1 || $# == 2 ]] || fail "usage: check.sh --names | <name> [directory]"
name=$1
line=$(awk -v name="$name" '$1 == name' <<<"$tests")
[[ $name && $line ]] || fail "there is no test \"$name\""
IFS='|' read -r _ kind expected macros <<<"$line"
read -r kind <<<"$kind"
read -r expected <<<"$expected"
read -ra macros <<<"$macros"

if [[ $# == 2 ]]; then
  rm -rf -- "$2"
  mkdir -p -- "$2"
  cd -- "$2"
else
  directory=$(mktemp -d)
  trap 'rm -rf -- "$directory"' EXIT
  cd -- "$directory"
fi
cp -- "$model" lock.pml

if ! "${SPIN:-spin}" "${macros[@]}" -a lock.pml >spin.log 2>&1 || grep -qi 'error\|warning' spin.log; then
  cat spin.log
  fail "spin does not accept the model"
fi

# search <what it is> <options of gcc> -- <options of pan>: explores all states. SPIN's own checker, pan, ends with
# status 0 whatever it finds, and prints a warning where it did not look everywhere.
search() {
  local what=$1 compile=() log
  shift
  while [[ $1 != -- ]]; do
    compile+=("$1")
    shift
  done
  shift
  log=$what.log
  # A search of a second is over before an optimised checker is compiled.
  [[ $name == late* ]] && compile+=(-O1)
  "${CC:-gcc}" -w -DMEMLIM=900 "${compile[@]}" -o "pan-$what" pan.c || fail "pan.c does not compile"
  "./pan-$what" -m1500000 "$@" >"$log" 2>&1 || fail "pan ended with status $?: $(cat "$log")"
  cat "$log"

  grep -q '^Full statespace search for:' "$log" || fail "not an exhaustive search"
  grep -qE '^\s+assertion violations\s+\+' "$log" || fail "assertions were not checked"
  if [[ $what == safe ]]; then
    grep -qE '^\s+invalid end states\s+\+' "$log" || fail "deadlock was not checked"
  else
    grep -qE '^\s+never claim\s+\+ \(served\)' "$log" || fail "the claim was not checked"
    grep -qE '^\s+acceptance\s+cycles\s+\+ \(fairness enabled\)' "$log" || fail "progress was not checked"
  fi
  if [[ $expected == holds ]]; then
    if grep -v '^pan: elapsed time\|^pan: rate' "$log" |
      grep -qiE '^pan:|max search depth|not completed|out of memory|memory limit|truncat'; then
      fail "it does not hold, or not all of the states were looked at"
    fi
    grep -q ', errors: 0$' "$log" || fail "it does not hold"
  else
    local found
    found=$(grep '^pan:1: ' "$log") || fail "expected \"$expected\", found nothing"
    [[ $found == "pan:1: $expected "* ]] || fail "expected \"$expected\", found \"$found\""
    grep -q ', errors: 1$' "$log" || fail "expected one error"
  fi
}

[[ $kind == served ]] || search safe -DSAFETY -DNOCLAIM --
[[ $kind == safe ]] || search served -DNFAIR=3 -- -a -f -N served
if [[ $expected == holds ]]; then
  echo "PASSED: $name holds"
else
  echo "PASSED: $name fails as expected: $expected"
fi
