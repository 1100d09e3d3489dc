#!/usr/bin/env bash
# Docker's name server answers a query without EDNS with 30 of 40 replicas, in another order each time, valid for 600 s.
#
# Versions: Docker 26.1.5, image python:3.13-slim; seen 2026-11-29. Needs an engine, otherwise this exits with 2. The
# image stays.
#
# Forty containers have one name on a network of their own, as `docker compose up --scale` makes them. A client that
# sends no EDNS record, like gRPC's c-ares or a C library with its defaults, gets 512 bytes over UDP: 30 addresses and
# the truncation mark. With EDNS, or over TCP, it gets all 40. The order changes with each query, so the 30 are others
# each time, and a client that ignores the mark sees replicas come and go that never moved. All have a time to live of
# 600 s, for which a caching resolver keeps a replica that was removed a second ago.
#
# Prints the addresses of an answer, whether it is truncated, and its time to live.
#
# Seen:
#     UDP: 30 addresses, truncated True, 600 s
#     UDP, EDNS: 40 addresses, truncated False, 600 s
#     TCP: 40 addresses, truncated False, 600 s
#     different addresses first in 20 answers: 14
#     addresses in all of 20 answers over UDP: 0 of 40
set -euo pipefail

docker info >/dev/null 2>&1 || { echo "needs a running Docker engine" >&2; exit 2; }
docker version --format '{{.Server.Version}}'
name=findings-$$
clean_up() {
  docker ps --all --quiet --filter "label=$name" | xargs --no-run-if-empty docker rm --force >/dev/null
  docker network rm "$name" >/dev/null 2>&1 || true
}
trap clean_up EXIT
docker pull --quiet python:3.13-slim >/dev/null 2>&1 || docker image inspect python:3.13-slim >/dev/null || exit 2
docker network create "$name" >/dev/null
seq 40 | xargs --max-procs 4 --replace docker run --detach --network "$name" --network-alias replicas --label "$name" \
  python:3.13-slim sleep 600 >/dev/null

docker run --rm --interactive --network "$name" --label "$name" python:3.13-slim python - <<'PYTHON'
import socket
import struct
import sys

SERVER = ("127.0.0.11", 53)
QUESTION = b"\x08replicas\0" + struct.pack("!HH", 1, 1)
# A record of type OPT that allows answers of 4,096 bytes.
EDNS = b"\0" + struct.pack("!HHIH", 41, 4_096, 0, 0)


def query(edns: bool) -> bytes:
    return struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, int(edns)) + QUESTION + (EDNS if edns else b"")


def over_udp(edns: bool) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(10)
        connection.sendto(query(edns), SERVER)
        return connection.recv(65_535)


def over_tcp() -> bytes:
    with socket.create_connection(SERVER, 10) as connection:
        connection.sendall(struct.pack("!H", len(query(False))) + query(False))
        stream = connection.makefile("rb")
        return stream.read(struct.unpack("!H", stream.read(2))[0])


def read(answer: bytes) -> tuple[list[str], bool, set[int]]:
    """Return the addresses, whether there would be more, and their times to live."""
    _, flags, _, count, _, _ = struct.unpack_from("!HHHHHH", answer)
    offset = 12 + len(QUESTION)
    addresses, lives = [], set()
    for _ in range(count):
        if answer[offset] >= 0xC0:  # a reference to a name
            offset += 2
        else:
            offset = answer.index(b"\0", offset) + 1
        _, _, life, length = struct.unpack_from("!HHIH", answer, offset)
        addresses.append(socket.inet_ntoa(answer[offset + 10 : offset + 10 + length]))
        lives.add(life)
        offset += 10 + length
    return addresses, bool(flags & 0x0200), lives


def expect(what: str, seen: object, holds: bool) -> None:
    print(f"{what}: {seen}")
    if not holds:
        sys.exit("this is not the behaviour that the finding describes")


for what, answer, count in (
    ("UDP", over_udp(False), 30),
    ("UDP, EDNS", over_udp(True), 40),
    ("TCP", over_tcp(), 40),
):
    addresses, truncated, lives = read(answer)
    text = f"{len(addresses)} addresses, truncated {truncated}, {', '.join(map(str, lives))} s"
    expect(what, text, (len(set(addresses)), truncated, lives) == (count, count == 30, {600}))
answers = [read(over_udp(False))[0] for _ in range(20)]
first = {addresses[0] for addresses in answers}
expect("different addresses first in 20 answers", len(first), len(first) > 5)
always = set.intersection(*map(set, answers))
expect("addresses in all of 20 answers over UDP", f"{len(always)} of 40", len(always) < 10)
PYTHON
