"""Connections that are too many, too slow, or send no HTTP; the times are shortened here."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import cast
from unittest.mock import AsyncMock

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from support.free_port import free_port
from support.waiting import until

from chassis import listener
from chassis.health import Health
from chassis.telemetry import Telemetry
from webui_svc import connections
from webui_svc.__main__ import webui
from webui_svc.connections import SECURITY, Connections
from webui_svc.settings import WebuiSettings

LIMIT_S = 1.0
MOST = 10
# More than the kernel holds for one connection.
LARGE = bytes(32 * 1024 * 1024)
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

Closed = Callable[[str], float | None]


async def large(_: web.Request) -> web.Response:
    return web.Response(body=LARGE)


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[int, Closed]]:
    """A port that answers with much, and how many connections to it were closed for a reason."""
    monkeypatch.setitem(connections.LIMITS, "keepalive_timeout", LIMIT_S)
    monkeypatch.setattr(connections, "WRITE_LIMIT_S", LIMIT_S)
    monkeypatch.setattr(connections, "SWEEP_INTERVAL_S", 0.1)
    app = web.Application()
    app.router.add_get("/", large)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listening = listener.listen("PORT", "127.0.0.1", 0)
    serving = Connections(cast("web.Server", runner.server), MOST)
    registry = CollectorRegistry()
    registry.register(serving)
    sweeping = asyncio.create_task(serving.run())
    with contextlib.closing(await asyncio.get_running_loop().create_server(serving, sock=listening)):
        yield (
            listening.getsockname()[1],
            lambda bound: registry.get_sample_value("dockercoins_webui_closed_connections_total", {"bound": bound}),
        )
    sweeping.cancel()
    await runner.cleanup()


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
async def test_anything_but_a_request_is_refused_with_strict_headers(
    served: tuple[int, Closed], request_: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served[0])
    writer.write(request_)
    received = (await reader.read()).decode()
    writer.close()
    assert re.match(r"HTTP/1.[01] 400 ", received)
    assert SECURITY["Content-Security-Policy"] in received
    assert "aiohttp" not in received


@pytest.mark.parametrize(("bound", "most", "beyond"), [("address", 100, 3), ("all", MOST, 1)])
async def test_of_too_many_connections_the_oldest_are_closed(
    served: tuple[int, Closed], monkeypatch: pytest.MonkeyPatch, bound: str, most: int, beyond: int
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", most)
    port, closed = served
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST + beyond)]
    for reader, _ in opened[:beyond]:
        assert await reader.read() == b""
    reader, writer = opened[-1]
    writer.write(REQUEST)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert closed(bound) == beyond
    for _, writer in opened:
        writer.close()


async def test_only_a_client_that_takes_nothing_of_an_answer_is_cut_off(served: tuple[int, Closed]) -> None:
    port, closed = served
    slow, writer = await asyncio.open_connection("127.0.0.1", port, limit=512 * 1024)
    writer.write(REQUEST)
    taken, began = 0, asyncio.get_running_loop().time()
    while piece := await slow.read(1024 * 1024):
        taken += len(piece)
        await asyncio.sleep(0.05)
    assert taken > len(LARGE)
    assert asyncio.get_running_loop().time() - began > LIMIT_S
    writer.close()
    assert closed("slow") == 0
    stuck, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_024)
    writer.write(REQUEST)
    await until(lambda: closed("slow"))
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await stuck.readexactly(len(LARGE))
    writer.close()


@pytest.mark.parametrize("head", [b"", REQUEST], ids=["silent", "byte by byte"])
async def test_a_client_that_does_not_complete_its_request_in_time_is_cut_off(
    served: tuple[int, Closed], head: bytes
) -> None:
    began = asyncio.get_running_loop().time()
    reader, writer = await asyncio.open_connection("127.0.0.1", served[0])

    async def trickle() -> None:
        for byte in head:
            writer.write(bytes((byte,)))
            await asyncio.sleep(LIMIT_S / 4)

    trickling = asyncio.create_task(trickle())
    assert await reader.read() == b""
    trickling.cancel()
    assert asyncio.get_running_loop().time() - began > LIMIT_S - 0.1
    writer.close()


async def test_a_search_for_slow_connections_that_fails_ends_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connections, "run", AsyncMock(side_effect=ZeroDivisionError))
    settings = WebuiSettings(port=free_port(), bind_address="127.0.0.1", redis_url="redis://127.0.0.1:1")
    with pytest.raises(ExceptionGroup) as raised:
        async with webui(settings, Telemetry(Health("redis"))):
            await asyncio.sleep(LIMIT_S)
    assert raised.group_contains(ZeroDivisionError)
