#!/usr/bin/env bash
# The manual page and the completion for bash know every option that the program has, by what its --help says, and
# no other; docs/command.md names them all, and no test that is not there; and completing works as a person at a prompt
# would have it.
#   docs_test.sh <redis-lock> <folder of the project>
set -euo pipefail

program=$1 folder=$2/tools/redis-lock guide=$2/docs/command.md

failures=0
# expect <what> <found> <wanted>
expect() {
  if [[ $2 != "$3" ]]; then
    printf '%s\n  found:  %s\n  wanted: %s\n' "$1" "$2" "$3" >&2
    failures=$((failures + 1))
  fi
}

sorted() { tr ' ' '\n' | sed '/^$/d' | LC_ALL=C sort -u | tr '\n' ' '; }

# options_of [<subcommand>]: those in the first column of --help, but -h.
options_of() {
  "$program" "$@" --help | sed -nE 's/^ +(-[^ ]*).*/\1/p' | tr ',' '\n' | grep -vx -e -h | sorted
}

# page_options <section>: the options that this section of the manual page explains.
page_options() {
  awk -v wanted="$1" '/^\.S[sh] /{ inside = ($0 == ".Ss " wanted) } inside && /^\.It Fl/' "$folder/redis-lock.1" |
    grep -oE 'Fl [^ ]+' | sed 's/^Fl /-/' | sorted
}

# synopsis <subcommand>: the options that the synopsis has for it.
synopsis() {
  awk -v wanted=".Cm $1" '/^\.Sh/{ inside = 0 } /^\.Nm/{ inside = 0 } $0 == wanted { inside = 1 } inside' \
    "$folder/redis-lock.1" | grep -oE 'Fl [^ ]+' | sed 's/^Fl /-/' | grep -vx -e -- | sorted
}

source /usr/share/bash-completion/bash_completion
# At a prompt bash has these from readline; here nobody types.
compopt() { :; }
source "$folder/redis-lock.bash"

# completed <word>...: what is offered for the last word, at the end of the line.
completed() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
  COMP_LINE=$* COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMP_KEY=9
  COMPREPLY=()
  _redis_lock || true
  printf '%s ' "${COMPREPLY[@]}" | sorted
}

for subcommand in run once list show reset; do
  options=$(options_of "$subcommand")
  [[ $options == *--uri* ]] || { echo "$program $subcommand --help names no options" >&2; exit 1; }
  expect "completion of $subcommand -" "$(completed redis-lock "$subcommand" -)" "$options"
  # The page says --help once, and -E and its long form together.
  short=$(sed 's/--help //; s/--conflict-exit-code //; s/--no-wait //; s/--wait //' <<<"$options")
  expect "synopsis of $subcommand" "$(synopsis "$subcommand")" "$short"
  for option in $options; do
    grep -qe "$option" "$guide" || expect "$option in docs/command.md" missing there
  done
done

expect "options of run in the page" "$(page_options "Options of run") " \
  "$(options_of run | sed -E 's/--(uri|uri-file|help|key-prefix|signal-prefix) //g') "
expect "options of once in the page" "$(page_options "Options of once")" "--every "
expect "options of once" "$(echo "$(options_of once)--at-least --slots" | sorted)" "$(echo "$(options_of run)--every" | sorted)"
expect "options of list in the page" "$(page_options "Options of list and show")" "--json --waiters "
expect "options of reset in the page" "$(page_options "Options of reset")" "--all --yes "
expect "options of show and reset in the page" "$(page_options "Options of show and reset")" "--semaphore --shared "
expect "options of all in the page" "$(page_options "Options of all subcommands")" \
  "--help --key-prefix --signal-prefix --uri --uri-file --version "

expect "subcommands" "$(completed redis-lock "")" "--help --version list once reset run show "
expect "one subcommand" "$(completed redis-lock re)" "reset "
expect "durations" "$(completed redis-lock run --wait 5)" "500ms 5m 5s "
expect "periods" "$(completed redis-lock once --every 2)" "20h "
expect "URIs" "$(completed redis-lock run --uri u)" "unix:// "
expect "what follows the name" "$(completed redis-lock run --wait 5s name "")" "-- "
expect "what follows the name of once" "$(completed redis-lock once name "")" "-- "
expect "the name itself" "$(completed redis-lock run --wait 5s "")" ""
expect "the command" "$(completed redis-lock run name -- mkdi)" "mkdir "
expect "nothing behind -- of another subcommand" "$(completed redis-lock list -- mkdi)" ""

# Each status that the program's help names is in the page and in docs/command.md.
for status in 64 69 71 74 75 77 126 127 128+n; do
  grep -q "^\.It Li $status$" "$folder/redis-lock.1" || expect "status $status in the page" missing there
  grep -q "^| $status |" "$guide" || expect "status $status in docs/command.md" missing there
done

# The tests that docs/command.md names in the column "held by": one at least in each row.
while IFS='|' read -r _ situation _ tests _; do
  names=$(grep -oE '[A-Za-z]+\.[A-Za-z]+' <<<"$tests") || expect "tests for$situation" none "one at least"
  for test in $names; do
    grep -qE "^TEST(_F)?\(${test%.*}, ${test#*.}\)" "$2"/tests/command/*.cpp || expect "$test in tests/command" missing there
  done
done < <(awk '/^\| .*\| held by \|/ { inside = 1; getline; next } !/^\|/ { inside = 0 } inside' "$guide")

mandoc -T lint -W warning "$folder/redis-lock.1" || expect "mandoc" warns "is silent"
((failures == 0))
