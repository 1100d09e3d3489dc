"""What a worker notices between two reports, for annotations."""

from dataclasses import dataclass

from chassis.redis.schema import MAX_CHANGES, AnnotationKind


@dataclass(slots=True)
class Noticed:
    """A change, or several equal ones, of which `at` is the first, on the event loop's clock."""

    kind: AnnotationKind
    service: str
    name: str
    at: float
    count: int = 0
    to: str = ""
    value: str = ""


class Changes:
    """Changes since the last report. Equal ones add up; beyond MAX_CHANGES, others are dropped."""

    def __init__(self) -> None:
        self._noticed: dict[tuple[str, ...], Noticed] = {}

    def add(self, change: Noticed) -> None:
        """Add a change."""
        key = change.kind, change.service, change.name, change.to, change.value
        if known := self._noticed.get(key):
            known.count += change.count
        elif len(self._noticed) < MAX_CHANGES:
            self._noticed[key] = change

    def take(self) -> list[Noticed]:
        """Return the changes since the last call."""
        noticed, self._noticed = list(self._noticed.values()), {}
        return noticed
