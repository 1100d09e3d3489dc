"""What changed, for the graph to mark: who came and went, batch sizes, and times in which nobody could be heard."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chassis.redis.schema import Report
from webui_svc.workers import MAX_KNOWN

KEPT = 3_600
"""Seconds."""

MOST = 200
"""Marks that are kept, the latest."""

BATCH_SIZE_EVERY = 10.0
"""Seconds between two marks of one worker's batch size: one that looks for the best changes it all the time."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One change. Times are seconds of the time axis."""

    at: float
    kind: str
    name: str
    value: float | None = None
    until: float | None = None

    def as_json(self, shift_s: int = 0) -> dict[str, Any]:
        """As browsers get it, in Unix seconds."""
        return {
            "at": round(self.at + shift_s, 3),
            "kind": self.kind,
            "name": self.name,
            "value": self.value,
            "until": None if self.until is None else round(self.until + shift_s, 3),
        }


class Marks:
    """The last hour's."""

    def __init__(self) -> None:
        self._all: deque[Mark] = deque(maxlen=MOST)
        self._new: deque[Mark] = deque(maxlen=MOST)

    def add(self, mark: Mark) -> None:
        """One more."""
        self._all.append(mark)
        self._new.append(mark)

    def take_new(self, shift_s: int = 0) -> list[dict[str, Any]]:
        """Those since the last call, oldest first."""
        new = [mark.as_json(shift_s) for mark in self._new]
        self._new.clear()
        return new

    def all(self, now: float, shift_s: int = 0) -> list[dict[str, Any]]:
        """Those of the last hour, oldest first."""
        return [mark.as_json(shift_s) for mark in self._all if now - mark.at <= KEPT]


class Attendance:
    """Marks who comes and goes of one service; whoever is there at first did not come."""

    def __init__(self, service: str, marks: Marks) -> None:
        self._service = service
        self._marks = marks
        self._present: dict[str, str] | None = None

    def settle(self, present: Mapping[str, str], came: Callable[[str], float], went: Callable[[str], float]) -> None:
        """Mark what changed: who is there, id to name, and when each came or went."""
        before, self._present = self._present, dict(present)
        if before is None:
            return
        for each in before.keys() - present.keys():
            self._marks.add(Mark(went(each), f"{self._service} went", before[each]))
        for each in present.keys() - before.keys():
            self._marks.add(Mark(came(each), f"{self._service} came", present[each]))


# Between two marks of the same service: one that hangs again and again must not drive all else out.
WAITING_EVERY_S = 10.0


class Waits:
    """Marks when workers begin to wait for a service."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._waited_for: set[str] = set()
        self._marked: dict[str, float] = {}

    def settle(self, since: Mapping[str, float]) -> None:
        """Mark the services that no worker waited for before, from the moment in `since` on."""
        for service in sorted(since.keys() - self._waited_for):
            if since[service] - self._marked.get(service, -WAITING_EVERY_S) >= WAITING_EVERY_S:
                self._marked[service] = since[service]
                self._marks.add(Mark(since[service], "waiting", service))
        self._waited_for = set(since)


class BatchSizes:
    """Marks when a worker's batch size changed."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._marked: dict[str, tuple[int, float]] = {}

    def hear(self, report: Report) -> None:
        """A report; its size is marked unless another was a moment ago."""
        begin, end = report.begin_us / 1e6, report.end_us / 1e6
        known = self._marked.get(report.worker)
        if known is None:
            self._marked[report.worker] = (report.batch_size, end - BATCH_SIZE_EVERY)
            if len(self._marked) > MAX_KNOWN:
                del self._marked[next(iter(self._marked))]
            return
        size, at = known
        if report.batch_size != size and not 0 <= begin - at < BATCH_SIZE_EVERY:
            self._marked[report.worker] = (report.batch_size, begin)
            self._marks.add(Mark(begin, "batch size", report.instance, report.batch_size))
