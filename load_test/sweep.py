"""All runs of all points, one after the other."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from chassis.tls import RenewedCertificates, handshake_log
from load_test.errors import LoadTestError
from load_test.local_service import LocalService, local_services
from load_test.measurement import Measurement
from load_test.options import Options
from load_test.plan import rounds
from load_test.point import Point
from load_test.progress import Progress
from load_test.trial import LOOP_PART, Conditions, Trial

EXPECTED_OVERHEAD = 0.6
"""Seconds of a run beside warm-up, measuring and loop: connecting, draining and closing."""

INTERRUPTED = "interrupted"


class Sweep:
    """Measures points until all are done, somebody interrupts, or a service fails."""

    def __init__(self, options: Options, points: Sequence[Point]) -> None:
        self._options = options
        self._points = points
        self.runs: dict[Point, list[Measurement]] = {point: [] for point in points}
        """What is measured so far."""
        self.started: list[str] = []
        """The services that were started for it."""
        self.problem = ""
        """What kept it from being complete."""
        self._services: dict[str, LocalService] = {}
        self._measuring: asyncio.Task[None] | None = None
        self._interrupted = False

    @property
    def seconds_a_run(self) -> float:
        """What is to be expected."""
        return self._options.warm_up + self._options.duration * (1 + LOOP_PART) + EXPECTED_OVERHEAD

    async def run(self, progress: Progress) -> None:
        """Measure. Raises UsageError for what can't be started here; any other problem is kept."""
        self._measuring = asyncio.create_task(self._run(progress))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt, number)
        try:
            await self._measuring
        except asyncio.CancelledError:
            self.problem = INTERRUPTED
        except LoadTestError as error:
            self.problem = str(error)

    def _interrupt(self, number: signal.Signals) -> None:
        """The first signal ends the measuring; the second one everything, at once."""
        if self._interrupted:
            for service in self._services.values():
                service.kill()
            os._exit(128 + number)
        self._interrupted = True
        if self._measuring is not None:
            self._measuring.cancel()

    async def _run(self, progress: Progress) -> None:
        self.started = [name for name in ("rng", "hasher") if name not in self._options.targets]
        failed_handshakes = contextlib.nullcontext() if self._options.tls is None else handshake_log("error")
        async with local_services(self._services, *self.started), failed_handshakes:
            own = {name: service.target for name, service in self._services.items()}
            conditions = Conditions(
                targets={**own, **self._options.targets},
                services=self._services,
                client_id=self._options.client_id,
                max_endpoints=self._options.max_endpoints,
                warm_up=self._options.warm_up,
                duration=self._options.duration,
                rate=self._options.rate,
                certificates=None if self._options.tls is None else RenewedCertificates(self._options.tls),
            )
            for point in rounds(self._points, self._options.repeat):
                progress.begin(point)
                measurement = await Trial(point, conditions).run()
                self.runs[point].append(measurement)
                progress.end(point, measurement)
