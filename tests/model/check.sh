#!/usr/bin/env bash
# Checks lock.pml, shared_lock.pml and semaphore.pml. The first comment of each explains its tests:
#   check.sh --names               prints the names of all tests
#   check.sh <name> [directory]    runs one of them; the directory is made anew, and kept (default: a temporary one)
# Exit status 0: SPIN found what the test expects, in the whole state space: nothing, or the one kind of error.
set -euo pipefail

models=$(cd "$(dirname "$0")" && pwd)

# What the server and the processes may do, in lock.pml.
signals="-DSLICES=0 -DTURNS"
any_time="-DSLICES=2 -DTURNS -DSIGNAL_MAY_END"
expiry="$any_time -DEXPIRY"
crash="-DSLICES=1 -DEXPIRY -DCRASHES=1"
doubt="$any_time -DLOSSES=2"
late="$expiry -DLATE"
late_2="$late -DN=2 -DLOSSES=3 -DCRASHES=1"

# And in the models of the family.
writers="-DWRITERS=2"
four="-DN=4 -DWRITERS=2"
in_order="-DSLICES=0"
ended="-DSLICES=1 -DEXPIRY"
frozen="$expiry -DENDINGS=ANY_NUMBER"
late_1="-DLATE -DIDS=3 -DLOSSES=1"
in_order_late="$in_order $late_1"
ended_late="$ended $late_1"
frozen_late="$frozen $late_1"
frozen_late_2="$frozen -DRENEWAL -DLATE -DN=2 -DIDS=6 -DLOSSES=2 -DCRASHES=1"

# How it fails, in pan's words.
deadlock="invalid end state"
not_served="acceptance cycle"
not_alone="assertion violated alone"
not_permitted="assertion violated permitted"
not_honest="assertion violated honest"
not_owned="assertion violated surely_owned"
two_signals="assertion violated (signals<=1)"
two_drains="assertion violated (drains<=1)"
three_signals="assertion violated (signals<=2)"
in_vain="assertion violated  !("
vain=no_wait_in_vain # the claim of that error

# A test is: its name; its model; the searches, which are "safe" (assertions, deadlock) and names of claims; what it
# expects, "holds" or an error; and the macros.
#
# States of the largest search, memory and time of one core, compilers included (spin 6.5.2, gcc 12):
#   signals        2 500  220 MB  2 s        late         1 400 000  340 MB  9 s
#   expiry        13 000  220 MB  2 s        late-2       1 200 000  310 MB  6 s
#   crash         75 000  220 MB  3 s        late-safe    4 000 000  560 MB 10 s
#   crash-turns   46 000  220 MB  2 s        late-safe-2  2 400 000  450 MB  7 s
#   doubt         42 000  220 MB  2 s        each of the others: found out in 1 s
#
#   shared-expiry             1 300 000  410 MB  7 s        semaphore-expiry         550 000  300 MB  5 s
#   shared-frozen               190 000  230 MB  9 s        semaphore-frozen          79 000  220 MB  7 s
#   shared-frozen-crash         570 000  280 MB 12 s        semaphore-frozen-4     1 800 000  430 MB 32 s
#   shared-crash-4              410 000  270 MB 14 s        semaphore-late           380 000  270 MB 10 s
#   shared-late                 290 000  240 MB 12 s        semaphore-late-served    530 000  270 MB  5 s
#   shared-late-writers         310 000  250 MB 13 s        semaphore-late-safe      720 000  280 MB  5 s
#   shared-late-2             1 900 000  400 MB 17 s        semaphore-late-safe-2    240 000  230 MB  3 s
#   shared-late-safe          1 700 000  390 MB  9 s        others that hold: 2 to 6 s
#   shared-late-safe-writers  2 000 000  420 MB  9 s        those that fail: found out in 1 to 3 s
#   shared-late-safe-2        1 100 000  300 MB  6 s
tests="
signals              | lock | safe served | holds        | $signals
expiry               | lock | safe served | holds        | $expiry
crash                | lock | safe served | holds        | $crash
crash-turns          | lock | safe served | holds        | $expiry -DCRASHES=1
doubt                | lock | safe served | holds        | $doubt
late                 | lock | safe served | holds        | $late -DLOSSES=1 -DCRASHES=1
late-2               | lock | served      | holds        | $late_2
late-safe            | lock | safe        | holds        | $late -DLOSSES=2
late-safe-2          | lock | safe        | holds        | $late -DN=2 -DLOSSES=ANY_NUMBER -DCRASHES=1
no-signal            | lock | safe        | $deadlock    | $signals -DNO_SIGNAL
not-pipelined        | lock | served      | $not_served  | $crash -DNOT_PIPELINED
reused-id            | lock | safe        | $not_alone   | $late_2 -DREUSED_ID
same-id-after-return | lock | safe        | $not_alone   | $late_2 -DSAME_ID_AFTER_RETURN
lease-from-reply     | lock | safe        | $not_alone   | $expiry -DLEASE_FROM_REPLY
full-lease-in-doubt  | lock | safe        | $not_alone   | $late_2 -DFULL_LEASE_IN_DOUBT
believe-expired      | lock | safe        | $not_owned   | $expiry -DBELIEVE_EXPIRED
release-any-id       | lock | safe        | $not_alone   | $expiry -DRELEASE_ANY_ID
signals-pile-up      | lock | safe        | $two_signals | $signals -DSIGNALS_PILE_UP
no-doubt             | lock | served      | $not_served  | $doubt -DNO_DOUBT
keep-on-giving-up    | lock | served      | $not_served  | $doubt -DKEEP_ON_GIVING_UP
limit-late-signal    | lock | safe        | $deadlock    | $signals -DSIGNAL_MAY_END
limit-turns          | lock | served      | $not_served  | $crash -DTURNS
limit-dead-holder    | lock | safe        | $deadlock    | -DSLICES=0 -DEXPIRY -DCRASHES=1

shared-signals              | shared_lock | safe writer reader $vain | holds        | $in_order $four
shared-turns                | shared_lock | safe served              | holds        | $signals $four
shared-slices               | shared_lock | safe writer              | holds        | $any_time
shared-expiry               | shared_lock | safe                     | holds        | $frozen -DRENEWAL $four
shared-expiry-served        | shared_lock | served                   | holds        | $frozen $writers
shared-crash                | shared_lock | safe writer reader       | holds        | $ended -DCRASHES=1
shared-crash-writers        | shared_lock | safe writer reader       | holds        | $ended -DCRASHES=1 $writers
shared-crash-4              | shared_lock | safe writer reader       | holds        | $ended -DCRASHES=1 $four
shared-frozen               | shared_lock | safe writer reader       | holds        | $ended -DENDINGS=2
shared-frozen-writers       | shared_lock | safe writer reader       | holds        | $ended -DENDINGS=2 $writers
shared-frozen-crash         | shared_lock | writer reader            | holds        | $ended -DENDINGS=2 -DCRASHES=1
shared-doubt                | shared_lock | safe writer reader       | holds        | $in_order -DLOSSES=2
shared-doubt-writers        | shared_lock | safe writer reader       | holds        | $in_order -DLOSSES=2 $writers
shared-late                 | shared_lock | safe writer reader       | holds        | $ended_late
shared-late-writers         | shared_lock | safe writer reader       | holds        | $ended_late $writers
shared-late-2               | shared_lock | served                   | holds        | $late_2 -DIDS=6
shared-late-safe            | shared_lock | safe                     | holds        | $frozen_late
shared-late-safe-writers    | shared_lock | safe                     | holds        | $frozen_late $writers
shared-late-safe-2          | shared_lock | safe                     | holds        | $frozen_late_2
shared-doubt-late           | shared_lock | $vain                    | holds        | -DSLICES=1 $late_1
shared-no-signal            | shared_lock | safe                     | $deadlock    | $in_order -DNO_SIGNAL
shared-no-chain             | shared_lock | safe                     | $deadlock    | $in_order -DNO_CHAIN
shared-no-drained           | shared_lock | safe                     | $deadlock    | $in_order -DNO_DRAINED
shared-stale-signal         | shared_lock | reader                   | $not_served  | $in_order -DSTALE_SIGNAL
shared-ignore-gate          | shared_lock | safe                     | $not_alone   | $in_order -DIGNORE_GATE
shared-ignore-readers       | shared_lock | safe                     | $not_alone   | $in_order -DIGNORE_READERS
shared-gate-not-kept        | shared_lock | writer                   | $not_served  | $any_time -DGATE_NOT_KEPT
shared-gate-not-renewed     | shared_lock | writer                   | $not_served  | $ended -DGATE_NOT_RENEWED
shared-count-the-dead       | shared_lock | writer                   | $not_served  | $ended -DCRASHES=1 -DCOUNT_THE_DEAD
shared-client-clock         | shared_lock | safe                     | $not_alone   | $in_order -DCLIENT_CLOCK
shared-one-end-for-all      | shared_lock | safe                     | $not_alone   | $frozen -DONE_END_FOR_ALL
shared-leave-without-purge  | shared_lock | safe                     | $not_honest  | $frozen -DLEAVE_WITHOUT_PURGE
shared-try-enters           | shared_lock | safe                     | $deadlock    | $in_order -DIDS=2 -DTRY_ENTERS
shared-keep-on-giving-up    | shared_lock | safe                     | $deadlock    | $in_order -DIDS=2 -DKEEP_ON_GIVING_UP
shared-give-up-silently     | shared_lock | safe                     | $deadlock    | $in_order -DGIVE_UP_SILENTLY
shared-no-doubt             | shared_lock | served                   | $not_served  | $doubt -DIDS=3 -DNO_DOUBT
shared-lease-from-reply     | shared_lock | safe                     | $not_alone   | $frozen -DLEASE_FROM_REPLY
shared-old-lease-for-new    | shared_lock | safe                     | $not_alone   | $frozen -DOLD_LEASE_FOR_NEW
shared-late-renewal         | shared_lock | safe                     | $not_alone   | $frozen_late_2 -DLATE_RENEWAL
shared-believe-expired      | shared_lock | safe                     | $not_owned   | $frozen -DBELIEVE_EXPIRED
shared-reused-id            | shared_lock | safe                     | $not_alone   | $frozen_late -DREUSED_ID
shared-same-id-after-return | shared_lock | safe                     | $not_alone   | $frozen_late -DSAME_ID_AFTER_RETURN
shared-signals-pile-up      | shared_lock | safe                     | $two_signals | $any_time -DSIGNALS_PILE_UP
shared-drains-pile-up       | shared_lock | safe                     | $two_drains  | $in_order -DDRAINS_PILE_UP
shared-limit-slices         | shared_lock | reader                   | $not_served  | -DSLICES=2
shared-limit-turns          | shared_lock | reader                   | $not_served  | $signals
shared-limit-late-signal    | shared_lock | safe                     | $deadlock    | $in_order -DSIGNAL_MAY_END
shared-limit-dead-holder    | shared_lock | safe                     | $deadlock    | $in_order -DEXPIRY -DCRASHES=1

semaphore-signals              | semaphore | safe acquirer $vain | holds          | $in_order -DN=4 -DSTAYS
semaphore-signals-3            | semaphore | safe acquirer $vain | holds          | $in_order -DN=4 -DSTAYS -DPERMITS=3
semaphore-turns                | semaphore | safe served         | holds          | $signals -DN=4 -DSTAYS
semaphore-expiry               | semaphore | safe                | holds          | $frozen -DRENEWAL -DN=4
semaphore-expiry-served        | semaphore | served              | holds          | $frozen
semaphore-crash                | semaphore | safe acquirer       | holds          | $ended -DCRASHES=1 -DN=4
semaphore-frozen               | semaphore | safe acquirer       | holds          | $ended -DENDINGS=2
semaphore-frozen-4             | semaphore | safe acquirer       | holds          | $ended -DENDINGS=2 -DN=4
semaphore-doubt                | semaphore | safe acquirer $vain | holds          | $in_order -DLOSSES=2
semaphore-doubt-late           | semaphore | $vain               | holds          | $in_order_late -DN=4
semaphore-late                 | semaphore | safe acquirer       | holds          | $ended_late -DCRASHES=1
semaphore-late-served          | semaphore | served              | holds          | $any_time -DEXPIRY -DCRASHES=1 $late_1
semaphore-late-safe            | semaphore | safe                | holds          | $frozen_late
semaphore-late-safe-2          | semaphore | safe                | holds          | $frozen_late_2 -DPERMITS=1
semaphore-no-signal            | semaphore | safe                | $deadlock      | $in_order -DSTAYS -DNO_SIGNAL
semaphore-one-signal           | semaphore | safe                | $deadlock      | $in_order -DSTAYS -DN=4 -DONE_SIGNAL
semaphore-signals-pile-up      | semaphore | safe                | $three_signals | $in_order -DSIGNALS_PILE_UP
semaphore-found-takes-signal   | semaphore | $vain               | $in_vain       | $in_order_late -DFOUND_TAKES_SIGNAL
semaphore-found-keeps-signal   | semaphore | $vain               | $in_vain       | $in_order_late -DFOUND_KEEPS_SIGNAL
semaphore-count-the-dead       | semaphore | served              | $not_served    | $ended -DCRASHES=2 -DCOUNT_THE_DEAD
semaphore-client-clock         | semaphore | safe                | $not_permitted | $in_order -DCLIENT_CLOCK
semaphore-one-end-for-all      | semaphore | safe                | $not_permitted | $frozen -DONE_END_FOR_ALL
semaphore-leave-without-purge  | semaphore | safe                | $not_honest    | $frozen -DLEAVE_WITHOUT_PURGE
semaphore-keep-on-giving-up    | semaphore | served              | $not_served    | $doubt -DIDS=3 -DKEEP_ON_GIVING_UP
semaphore-no-doubt             | semaphore | served              | $not_served    | $doubt -DIDS=3 -DNO_DOUBT
semaphore-lease-from-reply     | semaphore | safe                | $not_permitted | $frozen -DLEASE_FROM_REPLY
semaphore-old-lease-for-new    | semaphore | safe                | $not_permitted | $frozen_late -DOLD_LEASE_FOR_NEW
semaphore-believe-expired      | semaphore | safe                | $not_owned     | $frozen -DBELIEVE_EXPIRED
semaphore-reused-id            | semaphore | safe                | $not_permitted | $frozen_late -DREUSED_ID
semaphore-same-id-after-return | semaphore | safe                | $not_permitted | $frozen_late -DSAME_ID_AFTER_RETURN
semaphore-limit-slices         | semaphore | acquirer            | $not_served    | -DSLICES=2
semaphore-limit-turns          | semaphore | acquirer            | $not_served    | $signals
semaphore-limit-late-signal    | semaphore | safe                | $deadlock      | $in_order -DSTAYS -DSIGNAL_MAY_END
semaphore-limit-dead-holder    | semaphore | safe                | $deadlock      | $in_order -DEXPIRY -DCRASHES=2
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
IFS='|' read -r _ model searches expected macros <<<"$line"
read -r model <<<"$model"
read -ra searches <<<"$searches"
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
cp -- "$models"/*.pml .

if ! "${SPIN:-spin}" "${macros[@]}" -a "$model.pml" >spin.log 2>&1 || grep -qi 'error\|warning' spin.log; then
  cat spin.log
  fail "spin does not accept the model"
fi

# A search of a second is over before an optimised checker is compiled.
optimise=()
case $name in
  *late* | *-expiry | *frozen* | *crash-4) optimise=(-O1) ;;
esac

# compile <checker> <options of gcc>
compile() {
  local checker=$1
  shift
  "${CC:-gcc}" -w -DMEMLIM=900 "${optimise[@]}" "$@" -o "$checker" pan.c || fail "pan.c does not compile"
}

# search <what>: explores all states, for "safe" or for the claim of that name. SPIN's own checker, pan, ends with
# status 0 whatever it finds, and prints a warning where it did not look everywhere.
search() {
  local what=$1 log=$1.log checker=./pan-progress options=(-a -f -N "$1")
  if [[ $what == safe ]]; then
    checker=./pan-safe options=()
    compile $checker -DSAFETY -DNOCLAIM
  elif [[ ! -x $checker ]]; then
    compile $checker -DNFAIR=3
  fi
  "$checker" -m1500000 "${options[@]}" >"$log" 2>&1 || fail "pan ended with status $?: $(cat "$log")"
  cat "$log"

  grep -q '^Full statespace search for:' "$log" || fail "not an exhaustive search"
  grep -qE '^\s+assertion violations\s+\+' "$log" || fail "assertions were not checked"
  if [[ $what == safe ]]; then
    grep -qE '^\s+invalid end states\s+\+' "$log" || fail "deadlock was not checked"
  else
    grep -qE "^\s+never claim\s+\+ \($what\)" "$log" || fail "the claim was not checked"
    grep -qE '^\s+acceptance\s+cycles\s+\+ \(fairness enabled\)' "$log" || fail "progress was not checked"
  fi
  if [[ $expected == holds ]]; then
    if grep -v '^pan: elapsed time\|^pan: rate\|^pan: ltl formula' "$log" |
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

for what in "${searches[@]}"; do
  search "$what"
done
if [[ $expected == holds ]]; then
  echo "PASSED: $name holds"
else
  echo "PASSED: $name fails as expected: $expected"
fi
