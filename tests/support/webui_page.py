"""webui in this process, and what clients of it read."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer

from chassis.health import Health
from chassis.redis.settings import RedisAccess
from chassis.telemetry import Telemetry
from support.admin_endpoint import http_get
from support.waiting import until
from webui_svc.access import Access
from webui_svc.app import make_app
from webui_svc.settings import MAX_STREAMS

# Seconds after which an expected event counts as missing.
WAIT = 30.0

# Any host, and no token.
ANYBODY = Access((), "")

Page = TestClient[Any, Any]


@asynccontextmanager
async def webui_page(
    redis_url: str,
    telemetry: Telemetry | None = None,
    access: Access = ANYBODY,
    streams_per_client: int = MAX_STREAMS,
) -> AsyncIterator[Page]:
    """A client of webui, which follows this Redis for as long as the context lasts."""
    telemetry = telemetry or Telemetry(Health("redis"))
    telemetry.health.started()
    app = make_app(RedisAccess(redis_url), telemetry, "webui-1", access, streams_per_client)
    async with TestClient(TestServer(app)) as page:
        yield page


async def is_ready(page: Page) -> bool:
    async with page.get("/readyz") as response:
        return response.status == 200


async def points(page: Page) -> dict[int, float]:
    """Return the history: hashes by second."""
    async with page.get("/api/history") as response:
        return dict((await response.json())["points"])


async def until_shown(page: Page, second: int, hashes: float) -> None:
    """Wait until the history has these hashes in a second."""

    async def shown() -> bool:
        return (await points(page)).get(second) == hashes

    await until(shown)


class Events:
    """Reads server-sent events."""

    def __init__(self, response: ClientResponse) -> None:
        self._response = response
        self.last_id = ""

    async def next(self) -> tuple[str, Any]:
        """Return the name and the data of the next event. Raises EOFError at the end of the stream."""
        event: dict[str, str] = {}
        async with asyncio.timeout(WAIT):
            async for raw in self._response.content:
                field, _, value = raw.decode().rstrip("\n").partition(": ")
                if field:
                    event[field] = value
                elif "event" in event:
                    self.last_id = event.get("id", self.last_id)
                    return event["event"], json.loads(event["data"])
        raise EOFError

    async def until(self, condition: Callable[[Any], object]) -> Any:
        """Return the data of the next event for which a condition holds."""
        while True:
            _, data = await self.next()
            if condition(data):
                return data

    async def until_part(self, part: str, condition: Callable[[Any], object] = bool) -> Any:
        """Return a part of the next event that has it and for which a condition holds."""
        return (await self.until(lambda data: part in data and condition(data[part])))[part]


class FollowedPage:
    """What the page of a process shows now, and the points and annotations that it received, followed in a thread."""

    def __init__(self, port: int) -> None:
        self.data: dict[str, Any] = {}
        self.points: list[float] = []
        self.annotations: list[dict[str, Any]] = []
        self._port = port
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/events", timeout=60) as response:
            for line in response:
                field, _, value = line.decode().rstrip().partition(": ")
                if field == "data":
                    data = json.loads(value)
                    self.data |= data
                    self.points += [hashes for _, hashes in data.get("points", [])]
                    self.annotations += data.get("annotations", [])

    @property
    def speed(self) -> float:
        return self.data.get("speed") or 0.0

    def history(self) -> list[float | None]:
        """Return the hashes in each second of the last minutes; None in a gap."""
        _, text = http_get(self._port, "/api/history", 30)
        return [hashes for _, hashes in json.loads(text)["points"]]
