"""Streams beside a call a step, at one batch size: the load test's two modes, on the same servers in turn."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

from bench import progress
from bench.bare_work import MESSAGE_SIZE
from bench.bound import AtLeast, Bound
from bench.processes import BenchError
from bench.spread import Spread
from bench.system import Servers, servers
from load_test import LoadTestError
from load_test.options import Mode
from load_test.plan import Point
from load_test.trial import Conditions, Trial

BATCH_SIZE = 256
WINDOW = 8
MAX_ENDPOINTS = 64

WARM_UP = 0.5

LEAST_OF_CALLS = 1.2

Run = dict[Mode, float]
"""Hashes a second."""


async def _speed(running: Servers, mode: Mode, seconds: float) -> float:
    point = Point(mode, BATCH_SIZE, WINDOW, MESSAGE_SIZE, rate="")
    conditions = Conditions(
        targets={service: f"ipv4:127.0.0.1:{port}" for service, port in running.ports.items()},
        services={},
        client_id="bench",
        max_endpoints=MAX_ENDPOINTS,
        warm_up=WARM_UP,
        duration=seconds,
        rate=None,
    )
    return (await Trial(point, conditions).run()).hashes_per_second


def measure(repeats: int, seconds: float, folder: Path) -> list[Run]:
    """Both in turn. Raises BenchError when a service does not do its work."""
    runs = []
    with servers(folder, {"PACE": "full"}) as running:
        for number in range(repeats):
            progress.show(f"streams beside calls: {number + 1} of {repeats}")
            order = list(Mode) if number % 2 else list(Mode)[::-1]
            try:
                runs.append({mode: asyncio.run(_speed(running, mode, seconds)) for mode in order})
            except LoadTestError as error:
                raise BenchError(str(error)) from error
    progress.show("")
    return runs


def _ratio(runs: list[Run]) -> Spread:
    return Spread([run[Mode.STREAM] / run[Mode.UNARY] for run in runs])


def lines(runs: list[Run]) -> Iterator[str]:
    """The table."""
    stream, unary = (Spread([run[mode] for run in runs]) for mode in (Mode.STREAM, Mode.UNARY))
    yield f"Streams beside a call a step, batch {BATCH_SIZE}, {WINDOW} in flight: hashes a second"
    yield f"{'streams':>30} {'calls':>30} {'ratio':>22}"
    yield f"{stream!s:>30} {unary!s:>30} {_ratio(runs)!s:>22}"


def bounds(runs: list[Run]) -> list[Bound]:
    """What it is held to."""
    ratio = _ratio(runs)
    return [AtLeast(f"streams over calls at batch {BATCH_SIZE}", ratio.median, LEAST_OF_CALLS, ratio.noise)]
