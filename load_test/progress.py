"""The progress of a sweep, on standard error."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from load_test.measurement import Measurement
from load_test.plan import Point


class Progress:
    """One line that changes, on a terminal; elsewhere a line for each run that is done."""

    def __init__(self, console: Console, runs: int, expected_seconds: float) -> None:
        """Use `expected_seconds` per run until some are done."""
        self._console = console
        self._runs = runs
        self._seconds_per_run = expected_seconds
        self._done = 0
        self._began = self._last = time.monotonic()
        self._point: Point | None = None
        self._speed = ""
        self._live = Live(console=console, get_renderable=self._line, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            runs = f"{self._runs} run{'s' if self._runs > 1 else ''}"
            self._console.print(f"{runs}, about {_minutes(self._runs * self._seconds_per_run)}")
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._live.stop()

    def begin(self, point: Point) -> None:
        """Show that a run of this point begins."""
        if self._point is None:  # the time until the services listen is not part of a run
            self._began = self._last = time.monotonic()
        self._point = point

    def end(self, point: Point, measurement: Measurement) -> None:
        """Show that this run was measured."""
        self._done += 1
        self._last = time.monotonic()
        self._seconds_per_run = (self._last - self._began) / self._done
        self._speed = f"{measurement.hashes_per_second:,.0f} hashes/s"
        if not self._console.is_terminal:
            line = f"{self._done} of {self._runs}: {point}: {self._speed}, {self._left()} left"
            self._console.print(line, soft_wrap=True)

    def _left(self) -> str:
        under_way = time.monotonic() - self._last
        return _minutes(max((self._runs - self._done) * self._seconds_per_run - under_way, 0.0))

    def _line(self) -> Text:
        before = f"; before: {self._speed}" if self._speed else ""
        run = min(self._done + 1, self._runs)
        line = f"run {run} of {self._runs}, {self._left()} left: {self._point or 'starting'}{before}"
        return Text(line, overflow="ellipsis", no_wrap=True)


def _minutes(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}"
