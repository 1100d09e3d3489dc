"""Browsers that come back, that do not read, and that are too many."""

import asyncio
import re
import socket
from typing import Any

import pytest
from aiohttp import ClientResponse
from system.webui.page import WAIT, Events, Page, until
from system.webui.reports import Reports

from webui_svc import events as events_module
from webui_svc.events import BROWSERS


async def raw_event(response: ClientResponse) -> tuple[str, str]:
    """The next event's id and name."""
    async with asyncio.timeout(WAIT):
        while True:
            block = (await response.content.readuntil(b"\n\n")).decode()
            if match := re.search(r"^id: (.*)\nevent: (.*)$", block, re.MULTILINE):
                return match[1], match[2]


async def test_every_event_has_an_id_by_which_a_browser_gets_what_it_missed(
    ready_page: Page, reports: Reports, now: int
) -> None:
    async with ready_page.get("/events") as response:
        known, name = await raw_event(response)
        assert name == "snapshot"
    reports.add_seconds(now - 3, 3)
    async with ready_page.get("/events") as watching:
        await Events(watching).until(lambda _, data: bool(data["points"]))
    async with ready_page.get("/events", headers={"Last-Event-ID": known}) as response:
        events = Events(response)
        missed: dict[int, float] = {}
        name, data = await events.next()
        assert name == "update"
        while not missed:
            missed.update(data["points"])
            name, data = await events.next()
            assert name == "update"
    assert missed[now - 3] == 10


@pytest.mark.parametrize("known", ["", "0", "0123456789abcdef-1", "x" * 4_000, "\u00ff", "-1"])
async def test_an_id_from_elsewhere_is_answered_with_a_snapshot(ready_page: Page, known: str) -> None:
    async with ready_page.get("/events", headers={"Last-Event-ID": known}) as response:
        assert (await Events(response).next())[0] == "snapshot"


async def test_too_many_are_told_to_come_again(ready_page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "MOST_STREAMS", 2)
    async with ready_page.get("/events"), ready_page.get("/events"), ready_page.get("/events") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        assert (await response.text()).count("\n") == 1

    async def taken() -> bool:
        async with ready_page.get("/events") as response:
            return response.status == 200

    await until(taken)


def open_without_reading(page: Page) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect((page.host, page.port))
    connection.sendall(b"GET /events HTTP/1.1\r\nHost: webui\r\n\r\n")
    return connection


async def flood(page: Page) -> None:
    """Send as much to all as no buffer holds."""
    browsers = page.server.app[BROWSERS]  # type: ignore[attr-defined]  # a server for tests has one
    update: Any = browsers._update
    browsers._update = lambda: b"event: update\ndata: {}\n" + b": " + b"x" * 50_000 + b"\n\n"
    for _ in range(30):
        browsers.tell_changes()
        await asyncio.sleep(0.01)
    browsers._update = update


async def test_one_that_does_not_read_is_dropped_and_holds_up_nobody(
    ready_page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "WRITE_LIMIT", 1.0)
    browsers = ready_page.server.app[BROWSERS]  # type: ignore[attr-defined] # it is a TestServer, which has one
    stuck = [open_without_reading(ready_page) for _ in range(10)]

    async def joined() -> bool:
        return len(browsers) == 10

    await until(joined)
    async with ready_page.get("/events") as response:
        events = Events(response)
        await events.next()
        await flood(ready_page)
        for _ in range(5):
            assert (await events.next())[0] == "update"

        async def dropped() -> bool:
            return len(browsers) == 1

        await until(dropped)
    for connection in stuck:
        connection.close()


async def test_one_that_reads_again_learns_what_is_new(ready_page: Page, reports: Reports, now: int) -> None:
    connection = open_without_reading(ready_page)
    browsers = ready_page.server.app[BROWSERS]  # type: ignore[attr-defined] # it is a TestServer, which has one

    async def joined() -> bool:
        return len(browsers) == 1

    await until(joined)
    await flood(ready_page)
    reports.add_seconds(now - 3, 3)
    connection.setblocking(False)  # noqa: FBT003 - its only parameter
    heard = b""
    async with asyncio.timeout(WAIT):
        while f"[{now - 3},10".encode() not in heard:
            heard += await asyncio.get_running_loop().sock_recv(connection, 65_536)
    connection.close()
    assert heard.count(b"event: snapshot") == 2
    assert heard.count(b"x" * 50_000) < 20
