"""What a worker notices between two reports, for annotations."""

from collections.abc import Callable

from chassis.redis.schema import MAX_CHANGES, AnnotationKind, Change


class Changes:
    """Changes since the last report. Equal ones add up; beyond MAX_CHANGES, others are dropped."""

    def __init__(self) -> None:
        # The time of the first of several equal ones on the event loop's clock, and their count.
        self._noticed: dict[tuple[AnnotationKind, str, str, str, str], tuple[float, int]] = {}

    def add(  # noqa: PLR0913 - the fields of Change
        self, kind: AnnotationKind, service: str, name: str, at: float, *, count: int = 0, to: str = "", value: str = ""
    ) -> None:
        """Add a change, of which `at` is the time on the event loop's clock."""
        key = kind, service, name, to, value
        if key in self._noticed or len(self._noticed) < MAX_CHANGES:
            first, before = self._noticed.get(key, (at, 0))
            self._noticed[key] = first, before + count

    def take(self, wall_us: Callable[[float], int]) -> list[Change]:
        """Return the changes since the last call. `wall_us` converts their times to those of a report."""
        noticed, self._noticed = self._noticed, {}
        return [
            Change(kind, service, name, wall_us(at), count, to, value)
            for (kind, service, name, to, value), (at, count) in noticed.items()
        ]
