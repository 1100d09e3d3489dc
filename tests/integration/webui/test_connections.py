"""Connections that are too many, too slow, or send no HTTP; the times are shortened here."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest
from aiohttp import web
from support.webui_page import WAIT

from chassis import listener
from webui_svc import connections
from webui_svc.connections import Connections
from webui_svc.headers import SECURITY

LIMIT_S = 1.0
MOST = 10
# More than the kernel holds for one connection.
LARGE = bytes(32 * 1024 * 1024)


async def large(_: web.Request) -> web.Response:
    return web.Response(body=LARGE)


async def small(_: web.Request) -> web.Response:
    return web.Response()


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Connections, int]]:
    monkeypatch.setattr(connections, "KEEPALIVE", LIMIT_S)
    monkeypatch.setattr(connections, "WRITE_LIMIT", LIMIT_S)
    monkeypatch.setattr(connections, "SWEEP_INTERVAL", 0.1)
    app = web.Application()
    app.router.add_get("/large", large)
    app.router.add_get("/", small)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listening = listener.listen("PORT", "127.0.0.1", 0)
    serving = Connections(cast("web.Server", runner.server), MOST)
    sweeping = asyncio.create_task(serving.run())
    async with listener.accepting(listening, serving):
        yield serving, listening.getsockname()[1]
    sweeping.cancel()
    await runner.cleanup()


def closed(serving: Connections, bound: str) -> float:
    samples = [sample for family in serving.collect() for sample in family.samples]
    return next(each.value for each in samples if each.labels.get("bound") == bound and each.name.endswith("_total"))


async def answer(port: int, request: bytes) -> bytes:
    """Return all that comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(WAIT):
        received = await reader.read()
    writer.close()
    return received


@pytest.mark.parametrize(
    "request_",
    [
        b"garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: 1\r\n" % each for each in range(200)) + b"\r\n",
    ],
    ids=["garbage", "no host", "long line", "many headers"],
)
async def test_what_is_no_request_is_refused_with_strict_headers(
    served: tuple[Connections, int], request_: bytes
) -> None:
    received = (await answer(served[1], request_)).decode()
    assert re.match(r"HTTP/1.[01] 400 ", received)
    assert SECURITY["Content-Security-Policy"] in received
    assert "aiohttp" not in received


async def test_an_address_with_too_many_connections_loses_its_oldest(served: tuple[Connections, int]) -> None:
    serving, port = served
    crowd = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST + 3)]
    async with asyncio.timeout(WAIT):
        for reader, _ in crowd[:3]:
            assert await reader.read() == b""
        reader, writer = crowd[-1]
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert closed(serving, "address") == 3
    for _, writer in crowd:
        writer.close()


async def test_a_client_that_takes_nothing_of_an_answer_is_cut_off(served: tuple[Connections, int]) -> None:
    serving, port = served
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_024)
    writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(WAIT):
        while not closed(serving, "slow"):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(len(LARGE))
    writer.close()


async def test_a_client_that_takes_it_slowly_but_steadily_is_served(served: tuple[Connections, int]) -> None:
    serving, port = served
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
        await loop.sock_sendall(connection, b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        taken, began = 0, loop.time()
        while piece := await loop.sock_recv(connection, 1024 * 1024):
            taken += len(piece)
            await asyncio.sleep(0.05)
    assert taken > len(LARGE)
    assert loop.time() - began > LIMIT_S
    assert not closed(serving, "slow")


@pytest.mark.parametrize("head", [b"", b"GET / HTTP/1.1\r\nHost: a"], ids=["silent", "half a head"])
async def test_a_client_that_does_not_complete_its_request_is_cut_off(
    served: tuple[Connections, int], head: bytes
) -> None:
    began = asyncio.get_running_loop().time()
    reader, writer = await asyncio.open_connection("127.0.0.1", served[1])
    writer.write(head)

    async def trickle() -> None:
        while True:
            await asyncio.sleep(LIMIT_S / 4)
            if head:
                writer.write(b"a")

    trickling = asyncio.create_task(trickle())
    async with asyncio.timeout(WAIT):
        assert await reader.read() == b""
    trickling.cancel()
    assert asyncio.get_running_loop().time() - began > LIMIT_S - 0.1
    writer.close()
