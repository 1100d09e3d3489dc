"""A program that keeps a webui busy: ten workers report, 300 pages are open and four clients ask for the history of an
hour without pause. It prints when all that has begun and how many answers these got.

A process of its own, so that what it costs its clients does not show in what others measure.
"""

import asyncio
import contextlib
import sys
import time

import redis
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from bench.page.simulation import Simulation

WORKERS = 10
PAGES = 300
ASKERS = ("", "", "&by=worker", "&by=worker")


async def watch(session: ClientSession, opened: asyncio.Barrier) -> None:
    async with session.get("/events") as response:
        await response.content.readany()
        await opened.wait()
        while await response.content.readany():
            pass


async def ask(session: ClientSession, more: str, until: float) -> int:
    answers = 0
    while time.monotonic() < until:
        async with session.get(f"/api/history?seconds=3600{more}") as response:
            assert response.status == 200
            await response.read()
        answers += 1
    return answers


async def load(port: int, seconds: float) -> int:
    async with ClientSession(
        f"http://127.0.0.1:{port}", connector=TCPConnector(limit=0), timeout=ClientTimeout(None)
    ) as session:
        opened = asyncio.Barrier(PAGES + 1)
        pages = [asyncio.create_task(watch(session, opened)) for _ in range(PAGES)]
        await opened.wait()
        print("begun", flush=True)  # noqa: T201 - for whoever measures
        until = time.monotonic() + seconds
        answers = await asyncio.gather(*(ask(session, more, until) for more in ASKERS))
        assert not any(page.done() for page in pages)
        for page in pages:
            page.cancel()
        await asyncio.gather(*pages, return_exceptions=True)
    return sum(answers)


def main(port: int, redis_port: int, seconds: float) -> int:
    with contextlib.closing(redis.Redis(port=redis_port)) as client:
        client.flushall()  # an attempt before this one left its own hour
        simulation = Simulation(client, WORKERS)
        simulation.write_hour()
        with simulation.reporting():
            return asyncio.run(load(port, seconds))


if __name__ == "__main__":
    print(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))  # noqa: T201 - its one result
