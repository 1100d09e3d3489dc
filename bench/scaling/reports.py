"""Reports a second that one Redis takes, by how it writes them down: the real script, by workers with their own ids.

Redis serves the reports that wait in one turn of its event loop and writes them to disk together before it answers any
of them, so with `appendfsync always` there is one fsync a turn, not one a report.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

from bench import progress
from bench.bound import AtMost, Bound
from bench.processes import free_port, process, wait_until_listening
from bench.scaling.recorded_report import RecordedReport, record
from bench.scaling.reporters import Reporter, report_at_once, report_once_a_second, reporters
from local_run import embedded_redis

WAYS: Mapping[str, Sequence[str]] = {
    "always": (),  # as the command has it
    "everysec": ("--appendfsync", "everysec"),
    "no file": ("--appendonly", "no"),
}
"""Further options of the server, by what they do; "always" is what compose and `make run` have."""

BACKENDS = (3, 64)
"""Rngs, and hashers, that a report lists; 64 is the most."""

MOST_LATE = 1.0
"""Seconds in which 99 of 100 reports are to be taken: until the next one is due."""

HELD = 1_000
"""Workers for which that is held to, with `appendfsync always`."""


@dataclass(frozen=True)
class Load:
    """What so many workers did to one Redis."""

    way: str
    backends: int
    workers: int
    once_a_second: bool
    """Or again as soon as they are answered."""
    seconds: float
    latencies: list[float]
    refused: int
    cpu: float
    """Redis's, in seconds."""
    written: float
    """Bytes that its append-only file grew by; it shrinks when it is rewritten."""

    @property
    def speed(self) -> float:
        """Reports a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, part: float) -> float:
        """Of the latencies."""
        return sorted(self.latencies)[min(int(len(self.latencies) * part), len(self.latencies) - 1)]


def measure(workers: Sequence[int], seconds: float, folder: Path) -> list[Load]:
    """Each way of writing, then each number of workers. Raises BenchError when one can't connect."""
    with contextlib.ExitStack() as stack:
        servers = {way: stack.enter_context(_server(way, folder)) for way in WAYS}
        return asyncio.run(_measure(servers, workers, seconds, folder))


@contextlib.contextmanager
def _server(way: str, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    port = free_port()
    data = folder / way.replace(" ", "-")
    data.mkdir()
    command = [*embedded_redis.command(port, str(data)), *WAYS[way]]
    with process(command, {}, data / "redis-process.log") as started:
        wait_until_listening(started, "127.0.0.1", port, data)
        yield port, psutil.Process(started.pid)


async def _measure(
    servers: Mapping[str, tuple[int, psutil.Process]], workers: Sequence[int], seconds: float, folder: Path
) -> list[Load]:
    loads = []
    number = 0
    for backends in BACKENDS:
        for way, (port, server) in servers.items():
            report = await record(port, backends)
            for count, once_a_second in (*((count, True) for count in workers), (workers[0], False)):
                progress.show(f"reports: {way}, {backends} backends, {count} workers")
                number += 1
                cpu, size = _cpu(server), _size(folder / way.replace(" ", "-"))
                done = await _load(port, report, f"{number}", count, seconds, once_a_second=once_a_second)
                loads.append(
                    Load(
                        way,
                        backends,
                        count,
                        once_a_second,
                        seconds,
                        [latency for each in done for latency in each.latencies],
                        sum(each.refused for each in done),
                        _cpu(server) - cpu,
                        max(_size(folder / way.replace(" ", "-")) - size, 0),
                    )
                )
                with contextlib.closing(redis.Redis(port=port)) as client:
                    client.flushall()  # and with it the workers that are gone
    progress.show("")
    return loads


async def _load(  # noqa: PLR0913 - what is varied
    port: int, report: RecordedReport, generation: str, count: int, seconds: float, *, once_a_second: bool
) -> list[Reporter]:
    async with reporters(port, count, report, generation) as made:
        await (report_once_a_second if once_a_second else report_at_once)(made, seconds)
        return made


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.aof"))


def most(loads: Sequence[Load], way: str, backends: int) -> float:
    """Reports a second that one Redis took at most."""
    return max(load.speed for load in loads if load.way == way and load.backends == backends)


def lines(loads: Sequence[Load]) -> Iterator[str]:
    """The table."""
    yield "Reports to one Redis, each of a worker of its own; latency from when a report was due, ms"
    yield (
        f"{'appendfsync':>11} {'backends':>8} {'workers':>8} {'how often':>14} {'reports/s':>10} {'median':>7} "
        f"{'99 %':>7} {'most':>7} {'Redis, us CPU':>13}"
    )
    for load in loads:
        count = len(load.latencies) or 1
        often = "once a second" if load.once_a_second else "when answered"
        median, late, worst = (load.quantile(part) * 1e3 for part in (0.5, 0.99, 1.0))
        yield (
            f"{load.way:>11} {load.backends:>8} {load.workers:>8,} {often:>14} {load.speed:>10,.0f} {median:>7.1f} "
            f"{late:>7.1f} {worst:>7.1f} {load.cpu / count * 1e6:>13.0f}"
        )
    yield "backends: rngs, and as many hashers, that a report lists; us CPU: of one report"
    for backends in BACKENDS:
        first = next(load for load in loads if load.way == "always" and load.backends == backends)
        yield f"bytes on disk, a report with {backends} backends: {first.written / (len(first.latencies) or 1):,.0f}"


def bounds(loads: Sequence[Load]) -> list[Bound]:
    """That reports are taken before the next ones are due, and none is refused."""
    late = [
        load.quantile(0.99)
        for load in loads
        if load.way == "always" and load.once_a_second and load.workers <= HELD and load.backends == BACKENDS[0]
    ]
    return [
        AtMost(f"99 % of the reports of {HELD:,} workers taken in, s", max(late, default=0.0), MOST_LATE),
        AtMost("reports refused", sum(load.refused for load in loads), 0),
    ]
