from dataclasses import dataclass

from chassis.settings import Pace
from webui_svc.report import KEPT, Report

SILENT_INTERVALS = 3
"""Report intervals without a report after which a worker is gone."""

LEAST_SILENCE = 3.0
"""Seconds before which no worker is, however often it means to report: a report may have to wait."""

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
    report_interval: float
    """Seconds."""
    heard: float

    def is_live(self, now: float) -> bool:
        """Whether it is there."""
        return now - self.heard < max(LEAST_SILENCE, SILENT_INTERVALS * self.report_interval)


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

    def report_interval_of(self, worker: str) -> float:
        """Seconds between a worker's reports; 0 for one that is not remembered."""
        known = self._known.get(worker)
        return known.report_interval if known else 0.0

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
            instance=report.instance,
            sequence=report.sequence,
            end_us=report.end_us,
            batch_size=report.batch_size,
            pace=report.pace,
            report_interval=report.report_interval_us / 1e6,
            heard=heard,
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
        return {name: worker for name, worker in self._known.items() if worker.is_live(now)}

    def gone(self, now: float) -> dict[str, Worker]:
        """Those that went a few seconds ago, by id."""
        return {
            name: worker
            for name, worker in self._known.items()
            if not worker.is_live(now) and worker.is_live(now - GONE_LISTED)
        }

    def is_live(self, worker: str, now: float) -> bool:
        """Whether that one is there."""
        known = self._known.get(worker)
        return known is not None and known.is_live(now)

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
