#!/bin/sh
# Runs a program against a Redis of its own: a private redis-server behind a temporary Unix socket,
# given to the program as REDIS_URL and stopped afterwards. Exit status: the program's own.
# With REDIS_SERVERS=n there are n of them, which stand in REDIS_URLS, with spaces between.
# With SOURCE, compares what the program prints with what its source says it prints.
#
#   run_with_redis.sh PROGRAM [SOURCE]
set -eu

program=$1
source=${2-}
directory=$(mktemp -d)
servers=

stop() {
  for server in $servers; do
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  done
  rm -rf "$directory"
}
trap stop EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

if ! command -v redis-server >/dev/null; then
  echo "redis-server is not installed (Debian: apt-get install redis-server)" >&2
  exit 1
fi

REDIS_URLS=
count=0
while [ "$count" -lt "${REDIS_SERVERS:-1}" ]; do
  count=$((count + 1))
  socket=$directory/redis-$count.sock
  redis-server --port 0 --unixsocket "$socket" --dir "$directory" \
    --save '' --appendonly no >"$directory/redis-$count.log" 2>&1 &
  server=$!
  servers="$servers $server"
  tries=0
  until [ -S "$socket" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ] || ! kill -0 "$server" 2>/dev/null; then
      echo "redis-server did not start:" >&2
      cat "$directory/redis-$count.log" >&2
      exit 1
    fi
    sleep 0.1
  done
  REDIS_URLS="$REDIS_URLS unix://$socket"
done

export REDIS_URL="unix://$directory/redis-1.sock" REDIS_URLS
status=0
if [ -z "$source" ]; then
  "$program" || status=$?
  exit "$status"
fi

"$program" >"$directory/output" || status=$?
cat "$directory/output"
if [ "$status" -ne 0 ]; then
  echo "exit status $status" >&2
  exit "$status"
fi
# The lines of the first comment that stand under "Prints:".
sed -n '/^$/q; /^\/\/ Prints:$/,$ s,^//   ,,p' "$source" >"$directory/expected"
if ! [ -s "$directory/expected" ]; then
  echo "$source does not say what it prints" >&2
  exit 1
fi
diff -u "$directory/expected" "$directory/output"
