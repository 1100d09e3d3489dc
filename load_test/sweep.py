"""Which points a load test measures, in what order, and all their runs."""

import asyncio
import itertools
import os
import signal
from collections.abc import Iterator, Sequence

from chassis.batch_limits import MAX_BATCH_BYTES
from chassis.tls import RenewedCertificates
from load_test import LoadTestError, UsageError
from load_test.local_services import LocalService, local_services
from load_test.measurement import SERVICES, Measurement
from load_test.options import DURATION_S, Options
from load_test.progress import Progress
from load_test.report import Point
from load_test.trial import BASELINE_PART, Trial
from worker_svc.settings import MAX_IN_FLIGHT_BYTES

# The time of a run beside warm-up, measuring and baseline: it connects, drains and closes.
EXPECTED_OVERHEAD_S = 0.6

INTERRUPTED = "interrupted"


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


class Sweep:
    """Measures points until all are done, a signal interrupts it, or a service fails."""

    def __init__(self, options: Options, points: Sequence[Point]) -> None:
        self._options = options
        self._points = points
        self.runs: dict[Point, list[Measurement]] = {point: [] for point in points}
        # The services that are started here.
        self.started = [name for name in SERVICES if name not in options.targets]
        # The error that ended the sweep early, empty if none did.
        self.problem = ""
        self._services: dict[str, LocalService] = {}
        # The run under way.
        self._trial: Trial | None = None

    @property
    def expected_seconds(self) -> float:
        """The expected time of a run."""
        duration = DURATION_S if self._options.requests else self._options.duration
        return self._options.warm_up + duration * (1 + BASELINE_PART) + EXPECTED_OVERHEAD_S

    async def run(self, progress: Progress) -> None:
        """Measure. Raises UsageError for a service that can't be started here; keeps any other problem."""
        loop = asyncio.get_running_loop()
        measuring = asyncio.create_task(self._run(progress))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._interrupt, measuring, number)
        try:
            await measuring
        except asyncio.CancelledError:
            self.problem = INTERRUPTED
        except LoadTestError as error:
            self.problem = str(error)

    def _interrupt(self, measuring: "asyncio.Task[None]", number: signal.Signals) -> None:
        """End the measuring on the first signal, and the process at once on the second.

        The run under way counts, as far as it went, where it is the first one of its point.
        """
        if self.problem:
            for service in self._services.values():
                service.kill()
            os._exit(128 + number)
        self.problem = INTERRUPTED
        if self._trial is None or self.runs[self._trial.point] or not self._trial.stop():
            measuring.cancel()

    async def _run(self, progress: Progress) -> None:
        tls = self._options.settings.tls
        async with local_services(self._services, self.started):
            certificates = None if tls is None else RenewedCertificates(tls)
            for point in rounds(self._points, self._options.repeat):
                trial = self._trial = Trial(point, self._options, self._services, certificates)
                progress.begin(point, trial)
                measurement = await trial.run()
                self.runs[point].append(measurement)
                progress.end(point, measurement)
                if self.problem:
                    self.problem += f" after {measurement.seconds:.1f} s of {point}"
                    return
