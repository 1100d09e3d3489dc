"""Which points a sweep measures, and in what order."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chassis.limits import MAX_BATCH_BYTES
from load_test.errors import UsageError
from load_test.options import Options
from load_test.point import Point
from worker_svc.settings import MAX_IN_FLIGHT_BYTES


@dataclass(frozen=True)
class Plan:
    """All points, and what was left out and why, one line each."""

    points: Sequence[Point]
    remarks: Sequence[str]


def plan(options: Options) -> Plan:
    """Every combination that is within bounds. Raises UsageError when none is."""
    points: dict[Point, None] = {}
    remarks: dict[str, None] = {}
    for mode, message_size, window, batch_size in itertools.product(
        options.modes, options.message_sizes, options.windows, options.batch_sizes
    ):
        size = batch_size * message_size
        batch = f"batch {batch_size} x message {message_size}"
        if size > MAX_BATCH_BYTES:
            remarks[f"left out: {batch} is {size} bytes, at most {MAX_BATCH_BYTES} are allowed"] = None
            continue
        # As in the worker itself, whatever WINDOW_SIZE says.
        bounded = min(window, MAX_IN_FLIGHT_BYTES // size)
        if bounded < window:
            remarks[f"window {window} is {bounded} with {batch}: {MAX_IN_FLIGHT_BYTES} bytes in flight"] = None
        rate = options.rate.text if options.rate else ""
        points[Point(mode, batch_size, bounded, message_size, rate)] = None
    if options.tls is not None:
        for name in ("rng", "hasher"):
            if name not in options.targets:
                remarks[f"TLS_CERT is not used with the {name} that is started here"] = None
    if not points:
        raise UsageError(f"no point is left to measure; {'; '.join(remarks)}")
    return Plan(tuple(points), tuple(remarks))


def rounds(points: Sequence[Point], repeat: int) -> Iterator[Point]:
    """Every point once a round; every other round goes backwards, so that steady drift favours none."""
    for turn in range(repeat):
        yield from points if turn % 2 == 0 else reversed(points)
