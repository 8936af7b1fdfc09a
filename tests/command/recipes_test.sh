#!/usr/bin/env bash
# Runs the recipes of docs/command.md and docs/observing.md as they stand there, but for the paths in them.
# Redis is at $REDIS_URL (examples/run_with_redis.sh), the program at $REDIS_LOCK.
set -euo pipefail

docs=$(dirname "$0")/../../docs
export PATH=${REDIS_LOCK%/*}:$PATH
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT

failures=0
# expect <what> <found> <wanted>
expect() {
  if [[ $2 != "$3" ]]; then
    printf '%s\n  found:  %s\n  wanted: %s\n' "$1" "$2" "$3" >&2
    failures=$((failures + 1))
  fi
}

# block <page> <language> <text>: the code in this language that has this text.
block() {
  awk -v opening="\`\`\`$2" -v text="$3" '
    $0 == opening { inside = 1; code = ""; next }
    $0 == "```" && inside && index(code, text) { printf "%s", code; found = 1; exit }
    $0 == "```" { inside = 0 }
    inside { code = code $0 "\n" }
    END { exit !found }' "$docs/$1" |
    sed "s|redis://locks.internal|$REDIS_URL|; s|/usr/bin/redis-lock|$REDIS_LOCK|
         s|/usr/local/bin|$folder|g; s|/var/lib/prometheus/node-exporter|$folder|g"
}

# program <name>: a program of the recipes, from stdin.
program() {
  cat >"$folder/$1"
  chmod +x "$folder/$1"
}

program report <<END
#!/bin/sh
echo "\$REDIS_LOCK_NAME" >>$folder/reports
exit \$(cat $folder/status)
END
reports() { cat "$folder/reports" 2>/dev/null || true; }

# twice <what> <status of the report> <command>...: two hosts run it, one after the other, and one of them reports.
twice() {
  local what=$1 first=0 second=0
  echo "$2" >"$folder/status"
  rm -f "$folder/reports"
  "${@:3}" >"$folder/output" 2>&1 || first=$?
  "${@:3}" >>"$folder/output" 2>&1 || second=$?
  expect "$what: statuses" "$first $second" "$2 0"
  expect "$what: output, which cron would mail" "$(cat "$folder/output")" ""
  expect "$what: reports" "$(reports)" nightly-report
  redis-lock reset --yes nightly-report >/dev/null || expect "$what: the lock" "free too early" held
}

# As cron reads a crontab: lines of the environment, and of five fields and a command.
environment=(PATH="$PATH" HOME="$folder" SHELL=/bin/sh)
while read -r line; do
  if [[ $line =~ ^[A-Z_]+= ]]; then
    environment+=("$line")
  else
    command=$(sed -E 's/^([^ ]+ +){5}//' <<<"$line")
  fi
done < <(block command.md text "* * *")
for status in 0 3; do
  twice "crontab, report $status" $status env -i "${environment[@]}" /bin/sh -c "$command"
done

block command.md ini "[Service]" >"$folder/nightly-report.service"
block command.md ini "[Timer]" >"$folder/nightly-report.timer"
start=$(sed -n 's/^ExecStart=//p' "$folder/nightly-report.service")
twice ExecStart 0 /bin/sh -c "$start"
if command -v systemd-analyze >/dev/null; then
  systemd-analyze verify "$folder"/nightly-report.{service,timer} || expect "units" wrong right
fi

mapfile -d '' -t command < <(block command.md yaml "kind: CronJob" | /usr/bin/python3 -c '
import sys, yaml
job = yaml.safe_load(sys.stdin)["spec"]["jobTemplate"]["spec"]
(container,) = job["template"]["spec"]["containers"]
assert [variable["name"] for variable in container["env"]] == ["REDIS_URL"], container
print(*container["command"], sep="\0", end="\0")')
twice CronJob 0 "${command[@]}"

# As PID 1 of a container. Its command leaves children to it, and waits until there are no zombies.
program worker <<END
#!/bin/sh
exec 2>/dev/null  # the shell says of which signal its children die
trap 'exit 5' TERM
for i in 1 2 3; do (sh -c 'sleep 0.1' &); done
sleep 0.2
while grep -qs '^State:.Z' /proc/[0-9]*/status; do sleep 0.01; done
touch $folder/ready
while :; do sleep 0.01; done
END
namespaces=(unshare --pid --fork --kill-child --mount-proc)
((EUID == 0)) || namespaces+=(--user --map-root-user)
if "${namespaces[@]}" true 2>/dev/null; then
  mapfile -d '' -t command < <(block command.md dockerfile ENTRYPOINT | /usr/bin/python3 -c '
import json, sys
lines = dict(line.split(" ", 1) for line in sys.stdin)
print(*json.loads(lines["ENTRYPOINT"]), *json.loads(lines["CMD"]), sep="\0", end="\0")')
  "${namespaces[@]}" "${command[@]}" &
  until [[ -e $folder/ready ]]; do sleep 0.05; done
  kill -TERM "$(pgrep -P $!)"
  status=0
  wait $! || status=$?
  expect "container: status of a command that hears TERM" $status 5
  expect "container: its lock" "$(redis-lock show worker)" "worker is free"
else
  echo "there may be no PID namespaces here: the entry point was not run"
fi

# metrics <file>: its samples, as Prometheus reads them, sorted.
metrics() {
  /usr/bin/python3 -c '
import sys
from prometheus_client.parser import text_fd_to_metric_families
for family in text_fd_to_metric_families(sys.stdin):
    for sample in family.samples:
        print(sample.name, repr(sample.labels["name"]), sample.value)' <"$1" | LC_ALL=C sort
}

block observing.md sh "redis-lock list" >"$folder/list"
redis-cli -s "${REDIS_URL#unix://}" >/dev/null <<'END'
SET "lock:a \"b\" \\c\nd" x
SET lock:e x PX 60000
END
sh "$folder/list"
expect "metrics of locks" "$(metrics "$folder/redis_lock.prom" | sed -E 's/ (5[0-9]|60)\.[0-9]+$/ a minute/')" \
  "redis_lock_held 'a \"b\" \\\\c\\nd' 1.0
redis_lock_held 'e' 1.0
redis_lock_seconds_left 'e' a minute"
cp "$folder/redis_lock.prom" "$folder/before"
! REDIS_URL="unix://$folder/none?retry_for=0ms" sh "$folder/list" 2>/dev/null || expect "status without Redis" 0 69
cmp "$folder/before" "$folder/redis_lock.prom" || expect "metrics without Redis" other "as before"

block observing.md sh "redis-lock run" | program recorded
for status in 0 3; do
  twice "recorded, report $status" $status "$folder/recorded" nightly-report "$folder/report"
  expect "metrics of a job" \
    "$(metrics "$folder/redis_lock_job_nightly-report.prom" | sed -E 's/ [0-9]{10}\.0$/ a time/')" \
    "redis_lock_job_end_seconds 'nightly-report' a time
redis_lock_job_status 'nightly-report' $status.0"
done

((failures == 0))
