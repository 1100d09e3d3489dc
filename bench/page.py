"""The page's server with a thousand browsers, some of which do not read, and with an hour of two hundred workers.

Browsers are event streams without a page, and workers are simulated: they write what real ones would.
"""

import argparse
import asyncio
import bisect
import contextlib
import itertools
import re
import socket
import statistics
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from support.mining import Mining
from support.reports import Reports

from bench.figures import Bound, Report, Spread, table
from bench.processes import START_LIMIT_S, BenchError, cpu_seconds, free_port, process, show, wait_until_ready
from bench.system import HOST, redis_server
from bench.tree import Tree
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

_REQUEST = b"GET /events HTTP/1.1\r\nHost: webui\r\n\r\n"
_HASHES = re.compile(rb'"hashes":([0-9]+)')
# urlopen() would use a proxy that the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


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

    def get(self, path: str) -> tuple[float, int]:
        """Return the seconds until the response was there, and its bytes as sent."""
        request = urllib.request.Request(f"http://{HOST}:{self.port}{path}", headers={"Accept-Encoding": "gzip"})
        began = time.monotonic()
        with _DIRECT.open(request, timeout=START_LIMIT_S) as response:
            size = len(response.read())
        return time.monotonic() - began, size

    async def watch(self, seconds: float) -> tuple[float, float]:
        """Return the cores that it uses for some seconds, and the most megabytes that are resident."""
        began, cpu, megabytes = time.monotonic(), cpu_seconds(self.process.pid), 0.0
        while time.monotonic() < began + seconds:
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            megabytes = max(megabytes, self.process.memory_info().rss / 1e6)
        return (cpu_seconds(self.process.pid) - cpu) / (time.monotonic() - began), megabytes


@contextlib.contextmanager
def _webui(redis_url: str, folder: Path) -> Iterator[Webui]:
    port, probed = free_port(), free_port()
    settings = {"REDIS_URL": redis_url, "PORT": f"{port}", "METRICS_PORT": f"{probed}", "LOG_LEVEL": "warning"}
    # All browsers are at this machine's address.
    environment = {**settings, "STREAMS_PER_CLIENT": f"{MAX_STREAMS}"}
    with process([Tree.this().python, "-m", "webui_svc"], environment, folder / "webui.log") as started:
        wait_until_ready(started, probed, folder)
        yield Webui(port, psutil.Process(started.pid))


class Browser(asyncio.Protocol):
    """A stream of events: when which number of hashes arrived, in Unix seconds."""

    def __init__(self, *, reading: bool) -> None:
        self.received: list[tuple[float, int]] = []
        self.opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.lost = False
        self._reading = reading
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Request the events."""
        self.transport = transport
        self.transport.write(_REQUEST)

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
async def _opened(port: int, count: int, *, reading: bool = True) -> AsyncIterator[list[Browser]]:
    browsers: list[Browser] = []
    try:
        async with asyncio.timeout(OPEN_LIMIT_S):
            for first in range(0, count, CONNECTING):
                connecting = (_connect(port, reading=reading) for _ in range(min(CONNECTING, count - first)))
                browsers += await asyncio.gather(*connecting)
                if not all(await asyncio.gather(*(browser.opened for browser in browsers[first:]))):
                    raise BenchError(f"one of {count} streams was not opened")
        yield browsers
    except TimeoutError:
        raise BenchError(f"{count} streams were not opened within {OPEN_LIMIT_S:.0f} s") from None
    finally:
        for browser in browsers:
            browser.transport.abort()


async def _connect(port: int, *, reading: bool) -> Browser:
    connection = socket.socket()
    connection.setblocking(False)  # noqa: FBT003 - its only parameter
    if not reading:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NOT_READING_BUFFER_BYTES)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, (HOST, port))
    _, browser = await loop.create_connection(lambda: Browser(reading=reading), sock=connection)
    return browser


class Workers:
    """Simulated workers, which report in groups, one after the other, in each second."""

    def __init__(self, redis: Any, count: int) -> None:
        # When a report was in Redis, in Unix seconds, and the hashes counted by then.
        self.written: list[tuple[float, int]] = []
        self._redis = redis
        names = [f"worker-{number}-{number:08x}" for number in range(1, count + 1)]
        self._groups = [Mining(redis) for _ in names[:GROUPS]]
        for number, group in enumerate(self._groups):
            group.workers = names[number::GROUPS]
            group.rngs, group.hashers = ({f"{name}-{i}": "serving" for i in (1, 2, 3)} for name in ("rng", "hasher"))
            group.rate = HASHES_PER_SECOND

    def write_hour(self) -> None:
        """Write the totals of an hour, and the reports of its last quarter."""
        first = (int(time.time()) - HOUR_S) // 10 * 10
        with self._redis.pipeline(transaction=False) as pipeline:
            for group in self._groups:
                for worker in group.workers:
                    buckets = (HOUR_S - STREAMED_S) // 10
                    Reports(pipeline).add_totals(first, buckets, 10 * HASHES_PER_SECOND, worker)
                pipeline.execute()
                group.write_past(STREAMED_S)

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
    rows: list[list[str]] = []
    bounds: list[Bound] = []
    with redis_server(_made(folder / "browsers")) as (url, client, _), _webui(url, folder / "browsers") as webui:
        workers = Workers(client, REPORTING_WORKERS)
        with workers.reporting():
            for not_reading in (0, NOT_READING):
                show(f"page: {arguments.browsers} browsers, {not_reading} of them not reading")
                measuring = _load(webui, workers, arguments.browsers - not_reading, not_reading, arguments.page_seconds)
                row, measured = asyncio.run(measuring)
                rows.append(row)
                bounds += measured
    show("")
    title = f"{arguments.browsers} browsers, {REPORTING_WORKERS} workers; the time is from Redis to a browser"
    return table(title, ["not reading", "CPU", "MB", "p50 s", "p99 s", "max s", "lost"], rows), bounds


async def _load(
    webui: Webui, workers: Workers, reading: int, not_reading: int, seconds: float
) -> tuple[list[str], list[Bound]]:
    async with _opened(webui.port, reading) as browsers, _opened(webui.port, not_reading, reading=False):
        await asyncio.sleep(SETTLING_S)  # until all have their snapshots
        began = time.time()
        cpu, megabytes = await webui.watch(seconds)
        until = time.time() - MAX_DELAY_S
        written = [(at, hashes) for at, hashes in workers.written if began <= at <= until]
        delays = [delay for browser in browsers for delay in _delays(browser, written)]
        lost = sum(browser.lost for browser in browsers)
    if not delays:
        raise BenchError("no browser received anything")
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    p50, p99, largest = cuts[49], cuts[98], max(delays)
    times = (f"{delay:.3f}" for delay in (p50, p99, largest))
    return [f"{not_reading}", f"{cpu:.2f}", f"{megabytes:.0f}", *times, f"{lost}"], [
        Bound(f"{not_reading} not reading: {name}", Spread([value]), "<=", limit)
        for name, value, limit in (
            ("CPU, cores", cpu, MAX_BROWSERS_CPU),
            ("memory, MB", megabytes, MAX_MEGABYTES),
            ("p99 from Redis to a browser, s", p99, MAX_DELAY_P99_S),
            ("max from Redis to a browser, s", largest, MAX_DELAY_S),
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
    with redis_server(_made(folder / "hour")) as (url, client, _):
        show(f"page: writing an hour of {arguments.workers} workers")
        workers = Workers(client, arguments.workers)
        workers.write_hour()
        with workers.reporting():
            show(f"page: {arguments.workers} workers")
            held = _megabytes(client)
            began = time.monotonic()
            with _webui(url, folder / "hour") as webui:
                ready = time.monotonic() - began
                answers = {query: webui.get(query) for query in QUERIES}
                cpu, megabytes = asyncio.run(_watch(webui, arguments.page_seconds))
    show("")
    redis = ", ".join(f"{kind} {size:.1f}" for kind, size in sorted(held.items()))
    rows = [[query, f"{seconds * 1e3:.0f} ms", f"{size / 1e3:.1f} kB"] for query, (seconds, size) in answers.items()]
    title = (
        f"An hour of {arguments.workers} workers, {HOUR_BROWSERS} browsers; Redis, MB: {redis}; "
        f"webui is ready after {ready:.1f} s, CPU {cpu:.2f}, {megabytes:.0f} MB"
    )
    return table(title, ["query", "time", "size"], rows), [
        Bound("CPU, cores", Spread([cpu]), "<=", MAX_HOUR_CPU),
        Bound("Redis, MB", Spread([sum(held.values())]), "<=", MAX_REDIS_MEGABYTES),
        *(Bound(f"{query}, s", Spread([seconds]), "<=", MAX_ANSWER_S) for query, (seconds, _) in answers.items()),
    ]


async def _watch(webui: Webui, seconds: float) -> tuple[float, float]:
    async with _opened(webui.port, HOUR_BROWSERS):
        await asyncio.sleep(SETTLING_S)
        return await webui.watch(seconds)


def _megabytes(client: Any) -> dict[str, float]:
    """Return the memory of all keys, by kind."""
    held: dict[str, float] = {}
    for key in client.scan_iter(count=1_000):
        kind, colon, _ = key.partition(":")
        kind = f"{kind}:<id>" if colon else kind
        held[kind] = held.get(kind, 0.0) + client.memory_usage(key, samples=0) / 1e6
    return held


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
