"""What changed, for the graph: annotations as the workers' reports have written them to Redis."""

from collections.abc import Callable
from typing import Any

from chassis.redis.schema import ANNOTATIONS_S, REPLICA_KINDS, Annotation

# The latest annotations, and names of one, that browsers get.
SHOWN_ANNOTATIONS = 200
SHOWN_NAMES = 8


class Annotations:
    """The annotations of the last hour by id. Times are seconds of the time axis; those shown, in Unix seconds."""

    def __init__(self) -> None:
        self._all: dict[str, dict[str, Any]] = {}
        self._changed: set[str] = set()

    def ingest(self, annotation: Annotation, place: Callable[[int], int]) -> None:
        """Add one, or replace the one that it extends; `place` puts a moment of Redis's clock on the time axis."""
        name = annotation.names if annotation.kind in REPLICA_KINDS else annotation.service
        key = f"{annotation.kind} {name} {annotation.at_us}"
        written_us = place(annotation.redis_us)
        self._all.pop(key, None)
        self._all[key] = {
            "id": key,
            "at": (written_us - annotation.redis_us + annotation.at_us) / 1e6,
            "until": (written_us - annotation.redis_us + annotation.until_us) / 1e6,
            "kind": annotation.kind,
            "service": annotation.service,
            "names": annotation.names.split()[:SHOWN_NAMES],
            "count": annotation.count,
            "to": annotation.to.split()[:SHOWN_NAMES],
            "value": annotation.value or None,
        }
        if len(self._all) > SHOWN_ANNOTATIONS:
            del self._all[next(iter(self._all))]
        self._changed.add(key)

    def take_changed(self, shift_s: int = 0) -> list[dict[str, Any]]:
        """Return those that are new or were extended since the last call, the oldest first."""
        changed = [_shifted(each, shift_s) for key, each in self._all.items() if key in self._changed]
        self._changed.clear()
        return sorted(changed, key=lambda each: each["at"])

    def all(self, now: float, shift_s: int = 0) -> list[dict[str, Any]]:
        """Return those of the last hour, the oldest first."""
        kept = [_shifted(each, shift_s) for each in self._all.values() if now - each["until"] <= ANNOTATIONS_S]
        return sorted(kept, key=lambda each: each["at"])


def _shifted(annotation: dict[str, Any], shift_s: int) -> dict[str, Any]:
    return annotation | {name: round(annotation[name] + shift_s, 3) for name in ("at", "until")}
