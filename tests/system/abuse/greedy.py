"""A client that wants all there is: as many streams as it gets, each with batches always waiting.

A program of its own, so that what it costs does not show in what others measure. It prints when it has begun, and goes
on until it is told to stop.
"""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from dockercoins.hasher.v1.hasher_service_pb2 import StreamHashesRequest
from dockercoins.rng.v1.rng_service_pb2 import StreamRandomBytesRequest

WINDOW = 4
"""Batches unanswered on each stream."""

PATHS = {
    "rng": "/dockercoins.rng.v1.RngService/StreamRandomBytes",
    "hasher": "/dockercoins.hasher.v1.HasherService/StreamHashes",
}


def encoded(service: str, count: int) -> bytes:
    """A request for so many messages."""
    if service == "rng":
        return StreamRandomBytesRequest(count=count, size=32).SerializeToString()
    return StreamHashesRequest(data=bytes(32 * count), message_size=32).SerializeToString()


async def ask(channel: Any, path: str, request: bytes, begun: asyncio.Event) -> None:
    window = asyncio.Semaphore(WINDOW)

    async def requests() -> AsyncIterator[bytes]:
        for _ in itertools.count():
            await window.acquire()
            yield request

    async for _ in channel.stream_stream(path)(requests()):
        window.release()
        begun.set()


async def main(service: str, port: int, streams: int, count: int) -> None:
    begun = asyncio.Event()
    request = encoded(service, count)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        asking = [asyncio.create_task(ask(channel, PATHS[service], request, begun)) for _ in range(streams)]
        await begun.wait()
        print("begun", flush=True)  # noqa: T201 - for whoever waits for it
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
