"""When batches are to be sent, decided before anything is known of their answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MAX_RATE = 1e9
"""Hashes/s; far beyond what any pipeline does."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A time in which the rate goes from one value to another in a straight line."""

    seconds: float
    first: float
    """Hashes/s at its beginning."""
    last: float
    """Hashes/s at its end."""

    @property
    def hashes(self) -> float:
        """What is to be sent within it."""
        return self.seconds * (self.first + self.last) / 2

    def moment(self, hashes: float) -> float:
        """Seconds from its beginning until so many hashes are to be sent, which must be no more than it has."""
        slope = (self.last - self.first) / self.seconds
        # The root of first·t + slope/2·t² = hashes, in the form that also holds for a slope of 0.
        divisor = self.first + math.sqrt(max(self.first**2 + 2 * slope * hashes, 0))
        return 2 * hashes / divisor if divisor else 0.0

    def hashes_until(self, seconds: float) -> float:
        """What is to be sent within so many seconds from its beginning."""
        seconds = min(seconds, self.seconds)
        return seconds * (self.first + (self.last - self.first) * seconds / self.seconds / 2)


class Schedule:
    """The intended times of hashes: the integral of the rate, turned round."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self.hashes = sum(segment.hashes for segment in segments)
        """What is to be sent in all."""

    def due(self, hashes: float) -> float | None:
        """Seconds from the start until so many hashes have been due; None when there are not that many."""
        if hashes >= self.hashes:
            return None
        began = 0.0
        for segment in self._segments:
            if hashes < segment.hashes:
                return began + segment.moment(hashes)
            hashes -= segment.hashes
            began += segment.seconds
        return began

    def hashes_until(self, seconds: float) -> float:
        """How many are due within so many seconds from the start."""
        hashes = 0.0
        for segment in self._segments:
            if seconds <= 0:
                break
            hashes += segment.hashes_until(seconds)
            seconds -= segment.seconds
        return hashes


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate over time, as it was written."""

    text: str
    parts: tuple[tuple[float, float], ...]
    """Hashes/s at the beginning and at the end of equally long parts of a run."""

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read `10000` (constant), `1000,5000,20000` (steps) or `1000..50000` (a line), or these mixed.

        Raises ValueError with what is allowed.
        """
        parts = []
        for part in text.split(","):
            first, dots, last = part.partition("..")
            parts.append((_hashes(first), _hashes(last if dots else first)))
        if not any(rate for part in parts for rate in part):
            raise ValueError("it must be more than 0 hashes/s")
        return cls(text.replace(" ", ""), tuple(parts))

    def schedule(self, warm_up: float, duration: float) -> Schedule:
        """The warm-up at the rate of the beginning, then all parts, in `duration` seconds."""
        first = self.parts[0][0]
        lead = [Segment(warm_up, first, first)] if warm_up else []
        return Schedule([*lead, *(Segment(duration / len(self.parts), *part) for part in self.parts)])

    @property
    def mean(self) -> float:
        """Hashes/s over all of a run."""
        return sum(first + last for first, last in self.parts) / 2 / len(self.parts)


def _hashes(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1
    if not 0 <= rate <= MAX_RATE:
        raise ValueError("it must be hashes/s: 10000, or 1000,5000,20000 for steps, or 1000..50000 for a line")
    return rate
