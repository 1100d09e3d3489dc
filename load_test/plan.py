"""Which points a load test measures, and in what order."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chassis.batch_limits import MAX_BATCH_BYTES
from load_test import UsageError
from load_test.measurement import SERVICES
from load_test.options import Mode, Options
from worker_svc.settings import MAX_IN_FLIGHT_BYTES


@dataclass(frozen=True, slots=True)
class Point:
    """One combination of the options that a load test varies."""

    mode: Mode
    batch_size: int
    window: int
    message_size: int
    # The rate schedule as it was given, empty for as fast as possible.
    rate: str

    def __str__(self) -> str:
        return f"{self.mode}, batch {self.batch_size}, window {self.window}, message {self.message_size}"


def plan(options: Options) -> tuple[list[Point], list[str]]:
    """Return every combination that is within bounds, and notes on those that were left out or changed.

    Raises UsageError when there is none.
    """
    points: dict[Point, None] = {}
    notes: dict[str, None] = {}
    for mode, message_size, window, batch_size in itertools.product(
        options.modes, options.message_sizes, options.windows, options.batch_sizes
    ):
        size = batch_size * message_size
        batch = f"batch {batch_size} x message {message_size}"
        if size > MAX_BATCH_BYTES:
            notes[f"left out: {batch} is {size} bytes, at most {MAX_BATCH_BYTES} are allowed"] = None
            continue
        # The worker itself has the same limit, whatever WINDOW_SIZE says.
        bounded = min(window, MAX_IN_FLIGHT_BYTES // size)
        if bounded < window:
            notes[f"window {window} is {bounded} with {batch}: {MAX_IN_FLIGHT_BYTES} bytes in flight"] = None
        points[Point(mode, batch_size, bounded, message_size, options.rate.text if options.rate else "")] = None
    for name in SERVICES:
        if options.settings.tls is not None and name not in options.targets:
            notes[f"TLS_CERT is not used with the {name} that is started here"] = None
    if not points:
        raise UsageError(f"no point is left to measure; {'; '.join(notes)}")
    return list(points), list(notes)


def rounds(points: Sequence[Point], repeat: int) -> Iterator[Point]:
    """Yield every point once per round; every other round goes backwards, so that steady drift favours none."""
    for number in range(repeat):
        yield from points if number % 2 == 0 else reversed(points)
