"""Batches sent when they are due, whether those before them are answered or not.

Whoever waits for an answer before asking again sends less while a server stalls, and so measures few of the waits that
the stall makes: "coordinated omission", a term of Gil Tene's ("How NOT to Measure Latency", 2013). Here a batch's
latency runs from the moment it was due, as in his wrk2.
"""

import asyncio
import math

from chassis.timing import TIMER_SLACK_S
from load_test.schedule import Schedule
from worker_svc.pipeline import Pipeline

MAX_WAITS = 10_000
"""Batches looked at one by one, of those that are due and not begun when time is up; beyond that, each stands for
several."""


class OpenLoop:
    """Begins a pipeline's batches on schedule; those for which the window has no room yet begin as soon as it has."""

    def __init__(self, pipeline: Pipeline, batch_size: int, schedule: Schedule) -> None:
        """The schedule runs from start()."""
        self._pipeline = pipeline
        self._batch_size = batch_size
        self._schedule = schedule
        self._loop = asyncio.get_running_loop()
        self._started = 0.0
        self._begun = 0
        self._timer: asyncio.TimerHandle | None = None
        self._running = False

    def start(self) -> None:
        """Begin with the first batch, now."""
        self._started = self._loop.time()
        self._running = True
        self.proceed()

    def proceed(self) -> None:
        """Begin what is due, as far as there is room, and come again when the next one is."""
        if not self._running:
            return
        now = self._loop.time()
        while self._pipeline.has_room and (due := self._due(self._begun)) is not None:
            if due - TIMER_SLACK_S > now:
                self._come_again(due - TIMER_SLACK_S)
                return
            self._begun += 1
            # Timers are early as often as late; a batch that is early by a hair has not waited before it was sent.
            self._pipeline.begin(min(due, now))

    def _come_again(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self.proceed)

    def _due(self, batches: int) -> float | None:
        seconds = self._schedule.due(batches * self._batch_size)
        return None if seconds is None else self._started + seconds

    def stop(self, since: float) -> list[tuple[float, int]]:
        """Begin no more; seconds that those have waited that are due and not begun, and how many waited that long.

        They would have waited longer yet, so this is the least that can be said of their latency. Those that were due
        before `since`, in seconds from the start, are left out.
        """
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
        elapsed = self._loop.time() - self._started
        first, last = (math.ceil(self._schedule.hashes_until(end) / self._batch_size) for end in (since, elapsed))
        waiting = range(max(self._begun, first), last)
        step = max(len(waiting) // MAX_WAITS, 1)
        waits = []
        for batch in waiting[::step]:
            due = self._schedule.due(batch * self._batch_size)
            if due is not None:
                waits.append((max(elapsed - due, 0.0), min(step, waiting.stop - batch)))
        return waits
