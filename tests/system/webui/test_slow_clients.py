"""Who is slow to ask, or to take the answer, loses the connection; the times are shortened here."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import cast

import pytest
from aiohttp import web

from chassis import listener
from webui_svc import connections
from webui_svc.connections import Connections

LIMIT = 1.0
SWEEP = 0.1
MUCH = bytes(32 * 1024 * 1024)
"""More than the kernel holds for one connection."""


async def much(_: web.Request) -> web.Response:
    return web.Response(body=MUCH)


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Connections, int]]:
    monkeypatch.setattr(connections, "KEEPALIVE", LIMIT)
    monkeypatch.setattr(connections, "WRITE_LIMIT", LIMIT)
    monkeypatch.setattr(connections, "SWEEP_INTERVAL", SWEEP)
    app = web.Application()
    app.router.add_get("/", much)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listening = listener.listen("PORT", "127.0.0.1", 0)
    serving = Connections(cast("web.Server", runner.server), 10)
    looking = asyncio.create_task(serving.run())
    async with listener.accepting(listening, serving):
        yield serving, listening.getsockname()[1]
    looking.cancel()
    await runner.cleanup()


def closed(serving: Connections, bound: str) -> float:
    return next(
        sample.value
        for family in serving.collect()
        for sample in family.samples
        if sample.labels.get("bound") == bound and sample.name.endswith("_total")
    )


async def test_who_takes_nothing_of_an_answer_is_cut_off(served: tuple[Connections, int]) -> None:
    serving, port = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_024)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(10 * LIMIT):
        while not closed(serving, "slow"):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(len(MUCH))
    writer.close()


async def test_who_takes_it_slowly_but_steadily_is_not(served: tuple[Connections, int]) -> None:
    serving, port = served
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
        await loop.sock_sendall(connection, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        taken, began = 0, time.monotonic()
        while piece := await loop.sock_recv(connection, 1024 * 1024):
            taken += len(piece)
            await asyncio.sleep(0.05)
    assert taken > len(MUCH)
    assert time.monotonic() - began > LIMIT
    assert not closed(serving, "slow")


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: a"], ids=["silent", "half a head"])
async def test_who_does_not_finish_asking_is_cut_off(served: tuple[Connections, int], head: bytes) -> None:
    _, port = served
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)

    async def trickle() -> None:
        while True:
            await asyncio.sleep(LIMIT / 4)
            if head:
                writer.write(b"a")

    trickling = asyncio.create_task(trickle())
    async with asyncio.timeout(10 * LIMIT):
        assert await reader.read() == b""
    trickling.cancel()
    assert LIMIT - 0.1 <= time.monotonic() - began < 5 * LIMIT
    writer.close()
