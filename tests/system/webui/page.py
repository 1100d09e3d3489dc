import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

WAIT = 10.0
"""Seconds after which what should have happened has not."""

Page = TestClient[Any, Any]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(WAIT):
        while not await condition():  # noqa: ASYNC110 - another process decides, and sets no event here
            await asyncio.sleep(0.02)


async def points(page: Page, seconds: int = 300) -> dict[int, float]:
    """What the history holds."""
    async with page.get("/api/history", params={"seconds": str(seconds)}) as response:
        assert response.status == 200
        return dict((await response.json())["points"])


class Events:
    """Reads server-sent events."""

    def __init__(self, response: ClientResponse) -> None:
        self._response = response

    async def next(self) -> tuple[str, Any]:
        """The next event's name and data; None at the end of the stream."""
        name, data = "", ""
        async with asyncio.timeout(WAIT):
            async for raw in self._response.content:
                field, _, value = raw.decode().rstrip("\n").partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    data = value
                elif not field and name:
                    return name, json.loads(data)
        return "end", None

    async def until(self, condition: Callable[[str, Any], bool]) -> tuple[str, Any]:
        """The next event that a condition holds for."""
        while True:
            name, data = await self.next()
            assert name != "end"
            if condition(name, data):
                return name, data


async def is_ready(page: Page) -> bool:
    """Whether it says so."""
    async with page.get("/readyz") as response:
        return response.status == 200


async def follows_redis(page: Page) -> bool:
    """Whether Redis answers it."""
    async with page.get("/json") as response:
        return response.status == 200
