"""The progress of a sweep, on standard error."""

import sys
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from load_test.measurement import Measurement
from load_test.report import Point, milliseconds

if TYPE_CHECKING:
    from load_test.trial import Trial

REFRESH_INTERVAL_S = 1.0

# The view is drawn by a thread of its own. While that has the interpreter's lock, requests are sent late, by this time
# at most; Python's default is 5 ms. At 560 batches per second, p99.9 of how late batches were sent was 0.2 ms with the
# view and without it (medians of six pairs).
SWITCH_INTERVAL_S = 0.0005

MAX_BARS = 60
_BARS = " ▁▂▃▄▅▆▇█"


class Progress:
    """A view of the point that is being measured, on a terminal; elsewhere a line for each run that is done."""

    def __init__(self, console: Console, runs: int, expected_seconds: float) -> None:
        """Estimate the time left from `expected_seconds` per run until some are done."""
        self._console = console
        self._runs = runs
        self._done = 0
        self._seconds_per_run = expected_seconds
        self._began = self._last = time.monotonic()
        self._point: Point | None = None
        self._trial: Trial | None = None
        self._before = ""
        self._live = Live(
            console=console, get_renderable=self._view, refresh_per_second=1 / REFRESH_INTERVAL_S, transient=True
        )
        self._switch_interval = sys.getswitchinterval()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            self._live.start()
        else:
            self._console.print(f"{self._runs} run{'s' if self._runs > 1 else ''}, about {self._left()}")
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        sys.setswitchinterval(self._switch_interval)

    def begin(self, point: Point, trial: "Trial") -> None:
        """Show that a run of this point begins."""
        if not self._done:  # the time until the services listen is not part of a run
            self._began = self._last = time.monotonic()
        self._point, self._trial = point, trial

    def end(self, point: Point, measurement: Measurement) -> None:
        """Show that this run was measured."""
        self._done += 1
        self._trial = None
        self._last = time.monotonic()
        self._seconds_per_run = (self._last - self._began) / self._done
        speed = f"{measurement.hashes_per_second:,.0f} hashes/s"
        self._before = f"before: {speed} with {point}"
        if not self._console.is_terminal:
            self._console.print(f"{self._done} of {self._runs}: {point}: {speed}, {self._left()} left", soft_wrap=True)

    def _left(self) -> str:
        under_way = time.monotonic() - self._last
        part = self._trial.part_done if self._trial is not None else 0.0
        per_run = self._seconds_per_run if self._done or not part else under_way / part
        seconds = max((self._runs - self._done) * per_run - under_way, 0.0)
        return f"{round(seconds) // 60}:{round(seconds) % 60:02}"

    def _view(self) -> Group:
        run = f"run {min(self._done + 1, self._runs)} of {self._runs}, {self._left()} left: {self._point or 'starting'}"
        lines = [run, *self._figures(), self._before]
        return Group(*(Text(line, overflow="ellipsis", no_wrap=True) for line in lines if line))

    def _figures(self) -> list[str]:
        """Return the figures of the last second, and the speed of each second as a bar."""
        if self._trial is None:
            return []
        recorder, errors = self._trial.recorder, f"errors: {self._trial.error_count:,}"
        if not recorder.per_second:
            return [f"{'measuring' if recorder.counting else 'warming up'}, {errors}"]
        seconds = recorder.per_second[-MAX_BARS:]
        most = max(each.hashes_per_second for each in seconds)
        bars = "".join(_BARS[round(8 * each.hashes_per_second / most) if most else 0] for each in seconds)
        last = seconds[-1]
        latency = f"p50 {milliseconds(last.p50)} ms, p99 {milliseconds(last.p99)} ms"
        return [f"{last.hashes_per_second:,.0f} hashes/s, {latency}, {errors}", bars]
