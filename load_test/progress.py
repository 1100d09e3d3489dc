"""The progress of a sweep, on standard error."""

import time
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from load_test.measurement import Measurement
from load_test.plan import Point


class Progress:
    """One line that changes, on a terminal; elsewhere a line for each run that is done."""

    def __init__(self, console: Console, runs: int, expected_seconds: float) -> None:
        """Estimate the time left from `expected_seconds` per run until some are done."""
        self._console = console
        self._runs = runs
        self._done = 0
        self._seconds_per_run = expected_seconds
        self._began = self._last = time.monotonic()
        self._now = "starting"
        self._before = ""
        self._live = Live(console=console, get_renderable=self._line, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._console.print(f"{self._runs} run{'s' if self._runs > 1 else ''}, about {self._left()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def begin(self, point: Point) -> None:
        """Show that a run of this point begins."""
        if not self._done:  # the time until the services listen is not part of a run
            self._began = self._last = time.monotonic()
        self._now = str(point)

    def end(self, point: Point, measurement: Measurement) -> None:
        """Show that this run was measured."""
        self._done += 1
        self._last = time.monotonic()
        self._seconds_per_run = (self._last - self._began) / self._done
        speed = f"{measurement.hashes_per_second:,.0f} hashes/s"
        self._before = f"; before: {speed}"
        if not self._console.is_terminal:
            self._console.print(f"{self._done} of {self._runs}: {point}: {speed}, {self._left()} left", soft_wrap=True)

    def _left(self) -> str:
        under_way = time.monotonic() - self._last
        seconds = max((self._runs - self._done) * self._seconds_per_run - under_way, 0.0)
        return f"{round(seconds) // 60}:{round(seconds) % 60:02}"

    def _line(self) -> Text:
        run = f"run {min(self._done + 1, self._runs)} of {self._runs}"
        return Text(f"{run}, {self._left()} left: {self._now}{self._before}", overflow="ellipsis", no_wrap=True)
