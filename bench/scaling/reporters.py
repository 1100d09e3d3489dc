"""Workers that only report, each on a connection of its own, as many and as often as they are told."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial

import hiredis

from bench.processes import BenchError
from bench.scaling.recorded_report import RecordedReport

OPEN_LIMIT = 60.0
"""Seconds in which all connections must be open."""

AT_A_TIME = 100
"""Connections that are opened at once; the server's backlog is 128."""


class Reporter(asyncio.Protocol):
    """One worker's connection."""

    def __init__(self, name: bytes, report: RecordedReport) -> None:
        self.latencies: list[float] = []
        """Seconds from when a report was due to its answer."""
        self.refused = 0
        self.repeats = False
        """Whether each answer is followed by the next report."""
        self._name = name
        self._report = report
        self._reader = hiredis.Reader()
        self._sequence = 0
        self._due: list[float] = []
        self._applied = True
        """Whether the last answer was that of a report's second call."""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be there."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def send(self, due: float) -> None:
        """Send a report that was due at that moment of the monotonic clock."""
        if self._transport is None:
            raise BenchError("a reporter is not connected")
        self._sequence += 1
        self._due.append(due)
        self._transport.write(self._report.of(self._name, self._sequence))

    def data_received(self, data: bytes) -> None:
        """Note answers."""
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False:
            self._applied = not self._applied
            if not self._applied:
                continue
            now = time.monotonic()
            due = self._due.pop(0)
            if isinstance(answer, list) and answer[0] == self._sequence - len(self._due):
                self.latencies.append(now - due)
            else:
                self.refused += 1
            if self.repeats:
                self.send(now)

    def close(self) -> None:
        """Go."""
        if self._transport is not None:
            self._transport.abort()


def _itself(reporter: Reporter) -> Reporter:
    return reporter


@contextlib.asynccontextmanager
async def reporters(port: int, count: int, report: RecordedReport, generation: str) -> AsyncIterator[list[Reporter]]:
    """So many, connected, whose names nobody else has. Raises BenchError when one can't connect."""
    loop = asyncio.get_running_loop()
    made = [Reporter(b"worker-%s-%08x" % (generation.encode(), number), report) for number in range(count)]
    try:
        async with asyncio.timeout(OPEN_LIMIT):
            for first in range(0, count, AT_A_TIME):
                lot = made[first : first + AT_A_TIME]
                await asyncio.gather(*(loop.create_connection(partial(_itself, it), "127.0.0.1", port) for it in lot))
        yield made
    except (OSError, TimeoutError) as error:
        raise BenchError(f"{count} workers can't connect to Redis: {error}") from error
    finally:
        for each in made:
            each.close()


async def report_once_a_second(workers: list[Reporter], seconds: float) -> None:
    """All report once a second, one after the other and not all at once."""
    begin = time.monotonic()
    for turn in range(round(seconds * len(workers))):
        due = begin + turn / len(workers)
        if (left := due - time.monotonic()) > 0:
            await asyncio.sleep(left)
        elif turn % 50 == 0:
            await asyncio.sleep(0)  # answers are to be read, however late we are
        workers[turn % len(workers)].send(due)
    await asyncio.sleep(0.5)  # what is under way by then counts


async def report_at_once(workers: list[Reporter], seconds: float) -> None:
    """Each reports again as soon as it is answered."""
    for each in workers:
        each.repeats = True
        each.send(time.monotonic())
    await asyncio.sleep(seconds)
    for each in workers:
        each.repeats = False
