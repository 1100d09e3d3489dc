import json
import time
from typing import Any

from webui_svc import totals
from webui_svc.report import KEPT
from webui_svc.speed import Point, Speed

SHOWN = 300
"""Seconds of the graph that a browser gets when it opens the page."""

MOST_BATCH_SIZES = 8
"""Different batch sizes that are named, the smallest first."""


class Board:
    """Everything there is to show, as of the last time that Redis answered."""

    def __init__(self) -> None:
        self.speed = Speed()
        self.redis = False
        """Whether Redis answers."""
        self.hashes = 0
        self.coins = 0
        self._totals: dict[int, float] = {}
        self._totals_until = 0
        self._told: dict[str, Any] = {}

    def set_totals(self, buckets: dict[int, float]) -> None:
        """Take over the hour's ten-second buckets; those are whole that the speed is known for by now."""
        self._totals = buckets
        self._totals_until = self.speed.until or 0

    def settle(self) -> None:
        """Decide how far the speed is known by now."""
        self.speed.settle(time.time(), time.monotonic())

    def history(self, seconds: int) -> tuple[int, list[Point]]:
        """The resolution in seconds, and the speed over the last so many seconds: by the second while it is held so."""
        if seconds <= KEPT:
            return 1, self.speed.points(seconds)
        return totals.RESOLUTION, totals.points(self._totals, self._totals_until, seconds)

    @staticmethod
    def now() -> float:
        """Unix seconds."""
        return round(time.time(), 3)

    def snapshot(self) -> bytes:
        """All that a page needs which knows nothing yet, as a server-sent event."""
        points = self.speed.points(SHOWN)
        return _event("snapshot", {"now": self.now(), **self._figures(), "shown_seconds": SHOWN, "points": points})

    def update(self) -> bytes | None:
        """What changed since the last update, as a server-sent event; None if nothing did."""
        points = self.speed.take_changed()[-SHOWN:]
        figures = self._figures()
        if not points and figures == self._told:
            return None
        self._told = figures
        return _event("update", {"now": self.now(), **figures, "points": points})

    def _figures(self) -> dict[str, Any]:
        clock = time.monotonic()
        workers = self.speed.workers
        counts = {"redis": self.redis, "hashes": self.hashes, "coins": self.coins}
        if not self.redis:  # then nobody knows who is there
            return {**counts, "speed": None, "workers": None, "paces": [], "batch_sizes": []}
        current = self.speed.current(clock)
        return {
            **counts,
            "speed": current if current is None else round(current, 4),
            "workers": workers.count(clock),
            "paces": workers.paces(clock),
            "batch_sizes": workers.batch_sizes(clock)[:MOST_BATCH_SIZES],
        }


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'), allow_nan=False)}\n\n".encode()
