from dataclasses import dataclass

from chassis.settings import Pace
from webui_svc.report import KEPT, Report

SILENCE = 3.0
"""Seconds without a report after which a worker is gone: three report intervals."""

MAX_LAG_US = 120_000_000
"""How far behind the others a worker is still waited for. Twice what a clock may be ahead, so that one worker with a
wrong clock holds up nobody's curve, and nobody else's clock outruns a worker that is merely slow."""

GONE_LISTED = 10.0
"""Seconds for which a worker, or another replica, is still listed after it went."""

MAX_KNOWN = 10_000
"""Workers remembered, those heard longest ago forgotten first."""


@dataclass(slots=True)
class Worker:
    """What a worker's last report says, and when it was heard."""

    instance: str
    sequence: int
    end_us: int
    batch_size: int
    pace: Pace
    heard: float


class Workers:
    """Who reports, and how far each has come. `now` and `heard` are seconds of a clock that never jumps."""

    def __init__(self) -> None:
        self._known: dict[str, Worker] = {}  # the one heard longest ago comes first

    def __contains__(self, worker: str) -> bool:
        return worker in self._known

    def end_of(self, worker: str, otherwise: float) -> float:
        """The end of a worker's last report in Unix seconds, if it is remembered."""
        known = self._known.get(worker)
        return known.end_us / 1e6 if known else otherwise

    def hear(self, report: Report, heard: float) -> bool:
        """Note a report; False if it was noted before.

        A report comes again when Redis was restored from an older state: the worker repeats itself, and so does the
        stream. It is one heard before when neither its number nor its time is new.
        """
        known = self._known.pop(report.worker, None)
        if known and report.sequence <= known.sequence and report.end_us <= known.end_us:
            known.heard = max(known.heard, heard)
            self._known[report.worker] = known
            return False
        if known:
            heard = max(known.heard, heard)
        self._known[report.worker] = Worker(
            report.instance, report.sequence, report.end_us, report.batch_size, report.pace, heard
        )
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return True

    def reported_until(self, now: float) -> int | None:
        """The moment up to which every live worker has reported, in microseconds; None when nobody lives."""
        ends = [worker.end_us for worker in self._live(now)]
        if not ends:
            return None
        newest = max(ends)
        return min(end for end in ends if newest - end <= MAX_LAG_US)

    def live(self, now: float) -> dict[str, Worker]:
        """Those that are there, by id."""
        return {name: worker for name, worker in self._known.items() if now - worker.heard < SILENCE}

    def gone(self, now: float) -> dict[str, Worker]:
        """Those that went a few seconds ago, by id."""
        until = SILENCE + GONE_LISTED
        return {name: worker for name, worker in self._known.items() if SILENCE <= now - worker.heard < until}

    def count(self, now: float) -> int:
        """How many live."""
        return len(self._live(now))

    def paces(self, now: float) -> list[str]:
        """Their paces; more than one when they differ."""
        return sorted({worker.pace.value for worker in self._live(now)})

    def batch_sizes(self, now: float) -> list[int]:
        """Their batch sizes; more than one when they differ."""
        return sorted({worker.batch_size for worker in self._live(now)})

    def excuse(self, seconds: float) -> None:
        """Don't hold a silence of so many seconds against anyone, for it was Redis that was away."""
        for worker in self._known.values():
            worker.heard += seconds

    def forget_gone(self, now: float) -> None:
        """Forget those whose reports have left the stream: none of them can come again."""
        for name in [name for name, worker in self._known.items() if now - worker.heard > KEPT]:
            del self._known[name]

    def _live(self, now: float) -> list[Worker]:
        return list(self.live(now).values())
