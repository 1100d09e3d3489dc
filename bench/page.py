"""The page's server with a thousand browsers, some of which do not read, and with an hour of two hundred workers.

Browsers are event streams without a page, and workers are simulated: they write what real ones would.
"""

import argparse
import asyncio
import bisect
import contextlib
import itertools
import random
import re
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from support.free_port import free_port
from support.mining import Mining
from support.redis_server import RedisServer, redis_server
from support.reports import Reports

from bench.figures import Bound, Report, Spread
from bench.processes import BenchError, cpu_seconds, process, show, wait_until_ready
from bench.system import HOST
from webui_svc.connections import allow_open_files
from webui_svc.settings import MAX_STREAMS

# Browsers that connect at once; a listener's backlog is 128.
CONNECTING = 100
OPEN_LIMIT_S = 60.0
SETTLING_S = 2.0
SAMPLE_INTERVAL_S = 0.2

# The first part: browsers.
REPORTING_WORKERS = 10
NOT_READING = 50
NOT_READING_BUFFER_BYTES = 4_096
MAX_BROWSERS_CPU = 0.6
MAX_MEGABYTES = 250
# From Redis to a browser. A report waits up to a second in the worker, and 1.5 are allowed.
MAX_DELAY_P99_S = 0.5
MAX_DELAY_S = 2.0

# The second part: workers.
GROUPS = 20
HOUR_BROWSERS = 20
HOUR_S = 3_600
# Seconds of reports in the stream.
STREAMED_S = 900
HASHES_PER_SECOND = 2_000
MAX_HOUR_CPU = 0.5
MAX_REDIS_MEGABYTES = 60
# The history alone; the page has two seconds to be drawn.
MAX_ANSWER_S = 1.0
QUERIES = ("/api/history?seconds=3600", "/api/history?seconds=3600&by=worker", "/api/history?seconds=900&by=worker")

_HASHES = re.compile(rb'"hashes":([0-9]+)')


def page(arguments: argparse.Namespace, folder: Path) -> Report:
    """Measure both; the arguments are the numbers of browsers and workers, and the seconds of each measurement."""
    allow_open_files(MAX_STREAMS + 500)
    lines, bounds = _browsers(arguments, folder)
    more_lines, more_bounds = _hour(arguments, folder)
    return [*lines, "", *more_lines], bounds + more_bounds


@dataclass
class Webui:
    """The process that serves the page."""

    port: int
    process: psutil.Process

    async def watch(self, seconds: float) -> tuple[float, float]:
        """Return the cores that it uses for some seconds, and the most megabytes that are resident."""
        began, cpu, megabytes = time.monotonic(), cpu_seconds(self.process.pid), 0.0
        while time.monotonic() < began + seconds:
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            megabytes = max(megabytes, self.process.memory_info().rss / 1e6)
        return (cpu_seconds(self.process.pid) - cpu) / (time.monotonic() - began), megabytes


@contextlib.contextmanager
def _webui(redis: RedisServer) -> Iterator[Webui]:
    port, probed = free_port(), free_port()
    settings = {"REDIS_URL": redis.url, "PORT": f"{port}", "METRICS_PORT": f"{probed}", "LOG_LEVEL": "warning"}
    # All browsers are at this machine's address.
    environment = {**settings, "STREAMS_PER_CLIENT": f"{MAX_STREAMS}"}
    with process([sys.executable, "-m", "webui_svc"], environment, redis.folder / "webui.log") as started:
        wait_until_ready(started, probed, redis.folder)
        yield Webui(port, psutil.Process(started.pid))


class Browser(asyncio.Protocol):
    """A stream of events: when which number of hashes arrived, in Unix seconds.

    An HTTP client would take so much CPU for a thousand streams that its own delays would be measured.
    """

    def __init__(self, *, reading: bool) -> None:
        self.received: list[tuple[float, int]] = []
        self.opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.lost = False
        self.transport: Any = None
        self._reading = reading

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Request the events."""
        self.transport = transport
        self.transport.write(b"GET /events HTTP/1.1\r\nHost: webui\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        """Record the newest number of hashes, or stop reading."""
        if not self.opened.done():
            self.opened.set_result(data.startswith(b"HTTP/1.1 200"))
        if not self._reading:
            self.transport.pause_reading()
        elif found := _HASHES.findall(data):
            self.received.append((time.time(), int(found[-1])))

    def connection_lost(self, _: Exception | None) -> None:
        """Record that the stream has ended."""
        self.lost = True
        if not self.opened.done():
            self.opened.set_result(False)


@contextlib.asynccontextmanager
async def _opened(webui: Webui, count: int, *, reading: bool = True) -> AsyncIterator[list[Browser]]:
    """Open streams, of which the server may refuse none. Raises BenchError."""
    loop = asyncio.get_running_loop()
    browsers: list[Browser] = []
    try:
        for first in range(0, count, CONNECTING):
            for _ in range(min(CONNECTING, count - first)):
                connection = socket.socket()
                if not reading:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NOT_READING_BUFFER_BYTES)
                connection.connect((HOST, webui.port))
                _, browser = await loop.create_connection(lambda: Browser(reading=reading), sock=connection)
                browsers.append(browser)
            async with asyncio.timeout(OPEN_LIMIT_S):
                if not all(await asyncio.gather(*(browser.opened for browser in browsers[first:]))):
                    raise BenchError(f"one of {count} streams was refused")
        yield browsers
    except TimeoutError:
        raise BenchError(f"{count} streams were not opened within {OPEN_LIMIT_S:.0f} s") from None
    finally:
        for browser in browsers:
            browser.transport.abort()


class Workers:
    """Simulated workers, which report in groups, one after the other, in each second."""

    def __init__(self, redis: Any, count: int) -> None:
        # When a report was in Redis, in Unix seconds, and the hashes counted by then.
        self.written: list[tuple[float, int]] = []
        self._redis = redis
        self._random = random.Random(1)  # noqa: S311 - no secret
        names = [f"worker-{number}-{number:08x}" for number in range(1, count + 1)]
        self._groups = [Mining(redis) for _ in names[:GROUPS]]
        for number, group in enumerate(self._groups):
            group.workers = names[number::GROUPS]
            group.rngs, group.hashers = ({f"{name}-{i}": "serving" for i in (1, 2, 3)} for name in ("rng", "hasher"))
            group.rate = HASHES_PER_SECOND

    def write_hour(self) -> None:
        """Write the totals of an hour, and the reports of its last quarter."""
        last = int(time.time())
        first = (last - HOUR_S) // 10 * 10
        with self._redis.pipeline(transaction=False) as pipeline:
            for group in self._groups:
                for worker, second in itertools.product(group.workers, range(first, last - STREAMED_S, 10)):
                    Reports(pipeline).add_totals(
                        second, 1, round(self._random.uniform(8, 12) * HASHES_PER_SECOND), worker
                    )
                pipeline.execute()
                for second in range(last - STREAMED_S, last):
                    group.rate = self._random.uniform(0.8, 1.2) * HASHES_PER_SECOND
                    group.write(second, second + 1)

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Report from a thread for the duration of the context."""
        ended = threading.Event()
        thread = threading.Thread(target=self._report, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _report(self, ended: threading.Event) -> None:
        for second in itertools.count(int(time.time())):
            for number, group in enumerate(self._groups):
                if ended.wait(max(0.0, second + 1 + number / len(self._groups) - time.time())):
                    return
                group.write(second, second + 1)
                self.written.append((time.time(), int(self._redis.get("hashes"))))


def _browsers(arguments: argparse.Namespace, folder: Path) -> Report:
    bounds: list[Bound] = []
    with redis_server(folder / "browsers") as redis, _webui(redis) as webui:
        workers = Workers(redis.client(), REPORTING_WORKERS)
        with workers.reporting():
            for not_reading in (0, NOT_READING):
                show(f"page: {arguments.browsers} browsers, {not_reading} of them not reading")
                reading = arguments.browsers - not_reading
                time.sleep(SETTLING_S)  # until webui has closed earlier streams
                bounds += asyncio.run(_load(webui, workers, reading, not_reading, arguments.page_seconds))
    show("")
    return [f"{arguments.browsers} browsers, {REPORTING_WORKERS} workers"], bounds


async def _load(webui: Webui, workers: Workers, reading: int, not_reading: int, seconds: float) -> list[Bound]:
    async with _opened(webui, reading) as browsers, _opened(webui, not_reading, reading=False):
        await asyncio.sleep(SETTLING_S)  # until all have their snapshots
        began = time.time()
        cpu, megabytes = await webui.watch(seconds)
        until = time.time() - MAX_DELAY_S
        written = [(at, hashes) for at, hashes in workers.written if began <= at <= until]
        delays = sorted(delay for browser in browsers for delay in _delays(browser, written))
        lost = sum(browser.lost for browser in browsers)
    if not delays:
        raise BenchError("no browser received anything")
    p99 = delays[int(0.99 * len(delays))]
    return [
        Bound(f"{not_reading} not reading: {name}", Spread([value]), "<=", limit)
        for name, value, limit in (
            ("CPU, cores", cpu, MAX_BROWSERS_CPU),
            ("memory, MB", megabytes, MAX_MEGABYTES),
            ("p99 from Redis to a browser, s", p99, MAX_DELAY_P99_S),
            ("max from Redis to a browser, s", delays[-1], MAX_DELAY_S),
            ("lost streams of reading browsers", lost, 0),
        )
    ]


def _delays(browser: Browser, written: list[tuple[float, int]]) -> Iterator[float]:
    """Return the seconds from each report to the event that has it; infinite if there is none."""
    counts = [hashes for _, hashes in browser.received]
    for at, hashes in written:
        position = bisect.bisect_left(counts, hashes)
        yield max(0.0, browser.received[position][0] - at) if position < len(counts) else float("inf")


def _hour(arguments: argparse.Namespace, folder: Path) -> Report:
    with redis_server(folder / "hour") as redis:
        show(f"page: writing an hour of {arguments.workers} workers")
        workers = Workers(redis.client(), arguments.workers)
        workers.write_hour()
        with workers.reporting():
            show(f"page: {arguments.workers} workers")
            held = redis.client().info("memory")["used_memory"] / 1e6
            began = time.monotonic()
            with _webui(redis) as webui:
                ready = time.monotonic() - began
                answers, cpu, megabytes = asyncio.run(_watch(webui, arguments.page_seconds))
    show("")
    title = (
        f"An hour of {arguments.workers} workers, {HOUR_BROWSERS} browsers; "
        f"webui is ready after {ready:.1f} s and holds {megabytes:.0f} MB"
    )
    return [title], [
        Bound("CPU, cores", Spread([cpu]), "<=", MAX_HOUR_CPU),
        Bound("Redis, MB", Spread([held]), "<=", MAX_REDIS_MEGABYTES),
        *(Bound(f"{query}, s", Spread([seconds]), "<=", MAX_ANSWER_S) for query, seconds in answers.items()),
    ]


async def _watch(webui: Webui, seconds: float) -> tuple[dict[str, float], float, float]:
    """Return the seconds of each query, the cores, and the megabytes."""
    answers = {}
    async with aiohttp.ClientSession() as session, _opened(webui, HOUR_BROWSERS):
        for query in QUERIES:
            began = time.monotonic()
            async with session.get(f"http://{HOST}:{webui.port}{query}", raise_for_status=True) as response:
                await response.read()
            answers[query] = time.monotonic() - began
        return answers, *await webui.watch(seconds)
