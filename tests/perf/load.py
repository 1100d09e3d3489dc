"""A client that keeps a server busy until it is ended: SERVICE PORT STREAMS WINDOW COUNT, or pages PORT.

It is a process of its own, so that its CPU time does not show in what others measure. It prints a line when the load
is on.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest

PATHS = {
    "rng": "/dockercoins.rng.v1.RngService/StreamRandomBytes",
    "hasher": "/dockercoins.hasher.v1.HasherService/StreamHashes",
}
PAGES = 300
HISTORIES = 2 * ("/api/history?seconds=3600", "/api/history?seconds=3600&by=worker")


def encoded(service: str, count: int) -> bytes:
    """Return a request for `count` messages."""
    if service == "rng":
        return StreamRandomBytesRequest(
            batches=[StreamRandomBytesRequest.Batch(count=count, size=32)]
        ).SerializeToString()
    return StreamHashesRequest(
        batches=[StreamHashesRequest.Batch(data=bytes(32 * count), message_size=32)]
    ).SerializeToString()


async def load_server(service: str, port: int, streams: int, window: int, count: int) -> None:
    """Keep `window` batches outstanding on each stream."""
    request = encoded(service, count)
    answered = asyncio.Event()

    async def keep_busy(channel: Any) -> None:
        room = asyncio.Semaphore(window)

        async def requests() -> AsyncIterator[bytes]:
            while await room.acquire():
                yield request

        async for _ in channel.stream_stream(PATHS[service])(requests()):
            room.release()
            answered.set()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.TaskGroup() as tasks:
        for _ in range(streams):
            tasks.create_task(keep_busy(channel))
        await answered.wait()
        print("on", flush=True)  # noqa: T201 - for the test that waits for it


async def load_pages(port: int) -> None:
    """Keep many pages open, and request the history of an hour without pause."""

    async def read(session: ClientSession, path: str) -> None:
        while True:
            async with session.get(path) as response:
                async for _ in response.content.iter_any():
                    pass

    connector, timeout = TCPConnector(limit=0), ClientTimeout(None)
    async with (
        ClientSession(f"http://127.0.0.1:{port}", connector=connector, timeout=timeout) as session,
        asyncio.TaskGroup() as tasks,
    ):
        for path in (*PAGES * ("/events",), *HISTORIES):
            tasks.create_task(read(session, path))
        await asyncio.sleep(2)
        print("on", flush=True)  # noqa: T201 - for the test that waits for it


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    asyncio.run((load_pages if what == "pages" else lambda *rest: load_server(what, *rest))(*map(int, numbers)))
