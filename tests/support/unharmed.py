"""Processes that were ill-treated are to be there afterwards as they were before."""

import asyncio
import contextlib
import http.client
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psutil

PATIENCE = 10.0
"""Seconds until all is to be as before."""

MEMORY = 1.2
"""Times what a process kept before."""


@asynccontextmanager
async def unharmed(pid: int, ready_url: str) -> AsyncIterator[None]:
    """Whatever happens inside, the process is ready afterwards, and its memory soon as before.

    What is made once, when the first requests come, the caller has had it make by then. Only a body that ends well is
    looked at.
    """
    process = psutil.Process(pid)
    before = process.memory_info().rss
    yield

    def back() -> bool:
        return process.memory_info().rss <= MEMORY * before

    await _soon(lambda: process.is_running() and process.status() != psutil.STATUS_ZOMBIE and ready(ready_url))
    if not await _soon(back, fail=False):
        after = process.memory_info().rss
        raise AssertionError(f"{ready_url}: {before / 2**20:.1f} MiB became {after / 2**20:.1f} MiB")


def ready(url: str) -> bool:
    """Whether a probe is told so."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=2)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    return False


async def _soon(condition: Callable[[], bool], *, fail: bool = True) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not await asyncio.to_thread(condition):
        if time.monotonic() > deadline:
            assert not fail, f"not within {PATIENCE} s"
            return False
        await asyncio.sleep(0.1)  # the kernel tells nobody
    return True
