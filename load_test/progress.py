"""How far the measuring has come, on standard error."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from load_test.measurement import Measurement
from load_test.point import Point


class Progress:
    """One line that changes, on a terminal; elsewhere a line for each run that is done."""

    def __init__(self, console: Console, runs: int, seconds_a_run: float) -> None:
        """The seconds are what a run is expected to take, until some have shown it."""
        self._console = console
        self._runs = runs
        self._seconds_a_run = seconds_a_run
        self._done = 0
        self._began = self._last = time.monotonic()
        self._point: Point | None = None
        self._speed = ""
        self._live = Live(console=console, get_renderable=self._line, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        else:
            self._console.print(
                f"{self._runs} run{'s' if self._runs > 1 else ''}, about {_minutes(self._runs * self._seconds_a_run)}"
            )
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._live.stop()

    def begin(self, point: Point) -> None:
        """A run of this point begins."""
        if self._point is None:
            # Starting the services is no part of a run.
            self._began = self._last = time.monotonic()
        self._point = point

    def end(self, point: Point, measurement: Measurement) -> None:
        """That run was measured."""
        self._done += 1
        self._last = time.monotonic()
        self._seconds_a_run = (self._last - self._began) / self._done
        self._speed = f"{measurement.hashes_per_second:,.0f} hashes/s"
        if not self._console.is_terminal:
            self._console.print(
                f"{self._done} of {self._runs}: {point}: {self._speed}, {_minutes(self._left)} left", soft_wrap=True
            )

    @property
    def _left(self) -> float:
        under_way = time.monotonic() - self._last
        return max((self._runs - self._done) * self._seconds_a_run - under_way, 0.0)

    def _line(self) -> Text:
        before = f"; before: {self._speed}" if self._speed else ""
        run = min(self._done + 1, self._runs)
        what = self._point or "starting"
        line = f"run {run} of {self._runs}, {_minutes(self._left)} left: {what}{before}"
        return Text(line, overflow="ellipsis", no_wrap=True)


def _minutes(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}"
