"""What changed, for the graph: replicas that joined and left, batch sizes, waiting, and gaps without reports."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from chassis.redis.schema import Report
from webui_svc.speed import MAX_WORKERS

# For how long annotations are kept, and how many, the latest ones.
KEPT_S = 3_600
MAX_ANNOTATIONS = 200

# Between two annotations of a worker's batch size: a worker that looks for the best changes it all the time.
BATCH_SIZE_EVERY_S = 10.0

# Between two annotations of the same service: one that hangs again and again must not drive out all others.
WAITING_EVERY_S = 10.0


class Annotation(Struct, frozen=True):
    """One change. Times are seconds of the time axis; a change without an end ends when it begins."""

    at: float
    kind: str
    service: str
    names: tuple[str, ...] = ()
    value: float | None = None
    until: float | None = None

    def shifted(self, shift_s: int) -> dict[str, Any]:
        """Return it with its times, in Unix seconds, moved by an offset."""
        at = round(self.at + shift_s, 3)
        until = at if self.until is None else round(self.until + shift_s, 3)
        key = f"{self.kind} {self.service} {' '.join(self.names)} {at}"
        return asdict(self) | {"id": key, "at": at, "until": until, "count": len(self.names), "to": []}


class Annotations:
    """The last hour's, and what they are made from: the reports, and what was there before."""

    def __init__(self) -> None:
        self._all: deque[Annotation] = deque(maxlen=MAX_ANNOTATIONS)
        self._new: deque[Annotation] = deque(maxlen=MAX_ANNOTATIONS)
        self._present: dict[str, dict[str, str]] = {}
        self._waited_for: set[str] = set()
        self._waiting_since: dict[str, float] = {}
        self._batch_sizes: dict[str, tuple[int, float]] = {}

    def add(self, annotation: Annotation) -> None:
        """Add one."""
        self._all.append(annotation)
        self._new.append(annotation)

    def take_new(self, shift_s: int = 0) -> list[dict[str, Any]]:
        """Return those since the last call, oldest first."""
        new = [each.shifted(shift_s) for each in self._new]
        self._new.clear()
        return new

    def all(self, now: float, shift_s: int = 0) -> list[dict[str, Any]]:
        """Return those of the last hour, oldest first."""
        return [each.shifted(shift_s) for each in self._all if now - each.at <= KEPT_S]

    def compare_replicas(
        self, service: str, present: Mapping[str, str], changed_at: Mapping[str, float], now: float
    ) -> None:
        """Annotate which replicas joined and left since the last call; those of the first call did not join.

        `present` are those that are there, id to name. One that is in `changed_at` joined or left then, others now.
        """
        before = self._present.get(service)
        self._present[service] = dict(present)
        if before is not None:
            for each in before.keys() - present.keys():
                self.add(Annotation(changed_at.get(each, now), "left", service, (before[each],)))
            for each in present.keys() - before.keys():
                self.add(Annotation(changed_at.get(each, now), "joined", service, (present[each],)))

    def compare_waiting(self, since: Mapping[str, float]) -> None:
        """Annotate the services that no worker waited for at the last call, from the moment in `since` on."""
        for service in sorted(since.keys() - self._waited_for):
            if since[service] - self._waiting_since.get(service, -WAITING_EVERY_S) >= WAITING_EVERY_S:
                self._waiting_since[service] = since[service]
                self.add(Annotation(since[service], "waiting", service))
        self._waited_for = set(since)

    def ingest(self, report: Report) -> None:
        """Annotate a worker's new batch size, unless another one was annotated a moment ago."""
        begin, end = report.begin_us / 1e6, report.end_us / 1e6
        known = self._batch_sizes.get(report.worker)
        if known is None:
            self._batch_sizes[report.worker] = (report.batch_size, end - BATCH_SIZE_EVERY_S)
            if len(self._batch_sizes) > MAX_WORKERS:
                del self._batch_sizes[next(iter(self._batch_sizes))]
            return
        size, at = known
        if report.batch_size != size and not 0 <= begin - at < BATCH_SIZE_EVERY_S:
            self._batch_sizes[report.worker] = (report.batch_size, begin)
            self.add(Annotation(begin, "autotuned", "worker", (report.instance,), report.batch_size))
