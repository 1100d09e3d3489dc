"""Streams that one hasher holds: its memory, what it costs to renew them, and whether its health is told meanwhile.

Clients renew theirs every 1.8 s. They are all at one address here, so half of the calls that a hasher takes is the most
(`MAX_CALLS_OF_AN_ADDRESS`), the clients' watches of its health included.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench import progress
from bench.bound import AtMost, Bound
from bench.system import servers
from chassis import grpc_options
from chassis.metadata import CLIENT_ID
from worker_svc.step import HASH

STREAMS_A_CLIENT = 2
"""As a worker has to a hasher where it knows fewer than 33."""

GENERATION = 1.8
"""Seconds that a stream lives."""

OPEN_AT_A_TIME = 50

PROBE_EVERY = 0.05
"""Seconds."""

MOST_LATE = 0.1
"""Seconds in which health is told, 99 times of 100. Only of loads that leave the machine's two cores room: the clients
are on them as well."""

LEAST_RENEWALS = 10
"""A second, from which their CPU can be told from that of the rest."""

HELD = 128
"""Clients up to which that is held to."""


@dataclass(frozen=True)
class Crowd:
    """What so many clients did to one hasher."""

    clients: int
    streams: int
    megabytes: float
    """Of the hasher, with all of them open."""
    idle: float
    """Cores that it takes while nothing is renewed, and its health is asked for."""
    renewals: float
    """Streams renewed a second; wanted are all of them in a generation."""
    renewing: float
    """Cores meanwhile."""
    health: list[float]
    """Seconds, likewise."""

    @property
    def renewal_cpu(self) -> float:
        """CPU seconds of the hasher, a stream renewed."""
        return (self.renewing - self.idle) / self.renewals

    @property
    def late(self) -> float:
        """99 of 100 looks at its health took no longer."""
        return sorted(self.health)[int(len(self.health) * 0.99)]


class _Client:
    """One worker's connection, with its watch of health and its streams."""

    def __init__(self, target: str, number: int) -> None:
        # Its own connection, as a process of its own would have.
        options = (*grpc_options.client(HASH.service), ("grpc.use_local_subchannel_pool", 1))
        self.channel = grpc.aio.insecure_channel(target, options=options)
        self._metadata = ((CLIENT_ID, f"client-{number}"),)
        self._streams: list[Any] = []

    async def open(self, count: int) -> None:
        """So many streams more."""
        method: Any = self.channel.stream_stream(HASH.path)
        opened = [method(metadata=self._metadata, wait_for_ready=True) for _ in range(count)]
        for stream in opened:
            await stream.initial_metadata()
        self._streams += opened

    async def renew(self) -> None:
        """Open another stream, and end the oldest."""
        await self.open(1)
        oldest = self._streams.pop(0)
        await oldest.done_writing()
        async for _ in oldest:
            raise AssertionError("an answer to nothing")


def measure(clients: Sequence[int], seconds: float, folder: Path) -> list[Crowd]:
    """So many clients, one number after the other, at a hasher of their own each. Raises BenchError if it fails."""
    crowds = []
    for count in clients:
        progress.show(f"streams: {count} clients")
        place = folder / f"{count}"
        place.mkdir()
        with servers(place, {"PACE": "full"}) as running:
            target = f"ipv4:127.0.0.1:{running.ports['hasher']}"
            crowds.append(asyncio.run(_crowd(target, running.processes["hasher"], count, seconds)))
    progress.show("")
    return crowds


async def _crowd(target: str, hasher: psutil.Process, count: int, seconds: float) -> Crowd:
    async with contextlib.AsyncExitStack() as stack:
        clients = [_Client(target, number) for number in range(count)]
        for each in clients:
            stack.push_async_callback(each.channel.close)
        for first in range(0, count, OPEN_AT_A_TIME):
            await asyncio.gather(*(each.open(STREAMS_A_CLIENT) for each in clients[first : first + OPEN_AT_A_TIME]))
        await asyncio.sleep(1)
        async with _probed(target) as health:
            idle = await _cores(hasher, seconds)
            megabytes = hasher.memory_info().rss / 1e6
            async with _renewed(clients) as renewals:
                await asyncio.sleep(GENERATION)
                before, began = renewals[0], time.monotonic()
                health.clear()
                renewing = await _cores(hasher, seconds)
                rate = (renewals[0] - before) / (time.monotonic() - began)
        return Crowd(count, count * STREAMS_A_CLIENT, megabytes, idle, rate, renewing, health)


async def _cores(process: psutil.Process, seconds: float) -> float:
    times, began = process.cpu_times(), time.monotonic()
    await asyncio.sleep(seconds)
    after = process.cpu_times()
    return float(after.user + after.system - times.user - times.system) / (time.monotonic() - began)


@contextlib.asynccontextmanager
async def _renewed(clients: Sequence[_Client]) -> AsyncIterator[list[int]]:
    """Each client renews each of its streams once a generation; how many have been."""
    renewals = [0]

    async def keep_renewing(client: _Client, first: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + first
        while True:
            await asyncio.sleep(due - loop.time())
            await client.renew()
            renewals[0] += 1
            due += GENERATION / STREAMS_A_CLIENT

    pause = GENERATION / STREAMS_A_CLIENT / len(clients)
    tasks = [asyncio.create_task(keep_renewing(each, number * pause)) for number, each in enumerate(clients)]
    try:
        yield renewals
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError) and isinstance(ended, BaseException):
                raise ended


@contextlib.asynccontextmanager
async def _probed(target: str) -> AsyncIterator[list[float]]:
    """Health is asked for again and again; how long each answer took."""
    took: list[float] = []
    options = (*grpc_options.DIRECT, ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)

        async def probe() -> None:
            while True:
                began = time.monotonic()
                await stub.Check(health_pb2.HealthCheckRequest(service=HASH.service))
                took.append(time.monotonic() - began)
                await asyncio.sleep(PROBE_EVERY)

        probing = asyncio.create_task(probe())
        try:
            yield took
        finally:
            probing.cancel()


def lines(crowds: Sequence[Crowd]) -> Iterator[str]:
    """The table."""
    yield f"One hasher, {STREAMS_A_CLIENT} streams a client, each renewed every {GENERATION} s; CPU of the hasher"
    yield (
        f"{'clients':>7} {'streams':>8} {'MB':>5} {'idle, cores':>11} {'renewed a second':>16} {'of wanted':>9} "
        f"{'cores':>6} {'us a renewal':>12} {'health, 99 %, ms':>16}"
    )
    for each in crowds:
        wanted = each.streams / GENERATION
        yield (
            f"{each.clients:>7,} {each.streams:>8,} {each.megabytes:>5.0f} {each.idle:>11.3f} {each.renewals:>16.0f} "
            f"{each.renewals / wanted:>9.2f} {each.renewing:>6.2f} {_microseconds(each):>12} "
            f"{each.late * 1e3:>16.1f}"
        )
    if len(crowds) > 1:
        first, last = crowds[0], crowds[-1]
        more = (last.megabytes - first.megabytes) / (last.clients - first.clients) * 1e3
        yield f"memory: {more:.0f} kB a client, with its connection, its watch of health and its streams"


def _microseconds(crowd: Crowd) -> str:
    return f"{crowd.renewal_cpu * 1e6:.0f}" if crowd.renewals >= LEAST_RENEWALS else ""


def bounds(crowds: Sequence[Crowd]) -> list[Bound]:
    """That health is told."""
    late = max((each.late for each in crowds if each.clients <= HELD), default=0.0)
    return [AtMost(f"99 % of looks at health, up to {HELD} clients that renew, s", late, MOST_LATE)]
